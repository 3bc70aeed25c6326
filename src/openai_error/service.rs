use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Body;
use tower::Service;

use super::{ErrorBody, ResponseFuture, layer::Settings};
use crate::BoxError;

/// The service of [`VertexErrorLayer`](super::VertexErrorLayer). See the [module](super).
///
/// Its errors are those of the inner service: it makes none.
#[derive(Clone, Debug)]
pub struct VertexError<S> {
    pub(super) inner: S,
    pub(super) settings: Settings,
}

impl<S> VertexError<S> {
    /// With the default settings of [`VertexErrorLayer`](super::VertexErrorLayer).
    pub fn new(inner: S) -> Self {
        Self { inner, settings: Settings::default() }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, B, R> Service<Request<B>> for VertexError<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<ErrorBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if !self.settings.accept_compressed {
            // Removed, not `identity`: a layer further in that undoes compression may still ask
            // for it, which it does only where nobody has said anything.
            request.headers_mut().remove(header::ACCEPT_ENCODING);
        }
        // The headers of its answer speak of a body that does not come.
        let head_only = request.method() == Method::HEAD;
        ResponseFuture::new(self.inner.call(request), self.settings, head_only)
    }
}
