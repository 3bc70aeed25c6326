//! [`RetryBudget`]: the limit on the number of retries.

use std::{fmt, sync::Arc, time::Duration};

use tower::retry::budget::{Budget as _, TpsBudget};

/// The bounds of a window, which [`TpsBudget`] enforces by a panic.
const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The most retries for a request; [`TpsBudget`] enforces this, too.
const LARGEST_RATIO: f32 = 1000.0;
/// More retries in a second than any process makes.
const LARGEST_RESERVE: u32 = 1_000_000;

/// A limit on the number of retries, as a share of the requests. Clones share the budget, so
/// several layers can use the same one.
///
/// ```
/// use std::time::Duration;
/// use tower_vertex::retry::{RetryBudget, VertexRetryLayer};
///
/// // One retry for every ten requests of the last 30 seconds, and two in each second besides.
/// let budget = RetryBudget::new(Duration::from_secs(30), 2, 0.1);
/// let layer = VertexRetryLayer::new().retry_budget(budget.clone());
/// ```
#[doc(alias = "TpsBudget")]
#[doc(alias = "token bucket")]
#[derive(Clone)]
pub struct RetryBudget {
    shared: Arc<TpsBudget>,
}

impl RetryBudget {
    /// A budget of `ratio` retries for each request of the last `window`, and `per_second` retries
    /// for each second of it, so that retries work at a low rate of requests too.
    ///
    /// `window` is 1 s to 60 s, `ratio` is 0 to 1,000, and `per_second` is at most 1,000,000. A
    /// value outside these bounds is taken as the nearest one inside. A ratio that is not a number
    /// is taken as 0.
    pub fn new(window: Duration, per_second: u32, ratio: f32) -> Self {
        let ratio = if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, LARGEST_RATIO) };
        let window = window.clamp(WINDOW.0, WINDOW.1);
        Self { shared: Arc::new(TpsBudget::new(window, per_second.min(LARGEST_RESERVE), ratio)) }
    }

    /// Records a request whose first attempt was not a failure that is retried.
    pub(super) fn deposit(&self) {
        self.shared.deposit();
    }

    /// Whether a retry is allowed. If so, it is taken from the budget.
    pub(super) fn withdraw(&self) -> bool {
        self.shared.withdraw()
    }
}

/// One retry for every five requests of the last ten seconds, and ten more.
impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(Duration::from_secs(10), 1, 0.2)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_values_make_a_budget() {
        for window in [Duration::ZERO, Duration::from_millis(1500), Duration::MAX] {
            for per_second in [0, 1, u32::MAX] {
                for ratio in
                    [f32::NAN, f32::NEG_INFINITY, -1.0, 0.0, 1e-30, 0.2, 1.0, 2.5, f32::INFINITY]
                {
                    let budget = RetryBudget::new(window, per_second, ratio);
                    budget.deposit();
                    let expected = per_second > 0 || ratio >= 1.0;
                    assert_eq!(budget.withdraw(), expected, "{window:?} {per_second} {ratio}");
                }
            }
        }
    }
}
