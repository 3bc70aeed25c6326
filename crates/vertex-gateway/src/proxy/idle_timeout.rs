//! The idle timeout of responses from Vertex AI, and a record of how they ended and of token
//! refreshes.
//!
//! This layer is inside the error layer, which reports a timeout or a reset to the client as an
//! event. It is also inside the retry layer, so it sees the response of each attempt.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tower::Service;

use super::context::RequestContext;
use crate::{lazy_timer::LazyTimer, telemetry::access_log::End};
use tower_vertex::{BoxError, auth::RefreshOutcome};

/// Applies the idle timeout to the responses of the inner service.
#[derive(Clone)]
pub(crate) struct IdleTimeout<S> {
    inner: S,
    idle: Option<Duration>,
}

impl<S> IdleTimeout<S> {
    /// `idle` is the longest time without data in the middle of a response. Time in which the
    /// client does not read is not counted.
    pub(crate) fn new(inner: S, idle: Option<Duration>) -> Self {
        Self { inner, idle }
    }
}

impl<S, B, R> Service<Request<B>> for IdleTimeout<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<IdleTimeoutBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let context = request.extensions().get().cloned().unwrap_or_default();
        ResponseFuture { response: self.inner.call(request), context, idle: self.idle }
    }
}

#[pin_project]
pub(crate) struct ResponseFuture<F> {
    #[pin]
    response: F,
    context: Arc<RequestContext>,
    idle: Option<Duration>,
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<IdleTimeoutBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx))?;
        let (context, idle) = (Arc::clone(this.context), *this.idle);
        let mut responses = context.responses();
        responses.count += 1;
        responses.reset = None;
        if let Some(refresh) = response.extensions().get() {
            responses.token_replay = Some(RefreshOutcome::as_str(refresh));
        }
        let number = responses.count;
        drop(responses);
        Poll::Ready(Ok(response.map(|body| IdleTimeoutBody::new(body, context, number, idle))))
    }
}

/// The body of a response with an idle timeout.
#[pin_project]
pub(crate) struct IdleTimeoutBody<B> {
    #[pin]
    body: B,
    context: Arc<RequestContext>,
    /// Position of the response among those of its request, from 1.
    number: usize,
    idle: Option<Duration>,
    /// Runs while no data arrives.
    timer: LazyTimer,
}

impl<B> IdleTimeoutBody<B> {
    fn new(body: B, context: Arc<RequestContext>, number: usize, idle: Option<Duration>) -> Self {
        Self { body, context, number, idle, timer: LazyTimer::default() }
    }
}

/// Records how response `number` ended early. The rest of a response that was not forwarded is read
/// while the next attempt is in progress, so its end is ignored.
fn record_end(context: &RequestContext, number: usize, how: End) {
    let mut responses = context.responses();
    if number == responses.count {
        responses.reset.get_or_insert(how);
    }
}

/// Vertex AI sent no data in the middle of a response.
#[derive(Debug)]
struct UpstreamIdle(Duration);

impl fmt::Display for UpstreamIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no byte arrived for {:?}, the limit of --stream-idle-timeout", self.0)
    }
}

impl std::error::Error for UpstreamIdle {}

impl<B> Body for IdleTimeoutBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        let Poll::Ready(frame) = this.body.poll_frame(cx) else {
            let Some(idle) = *this.idle else { return Poll::Pending };
            ready!(this.timer.poll_over(cx, idle));
            record_end(this.context, *this.number, End::UpstreamIdle);
            return Poll::Ready(Some(Err(UpstreamIdle(idle).into())));
        };
        this.timer.clear();
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                record_end(this.context, *this.number, End::UpstreamReset);
                error.into()
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
