//! Between the model that a request asks for and the way there: whether it may, and when.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower::Service;

use super::{clients::Client, limits::Limits, record::Routed};
use crate::{BoxError, model::RequestedModel, retry::Attempts};

/// Who asks, and where it is written what becomes of it: in the extensions of a request.
#[derive(Clone)]
pub(super) struct Passport {
    pub(super) client: Option<Arc<Client>>,
    pub(super) routed: Arc<Routed>,
}

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

impl<S, B> Service<Request<B>> for Policy<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let clone = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, clone);
        let limits = Arc::clone(&self.limits);
        Box::pin(async move {
            let extensions = request.extensions_mut();
            if let Some(Passport { client, routed }) = extensions.remove() {
                let model = extensions.get::<RequestedModel>();
                if let Some(model) = model {
                    let _ = routed.model.set(model.shared());
                }
                if let Some(client) = &client {
                    client.allow(model.map(RequestedModel::as_str))?;
                }
                let permits = limits.enter(client.as_deref()).await?;
                let _ = routed.permits.set(permits);
                let attempts = Attempts::new();
                let _ = routed.attempts.set(attempts.clone());
                request.extensions_mut().insert(attempts);
                request.extensions_mut().insert(routed);
            }
            ready.call(request).await.map_err(Into::into)
        })
    }
}
