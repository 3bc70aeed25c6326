use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, request, response};
use http_body::Body;
use pin_project::pin_project;
use tower::Service;

use super::{
    CompatBody, RequestBody, applied::HEADER, exchange::Exchange, layer::CompatSettings,
    request_body::Gathering, service::Case,
};
use crate::{
    BoxError,
    body_reader::{BodyReader, ERROR_LIMIT, ERROR_TIMEOUT, NotRead, contiguous},
    polled::AFTER_READY,
    replay::Chunks,
};

/// The future of [`VertexCompat`](super::VertexCompat).
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>>,
{
    #[pin]
    state: State<S, B, R, S::Future>,
}

#[pin_project(project = StateProj)]
enum State<S, B, R, F> {
    Failed(Option<BoxError>),
    /// The body of the request is being read. The service that was ready is kept for it.
    Reading(Option<Box<Waiting<S, B>>>),
    /// The exchange is `None` for a request and a response that stay unchanged.
    Sending(#[pin] F, Option<Box<Exchange<S>>>),
    /// The body of an error is being read, which may be a reason to send the request again.
    ReadingError(Option<Box<Refused<S, R>>>),
    /// The service for the resend is not ready yet.
    Readying(Option<Box<Exchange<S>>>),
    Done,
}

struct Waiting<S, B> {
    service: S,
    settings: Arc<CompatSettings>,
    case: Case,
    head: request::Parts,
    gathering: Gathering<B>,
}

struct Refused<S, R> {
    head: response::Parts,
    body: Pin<Box<BodyReader<R>>>,
    exchange: Box<Exchange<S>>,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>>,
{
    pub(super) fn failed(error: BoxError) -> Self {
        Self { state: State::Failed(Some(error)) }
    }

    /// Returns the response of `future` unchanged.
    pub(super) fn passing(future: S::Future) -> Self {
        Self { state: State::Sending(future, None) }
    }

    /// `service` must be ready.
    pub(super) fn reading(
        service: S,
        settings: Arc<CompatSettings>,
        case: Case,
        head: request::Parts,
        gathering: Gathering<B>,
    ) -> Self {
        let waiting = Waiting { service, settings, case, head, gathering };
        Self { state: State::Reading(Some(Box::new(waiting))) }
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>> + Clone,
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Sends a request whose body was read: to its end if it `is_whole`. `service` must be ready.
    pub(super) fn send(
        service: &mut S,
        settings: &Arc<CompatSettings>,
        case: Case,
        head: request::Parts,
        gathering: Gathering<B>,
        is_whole: bool,
    ) -> Self {
        let (future, exchange) =
            Exchange::begin(service, settings, case, head, gathering, is_whole);
        Self { state: State::Sending(future, exchange) }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<CompatBody<R>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Failed(error) => {
                    let Some(error) = error.take() else { panic!("{AFTER_READY}") };
                    return Poll::Ready(Err(error));
                }
                StateProj::Reading(waiting) => {
                    let Some(reading) = waiting else { panic!("{AFTER_READY}") };
                    let read = ready!(reading.gathering.poll(cx));
                    let Some(waiting) = waiting.take() else { panic!("{AFTER_READY}") };
                    match read {
                        Ok(is_whole) => {
                            let Waiting { mut service, settings, case, head, gathering } = *waiting;
                            let (future, exchange) = Exchange::begin(
                                &mut service,
                                &settings,
                                case,
                                head,
                                gathering,
                                is_whole,
                            );
                            State::Sending(future, exchange)
                        }
                        Err(error) => State::Failed(Some(error)),
                    }
                }
                StateProj::Sending(future, exchange) => {
                    let result = ready!(future.poll(cx));
                    let exchange = exchange.take();
                    let response = match result {
                        Ok(response) => response,
                        Err(error) => {
                            state.set(State::Done);
                            return Poll::Ready(Err(error.into()));
                        }
                    };
                    match exchange {
                        Some(exchange) if exchange.may_resend(&response) => {
                            let (head, body) = response.into_parts();
                            let body = Box::pin(BodyReader::new(body, ERROR_LIMIT, ERROR_TIMEOUT));
                            State::ReadingError(Some(Box::new(Refused { head, body, exchange })))
                        }
                        Some(exchange) => {
                            state.set(State::Done);
                            return Poll::Ready(Ok(exchange.finish(response)));
                        }
                        None => {
                            state.set(State::Done);
                            return Poll::Ready(Ok(pass(response)));
                        }
                    }
                }
                StateProj::ReadingError(refused) => {
                    let Some(reading) = refused else { panic!("{AFTER_READY}") };
                    let read = ready!(reading.body.as_mut().poll(cx));
                    let Some(refused) = refused.take() else { panic!("{AFTER_READY}") };
                    let Refused { head, mut body, mut exchange } = *refused;
                    let (data, trailers) = body.as_mut().take();
                    if read.is_ok() && exchange.plan_resend(&contiguous(&data)) {
                        State::Readying(Some(exchange))
                    } else {
                        // A body that could not be read to its end is forwarded as it comes.
                        let rest = match read {
                            Ok(()) => None,
                            Err(NotRead::Broken(error)) => Some(Err(error)),
                            Err(NotRead::TooLong | NotRead::Late) => Some(Ok(body)),
                        };
                        let chunks = Chunks { data, trailers };
                        let body = CompatBody::read(chunks, rest);
                        state.set(State::Done);
                        return Poll::Ready(Ok(exchange.mark(Response::from_parts(head, body))));
                    }
                }
                StateProj::Readying(exchange) => {
                    let Some(waiting) = exchange else { panic!("{AFTER_READY}") };
                    let ready = ready!(waiting.poll_ready(cx));
                    let Some(mut exchange) = exchange.take() else { panic!("{AFTER_READY}") };
                    match ready.map(|()| exchange.resend()) {
                        Ok(Some(future)) => State::Sending(future, Some(exchange)),
                        Ok(None) => panic!("{AFTER_READY}"),
                        Err(error) => State::Failed(Some(error.into())),
                    }
                }
                StateProj::Done => panic!("{AFTER_READY}"),
            };
            state.set(next);
        }
    }
}

/// A response that stays as it is. Only this layer sets its header.
fn pass<R>(mut response: Response<R>) -> Response<CompatBody<R>> {
    response.headers_mut().remove(HEADER);
    response.map(CompatBody::inner)
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
