//! [`Counters`]: what a cache has done, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{FetchOutcome, FetchReason};

#[derive(Default)]
pub(super) struct Counters {
    pub(super) fetches: AtomicU64,
    pub(super) rejections: AtomicU64,
    /// By reason and outcome.
    ended: [[AtomicU64; 3]; 4],
}

impl Counters {
    pub(super) fn count(&self, reason: FetchReason, outcome: FetchOutcome) {
        self.ended[reason as usize][outcome as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn ended(&self) -> [[u64; 3]; 4] {
        std::array::from_fn(|r| std::array::from_fn(|o| self.ended[r][o].load(Relaxed)))
    }
}
