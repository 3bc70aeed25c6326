//! The memory that recordings may hold together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A limit, in bytes, of the memory that all recordings made with this budget may hold together.
/// Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    shared: Arc<MemoryBudgetShared>,
}

#[derive(Debug)]
struct MemoryBudgetShared {
    limit: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    /// Creates a budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { shared: Arc::new(MemoryBudgetShared { limit, used: AtomicUsize::new(0) }) }
    }

    /// The bytes of memory that recordings hold now.
    pub fn used(&self) -> usize {
        self.shared.used.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.shared.limit);
        self.shared.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }
}

/// A share of a [`MemoryBudget`], which is freed when it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    budget: MemoryBudget,
    bytes: usize,
}

impl Reserved {
    /// Creates a share of zero bytes.
    pub(super) fn of(budget: &MemoryBudget) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

    /// Grows the share to this many bytes in total. Returns whether the budget allows it.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = self.budget.take(more);
        self.bytes += if fits { more } else { 0 };
        fits
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.shared.used.fetch_sub(self.bytes, Relaxed);
    }
}
