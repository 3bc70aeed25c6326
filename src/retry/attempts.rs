use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;

use crate::route::Upstream;

/// What became of a request: each attempt, and why there was not another one.
///
/// In the extensions of a response whose request was sent more than once, or failed in a way that
/// is retried; a response without it was the answer to the first attempt. To know it of errors
/// too, or of a request that is given up, put one into the extensions of the request and keep a
/// clone: that one is then used, whatever comes of the request.
///
/// ```
/// use tower_vertex::retry::Attempts;
///
/// let attempts = Attempts::new();
/// let request = http::Request::builder().extension(attempts.clone()).body(())?;
/// # drop(request);
/// // … and once it has been answered, or has failed:
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

/// One time that a request was sent. A request that this crate refuses is not sent: for its path, or
/// because there is no access token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Where it went, if that was in the request's extensions or was chosen among
    /// [`Locations`](super::Locations).
    pub upstream: Option<Upstream>,
    /// How long it was held back before.
    pub waited: Duration,
    /// What came of it.
    pub outcome: AttemptOutcome,
}

/// What came of an [`Attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// Nothing yet.
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
    /// It was sent as often as [`max_attempts`](super::VertexRetryLayer::max_attempts) allows.
    MaxAttempts,
    /// Its body was not kept: it is longer than the replay limit, the replay budget was used up,
    /// or it broke.
    NotReplayable,
    /// The service asked for a longer wait than
    /// [`max_delay`](super::VertexRetryLayer::max_delay): this long.
    WaitTooLong(Duration),
    /// The retry budget was used up.
    BudgetExhausted,
    /// The call was made outside a Tokio runtime, so there is no timer to wait by.
    NoRuntime,
    /// The service for the next attempt failed before it was ready; the caller gets its error.
    NotReady,
}

impl Attempts {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often the request was sent.
    pub fn count(&self) -> usize {
        self.log().attempts.len()
    }

    /// Each attempt, the first one first.
    pub fn list(&self) -> Vec<Attempt> {
        self.log().attempts.clone()
    }

    /// Gives `read` the attempts, without a copy of them. The list is locked meanwhile.
    pub fn with<T>(&self, read: impl FnOnce(&[Attempt]) -> T) -> T {
        read(&self.log().attempts)
    }

    /// Why a failure was the last word; `None` if there was no failure, or a retry came after it.
    pub fn gave_up(&self) -> Option<GaveUp> {
        self.log().gave_up
    }

    /// Adds an attempt, which went to `upstream` after a wait of `waited`: for a gateway that does not
    /// send its requests by [`VertexRetry`](super::VertexRetry).
    pub fn begin(&self, upstream: Option<&Upstream>, waited: Duration) {
        let upstream = upstream.cloned();
        self.log().attempts.push(Attempt { upstream, waited, outcome: AttemptOutcome::Pending });
    }

    /// The attempt that just began was refused by this crate, and not sent.
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

    /// No statement under the lock can panic halfway.
    fn log(&self) -> MutexGuard<'_, AttemptLog> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
