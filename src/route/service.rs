use std::task::{Context, Poll};

use http::{Method, Request, Response, Version};
use tower::{BoxError, Service};

use super::{
    ResponseFuture, Upstream, headers,
    headers::{OwnHeaders, REQUEST_PARAMS},
    rewrite::{known, resolve_unknown},
};
use crate::{
    accessors::define_inner_service_accessors,
    error::{ConfigError, Error},
    order::{LayerKind, Order},
};

/// The service of [`VertexRouteLayer`](super::VertexRouteLayer). See the [module](super).
#[doc(alias = "base url")]
#[doc(alias = "rewrite")]
#[derive(Clone, Debug)]
pub struct VertexRoute<S> {
    pub(super) inner: S,
    pub(super) upstream: Option<Upstream>,
    order: Order,
}

impl<S> VertexRoute<S> {
    /// Routes to `upstream`, or to the [`Upstream`] in the extensions of a request that has one.
    pub fn new(inner: S, upstream: Upstream) -> Self {
        Self::to(inner, Some(upstream))
    }

    pub(super) fn to(inner: S, upstream: Option<Upstream>) -> Self {
        Self { inner, upstream, order: Order::of::<S>(LayerKind::Route) }
    }

    define_inner_service_accessors!();
}

impl<S, B, R> Service<Request<B>> for VertexRoute<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let routed = self.order.check().and_then(|()| route(self.upstream.as_ref(), &mut request));
        match routed {
            Ok(upstream) => ResponseFuture::inner(self.inner.call(request), upstream),
            Err(error) => ResponseFuture::error(error.into()),
        }
    }
}

/// Applies all changes of this layer to a request, and returns its upstream.
fn route<B>(default: Option<&Upstream>, request: &mut Request<B>) -> Result<Upstream, Error> {
    // The extension is kept, because inner layers may need the upstream too.
    let Some(upstream) = request.extensions().get::<Upstream>().or(default) else {
        return Err(Error::from(ConfigError::missing(
            "upstream",
            "put an Upstream into the request's extensions, or pass one to the layer",
        )));
    };
    let mut upstream = upstream.clone();
    // Headers that the entry of a model has set are always forwarded.
    let own = request.extensions().get::<OwnHeaders>().cloned();
    let known = known(&upstream, request.uri()).filter(|_| *request.method() == Method::POST);
    *request.uri_mut() = if let Some(known) = known {
        known.clone()
    } else {
        let (new, placed) = resolve_unknown(&upstream, Some(request.method()), request.uri())?;
        if let Some(placed) = placed {
            if placed != &upstream {
                let placed = placed.clone();
                request.extensions_mut().insert(placed.clone());
                upstream = placed;
            }
            // The project and the location in it are the client's.
            if !own.as_ref().is_some_and(|own| own.have(REQUEST_PARAMS)) {
                request.headers_mut().remove(REQUEST_PARAMS);
            }
        }
        new
    };
    // Clients take HTTP/2 here as a requirement and refuse a connection that negotiated HTTP/1.1.
    // With HTTP/1.1 they use the negotiated version.
    *request.version_mut() = Version::HTTP_11;
    headers::strip(request.headers_mut(), upstream.forward().headers(), own.as_ref());
    Ok(upstream)
}
