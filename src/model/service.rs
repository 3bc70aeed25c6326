use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body::Body;
use tower::Service;

use super::{
    ModelBody, ModelTable, ResponseFuture, VertexModelLayer,
    named::{Form, route_by_path},
};
use crate::{
    BoxError, accessors::define_inner_service_accessors, body_headers::is_encoded,
    error::ModelError,
};

/// The requested model, as the client wrote it. [`VertexModel`] puts it into the extensions of a
/// request whose model it has found, for layers further in, which may count by the model or refuse it.
/// The extension is missing if no model was found.
///
/// If the path names a publisher, it is part of the name only if it is not the one that the
/// protocol implies: `gemini-2.5-flash`, `claude-sonnet-4-5`, but `meta/llama-4`. It is always in
/// [`with_publisher`](Self::with_publisher). Two of them are equal if their names are.
#[derive(Clone, Debug)]
pub struct RequestedModel {
    text: Arc<str>,
    /// The position of the name in the text.
    start: usize,
    /// Whether the text begins with a publisher.
    has_publisher: bool,
    default_model: Option<Arc<str>>,
}

impl RequestedModel {
    pub(crate) fn new(name: &str) -> Self {
        Self { text: name.into(), start: 0, has_publisher: false, default_model: None }
    }

    /// The model of a request that the default model serves. A request without a model requests that one.
    pub(crate) fn served_by(name: &str, default: &Arc<str>) -> Self {
        let text = if name.is_empty() { Arc::clone(default) } else { name.into() };
        let default_model = Some(Arc::clone(default));
        Self { text, start: 0, has_publisher: false, default_model }
    }

    /// A model with a publisher, whose name begins at `start`.
    pub(super) fn published(text: Arc<str>, start: usize) -> Self {
        Self { text, start, has_publisher: true, default_model: None }
    }

    /// The name, before any rule was applied.
    pub fn as_str(&self) -> &str {
        self.text.get(self.start..).unwrap_or(&self.text)
    }

    /// The default model of the table, if it serves the request in place of the requested model. A rule
    /// about the model of a client should hold for this one.
    pub fn default_model(&self) -> Option<&str> {
        self.default_model.as_deref()
    }

    /// `publisher/name`, if the path, the protocol or the name says which publisher is meant. `None`
    /// for the model of an OpenAI request, whose publisher depends on the table. A rule about the
    /// model, such as a list of a client's models, should hold for either spelling.
    pub fn with_publisher(&self) -> Option<&str> {
        self.has_publisher.then_some(&*self.text)
    }
}

impl PartialEq for RequestedModel {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RequestedModel {}

impl PartialOrd for RequestedModel {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RequestedModel {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for RequestedModel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<RequestedModel> for Arc<str> {
    fn from(model: RequestedModel) -> Self {
        if model.start == 0 { model.text } else { model.as_str().into() }
    }
}

impl AsRef<str> for RequestedModel {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for RequestedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of the model at the upstream, such as `google/gemini-2.5-flash`. [`VertexModel`] puts it
/// into the extensions of a request that it has read, beside [`RequestedModel`]. The extension is
/// missing if no model was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamModel(Arc<str>);

impl UpstreamModel {
    pub(super) fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name, which is also in the body.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<UpstreamModel> for Arc<str> {
    fn from(model: UpstreamModel) -> Self {
        model.0
    }
}

/// The requested name, if no rule changes it.
impl From<RequestedModel> for UpstreamModel {
    fn from(model: RequestedModel) -> Self {
        Self(model.into())
    }
}

impl AsRef<str> for UpstreamModel {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for UpstreamModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In the extensions of a request, this makes [`VertexModel`] read the model of the request even
/// if no entry of the table depends on it, for layers that need [`RequestedModel`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadModel;

/// Whether a request refers to something that an earlier request has stored
/// (`previous_response_id`, `conversation`, `item_reference` and the like).
///
/// A gateway that isolates its clients from each other puts [`StoredReferences::Unread`] into the
/// extensions of a request. [`VertexModel`] then searches the body and replaces the value by its
/// result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredReferences {
    /// The body was not read, or it is not JSON that every parser reads alike.
    Unread,
    /// The body refers to nothing that is stored.
    None,
    /// The body refers to something that is stored.
    Found,
}

/// Reads `model` and picks the upstream and the name. [`VertexModelLayer`] makes it. See the
/// [module](super).
///
/// The inner service takes a [`ModelBody`]. While a body is read, the inner service that was ready
/// waits for it, and a clone takes the next request. So the inner service should be cheap to clone,
/// as HTTP clients are. Anything that its readiness reserves (such as a permit of a concurrency
/// limit) stays reserved for as long as the upload takes.
#[derive(Clone, Debug)]
pub struct VertexModel<S> {
    pub(super) inner: S,
    pub(super) layer: VertexModelLayer,
}

impl<S> VertexModel<S> {
    /// Applies the rules of `table`, with the defaults of [`VertexModelLayer`].
    pub fn new(inner: S, table: ModelTable) -> Self {
        Self { inner, layer: VertexModelLayer::new(table) }
    }

    /// The table in use.
    pub fn table(&self) -> ModelTable {
        self.layer.table()
    }

    define_inner_service_accessors!();
}

impl<S, B> Service<Request<B>> for VertexModel<S>
where
    S: Service<Request<ModelBody<B>>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let own = request.extensions_mut().remove::<ModelTable>();
        let table = own.unwrap_or_else(|| self.layer.table());
        let form = Form::of(request.method(), request.uri().path(), &table);
        if form == Form::Path {
            let (mut head, body) = request.into_parts();
            return match route_by_path(&table, &mut head) {
                Ok(()) => {
                    let request = Request::from_parts(head, ModelBody::unread(body));
                    ResponseFuture::sending(self.inner.call(request))
                }
                Err(error) => ResponseFuture::failed(error),
            };
        }
        let limit = self.layer.body_limit;
        let wanted = form == Form::Body
            && (table.has_rules_for(request.extensions())
                || request.extensions().get::<ReadModel>().is_some()
                || request.extensions().get::<StoredReferences>().is_some());
        if form == Form::Message {
            // Vertex AI cannot be reached without the model, so the body is always read.
            if !may_be_json(request.headers()) {
                return ResponseFuture::failed(ModelError::NotJson);
            }
        } else if !wanted || !may_have_model(&request) {
            table.settle(request.extensions_mut());
            return ResponseFuture::sending(self.inner.call(request.map(ModelBody::unread)));
        }
        if is_encoded(request.headers()) {
            return ResponseFuture::failed(ModelError::Compressed);
        }
        if usize::try_from(request.body().size_hint().lower()).map_or(true, |lower| lower > limit) {
            return ResponseFuture::failed(ModelError::TooLarge { limit });
        }
        // The future takes the ready service. The clone stays; the next caller polls it until
        // ready.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::reading(ready, table, form, limit, request)
    }
}

/// Whether the body could be a JSON object, judging by the request head.
pub(crate) fn may_have_model<B: Body>(request: &Request<B>) -> bool {
    request.method() == Method::POST
        && !request.body().is_end_stream()
        && may_be_json(request.headers())
}

/// Whether the type is JSON, missing, or the type of a form. In the last two cases the body
/// decides: curl's `-d` sets the type of a form for any body.
fn may_be_json(headers: &HeaderMap) -> bool {
    types(headers).all(|name| is_json(name) || name.eq_ignore_ascii_case(FORM))
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Sets the type of a body that was read as JSON. With another type, a receiver might find another
/// `model` in the body. If a rule depends on the model, parameters such as `charset` are removed
/// too, so that a receiver cannot interpret them.
pub(super) fn say_json(headers: &mut HeaderMap, strictly: bool) {
    if strictly || types(headers).next().is_none() || !types(headers).all(is_json) {
        let json = const { HeaderValue::from_static("application/json") };
        headers.insert(header::CONTENT_TYPE, json);
    }
}

/// The media types, without their parameters.
fn types(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let name = |value: &[u8]| value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let values = headers.get_all(header::CONTENT_TYPE).into_iter().map(HeaderValue::as_bytes);
    values.map(move |value| value.get(..name(value)).unwrap_or_default().trim_ascii())
}

/// `application/json` or a type built on it.
fn is_json(name: &[u8]) -> bool {
    let ends_with = |end: &[u8]| {
        let at = name.len().checked_sub(end.len());
        at.and_then(|at| name.get(at..)).is_some_and(|last| last.eq_ignore_ascii_case(end))
    };
    ends_with(b"/json") || ends_with(b"+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn json_is_known_by_its_type() {
        for (values, json) in [
            (&[][..], true),
            (&["application/json"], true),
            (&["Application/JSON ; charset=utf-8"], true),
            (&["text/json"], true),
            (&["application/vnd.api+json"], true),
            (&["application/json", "application/json"], true),
            (&["application/json", "text/plain"], false),
            (&["application/jsonl"], false),
            (&["application/x-ndjson"], false),
            (&["multipart/form-data; boundary=json"], false),
            (&["application/x-www-form-urlencoded"], true),
            (&["Application/X-WWW-Form-Urlencoded; charset=utf-8"], true),
            (&["application/x-www-form-urlencoded", "text/plain"], false),
            (&["json"], false),
            (&[""], false),
        ] {
            assert_eq!(may_be_json(&with("content-type", values)), json, "{values:?}");
        }
    }

    #[test]
    fn a_body_that_was_read_as_json_is_sent_as_json() {
        const JSON: &str = "application/json";
        for (values, strictly, after) in [
            (&[][..], false, &[JSON][..]),
            (&["application/x-www-form-urlencoded"], false, &[JSON]),
            (&[JSON, "application/x-www-form-urlencoded"], false, &[JSON]),
            (&["text/json; charset=utf-8"], false, &["text/json; charset=utf-8"]),
            (&["text/json; charset=utf-8"], true, &[JSON]),
            (&[JSON, "application/json; charset=utf-7"], true, &[JSON]),
        ] {
            let mut headers = with("content-type", values);
            say_json(&mut headers, strictly);
            let is: Vec<_> = headers.get_all("content-type").iter().collect();
            assert_eq!(is, after, "{values:?}");
        }
    }
}
