use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Body;
use tower::Service;

use super::{ErrorBody, ResponseFuture, layer::ErrorSettings, unknown_model::Requested};
use crate::{
    BoxError,
    accessors::define_inner_service_accessors,
    order::{LayerKind, Order},
    route::Protocol,
};

/// The service of [`VertexErrorLayer`](super::VertexErrorLayer). See the [module](super).
///
/// Its errors are those of the inner service; it makes none of its own. If a layer that belongs
/// outside is inside, it returns a 500 in the form of the client's protocol.
#[doc(alias = "error translation")]
#[doc(alias = "RetryInfo")]
#[derive(Clone, Debug)]
pub struct VertexError<S> {
    inner: S,
    settings: ErrorSettings,
    order: Order,
}

impl<S> VertexError<S> {
    /// Uses the default settings of [`VertexErrorLayer`](super::VertexErrorLayer).
    pub fn new(inner: S) -> Self {
        Self::with(inner, ErrorSettings::default())
    }

    pub(super) fn with(inner: S, settings: ErrorSettings) -> Self {
        Self { inner, settings, order: Order::of::<S>(LayerKind::Error) }
    }

    define_inner_service_accessors!();
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
        let path = request.uri().path();
        // A layer outside may have changed the path, and then it has left the client's protocol.
        let extension = request.extensions().get::<Protocol>().copied();
        let protocol = extension.unwrap_or_else(|| Protocol::of(path));
        if let Err(error) = self.order.check() {
            return ResponseFuture::refused(error, protocol);
        }
        let requested = match protocol {
            Protocol::OpenAi => Requested::of(path, request.extensions()),
            _ => None,
        };
        let client = ClientForm { protocol, reads_array: reads_array(protocol, path), requested };
        if !self.settings.accept_compressed {
            // The header is removed and not set to `identity`: a layer further in that undoes
            // compression sets the header itself, but only if it is missing.
            request.headers_mut().remove(header::ACCEPT_ENCODING);
        }
        // The headers of its response describe a body that does not come.
        let head_only = request.method() == Method::HEAD;
        ResponseFuture::new(self.inner.call(request), self.settings, client, head_only)
    }
}

/// The forms that the client of a request can read.
#[derive(Clone, Debug)]
pub(super) struct ClientForm {
    pub(super) protocol: Protocol,
    /// Whether a response of JSON is a stream: an array of which each element is a part.
    pub(super) reads_array: bool,
    /// The model, if it is known and the client is one of OpenAI's protocol.
    pub(super) requested: Option<Requested>,
}

/// Whether a path is that of Gemini's method whose response is an array, unless its query demands
/// events. The type of the response says which of the two it is.
fn reads_array(protocol: Protocol, path: &str) -> bool {
    protocol == Protocol::Gemini && path.trim_end_matches('/').ends_with(":streamGenerateContent")
}
