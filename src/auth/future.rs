use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower::Service;

use super::{grpc::rejects_the_token, settings::AuthSettings};
use crate::{
    BoxError,
    error::Error,
    polled::AFTER_READY,
    replay::{Recording, ReplayBody, Rewind, SavedHead, drain},
    token::{CachedTokenFuture, RefreshOutcome, RejectionFuture},
};

/// The future of [`VertexAuth`](super::VertexAuth).
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>>,
{
    #[pin]
    state: State<S, B, R, S::Future>,
}

#[pin_project(project = StateProj)]
enum State<S, B, R, F> {
    Failed(Option<BoxError>),
    /// There is no token at once; the ready service and the request wait here.
    AwaitingToken(CachedTokenFuture, Option<Box<Waiting<S, B>>>),
    /// The request is in flight; `Some` for its first try.
    Sending(#[pin] F, Option<First<S, B>>),
    /// The response that rejects the token is held until the refresh is decided.
    Refreshing(RejectionFuture, Option<Box<Held<S, B, R>>>),
    /// The service for the second try becomes ready.
    Readying(Option<Box<Again<S, B>>>),
    Done,
}

struct Waiting<S, B> {
    service: S,
    settings: Arc<AuthSettings>,
    request: Request<B>,
}

struct First<S, B> {
    settings: Arc<AuthSettings>,
    generation: u64,
    retry: Option<Retry<S, B>>,
}

/// The parts that a second try needs.
struct Retry<S, B> {
    service: S,
    head: SavedHead,
    recording: Recording<B>,
}

struct Held<S, B, R> {
    response: Response<R>,
    settings: Arc<AuthSettings>,
    retry: Retry<S, B>,
}

struct Again<S, B> {
    service: S,
    request: Request<ReplayBody<B>>,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    R: Body,
{
    pub(super) fn failed(error: Error) -> Self {
        Self { state: State::Failed(Some(error.into())) }
    }

    /// `service` must be ready, and `request` must have the token of `generation`.
    pub(super) fn send(
        service: &mut S,
        settings: &Arc<AuthSettings>,
        request: Request<B>,
        generation: u64,
    ) -> Self {
        Self { state: State::send(service, settings, request, generation) }
    }

    /// `service` must be ready.
    pub(super) fn wait(service: S, settings: Arc<AuthSettings>, request: Request<B>) -> Self {
        let token = settings.cache.get();
        let waiting = Box::new(Waiting { service, settings, request });
        Self { state: State::AwaitingToken(token, Some(waiting)) }
    }
}

impl<S, B, R> State<S, B, R, S::Future>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    R: Body,
{
    fn send(
        service: &mut S,
        settings: &Arc<AuthSettings>,
        mut request: Request<B>,
        generation: u64,
    ) -> Self {
        settings.set_quota_project(request.headers_mut());
        let mut recording = None;
        // An outer retry layer already keeps the body.
        let rewind = request.extensions_mut().remove::<Rewind>();
        if !settings.forward_extensions {
            *request.extensions_mut() = Extensions::new();
        }
        let request = request.map(|body| match settings.replay_limit {
            0 => ReplayBody::plain(body),
            limit => {
                let budget = &settings.replay_budget;
                let (body, kept) = ReplayBody::record_once(body, limit, budget, rewind);
                recording = kept;
                body
            }
        });
        let retry = recording.map(|recording| Retry {
            service: service.clone(),
            head: SavedHead::without_authorization(&request),
            recording,
        });
        let first = First { settings: Arc::clone(settings), generation, retry };
        Self::Sending(service.call(request), Some(first))
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    R: Body,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let result = ready!(advance(state.as_mut(), cx));
        state.set(State::Done);
        Poll::Ready(result)
    }
}

/// Advances from one state to the next, until it has to wait or ends.
fn advance<S, B, R>(
    mut state: Pin<&mut State<S, B, R, S::Future>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<R>, BoxError>>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    R: Body,
{
    loop {
        let next = match state.as_mut().project() {
            StateProj::Failed(error) => match error.take() {
                Some(error) => return Poll::Ready(Err(error)),
                None => panic!("{AFTER_READY}"),
            },

            StateProj::AwaitingToken(token, waiting) => {
                let token = ready!(Pin::new(token).poll(cx));
                let Some(waiting) = waiting.take() else { panic!("{AFTER_READY}") };
                match token {
                    Ok(token) => {
                        let Waiting { mut service, settings, mut request } = *waiting;
                        let generation = token.generation();
                        token.access_token().set_in(request.headers_mut());
                        State::send(&mut service, &settings, request, generation)
                    }
                    Err(error) => State::Failed(Some(error.into())),
                }
            }

            StateProj::Sending(response, first) => {
                let answer = ready!(response.poll(cx));
                let is_rejected = answer.as_ref().is_ok_and(rejects_the_token);
                // The usual case. The parts for a replay are dropped in their place, because moving them costs more.
                if first.is_some() && !is_rejected {
                    return Poll::Ready(answer.map_err(Into::into));
                }
                let mut response = answer.map_err(Into::into)?;
                let Some(First { settings, generation, retry }) = first.take() else {
                    response.extensions_mut().insert(RefreshOutcome::Replayed);
                    return Poll::Ready(Ok(response));
                };
                // This starts the refresh, even if this request is dropped.
                let rejection = settings.cache.rejected(generation);
                match retry.filter(|retry| retry.recording.is_replayable()) {
                    Some(retry) => {
                        let held = Box::new(Held { response, settings, retry });
                        State::Refreshing(rejection, Some(held))
                    }
                    None => {
                        response.extensions_mut().insert(RefreshOutcome::NotReplayable);
                        return Poll::Ready(Ok(response));
                    }
                }
            }

            StateProj::Refreshing(rejection, held) => {
                let rejection = ready!(Pin::new(rejection).poll(cx));
                let Some(held) = held.take() else { panic!("{AFTER_READY}") };
                let Held { mut response, settings, retry } = *held;
                let Retry { service, head, recording } = retry;
                let outcome = match rejection {
                    // The body is taken last, because the first body fails from then on.
                    Ok(token) => match head
                        .into_request(())
                        .and_then(|head| recording.replay().map(|body| head.map(|()| body)))
                    {
                        Some(mut request) => {
                            settings.set_token(token.access_token(), request.headers_mut());
                            let again = Box::new(Again { service, request });
                            // Draining the response frees its connection.
                            drain(response.into_body(), cx);
                            state.set(State::Readying(Some(again)));
                            continue;
                        }
                        None => RefreshOutcome::NotReplayable,
                    },
                    Err(outcome) => outcome,
                };
                response.extensions_mut().insert(outcome);
                return Poll::Ready(Ok(response));
            }

            StateProj::Readying(again) => {
                let Some(ready) = again else { panic!("{AFTER_READY}") };
                ready!(ready.service.poll_ready(cx)).map_err(Into::into)?;
                let Some(again) = again.take() else { panic!("{AFTER_READY}") };
                let Again { mut service, request } = *again;
                State::Sending(service.call(request), None)
            }

            StateProj::Done => panic!("{AFTER_READY}"),
        };
        state.set(next);
    }
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
