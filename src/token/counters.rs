//! [`Counters`]: the fetches and rejections of a cache, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{FetchOutcome, FetchReason};

#[derive(Default)]
pub(super) struct Counters {
    pub(super) fetches: AtomicU64,
    pub(super) rejections: AtomicU64,
    pub(super) ended: Ended<AtomicU64>,
}

impl Counters {
    pub(super) fn count(&self, reason: FetchReason, outcome: FetchOutcome) {
        self.ended.of(reason, outcome).fetch_add(1, Relaxed);
    }
}

/// The flights that ended, by reason and outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended<T> {
    cold: ByOutcome<T>,
    proactive: ByOutcome<T>,
    expired: ByOutcome<T>,
    rejected: ByOutcome<T>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ByOutcome<T> {
    new_token: T,
    same_token: T,
    failed: T,
}

impl<T> Ended<T> {
    pub(super) fn of(&self, reason: FetchReason, outcome: FetchOutcome) -> &T {
        match reason {
            FetchReason::Cold => &self.cold,
            FetchReason::Proactive => &self.proactive,
            FetchReason::Expired => &self.expired,
            FetchReason::Rejected => &self.rejected,
        }
        .of(outcome)
    }

    pub(super) fn map<U>(&self, map: impl Fn(&T) -> U) -> Ended<U> {
        Ended {
            cold: self.cold.map(&map),
            proactive: self.proactive.map(&map),
            expired: self.expired.map(&map),
            rejected: self.rejected.map(&map),
        }
    }
}

impl Ended<u64> {
    /// Sum of the flights with this outcome over all reasons.
    pub(super) fn total(&self, outcome: FetchOutcome) -> u64 {
        [&self.cold, &self.proactive, &self.expired, &self.rejected]
            .map(|counts| counts.of(outcome))
            .into_iter()
            .sum()
    }
}

impl<T> ByOutcome<T> {
    fn of(&self, outcome: FetchOutcome) -> &T {
        match outcome {
            FetchOutcome::NewToken => &self.new_token,
            FetchOutcome::SameToken => &self.same_token,
            FetchOutcome::Failed => &self.failed,
        }
    }

    fn map<U>(&self, map: impl Fn(&T) -> U) -> ByOutcome<U> {
        ByOutcome {
            new_token: map(&self.new_token),
            same_token: map(&self.same_token),
            failed: map(&self.failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_is_counted_by_its_own_reason_and_outcome_alone() {
        use FetchOutcome::{Failed, NewToken, SameToken};
        use FetchReason::{Cold, Expired, Proactive, Rejected};
        for reason in [Cold, Proactive, Expired, Rejected] {
            for outcome in [NewToken, SameToken, Failed] {
                let counters = Counters::default();
                counters.count(reason, outcome);
                let ended = counters.ended.map(|count| count.load(Relaxed));
                assert_eq!(*ended.of(reason, outcome), 1);
                let totals = [NewToken, SameToken, Failed].map(|outcome| ended.total(outcome));
                assert_eq!(totals.iter().sum::<u64>(), 1, "{reason:?} {outcome:?}");
            }
        }
    }
}
