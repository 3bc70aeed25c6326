use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;

use crate::route::Upstream;

/// The attempts of a request with their outcomes, and the reason why there was not another one.
///
/// A response has it in its extensions if its request was sent more than once, or failed in a way
/// that is retried. Without it, the response belongs to the first attempt. To see the attempts also
/// after an error, or of a request that is cancelled, put a value into the extensions of the
/// request and keep a clone: the layer then always records the attempts there.
///
/// ```
/// use tower_vertex::retry::Attempts;
///
/// let attempts = Attempts::new();
/// let request = http::Request::builder().extension(attempts.clone()).body(())?;
/// # drop(request);
/// // … and after it has got a response, or has failed:
/// println!("{} attempts", attempts.count());
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    shared: Arc<Mutex<AttemptLog>>,
}

#[derive(Clone, Debug, Default)]
struct AttemptLog {
    attempts: Vec<Attempt>,
    gave_up: Option<GaveUp>,
}

/// One attempt to send a request. A request that this crate refuses, because of its path or because
/// there is no access token, is not sent and is no attempt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The upstream, if it was in the request's extensions or was chosen among
    /// [`Locations`](super::Locations).
    pub upstream: Option<Upstream>,
    /// The wait before the attempt.
    pub waited: Duration,
    /// The outcome.
    pub outcome: AttemptOutcome,
}

/// The outcome of an [`Attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The attempt has not ended.
    Pending,
    /// A response with this status.
    Response(StatusCode),
    /// An error before any response.
    Failed,
}

/// Why a request that failed was not sent again.
#[doc(alias = "stopped")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GaveUp {
    /// It was sent [`max_attempts`](super::VertexRetryLayer::max_attempts) times.
    MaxAttempts,
    /// Its body was not kept: it is longer than the replay limit, the replay budget was used up,
    /// or the body failed with an error.
    NotReplayable,
    /// The service named a longer wait than [`max_delay`](super::VertexRetryLayer::max_delay):
    /// this long.
    WaitTooLong(Duration),
    /// The retry budget was used up.
    BudgetExhausted,
    /// The call was made outside a Tokio runtime, so there is no timer for the wait.
    NoRuntime,
    /// The service for the next attempt failed before it was ready; the caller gets its error.
    NotReady,
}

impl Attempts {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of attempts.
    pub fn count(&self) -> usize {
        self.log().attempts.len()
    }

    /// All attempts in order.
    pub fn list(&self) -> Vec<Attempt> {
        self.log().attempts.clone()
    }

    /// Calls `read` with the attempts, without copying them. The list is locked meanwhile.
    pub fn with<T>(&self, read: impl FnOnce(&[Attempt]) -> T) -> T {
        read(&self.log().attempts)
    }

    /// The reason why a failure was not retried; `None` if there was no failure, or it was retried.
    pub fn gave_up(&self) -> Option<GaveUp> {
        self.log().gave_up
    }

    /// Adds an attempt that is sent to `upstream` after a wait of `waited`. This is for a gateway
    /// that does not send its requests by [`VertexRetry`](super::VertexRetry).
    pub fn begin(&self, upstream: Option<&Upstream>, waited: Duration) {
        let upstream = upstream.cloned();
        self.log().attempts.push(Attempt { upstream, waited, outcome: AttemptOutcome::Pending });
    }

    /// Removes the attempt that just began: this crate refused it and did not send it.
    pub(super) fn take_back(&self) {
        self.log().attempts.pop();
    }

    pub(super) fn end(&self, outcome: AttemptOutcome) {
        if let Some(last) = self.log().attempts.last_mut() {
            last.outcome = outcome;
        }
    }

    pub(super) fn give_up(&self, why: GaveUp) {
        self.log().gave_up = Some(why);
    }

    /// Locks the log. A poisoned lock is fine: no statement under the lock can panic halfway.
    fn log(&self) -> MutexGuard<'_, AttemptLog> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
