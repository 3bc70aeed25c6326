//! The limit of a client's requests a minute.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// A token bucket: it holds the requests of one minute, and each token returns after its share of a
/// minute. The bucket stores only the time when it will be full again (the generic cell rate
/// algorithm), so a limit that changes needs no new bucket.
#[derive(Debug)]
pub(super) struct RateLimiter {
    full_at: Mutex<Instant>,
}

impl RateLimiter {
    pub(super) fn full() -> Self {
        Self { full_at: Mutex::new(Instant::now()) }
    }

    /// Takes a token at `now`. The error is the time until there is one.
    pub(super) fn take(&self, per_minute: NonZeroU32, now: Instant) -> Result<(), Duration> {
        let share = MINUTE / per_minute.get();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = (*full_at).max(now) + share;
        let until_full = taken.saturating_duration_since(now);
        if until_full > MINUTE {
            return Err(until_full - MINUTE);
        }
        *full_at = taken;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_a_minutes_worth_at_once_and_then_one_by_one() {
        let (rate_limiter, start) = (RateLimiter::full(), Instant::now() + MINUTE);
        let limit = NonZeroU32::new(6).unwrap();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for _ in 0..6 {
            assert_eq!(rate_limiter.take(limit, start), Ok(()));
        }
        assert_eq!(rate_limiter.take(limit, start), Err(Duration::from_secs(10)));
        assert_eq!(rate_limiter.take(limit, at(4)), Err(Duration::from_secs(6)));
        assert_eq!(rate_limiter.take(limit, at(10)), Ok(()));
        assert_eq!(rate_limiter.take(limit, at(10)), Err(Duration::from_secs(10)));
        // After a long pause the bucket is full and no more than that. Its state is kept when the
        // limit changes.
        for _ in 0..6 {
            assert_eq!(rate_limiter.take(limit, at(1000)), Ok(()));
        }
        let faster = NonZeroU32::new(60).unwrap();
        assert_eq!(rate_limiter.take(faster, at(1000)), Err(Duration::from_secs(1)));
        assert_eq!(rate_limiter.take(faster, at(1001)), Ok(()));
    }
}
