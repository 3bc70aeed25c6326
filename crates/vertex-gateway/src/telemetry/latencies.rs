//! A histogram of latencies, from which percentiles of any time are computed.
//!
//! A histogram of the metrics has 18 buckets over an hour, which is too coarse for a percentile. This one has
//! eight buckets for each power of two, so a percentile is off by 6 % at most. A bucket's count wraps
//! around, because only the difference between two readings is used.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bits after the highest one that select the bucket.
const FINE: u32 = 3;
/// The first bucket begins at 2^6 µs, and the last one ends at 2^32 µs, which is 71 minutes.
const LOWEST: u32 = 6;
const BUCKETS: usize = ((32 - LOWEST) << FINE) as usize;

/// The counts of a histogram.
#[derive(Debug)]
pub(crate) struct Latencies([AtomicU32; BUCKETS]);

/// The counts at one time, or the difference of two times.
#[derive(Clone, Debug)]
pub(crate) struct LatencyCounts(Box<[u32; BUCKETS]>);

impl Default for Latencies {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; BUCKETS])
    }
}

impl Latencies {
    pub(crate) fn observe(&self, micros: u64) {
        self.0[bucket(micros)].fetch_add(1, Relaxed);
    }

    /// Adds the counts to `sum`.
    pub(crate) fn add_to(&self, sum: &mut LatencyCounts) {
        for (sum, count) in sum.0.iter_mut().zip(&self.0) {
            *sum = sum.wrapping_add(count.load(Relaxed));
        }
    }
}

impl Default for LatencyCounts {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl LatencyCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0.iter()) {
            *sum = sum.wrapping_add(*count);
        }
    }

    /// Subtracts the counts of an earlier time.
    pub(crate) fn subtract(&mut self, earlier: &Self) {
        for (count, earlier) in self.0.iter_mut().zip(earlier.0.iter()) {
            *count = count.wrapping_sub(*earlier);
        }
    }

    /// The latencies in milliseconds that these percentages of the requests do not exceed; `None` without
    /// requests.
    pub(crate) fn percentiles<const N: usize>(&self, percent: [u32; N]) -> Option<[f64; N]> {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        (all > 0).then(|| percent.map(|percent| self.percentile(all, percent)))
    }

    fn percentile(&self, all: u64, percent: u32) -> f64 {
        let rank = (all * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let reached = |count: &u32| {
            seen += u64::from(*count);
            seen >= rank
        };
        let index = self.0.iter().position(reached).unwrap_or(BUCKETS - 1);
        (start(index) + start(index + 1)) / 2.0 / 1000.0
    }
}

fn bucket(micros: u64) -> usize {
    let micros = u32::try_from(micros).unwrap_or(u32::MAX).max(1 << LOWEST);
    let power = micros.ilog2();
    let fine = (micros >> (power - FINE)) & ((1 << FINE) - 1);
    (((power - LOWEST) << FINE) + fine) as usize
}

/// The lower bound of a bucket, in microseconds.
fn start(index: usize) -> f64 {
    let (power, fine) = (index >> FINE, index & ((1 << FINE) - 1));
    f64::from(1 << LOWEST) * (power as f64).exp2() * (1.0 + fine as f64 / f64::from(1 << FINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_is_within_the_bounds_of_its_bucket() {
        let mut micros = 64_u64;
        while micros < 1 << 32 {
            let index = bucket(micros);
            let (from, to) = (start(index), start(index + 1));
            assert!(from <= micros as f64 && (micros as f64) < to, "{micros}: {from} to {to}");
            micros += micros / 50 + 1;
        }
        assert_eq!((bucket(0), bucket(63), bucket(u64::MAX)), (0, 0, BUCKETS - 1));
    }

    #[test]
    fn a_percentile_is_off_by_at_most_six_percent() {
        let (all, mut counts) = (Latencies::default(), LatencyCounts::default());
        assert_eq!(counts.percentiles([50]), None);
        (1..=1000).for_each(|millis| all.observe(millis * 1000));
        all.add_to(&mut counts);
        for (percent, expected) in [(1, 10.0), (50, 500.0), (95, 950.0), (99, 990.0)] {
            let [found] = counts.percentiles([percent]).unwrap();
            assert!((found / expected - 1.0_f64).abs() < 0.065, "{percent}: {found}");
        }
    }

    #[test]
    fn the_difference_of_two_times_has_the_requests_between_them() {
        let all = Latencies::default();
        let read = || {
            let mut counts = LatencyCounts::default();
            all.add_to(&mut counts);
            counts
        };
        (0..100).for_each(|_| all.observe(1_000_000));
        let before = read();
        all.observe(2000);
        let mut since = read();
        since.subtract(&before);
        let [median] = since.percentiles([50]).unwrap();
        assert!((1.9..2.1).contains(&median), "{median}");
    }
}
