//! [`Entry`]: the current token, and how requests may use it now.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    AccessToken, CachedToken,
    clock::{Now, Phase, Schedule},
    flight::Flight,
};

/// How long a flight may take before other requests continue with a suspect token. Most flights are
/// faster, and a client that provokes 401s while the source hangs must not delay the other clients.
const SUSPECT_WAIT: Duration = Duration::from_secs(1);

/// A token and its place in time. It is replaced as a whole, except for the mark that a 401 sets.
pub(super) struct Entry {
    pub(super) token: AccessToken,
    pub(super) generation: u64,
    pub(super) obtained: Now,
    pub(super) refresh_at: Now,
    pub(super) schedule: Schedule,
    pub(super) rejected: AtomicBool,
}

impl Entry {
    #[inline]
    pub(super) fn cached_token(&self) -> CachedToken {
        CachedToken::new(self.token.clone(), self.generation)
    }

    #[inline]
    pub(super) fn phase(&self, now: &Now) -> Phase {
        self.schedule.phase(now.since(&self.obtained))
    }

    /// Whether the token has expired by both clocks.
    pub(super) fn is_surely_dead(&self, now: &Now) -> bool {
        self.schedule.phase(self.sure_age(now)) == Phase::Dead
    }

    /// The token's age by the monotonic clock, which cannot be set.
    fn sure_age(&self, now: &Now) -> Duration {
        now.monotonic.saturating_duration_since(self.obtained.monotonic)
    }

    /// The time until which a request may wait for the next token and still use this one. The
    /// caller has checked that this one has not expired by both clocks.
    pub(super) fn patience(&self, now: &Now, flight: &Flight) -> Instant {
        let age = match self.phase(now) {
            Phase::Dead => self.sure_age(now),
            _ => now.since(&self.obtained),
        };
        let end = now.monotonic + self.schedule.last_use().saturating_sub(age);
        if self.rejected.load(Relaxed) { end.min(flight.started() + SUSPECT_WAIT) } else { end }
    }

    #[inline]
    pub(super) fn is_fresh(&self, now: &Now) -> bool {
        now.monotonic < self.refresh_at.monotonic && now.wall < self.refresh_at.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{builder::CacheSettings, clock::Clock};

    #[test]
    fn a_token_is_fresh_until_its_refresh_by_either_clock() {
        let now = Clock::default().now();
        let minute = Duration::from_secs(60);
        let refresh_at = Now { monotonic: now.monotonic + minute, wall: now.wall + minute };
        let entry = Entry {
            token: AccessToken::new("t1", None).unwrap(),
            generation: 1,
            obtained: now,
            refresh_at,
            schedule: CacheSettings::default().schedule(10 * minute),
            rejected: AtomicBool::new(false),
        };
        assert!(entry.is_fresh(&now));
        assert!(!entry.is_fresh(&Now { monotonic: refresh_at.monotonic, ..now }));
        assert!(!entry.is_fresh(&Now { wall: refresh_at.wall, ..now }));
    }
}
