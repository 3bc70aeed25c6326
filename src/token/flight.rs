//! The detached fetch that all waiting requests share.
//!
//! A flight is a task of its own, so dropping the request that started it changes nothing. It ends
//! with an outcome, or with a closed channel if its runtime is shut down. A flight whose runtime
//! stands still is given up at its deadline. A waiter never hangs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{AccessToken, FetchReason, TokenFuture, TokenSource};
use crate::error::TokenError;

/// The outcome of a flight, for its waiters. The cache already holds the new token.
pub(super) type FlightOutcome = Result<(), TokenError>;

/// The extra time, after the source's own time-out, before waiters give up a flight whose runtime
/// does not run it.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Flight {
    reason: FetchReason,
    started: Instant,
    deadline: Instant,
    outcome: watch::Receiver<Option<FlightOutcome>>,
}

impl Flight {
    /// Starts the fetch on the current runtime. `land` takes the result before any waiter wakes. If it
    /// returns `None`, the result came too late, and the waiters decide again.
    pub(super) fn start(
        source: Arc<dyn TokenSource>,
        reason: FetchReason,
        timeout: Duration,
        land: impl FnOnce(Result<AccessToken, TokenError>) -> Option<FlightOutcome> + Send + 'static,
    ) -> Result<Self, TokenError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| TokenError::NoRuntime)?;
        let (sender, outcome) = watch::channel(None);
        let started = Instant::now();
        let deadline = started + timeout + GRACE;
        // The task holds the source, which does not keep the cache alive; `land` holds the cache
        // weakly.
        runtime.spawn(async move {
            let fetch = Contained(Box::pin(async move { source.fetch(reason).await }));
            let token = match tokio::time::timeout(timeout, fetch).await {
                Ok(Ok(Ok(token))) => Ok(token),
                Ok(Ok(Err(error))) => Err(TokenError::fetch(error)),
                Ok(Err(Panicked)) => Err(TokenError::Panicked),
                Err(_elapsed) => Err(TokenError::Timeout(timeout)),
            };
            if let Some(outcome) = land(token) {
                sender.send_replace(Some(outcome));
            }
        });
        Ok(Self { reason, started, deadline, outcome })
    }

    /// The reason for which the flight was started. Requests that joined it may have another
    /// reason.
    pub(super) fn reason(&self) -> FetchReason {
        self.reason
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The time at which the flight is given up. No request needs to check the flight before it.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn is_under_way(&self, now: Instant) -> bool {
        now < self.deadline && self.outcome.has_changed().is_ok() && self.outcome.borrow().is_none()
    }

    /// Returns `None` if the flight was lost because its runtime was shut down or stands still, or
    /// landed after it had been given up.
    pub(super) async fn outcome(mut self) -> Option<FlightOutcome> {
        let ended = self.outcome.wait_for(Option::is_some);
        match tokio::time::timeout_at(self.deadline, ended).await {
            Ok(Ok(outcome)) => outcome.clone(),
            Ok(Err(_closed)) => None,
            Err(_elapsed) => None,
        }
    }
}

struct Panicked;

/// A panic of the source ends the fetch, but not the task: `land` must run.
struct Contained<'a>(TokenFuture<'a>);

impl Future for Contained<'_> {
    type Output = Result<Result<AccessToken, crate::BoxError>, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_payload) => Poll::Ready(Err(Panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::token_fn;

    fn start(source: impl TokenSource) -> Flight {
        let timeout = Duration::from_secs(10);
        Flight::start(Arc::new(source), FetchReason::Cold, timeout, |result| Some(result.map(drop)))
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_ends_with_its_outcome_or_at_its_deadline() {
        let hangs = start(token_fn(|_| std::future::pending()));
        assert!(hangs.is_under_way(hangs.deadline() - Duration::from_nanos(1)));
        assert!(!hangs.is_under_way(hangs.deadline()));
        let lands = start(token_fn(|_| async { Ok(AccessToken::new("t1", None)?) }));
        assert!(lands.is_under_way(lands.started()));
        lands.clone().outcome().await.unwrap().unwrap();
        assert!(!lands.is_under_way(lands.started()));
    }

    #[test]
    fn a_flight_ends_with_its_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let lost = runtime.block_on(async { start(token_fn(|_| std::future::pending())) });
        assert!(lost.is_under_way(lost.started()));
        drop(runtime);
        assert!(!lost.is_under_way(lost.started()));
    }
}
