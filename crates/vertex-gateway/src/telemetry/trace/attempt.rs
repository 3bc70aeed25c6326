//! CLIENT spans of HTTP, one for each time a request is sent, including replays after a 401. A span
//! covers the time from the first byte of the request to the last byte of the response.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
};

use http::{Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use memchr::memmem::Finder;
use opentelemetry::{KeyValue, trace::Span as _};
use opentelemetry_sdk::trace::Span;
use pin_project::pin_project;
use tower::Service;

use super::{
    context,
    request::{RequestTrace, fail, version},
};
use crate::{error::find, printable::clip};
use tower_vertex::{BoxError, route::Upstream};

/// Wraps the client, and records a span for each attempt.
#[derive(Clone, Debug)]
pub(crate) struct Traced<S> {
    inner: S,
    on: bool,
}

impl<S> Traced<S> {
    pub(super) fn new(inner: S, on: bool) -> Self {
        Self { inner, on }
    }
}

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body<Data: AsRef<[u8]>>,
{
    type Response = Response<TracedBody<R>>;
    type Error = BoxError;
    type Future = Sending<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let attempt = if self.on { AttemptSpan::begin(&mut request) } else { None };
        Sending { response: self.inner.call(request), attempt }
    }
}

#[pin_project]
pub(crate) struct Sending<F> {
    #[pin]
    response: F,
    attempt: Option<Box<AttemptSpan>>,
}

impl<F, R, E> Future for Sending<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: Body,
{
    type Output = Result<Response<TracedBody<R>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.response.poll(cx)).map_err(Into::into);
        let mut attempt = this.attempt.take();
        if let Some(attempt) = &mut attempt {
            match &result {
                Ok(response) => attempt.answered(response),
                Err(error) => attempt.failed(error),
            }
        }
        Poll::Ready(result.map(|response| response.map(|body| TracedBody { body, attempt })))
    }
}

/// The body of a response with a span.
#[pin_project]
pub(crate) struct TracedBody<B> {
    #[pin]
    body: B,
    /// Present until the end of the body.
    attempt: Option<Box<AttemptSpan>>,
}

impl<B> Body for TracedBody<B>
where
    B: Body<Data: AsRef<[u8]>>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if let Some(attempt) = this.attempt {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        attempt.read(data.as_ref());
                    }
                }
                Some(Err(_)) => attempt.settle(Some("upstream_reset")),
                None => attempt.settle(None),
            }
            // Not every caller polls again after the last frame.
            let is_end = !matches!(frame, Some(Ok(_))) || this.body.is_end_stream();
            if is_end {
                attempt.settle(None);
                *this.attempt = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct AttemptSpan {
    span: Span,
    request_trace: Arc<RequestTrace>,
    /// Whether the outcome is known. If the span is dropped before, the request was cancelled.
    is_settled: bool,
    /// Whether the first byte of a stream is still awaited.
    is_first: bool,
    /// Whether the response may still name its model.
    is_nameless: bool,
}

impl AttemptSpan {
    /// Begins a span and puts its context into the request headers; `None` if the span is not
    /// recorded.
    fn begin<B>(request: &mut Request<B>) -> Option<Box<Self>> {
        let request_trace: &Arc<RequestTrace> = request.extensions().get()?;
        let request_trace = Arc::clone(request_trace);
        if !request_trace.is_recorded {
            if request_trace.propagates() {
                context::inject(
                    request.headers_mut(),
                    &request_trace.context,
                    request_trace.is_child,
                );
            }
            return None;
        }
        let (mut span, resent) = request_trace.attempt(request);
        if request_trace.propagates() {
            context::inject(request.headers_mut(), span.span_context(), request_trace.is_child);
        }
        if resent > 0 {
            span.set_attribute(KeyValue::new("http.request.resend_count", i64::from(resent)));
        }
        // The query is removed, because it may contain a key.
        let uri = request.uri();
        let origin = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
        let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        let url = format!("{}://{}{port}{}", origin.0, origin.1, clip(uri.path()));
        span.set_attribute(KeyValue::new("url.full", url));
        let upstream: Option<&Upstream> = request.extensions().get();
        if let Some(location) = upstream.and_then(Upstream::location) {
            span.set_attribute(KeyValue::new("vertex_gateway.location", location.to_string()));
        }
        Some(Box::new(Self {
            span,
            request_trace,
            is_settled: false,
            is_first: false,
            is_nameless: false,
        }))
    }

    fn answered<R: Body>(&mut self, response: &Response<R>) {
        let status = response.status();
        let code = i64::from(status.as_u16());
        self.span.set_attribute(KeyValue::new("http.response.status_code", code));
        if let Some(version) = version(response.version()) {
            self.span.set_attribute(KeyValue::new("network.protocol.version", version));
        }
        if status.is_client_error() || status.is_server_error() {
            fail(&mut self.span, status.as_str().to_owned());
            self.is_settled = true;
            return;
        }
        if let Some(operation) = &mut *self.request_trace.operation() {
            let kind = response.headers().get(header::CONTENT_TYPE);
            let kind = kind.map_or(&b""[..], |kind| kind.as_bytes());
            self.is_nameless = true;
            self.is_first = kind.starts_with(b"text/event-stream");
            if self.is_first {
                operation.span.set_attribute(KeyValue::new("gen_ai.request.stream", true));
            }
        }
        if response.body().is_end_stream() {
            self.settle(None);
        }
    }

    fn failed(&mut self, error: &BoxError) {
        let kind = find::<io::Error>(error).map(io::Error::kind);
        let kind = kind.map_or("_OTHER".to_owned(), |kind| format!("{kind:?}"));
        fail(&mut self.span, kind);
        self.is_settled = true;
    }

    /// Reads the next bytes of the body.
    fn read(&mut self, data: &[u8]) {
        if !self.is_first && !self.is_nameless {
            return;
        }
        let model = if self.is_nameless { model(data) } else { None };
        if let Some(operation) = &mut *self.request_trace.operation() {
            if self.is_first {
                let seconds = operation.begun.elapsed().as_secs_f64();
                let first = KeyValue::new("gen_ai.response.time_to_first_chunk", seconds);
                operation.span.set_attribute(first);
            }
            if let Some(model) = model {
                let model = KeyValue::new("gen_ai.response.model", model.to_owned());
                operation.span.set_attribute(model);
            }
        }
        self.is_first = false;
        self.is_nameless = model.is_none();
    }

    fn settle(&mut self, failure: Option<&'static str>) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        if let Some(failure) = failure {
            fail(&mut self.span, failure);
        }
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        self.settle(Some("cancelled"));
        self.span.end();
    }
}

const KEY: &[u8] = b"\"model";
/// The end of the key: Gemini's own is `modelVersion`.
const ENDS: [&[u8]; 2] = [b"\"", b"Version\""];
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));
const LONGEST_MODEL: usize = 200;

/// Returns the value of the first `"model"` key that looks like a model name.
///
/// In JSON, a quotation mark within a string is escaped. So these bytes are a key, and text that a
/// model writes is never taken for one. The object that has the key is not checked: a model behind
/// `/invoke/` may respond with a `"model"` key of its own. Only a name of these characters is
/// accepted, so no sentence can be. A name that is truncated by the end of the data is ignored.
fn model(data: &[u8]) -> Option<&str> {
    FINDER.find_iter(data).find_map(|at| {
        let rest = &data[at + KEY.len()..];
        let rest = ENDS.iter().find_map(|end| rest.strip_prefix(*end))?;
        let rest = rest.trim_ascii_start().strip_prefix(b":")?;
        let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
        let end = rest.iter().take(LONGEST_MODEL + 1).position(|byte| *byte == b'"')?;
        let name = std::str::from_utf8(&rest[..end]).ok()?;
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
        (!name.is_empty() && name.chars().all(is_fit)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_is_accepted_as_a_model() {
        let longest = "m".repeat(LONGEST_MODEL);
        for (data, expected) in [
            ("", None),
            (
                r#"{"choices":[],"model":"google/gemini-2.5-flash"}"#,
                Some("google/gemini-2.5-flash"),
            ),
            ("data: {\"model\" : \n\"a@001\"}\n\n", Some("a@001")),
            (r#"{"model":null,"model":"b"}"#, Some("b")),
            (r#"{"content":"\"model\":\"said\""}"#, None),
            (r#"{"model":"two words","x":1}"#, None),
            (r#"{"model":""}"#, None),
            (r#"{"role":"model","modelVersion":"gemini-2.5-flash"}"#, Some("gemini-2.5-flash")),
            (r#"{"message":{"role":"assistant","model":"claude-x"}}"#, Some("claude-x")),
            (r#"{"models":"a","modelVersions":"b"}"#, None),
            (r#"{"model":"cut"#, None),
            (r#"["model","x"]"#, None),
            (&format!(r#"{{"model":"{longest}"}}"#), Some(&*longest)),
            (&format!(r#"{{"model":"{longest}m"}}"#), None),
        ] {
            assert_eq!(model(data.as_bytes()), expected, "{data}");
        }
    }
}
