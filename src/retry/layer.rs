use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::{RetryBudget, VertexRetry, backoff::Backoff, locations::Ejection};
use crate::{
    http_client::InnerService,
    replay::{MemoryBudget, REPLAY_BUDGET, REPLAY_LIMIT},
};

/// Applies [`VertexRetry`]: a request that failed temporarily is sent again. See the
/// [module's docs](super).
///
/// Clones, and all services that they make, share both budgets.
#[doc(alias = "failover")]
#[doc(alias = "circuit breaker")]
#[doc(alias = "backoff")]
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct VertexRetryLayer {
    settings: Arc<RetrySettings>,
}

#[derive(Clone, Debug)]
pub(super) struct RetrySettings {
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) ejection: Ejection,
    pub(super) retry_budget: RetryBudget,
    pub(super) replay_limit: usize,
    pub(super) replay_budget: MemoryBudget,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff { base: Duration::from_secs(1), max: Duration::from_secs(30) },
            ejection: Ejection { failure_threshold: 5, time: Duration::from_secs(30) },
            retry_budget: RetryBudget::default(),
            replay_limit: REPLAY_LIMIT,
            replay_budget: MemoryBudget::new(REPLAY_BUDGET),
        }
    }
}

impl VertexRetryLayer {
    /// The default settings, which fit Vertex AI: Google advises at most two retries, at least a
    /// second apart, with exponential back-off and jitter.
    pub fn new() -> Self {
        Self { settings: Arc::default() }
    }

    /// The maximum number of attempts of a request, at all its locations together. Default 3, as
    /// Google advises. Set more only to reach a longer list of locations. With 1 (0 means the
    /// same), no request is sent again, but a location that keeps failing is still ejected.
    #[doc(alias = "max_retries")]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.edit().max_attempts = attempts.max(1);
        self
    }

    /// The shortest wait before a retry at the same location. Default 1 s, as Google advises. A
    /// random time is added: up to the same length, up to twice as much the next time, and so on.
    pub fn base_delay(mut self, delay: Duration) -> Self {
        self.edit().backoff.base = delay;
        self
    }

    /// The longest wait. Default 30 s, as few clients wait longer for the beginning of a response.
    /// If a service names a longer wait, no retry is sent: its response goes to the caller at once,
    /// with its `Retry-After`.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.edit().backoff.max = delay;
        self
    }

    /// The budget that all retries share, including failovers. A request whose first attempt does
    /// not fail is a deposit, and each retry is a withdrawal. Without balance the failure goes to
    /// the caller. Default: one retry for every five requests of the last ten seconds, and ten
    /// more. So retries work at a low rate of requests too, and an outage is not multiplied.
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.edit().retry_budget = budget;
        self
    }

    /// The longest request body, in bytes, that is kept so that it can be sent again. Default
    /// 32 MiB: more than the 20 MiB that Gemini's endpoint accepts. A longer body is sent, and its
    /// failure goes to the caller. With 0, no body is kept.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.edit().replay_limit = bytes;
        self
    }

    /// The bytes of memory that all requests in flight may keep together. Default 256 MiB. The kept
    /// copy of a body takes at most twice its length, and counts as at least 8 KiB if it is a
    /// single frame. An auth layer further in keeps no copy of its own beside it.
    pub fn replay_budget(mut self, bytes: usize) -> Self {
        self.edit().replay_budget = MemoryBudget::new(bytes);
        self
    }

    /// The number of failures in a row after which a location is ejected, if no other one serves
    /// the requests that it failed. Default 5, because fewer may be chance. 0 is taken as 1.
    #[doc(alias = "circuit breaker")]
    #[doc(alias = "outlier detection")]
    #[doc(alias = "consecutive_5xx")]
    pub fn failure_threshold(mut self, failures: u32) -> Self {
        self.edit().ejection.failure_threshold = failures.max(1);
        self
    }

    /// The time for which a location is ejected before one request probes it. It is longer, up to
    /// ten minutes, if the location named a longer wait. Default 30 s: the quotas of Vertex AI are
    /// per minute, and a failed probe every 30 s costs little.
    #[doc(alias = "circuit breaker")]
    #[doc(alias = "outlier detection")]
    #[doc(alias = "base_ejection_time")]
    pub fn ejection_time(mut self, time: Duration) -> Self {
        self.edit().ejection.time = time;
        self
    }

    fn edit(&mut self) -> &mut RetrySettings {
        Arc::make_mut(&mut self.settings)
    }
}

impl Default for VertexRetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: InnerService> Layer<S> for VertexRetryLayer {
    type Service = VertexRetry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VertexRetry::with(inner, Arc::clone(&self.settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_kept_beside_the_others() {
        let seconds = Duration::from_secs;
        let layer = VertexRetryLayer::new()
            .max_attempts(7)
            .base_delay(seconds(2))
            .max_delay(seconds(9))
            .replay_limit(11)
            .failure_threshold(4)
            .ejection_time(seconds(13));
        let settings = &layer.settings;
        assert_eq!((settings.max_attempts, settings.replay_limit), (7, 11));
        assert_eq!((settings.backoff.base, settings.backoff.max), (seconds(2), seconds(9)));
        let ejection = &settings.ejection;
        assert_eq!((ejection.failure_threshold, ejection.time), (4, seconds(13)));
        let least = VertexRetryLayer::new().max_attempts(0).failure_threshold(0);
        assert_eq!(least.settings.max_attempts, 1);
        assert_eq!(least.settings.ejection.failure_threshold, 1);
    }
}
