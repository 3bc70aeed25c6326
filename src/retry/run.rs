//! [`Run`]: a request from its first attempt to its last.

use std::{fmt, ops::ControlFlow, sync::Arc, task::Context, time::Duration};

use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::runtime::Handle;
use tower::Service;

use super::{
    AttemptOutcome, Attempts, GaveUp, Locations,
    backoff::retry_after,
    layer::RetrySettings,
    locations::{Permit, Tried, name},
};
use crate::{
    BoxError, Error,
    replay::{Broken, Recording, ReplayBody, SavedHead, drain},
    route::Upstream,
};

/// The state of a request from its first attempt to its last.
pub(super) struct Run<S, B> {
    settings: Arc<RetrySettings>,
    locations: Option<Locations>,
    /// The request's own list, or one that is made at the first failure.
    attempts: Option<Attempts>,
    made: u32,
    waits: u32,
    tried: Vec<Tried>,
    /// The permit of the attempt in flight.
    permit: Option<Permit>,
    /// Records an error of the body in any attempt. It is checked only if there is a permit.
    broken: Option<Broken>,
    /// The request and the service for the next attempt, if there can be one.
    kept: Option<SavedRequest<S, B>>,
    pub(super) next: Option<Next<S, B>>,
}

struct SavedRequest<S, B> {
    service: S,
    head: SavedHead,
    recording: Recording<B>,
}

/// The next attempt, as it was planned.
pub(super) struct Next<S, B> {
    pub(super) service: S,
    request: Request<ReplayBody<B>>,
    /// The request for the attempt after it, if there can be one.
    kept: Option<(SavedHead, Recording<B>)>,
    target: Target,
}

enum Target {
    /// The same upstream as before, or the candidate at an index, after a wait.
    Again(Option<usize>, Duration),
    /// Another candidate, at once.
    Failover(Permit),
}

impl Target {
    fn wait(&self) -> Duration {
        match self {
            Self::Again(_, wait) => *wait,
            Self::Failover(_) => Duration::ZERO,
        }
    }
}

impl<S, B> Run<S, B>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Send + 'static,
{
    /// Sends the first attempt. `service` must be ready.
    pub(super) fn start(
        service: &mut S,
        settings: &Arc<RetrySettings>,
        request: Request<B>,
    ) -> (Box<Self>, S::Future)
    where
        S: Clone,
        B: Body,
    {
        let locations = request.extensions().get::<Locations>().cloned();
        let permit = locations.as_ref().and_then(|locations| locations.choose(&[]));
        let broken = permit.is_some().then(Broken::default);
        let may_retry = settings.max_attempts > 1 && settings.replay_limit > 0;
        let mut recording = None;
        let request = request.map(|body| {
            if !may_retry {
                return ReplayBody::plain(body).telling(broken.as_ref());
            }
            let (limit, budget) = (settings.replay_limit, &settings.replay_budget);
            let (body, kept) = ReplayBody::record(body, limit, budget);
            recording = kept;
            body.telling(broken.as_ref())
        });
        let kept = recording.map(|recording| SavedRequest {
            service: service.clone(),
            head: SavedHead::of(&request),
            recording,
        });
        let mut run = Box::new(Self {
            settings: Arc::clone(settings),
            locations,
            attempts: request.extensions().get::<Attempts>().cloned(),
            made: 0,
            waits: 0,
            tried: Vec::new(),
            permit,
            broken,
            kept,
            next: None,
        });
        let answer = run.call(service, request, Duration::ZERO);
        (run, answer)
    }

    fn call(
        &mut self,
        service: &mut S,
        mut request: Request<ReplayBody<B>>,
        waited: Duration,
    ) -> S::Future {
        if let Some(permit) = &self.permit {
            request.extensions_mut().insert(permit.upstream().clone());
        }
        // An auth layer further in needs no copy of its own: it can rewind this one.
        if let Some(rewind) = self.kept.as_ref().and_then(|kept| kept.recording.rewind()) {
            request.extensions_mut().insert(rewind);
        }
        self.made += 1;
        if let Some(attempts) = &self.attempts {
            attempts.begin(request.extensions().get::<Upstream>(), waited);
        }
        service.call(request)
    }

    /// Decides after a response or an error: returns the result for the caller, or the wait before
    /// the next attempt.
    pub(super) fn settle<R: Body>(
        &mut self,
        result: Result<Response<R>, BoxError>,
        cx: &mut Context<'_>,
    ) -> ControlFlow<Result<Response<R>, BoxError>, Duration> {
        let outcome = outcome(&result);
        self.log(outcome);
        let ejection = self.settings.ejection;
        let permit = self.permit.take();
        if !is_retryable(&result) {
            if let (AttemptOutcome::Response(status), Some(permit)) = (outcome, permit)
                && is_success(status)
            {
                permit.succeeded(&self.tried, ejection);
            }
            if self.made == 1 {
                self.settings.retry_budget.deposit();
            }
            return ControlFlow::Break(self.finish(result, outcome));
        }

        let asked = result.as_ref().ok().and_then(|response| retry_after(response.headers()));
        let asked = asked.unwrap_or_default();
        if self.attempts.is_none() {
            let attempts = Attempts::new();
            let sent = self.kept.as_ref().map(|kept| kept.head.extensions());
            // If nothing was kept, the routing layer reports the upstream in the response.
            let sent = sent.or(result.as_ref().ok().map(Response::extensions));
            let upstream = permit.as_ref().map(Permit::upstream);
            attempts.begin(upstream.or(sent.and_then(|sent| sent.get())), Duration::ZERO);
            self.attempts = Some(attempts);
        }
        let from = permit.as_ref().map(|permit| name(permit.upstream()).to_owned());
        // An upload that failed midway is no failure of the location.
        let is_broken = self.broken.as_ref().is_some_and(Broken::is_set);
        if let Some(permit) = permit.filter(|_| !is_broken) {
            let tried = permit.failed(asked, ejection);
            self.tried.retain(|before| !before.is_at(&tried));
            self.tried.push(tried);
        }
        match self.plan(asked) {
            Ok(next) => {
                let wait = next.target.wait();
                match &next.target {
                    Target::Failover(to) => {
                        let to = name(to.upstream());
                        tracing::warn!(from, to, reason = %FailureReason(&result), "failing over");
                    }
                    Target::Again(..) => {
                        tracing::info!(?wait, reason = %FailureReason(&result), "sending again");
                    }
                }
                if let Some(attempts) = &self.attempts {
                    attempts.end(outcome);
                }
                self.next = Some(next);
                if let Ok(response) = result {
                    drain(response.into_body(), cx);
                }
                ControlFlow::Continue(wait)
            }
            Err(why) => {
                tracing::info!(attempts = self.made, reason = %FailureReason(&result), ?why, "not sent again");
                if let Some(attempts) = &self.attempts {
                    attempts.give_up(why);
                }
                ControlFlow::Break(self.finish(result, outcome))
            }
        }
    }

    /// The next attempt, or the reason why there is none. Everything that can be known is decided
    /// before the failed response is dropped. The budget comes last, so that only retries that are
    /// sent use it.
    fn plan(&mut self, asked: Duration) -> Result<Next<S, B>, GaveUp> {
        let settings = &self.settings;
        if self.made >= settings.max_attempts {
            return Err(GaveUp::MaxAttempts);
        }
        let kept = self.kept.take().filter(|kept| kept.recording.is_replayable());
        let SavedRequest { service, head, recording } = kept.ok_or(GaveUp::NotReplayable)?;
        let locations = self.locations.as_ref();
        let target = match locations.and_then(|locations| locations.choose(&self.tried)) {
            Some(permit) => Target::Failover(permit),
            None => {
                let place = locations.and_then(|locations| locations.choose_again(&self.tried));
                let (index, asked) = place.map_or((None, asked), |(i, asked)| (Some(i), asked));
                let wait = settings.backoff.wait(self.waits, asked, fastrand::f64());
                let wait = wait.ok_or(GaveUp::WaitTooLong(asked))?;
                // Tokio's timer panics outside a runtime.
                Handle::try_current().map_err(|_| GaveUp::NoRuntime)?;
                Target::Again(index, wait)
            }
        };
        if !settings.retry_budget.withdraw() {
            return Err(GaveUp::BudgetExhausted);
        }
        let is_last = self.made + 1 >= settings.max_attempts;
        let request = head.clone().into_request(()).ok_or(GaveUp::NotReplayable)?;
        // From here on, the body of the previous attempt has ended.
        let (body, kept) = if is_last {
            recording.replay().map(|body| (body, None))
        } else {
            recording.replay_and_record().map(|(body, recording)| (body, Some((head, recording))))
        }
        .ok_or(GaveUp::NotReplayable)?;
        self.waits += u32::from(matches!(target, Target::Again(..)));
        let body = body.telling(self.broken.as_ref());
        Ok(Next { service, request: request.map(|()| body), kept, target })
    }

    /// Sends the next attempt, whose service is ready.
    pub(super) fn send_next(&mut self) -> Option<S::Future>
    where
        S: Clone,
    {
        let Next { mut service, request, kept, target } = self.next.take()?;
        let waited = target.wait();
        self.permit = match (target, &self.locations) {
            (Target::Failover(permit), _) => Some(permit),
            (Target::Again(Some(index), _), Some(locations)) => Some(locations.enter(index)),
            (Target::Again(..), _) => None,
        };
        self.kept = kept.map(|(head, recording)| SavedRequest {
            service: service.clone(),
            head,
            recording,
        });
        Some(self.call(&mut service, request, waited))
    }

    /// Gives up, because the service for the next attempt failed before it was ready.
    pub(super) fn not_ready(&mut self, error: BoxError) -> BoxError {
        let why = GaveUp::NotReady;
        tracing::info!(attempts = self.made, reason = %error, ?why, "not sent again");
        if let Some(attempts) = &self.attempts {
            attempts.give_up(why);
        }
        (self.next, self.kept) = (None, None);
        error
    }

    fn finish<R>(
        &mut self,
        mut result: Result<Response<R>, BoxError>,
        outcome: AttemptOutcome,
    ) -> Result<Response<R>, BoxError> {
        // The copy for a retry is no longer needed.
        self.kept = None;
        if let Some(attempts) = self.attempts.take() {
            match &result {
                Err(error) if error.is::<Error>() => attempts.take_back(),
                _ => attempts.end(outcome),
            }
            if let Ok(response) = &mut result {
                response.extensions_mut().insert(attempts);
            }
        }
        result
    }

    fn log(&self, outcome: AttemptOutcome) {
        let location = self.permit.as_ref().map(|permit| name(permit.upstream()));
        tracing::debug!(attempt = self.made, location, ?outcome, "attempt ended");
    }
}

fn outcome<R>(result: &Result<Response<R>, BoxError>) -> AttemptOutcome {
    result
        .as_ref()
        .map_or(AttemptOutcome::Failed, |response| AttemptOutcome::Response(response.status()))
}

/// Whether the same request may succeed a little later, or elsewhere. Our own errors are permanent
/// refusals; the token cache, whose error one of them is, has a back-off of its own.
fn is_retryable<R>(result: &Result<Response<R>, BoxError>) -> bool {
    match result {
        Ok(response) => matches!(response.status().as_u16(), 408 | 429 | 500 | 502 | 503 | 504),
        Err(error) => !error.is::<Error>(),
    }
}

fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// A failure for the log: its status, or the error.
struct FailureReason<'a, R>(&'a Result<Response<R>, BoxError>);

impl<R> fmt::Display for FailureReason<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(response) => response.status().fmt(f),
            Err(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn no_body_is_kept_that_cannot_be_sent_again() {
        for (max_attempts, replay_limit, body, kept) in [
            (1, 10, "body", false),
            (2, 0, "body", false),
            (2, 0, "", false),
            (2, 3, "body", false),
            (2, 10, "body", true),
        ] {
            let settings = RetrySettings { max_attempts, replay_limit, ..Default::default() };
            let mut service = service_fn(async |_: Request<ReplayBody<Full<Bytes>>>| {
                Ok::<_, BoxError>(Response::new(()))
            });
            let request = Request::new(Full::<Bytes>::from(body));
            let (run, answer) = Run::start(&mut service, &Arc::new(settings), request);
            assert_eq!(run.kept.is_some(), kept, "{max_attempts} {replay_limit} {body}");
            answer.await.unwrap();
        }
    }
}
