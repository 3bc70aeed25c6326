//! Answers as they come from Vertex AI: one that falls silent is broken off, and a break is written
//! down, as is what a 401 led to. Inside the error layer, so that a client is told of silence and of
//! breaks by an event; and inside the retries, so that each answer is seen.

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
use crate::{lazy_timer::LazyTimer, telemetry::request_log::End};
use tower_vertex::{BoxError, auth::RefreshOutcome};

/// Watches the answers of the service inside.
#[derive(Clone)]
pub(crate) struct IdleTimeout<S> {
    inner: S,
    idle: Option<Duration>,
}

impl<S> IdleTimeout<S> {
    /// `idle` is how long an answer may be silent in its middle. A client that is slow itself is not
    /// counted.
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

/// The body of such an answer.
#[pin_project]
pub(crate) struct IdleTimeoutBody<B> {
    #[pin]
    body: B,
    context: Arc<RequestContext>,
    /// Which of the request's answers it is.
    number: usize,
    idle: Option<Duration>,
    /// Runs while nothing comes.
    timer: LazyTimer,
}

impl<B> IdleTimeoutBody<B> {
    fn new(body: B, context: Arc<RequestContext>, number: usize, idle: Option<Duration>) -> Self {
        Self { body, context, number, idle, timer: LazyTimer::default() }
    }
}

/// What is left of an answer that was not passed on is read while the next one comes: that it broke
/// off is nobody's concern.
fn record_end(context: &RequestContext, number: usize, how: End) {
    let mut responses = context.responses();
    if number == responses.count {
        responses.reset.get_or_insert(how);
    }
}

/// Vertex AI was silent in the middle of an answer.
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
