//! The number of refreshes that 401s may force.

use tokio::time::Instant;

use super::builder::CacheSettings;

/// Permits for forced refreshes: a burst at once, then one for each interval.
#[derive(Debug)]
pub(super) struct Bucket {
    available: u32,
    refilled: Instant,
}

impl Bucket {
    pub(super) fn full(settings: &CacheSettings, now: Instant) -> Self {
        Self { available: settings.forced.0, refilled: now }
    }

    pub(super) fn take(&mut self, settings: &CacheSettings, now: Instant) -> bool {
        let (burst, every) = settings.forced;
        if !every.is_zero() {
            let earned = now.saturating_duration_since(self.refilled).as_nanos() / every.as_nanos();
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.refilled += every.saturating_mul(earned);
            self.available = self.available.saturating_add(earned).min(burst);
        }
        if self.available == burst {
            // A full bucket earns nothing. The wait for the next permit starts when this one is
            // taken.
            self.refilled = now;
        }
        let taken = self.available > 0;
        self.available -= u32::from(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_bucket_gives_three_and_then_two_a_minute() {
        let (settings, start) = (CacheSettings::default(), Instant::now());
        let mut bucket = Bucket::full(&settings, start);
        let taken: Vec<u64> =
            (0..=180).filter(|&s| bucket.take(&settings, start + Duration::from_secs(s))).collect();
        assert_eq!(taken, [0, 1, 2, 30, 60, 90, 120, 150, 180]);
    }
}
