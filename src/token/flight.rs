//! The one detached fetch that everyone waits for.
//!
//! A flight is a task of its own: dropping the request that started it changes nothing. It ends
//! with an outcome, or, if its runtime goes away, with its channel closed; a flight whose runtime
//! stands still is given up at its deadline. In none of these does a waiter hang.

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

/// How a flight ended for those who waited: the cache already holds what it brought.
pub(super) type FlightOutcome = Result<(), TokenError>;

/// Beyond the source's own time-out: how long a waiter gives a flight that its runtime neglects.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Flight {
    reason: FetchReason,
    started: Instant,
    deadline: Instant,
    outcome: watch::Receiver<Option<FlightOutcome>>,
}

impl Flight {
    /// Starts the fetch on the current runtime. `land` takes what came, before any waiter wakes.
    pub(super) fn start(
        source: Arc<dyn TokenSource>,
        reason: FetchReason,
        timeout: Duration,
        land: impl FnOnce(Result<AccessToken, TokenError>) -> FlightOutcome + Send + 'static,
    ) -> Result<Self, TokenError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| TokenError::NoRuntime)?;
        let (sender, outcome) = watch::channel(None);
        let started = Instant::now();
        let deadline = started + timeout + GRACE;
        // The task does not keep the cache alive by its source alone: `land` holds it weakly.
        runtime.spawn(async move {
            let fetch = Contained(Box::pin(async move { source.fetch(reason).await }));
            let token = match tokio::time::timeout(timeout, fetch).await {
                Ok(Ok(Ok(token))) => Ok(token),
                Ok(Ok(Err(error))) => Err(TokenError::fetch(error)),
                Ok(Err(Panicked)) => Err(TokenError::Panicked),
                Err(_elapsed) => Err(TokenError::Timeout(timeout)),
            };
            sender.send_replace(Some(land(token)));
        });
        Ok(Self { reason, started, deadline, outcome })
    }

    /// Why it was started; who joined it may have had another reason.
    pub(super) fn reason(&self) -> FetchReason {
        self.reason
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Until when nobody needs to look whether this flight is still under way.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn is_under_way(&self, now: Instant) -> bool {
        now < self.deadline && self.outcome.has_changed().is_ok() && self.outcome.borrow().is_none()
    }

    /// `None` if the flight was lost: its runtime was shut down or stands still.
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

/// A panic of the source ends the fetch, not the task: `land` must run.
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
