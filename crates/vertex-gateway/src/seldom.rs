//! A throttle for warnings that would be repeated for each of a thousand connections.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Shortest time between two log lines about the same event.
const PERIOD: Duration = Duration::from_secs(60);

/// Decides when a frequent event is logged.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Option<(Instant, u64)>>);

impl LogThrottle {
    /// Counts an event at `now`. If it has to be logged, returns the number of events since the
    /// last one that was logged.
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
    fn a_constant_event_is_logged_once_a_minute() {
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
