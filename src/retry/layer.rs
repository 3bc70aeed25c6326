use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::{RetryBudget, VertexRetry, backoff::Backoff, locations::Ejection};
use crate::{
    http_client::InnerService,
    replay::{MemoryBudget, REPLAY_BUDGET, REPLAY_LIMIT},
};

/// Applies [`VertexRetry`]: what failed for the moment is sent again. See the
/// [module's docs](super).
///
/// Clones, and all services made by them, share both budgets.
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
    /// The settings that fit Vertex AI: Google advises at most two retries, at least a second
    /// apart, with exponential back-off and jitter.
    pub fn new() -> Self {
        Self { settings: Arc::default() }
    }

    /// How often a request is sent at most, at all its locations together. Default 3, as Google
    /// advises; more only to reach a longer list of locations. With 1, and 0 is the same, nothing
    /// is sent again, but a location that keeps failing is still left alone.
    #[doc(alias = "max_retries")]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.edit().max_attempts = attempts.max(1);
        self
    }

    /// The shortest wait before a retry at the same location. Default 1 s, as Google advises. A
    /// random time is added, of at most as much again, twice as much the next time, and so on.
    pub fn base_delay(mut self, delay: Duration) -> Self {
        self.edit().backoff.base = delay;
        self
    }

    /// The longest wait. Default 30 s, as few clients wait longer for the beginning of an answer. A
    /// service that asks for a longer one is not asked again: its answer goes to the caller at
    /// once, with its `Retry-After`.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.edit().backoff.max = delay;
        self
    }

    /// What all retries together may take, failover too. A request whose first answer is no
    /// failure is a deposit, each retry a withdrawal; without balance the failure goes to the
    /// caller. Default: one retry for every five requests of the last ten seconds, and ten more, so
    /// that few requests can be retried too, and an outage is not multiplied.
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.edit().retry_budget = budget;
        self
    }

    /// The longest request body, in bytes, that is kept so that it can be sent again. Default
    /// 32 MiB: more than the 20 MiB that Gemini's endpoint takes. A longer one is sent, and its
    /// failure goes to the caller. 0 keeps none.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.edit().replay_limit = bytes;
        self
    }

    /// The bytes of memory that all requests under way may keep together. Default 256 MiB. What is kept of
    /// a body takes at most twice its length, and counts for 8 KiB if it is one frame that is shorter. An auth layer further in keeps nothing of its own beside it.
    pub fn replay_budget(mut self, bytes: usize) -> Self {
        self.edit().replay_budget = MemoryBudget::new(bytes);
        self
    }

    /// After how many failures in a row a location is left alone, if no other one serves the
    /// requests that it failed. Default 5: fewer may be chance. 0 is taken as 1.
    #[doc(alias = "circuit breaker")]
    #[doc(alias = "outlier detection")]
    #[doc(alias = "consecutive_5xx")]
    pub fn failure_threshold(mut self, failures: u32) -> Self {
        self.edit().ejection.failure_threshold = failures.max(1);
        self
    }

    /// How long a location is left alone, before one request finds out whether it serves again;
    /// longer, up to ten minutes, if it asked for that. Default 30 s: the quotas of Vertex AI are by
    /// the minute, and a request in vain every 30 s costs little.
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
