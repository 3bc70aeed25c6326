//! Between the model that a request asks for and the way there: whether it may, and when.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower::Service;

use super::{limits::Limits, record::Routed};
use crate::{BoxError, model::RequestedModel};

/// Lets requests through that may ask for their model, as many at a time as the limits allow. Those
/// whose bodies are still being read are not here yet, so that a slow sender takes nobody's place.
#[derive(Clone)]
pub(super) struct Policy<S> {
    inner: S,
    limits: Arc<Limits>,
}

impl<S> Policy<S> {
    pub(super) fn new(inner: S, limits: Arc<Limits>) -> Self {
        Self { inner, limits }
    }
}

impl<S, B, R> Service<Request<B>> for Policy<S>
where
    S: Service<Request<B>, Response = R, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Send + 'static,
{
    type Response = R;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<R, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let extensions = request.extensions_mut();
        let Some(routed) = extensions.get::<Arc<Routed>>().cloned() else {
            return Box::pin(self.inner.call(request));
        };
        let model = extensions.get::<RequestedModel>();
        if let Some(model) = model {
            let _ = routed.model.set(model.shared());
        }
        let client = routed.client.get();
        if let Some(client) = client
            && let Err(refusal) = client.allow(model.map(RequestedModel::as_str))
        {
            return Box::pin(ready(Err(refusal.into())));
        }
        if let Some(permits) = self.limits.enter_at_once(client.map(Arc::as_ref)) {
            routed.let_in(permits, extensions);
            return Box::pin(self.inner.call(request));
        }
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let limits = Arc::clone(&self.limits);
        Box::pin(async move {
            let permits = limits.enter(routed.client.get().map(Arc::as_ref)).await?;
            routed.let_in(permits, request.extensions_mut());
            inner.call(request).await
        })
    }
}
