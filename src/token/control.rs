//! [`Control`]: the flight, the pause and the counts that decide on fetches.

use tokio::time::Instant;

use super::{bucket::Bucket, clock::Now, flight::Flight};
use crate::error::TokenError;

/// The state that only the holder of the lock sees.
pub(super) struct Control {
    pub(super) flight: Option<Flight>,
    /// Number of the current flight. The result of a flight that was given up is ignored.
    pub(super) flight_number: u64,
    pub(super) pause: Option<Pause>,
    pub(super) failures: u32,
    pub(super) repeats: u32,
    pub(super) bucket: Bucket,
    pub(super) last_generation: u64,
}

pub(super) struct Pause {
    pub(super) until: Instant,
    /// `None` if the source succeeded, but had no newer token.
    pub(super) error: Option<TokenError>,
}

impl Control {
    pub(super) fn new(bucket: Bucket) -> Self {
        Self {
            flight: None,
            flight_number: 0,
            pause: None,
            failures: 0,
            repeats: 0,
            bucket,
            last_generation: 0,
        }
    }

    pub(super) fn under_way(&self, now: &Now) -> Option<&Flight> {
        self.flight.as_ref().filter(|flight| flight.is_under_way(now.monotonic))
    }

    pub(super) fn pausing(&self, now: &Now) -> bool {
        self.pause.as_ref().is_some_and(|pause| now.monotonic < pause.until)
    }

    pub(super) fn pause_error(&self, now: &Now) -> Option<TokenError> {
        let pause = self.pause.as_ref().filter(|pause| now.monotonic < pause.until)?;
        pause.error.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::token::{builder::CacheSettings, clock::Clock};

    #[test]
    fn a_pause_ends_at_its_end() {
        let now = Clock::default().now();
        let mut control = Control::new(Bucket::full(&CacheSettings::default(), now.monotonic));
        assert!(!control.pausing(&now) && control.pause_error(&now).is_none());
        let until = now.monotonic + Duration::from_secs(1);
        control.pause = Some(Pause { until, error: Some(TokenError::NoRuntime) });
        let before = Now { monotonic: until - Duration::from_nanos(1), ..now };
        assert!(control.pausing(&before));
        assert!(matches!(control.pause_error(&before), Some(TokenError::NoRuntime)));
        let then = Now { monotonic: until, ..now };
        assert!(!control.pausing(&then) && control.pause_error(&then).is_none());
    }
}
