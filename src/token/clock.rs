//! The age of a token, and how requests may use the token at that age.

#[cfg(test)]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Ages at which a token changes its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) refresh: Duration,
    pub(super) block: Duration,
    pub(super) death: Duration,
}

/// How requests may use a token at its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Requests use the token as it is.
    Fresh,
    /// Requests use the token while the next one is fetched.
    Stale,
    /// Requests wait for the next token, and use this one if the fetch fails or takes too long.
    Blocked,
    /// Requests do not use the token.
    Dead,
}

/// The time allowed for a request to present its token to the service.
const WAY: Duration = Duration::from_secs(1);

impl Schedule {
    /// The age up to which a request may wait and still use the token.
    pub(super) fn last_use(&self) -> Duration {
        self.death - (self.death.saturating_sub(self.block) / 2).min(WAY)
    }

    pub(super) fn phase(&self, age: Duration) -> Phase {
        match age {
            age if age < self.refresh => Phase::Fresh,
            age if age < self.block => Phase::Stale,
            age if age < self.death => Phase::Blocked,
            _ => Phase::Dead,
        }
    }
}

/// Both clocks. The monotonic clock stops while a machine is suspended, and the wall clock can be
/// set. The age of a token is the greater of the two ages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Instant,
    /// Time since 1970.
    pub(super) wall: Duration,
}

impl Now {
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        let wall = self.wall.saturating_sub(earlier.wall);
        self.monotonic.saturating_duration_since(earlier.monotonic).max(wall)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// The wall clock of the program; `None` for that of the system.
    wall: Option<fn() -> SystemTime>,
    #[cfg(test)]
    pub(super) wall_step: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn new(wall: Option<fn() -> SystemTime>) -> Self {
        Self {
            wall,
            #[cfg(test)]
            wall_step: Arc::default(),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> Now {
        let wall = match self.wall {
            None => wall(),
            Some(clock) => since_1970(clock()),
        };
        #[cfg(test)]
        let wall = wall + Duration::from_secs(self.wall_step.load(Relaxed));
        Now { monotonic: Instant::now(), wall }
    }
}

/// The wall clock as time since 1970, at the last tick of the kernel. It is a few milliseconds
/// late, and costs each request a fraction of an exact reading.
#[cfg(target_os = "linux")]
#[inline]
fn wall() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// The wall clock as time since 1970.
#[cfg(not(target_os = "linux"))]
fn wall() -> Duration {
    since_1970(SystemTime::now())
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_that_of_the_system() {
        let exact = || UNIX_EPOCH.elapsed().unwrap();
        let before = exact() - Duration::from_millis(100);
        let now = wall();
        assert!(before < now && now <= exact(), "{now:?}");
    }

    #[test]
    fn an_age_is_the_greater_of_both_clocks() {
        let start = Clock::default().now();
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let slept = Now { monotonic: start.monotonic + minute, wall: start.wall + hour };
        assert_eq!(slept.since(&start), hour);
        let stepped_back = Now { monotonic: start.monotonic + minute, wall: start.wall - hour };
        assert_eq!(stepped_back.since(&start), minute);
    }

    #[test]
    fn a_phase_begins_at_its_age() {
        let seconds = Duration::from_secs;
        let schedule = Schedule { refresh: seconds(10), block: seconds(20), death: seconds(30) };
        for (age, before, from) in [
            (10, Phase::Fresh, Phase::Stale),
            (20, Phase::Stale, Phase::Blocked),
            (30, Phase::Blocked, Phase::Dead),
        ] {
            assert_eq!(schedule.phase(seconds(age) - Duration::from_nanos(1)), before);
            assert_eq!(schedule.phase(seconds(age)), from);
        }
    }
}
