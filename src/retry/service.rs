use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{ResponseFuture, layer::RetrySettings};
use crate::{
    BoxError,
    accessors::define_inner_service_accessors,
    order::{LayerKind, Order},
    replay::ReplayBody,
};

/// Retries requests that failed temporarily. [`VertexRetryLayer`](super::VertexRetryLayer)
/// makes it. See the [module's docs](super).
///
/// The inner service takes a [`ReplayBody`]. A clone of it is kept for the retry of each request,
/// so it should be cheap to clone, as HTTP clients are. Its errors are returned unchanged.
#[doc(alias = "failover")]
#[doc(alias = "circuit breaker")]
#[doc(alias = "backoff")]
#[derive(Clone, Debug)]
pub struct VertexRetry<S> {
    inner: S,
    settings: Arc<RetrySettings>,
    order: Order,
}

impl<S> VertexRetry<S> {
    /// Uses the default settings of [`VertexRetryLayer`](super::VertexRetryLayer), and budgets of
    /// its own.
    pub fn new(inner: S) -> Self {
        Self::with(inner, Arc::default())
    }

    pub(super) fn with(inner: S, settings: Arc<RetrySettings>) -> Self {
        Self { inner, settings, order: Order::of::<S>(LayerKind::Retry) }
    }

    define_inner_service_accessors!();
}

impl<S, B, R> Service<Request<B>> for VertexRetry<S>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    R: Body,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    /// Ready when the inner service is.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Err(error) = self.order.check() {
            return ResponseFuture::failed(error);
        }
        // The service that is ready is called in place; the future keeps an unready clone.
        ResponseFuture::send(&mut self.inner, &self.settings, request)
    }
}
