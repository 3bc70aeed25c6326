use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use tower::Service;

use super::{
    CompatBody, Cure, Cures, RequestBody, ResponseFuture, applied::HEADER, layer::CompatSettings,
    request_body::Gathering,
};
use crate::{
    BoxError,
    accessors::define_inner_service_accessors,
    body_headers::is_encoded,
    model::{UpstreamModel, is_openapi, may_have_model},
    order::{LayerKind, Order},
    retry::Locations,
    route::Upstream,
};

/// Cures requests and responses. [`VertexCompatLayer`](super::VertexCompatLayer) makes it. See the [module](super).
///
/// The inner service takes a [`RequestBody`]. A clone of it is kept for the resend of a request with
/// tool calls, and while a body is read that did not come at once. So it should be cheap to clone, as
/// HTTP clients are.
#[derive(Clone, Debug)]
pub struct VertexCompat<S> {
    inner: S,
    settings: Arc<CompatSettings>,
    order: Order,
}

impl<S> VertexCompat<S> {
    /// Applies the default cures.
    pub fn new(inner: S) -> Self {
        Self::with(inner, Arc::new(CompatSettings::new(Cures::default())))
    }

    pub(super) fn with(inner: S, settings: Arc<CompatSettings>) -> Self {
        Self { inner, settings, order: Order::of::<S>(LayerKind::Compat) }
    }

    define_inner_service_accessors!();
}

/// In the extensions of a request, this names the caller whose thought signatures may be restored in
/// it, such as the holder of a key. Callers with different scopes never share signatures. Without it,
/// all callers are one.
///
/// ```
/// use tower_vertex::compat::SignatureScope;
///
/// let request = http::Request::post("/v1/chat/completions")
///     .extension(SignatureScope::new("team-a"))
///     .body(())?;
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SignatureScope(Option<Arc<str>>);

impl SignatureScope {
    /// The scope of this caller.
    pub fn new(caller: impl Into<Arc<str>>) -> Self {
        Self(Some(caller.into()))
    }

    /// The caller; empty if there is none.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for SignatureScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A method whose bodies may be cured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Chat,
    Embeddings,
}

/// The facts in the head of a request that its cures depend on.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) method: Method,
    /// `None` if [`VertexModel`](crate::model::VertexModel) has not read the body.
    pub(super) model: Option<UpstreamModel>,
    pub(super) upstream: Option<Upstream>,
    pub(super) scope: SignatureScope,
}

impl Case {
    /// `None` if no cure applies to the request, regardless of its body.
    fn of<B: Body>(request: &Request<B>, settings: &CompatSettings) -> Option<Self> {
        let path = request.uri().path();
        let method = if path.ends_with("/chat/completions") {
            settings.has_cures_of_chats.then_some(Method::Chat)?
        } else if path.ends_with("/embeddings") {
            settings.cures.is_on(Cure::Embeddings).then_some(Method::Embeddings)?
        } else {
            return None;
        };
        let extensions = request.extensions();
        let upstream = upstream(extensions).or(settings.upstream.as_ref());
        if upstream.is_some_and(|upstream| !is_openapi(upstream))
            || !may_have_model(request)
            || is_encoded(request.headers())
        {
            return None;
        }
        let model = extensions.get::<UpstreamModel>();
        if model.is_some_and(|model| method == Method::Chat && !is_googles(model.as_str())) {
            return None;
        }
        Some(Self {
            method,
            model: model.cloned(),
            upstream: upstream.cloned(),
            scope: extensions.get().cloned().unwrap_or_default(),
        })
    }
}

/// The first upstream of a request with these extensions.
fn upstream(extensions: &Extensions) -> Option<&Upstream> {
    let locations = extensions.get::<Locations>().map(Locations::first);
    locations.or_else(|| extensions.get())
}

/// Whether a model is one of Google's own. Only Gemini needs the cures of chats: other publishers
/// run servers that follow OpenAI.
pub(super) fn is_googles(model: &str) -> bool {
    model.starts_with("google/")
}

impl<S, B, R> Service<Request<B>> for VertexCompat<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<CompatBody<R>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, R>;

    /// Ready when the inner service is.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Err(error) = self.order.check() {
            return ResponseFuture::failed(error.into());
        }
        request.headers_mut().remove(HEADER);
        let Some(case) = Case::of(&request, &self.settings) else {
            return ResponseFuture::passing(self.inner.call(request.map(RequestBody::unread)));
        };
        let (head, body) = request.into_parts();
        let mut gathering = Gathering::new(body, self.settings.body_limit);
        // A body that a layer outside has read comes at once. Then the service that is ready is
        // called in place, without a clone. Nothing is lost if the body does not come at once: the
        // future polls it again with a waker of its own.
        match gathering.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(whole)) => {
                ResponseFuture::send(&mut self.inner, &self.settings, case, head, gathering, whole)
            }
            Poll::Ready(Err(error)) => ResponseFuture::failed(error),
            Poll::Pending => {
                // The future takes the ready service. The clone stays; the next caller polls it
                // until ready.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::reading(ready, Arc::clone(&self.settings), case, head, gathering)
            }
        }
    }
}
