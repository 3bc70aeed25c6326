use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{ResponseFuture, settings::AuthSettings};
use crate::{
    BoxError, Error,
    accessors::define_inner_service_accessors,
    order::{LayerKind, Order},
    replay::ReplayBody,
    token::{AccessToken, TokenCache, TokenSource},
};

/// Puts the access token on requests. After a 401, refreshes the token and sends the request again.
/// Made by [`VertexAuthLayer`](super::VertexAuthLayer). See the [module's docs](super).
///
/// The inner service takes a [`ReplayBody`]. The layer keeps a clone of the service for the replay
/// of each request, so it should be cheap to clone, like HTTP clients are.
#[doc(alias = "401")]
#[doc(alias = "bearer")]
#[doc(alias = "authorization")]
#[derive(Clone, Debug)]
pub struct VertexAuth<S> {
    inner: S,
    settings: Arc<AuthSettings>,
    order: Order,
}

impl<S> VertexAuth<S> {
    /// Uses tokens of `source`, with the default settings of
    /// [`VertexAuthLayer`](super::VertexAuthLayer).
    pub fn new(inner: S, source: impl TokenSource) -> Self {
        Self::with(inner, Arc::new(AuthSettings::new(TokenCache::new(source))))
    }

    pub(super) fn with(inner: S, settings: Arc<AuthSettings>) -> Self {
        Self { inner, settings, order: Order::of::<S>(LayerKind::Auth) }
    }

    /// The cache that this service's tokens come from.
    pub fn cache(&self) -> &TokenCache {
        &self.settings.cache
    }

    define_inner_service_accessors!();
}

impl<S, B, R> Service<Request<B>> for VertexAuth<S>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    R: Body,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, R>;

    /// Ready when the inner service is. A missing token fails the request that needs it, never the
    /// service: an error here would end a `tower::buffer` for good.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let trusted = || self.settings.trust.check(request.uri()).map_err(Error::from);
        if let Err(error) = self.order.check().and_then(|()| trusted()) {
            return ResponseFuture::failed(error);
        }
        let set = |token: &AccessToken| token.set_in(request.headers_mut());
        match self.settings.cache.at_once(set) {
            Some(generation) => {
                ResponseFuture::send(&mut self.inner, &self.settings, request, generation)
            }
            None => {
                // The future takes the ready service. The clone stays here, and the next caller
                // makes it ready.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::wait(ready, Arc::clone(&self.settings), request)
            }
        }
    }
}
