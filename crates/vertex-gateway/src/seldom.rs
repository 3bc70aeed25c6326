//! Warnings that are not repeated for each of a thousand connections.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often the same thing is worth a line of the log.
const PERIOD: Duration = Duration::from_secs(60);

/// Says when something that happens often is to be logged.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Option<(Instant, u64)>>);

impl LogThrottle {
    /// It has happened at `now`. If it is to be logged: how often it has, since that was so before.
    pub(crate) fn happened(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = match *last {
            Some((logged, times)) if now.saturating_duration_since(logged) < PERIOD => {
                *last = Some((logged, times + 1));
                return None;
            }
            Some((_, times)) => times + 1,
            None => 1,
        };
        *last = Some((now, 0));
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_all_the_time_is_logged_once_a_minute() {
        let (seldom, start) = (LogThrottle::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seldom.happened(at(0)), Some(1));
        for second in 0..60 {
            assert_eq!(seldom.happened(at(second)), None);
        }
        assert_eq!(seldom.happened(at(60)), Some(61));
        assert_eq!(seldom.happened(at(61)), None);
        assert_eq!(seldom.happened(at(1000)), Some(2));
    }
}
