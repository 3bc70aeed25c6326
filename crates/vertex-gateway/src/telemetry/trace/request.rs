//! The SERVER span of a request (HTTP), and the CLIENT span of its operation on a model (GenAI).
//!
//! They follow the [HTTP conventions](https://opentelemetry.io/docs/specs/semconv/http/http-spans/)
//! 1.44, which are stable, and the
//! [GenAI conventions](https://github.com/open-telemetry/semantic-conventions-genai) of November
//! 2026, which are not. The span of an operation covers all its attempts, as the GenAI conventions
//! require. So sums of tokens and counts of calls to models do not include failed attempts.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use http::{Extensions, HeaderMap, Method, Request, Uri, Version, header, uri::Authority};
use opentelemetry::{
    Context, InstrumentationScope, KeyValue, Value,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

use super::{attempt::Traced, context, export, settings::OtelSettings};
use crate::{
    error::Error,
    printable::clip,
    telemetry::{
        access_log::{End, RequestLog},
        operation::{operation, stored},
    },
};
use tower_vertex::model::RequestedModel;

/// Time limit of the export of the last spans, after the last response.
const PATIENCE: Duration = Duration::from_secs(5);

/// Begins traces. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Traces(Option<Arc<TracerHandle>>);

struct TracerHandle {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagate: bool,
}

impl Traces {
    /// Reads the variables `OTEL_…`. Without an endpoint, nothing is traced.
    pub(crate) fn from_env() -> Result<Self, Error> {
        let env = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
        let Some(settings) = OtelSettings::read(env)? else { return Ok(Self(None)) };
        let propagate = settings.propagate;
        let endpoint = settings.endpoint.clone();
        let provider = export::provider(settings)?;
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let tracer = provider.tracer_with_scope(scope);
        // A query may contain a credential.
        let endpoint = endpoint.split('?').next();
        tracing::info!(endpoint, "exporting traces");
        Ok(Self(Some(Arc::new(TracerHandle { provider, tracer, propagate }))))
    }

    /// Whether the extensions of requests must reach the client, which makes the spans of attempts.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Wraps the client, so that it records a span for each attempt.
    pub(crate) fn layer<S>(&self, client: S) -> Traced<S> {
        Traced::new(client, self.0.is_some())
    }

    /// Begins the trace of a request that has arrived; `secure` is whether it came over TLS.
    pub(crate) fn begin<B>(&self, request: &Request<B>, secure: bool) -> Trace {
        let Some(source) = &self.0 else { return Trace::default() };
        let parent = if source.propagate { context::extract(request.headers()) } else { None };
        let is_child = parent.is_some();
        let around = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name("request").with_kind(SpanKind::Server);
        let mut server = source.tracer.build_with_context(builder, &around);
        let context = server.span_context().clone();
        let is_recorded = server.is_recording();
        if is_recorded {
            let method = method(request.method());
            match route(request.uri().path()) {
                Some(route) => {
                    server.update_name(format!("{} {route}", in_name(method)));
                    server.set_attribute(KeyValue::new("http.route", route));
                }
                None => server.update_name(in_name(method)),
            }
            server.set_attribute(KeyValue::new("http.request.method", method));
            server
                .set_attribute(KeyValue::new("url.scheme", if secure { "https" } else { "http" }));
            if let Some(version) = version(request.version()) {
                server.set_attribute(KeyValue::new("network.protocol.version", version));
            }
            if let Some((host, port)) = asked(request.uri(), request.headers()) {
                let port = port.unwrap_or(if secure { 443 } else { 80 });
                server.set_attribute(KeyValue::new("server.address", host));
                server.set_attribute(KeyValue::new("server.port", i64::from(port)));
            }
        }
        let request_trace = RequestTrace {
            source: Arc::clone(source),
            context,
            is_child,
            is_recorded,
            kind: operation(request.method(), request.uri().path()),
            fetched: stored(request.method(), request.uri().path())
                .filter(|_| is_recorded)
                .map(|id| clip(id).to_owned()),
            operation: Mutex::new(None),
            sent: AtomicU32::new(0),
        };
        Trace(Some(Box::new(ActiveTrace { server, request_trace: Arc::new(request_trace) })))
    }

    /// Exports the remaining spans, for up to [`PATIENCE`].
    pub(crate) async fn flush(self) {
        let Some(source) = self.0 else { return };
        let flush = move || source.provider.shutdown_with_timeout(PATIENCE);
        match tokio::task::spawn_blocking(flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not exported"),
            Err(error) => tracing::warn!(%error, "the last spans were not exported"),
        }
    }
}

/// The trace of one request. It is empty if nothing is traced.
#[derive(Default)]
pub(crate) struct Trace(Option<Box<ActiveTrace>>);

struct ActiveTrace {
    server: Span,
    request_trace: Arc<RequestTrace>,
}

impl Trace {
    /// Passes the trace to the attempts of a request.
    pub(crate) fn follow(&self, extensions: &mut Extensions) {
        if let Some(begun) = &self.0 {
            extensions.insert(Arc::clone(&begun.request_trace));
        }
    }

    /// The id of the trace, sampled or not.
    pub(crate) fn id(&self) -> Option<String> {
        self.0.as_ref().map(|begun| begun.request_trace.context.trace_id().to_string())
    }

    /// Ends the spans of the request with its outcome.
    pub(crate) fn end(self, record: &RequestLog) {
        let Some(begun) = self.0 else { return };
        let ActiveTrace { mut server, request_trace } = *begun;
        if !request_trace.is_recorded {
            return;
        }
        let failure = failure(record);
        if let Some(mut operation) = request_trace.operation().take() {
            let span = &mut operation.span;
            let usage = record.usage.clone().unwrap_or_default();
            for (key, tokens) in [
                ("gen_ai.usage.input_tokens", usage.input),
                ("gen_ai.usage.cache_read.input_tokens", usage.cached),
                ("gen_ai.usage.cache_creation.input_tokens", usage.cache_creation),
                ("gen_ai.usage.output_tokens", usage.output),
                ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
            ] {
                if let Some(tokens) = tokens {
                    span.set_attribute(KeyValue::new(key, int(tokens)));
                }
            }
            if let Some(traffic_type) = usage.traffic_type {
                span.set_attribute(KeyValue::new(
                    "vertex_gateway.traffic_type",
                    String::from(traffic_type),
                ));
            }
            if let Some(location) = record.location.clone() {
                span.set_attribute(KeyValue::new("vertex_gateway.location", location));
            }
            if let Some(failure) = &failure {
                fail(span, failure.clone());
            }
            span.end();
        }
        let status = record.status.map(|status| status.as_u16());
        let status = status.or(thread::panicking().then_some(500));
        if let Some(status) = status {
            server.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        // A client's mistake is not a failure of the server.
        let is_ours = record.end != End::Complete || status.is_none_or(|status| status >= 500);
        if let Some(failure) = failure.filter(|_| is_ours) {
            fail(&mut server, failure);
        }
        if !record.path.is_empty() {
            server.set_attribute(KeyValue::new("url.path", record.path.to_string()));
        }
        let texts = [
            ("vertex_gateway.request_id", record.id.to_str().ok().map(str::to_owned)),
            ("vertex_gateway.client", record.client.as_ref().map(ToString::to_string)),
            ("vertex_gateway.error_code", record.error_code.map(str::to_owned)),
            ("vertex_gateway.token_replay", record.token_replay.map(str::to_owned)),
            ("vertex_gateway.end", Some(record.end.as_str().to_owned())),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                server.set_attribute(KeyValue::new(key, text));
            }
        }
        if let Some(attempts) = record.attempts {
            let attempts = i64::try_from(attempts).unwrap_or(i64::MAX);
            server.set_attribute(KeyValue::new("vertex_gateway.attempts", attempts));
        }
        server.end();
    }
}

/// The part of a trace that the attempts of a request need.
pub(super) struct RequestTrace {
    source: Arc<TracerHandle>,
    /// The context of the request's own span.
    pub(super) context: SpanContext,
    /// Whether the request's own span is a child of the client's span.
    pub(super) is_child: bool,
    pub(super) is_recorded: bool,
    /// The operation on the model; `None` if the request is not for a model.
    kind: Option<&'static str>,
    /// The id of the stored response that the request fetches.
    fetched: Option<String>,
    /// The span of the operation, from the first attempt on.
    operation: Mutex<Option<Operation>>,
    /// Number of times the request was sent, for any reason.
    pub(super) sent: AtomicU32,
}

pub(super) struct Operation {
    pub(super) span: Span,
    pub(super) begun: std::time::Instant,
}

impl RequestTrace {
    pub(super) fn propagates(&self) -> bool {
        self.source.propagate
    }

    /// No statement under the lock can panic halfway.
    pub(super) fn operation(&self) -> MutexGuard<'_, Option<Operation>> {
        self.operation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the span of the next attempt, and returns it with the number of attempts before it.
    pub(super) fn attempt<B>(&self, request: &Request<B>) -> (Span, u32) {
        let server = place(request.uri());
        let mut operation = self.operation();
        if operation.is_none() {
            *operation = self.kind.map(|kind| self.begin(kind, request, &server));
        }
        let parent = operation.as_ref().map(|operation| operation.span.span_context());
        let parent = parent.unwrap_or(&self.context).clone();
        drop(operation);
        let method = method(request.method());
        let mut attributes = vec![KeyValue::new("http.request.method", method)];
        attributes.extend(server);
        let span = self.child(parent, in_name(method).into(), attributes);
        (span, self.sent.fetch_add(1, Relaxed))
    }

    fn begin<B>(&self, kind: &'static str, request: &Request<B>, server: &[KeyValue]) -> Operation {
        let model = request.extensions().get().map(|model: &RequestedModel| clip(model.as_str()));
        let name = model.map_or(kind.into(), |model| format!("{kind} {model}").into());
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", kind),
            KeyValue::new("gen_ai.provider.name", "gcp.vertex_ai"),
        ];
        attributes
            .extend(model.map(|model| KeyValue::new("gen_ai.request.model", model.to_owned())));
        attributes.extend(self.fetched.clone().map(|id| KeyValue::new("gen_ai.response.id", id)));
        attributes.extend_from_slice(server);
        let span = self.child(self.context.clone(), name, attributes);
        Operation { span, begun: std::time::Instant::now() }
    }

    fn child(
        &self,
        parent: SpanContext,
        name: Cow<'static, str>,
        attributes: Vec<KeyValue>,
    ) -> Span {
        let builder =
            SpanBuilder::from_name(name).with_kind(SpanKind::Client).with_attributes(attributes);
        let around = Context::new().with_remote_span_context(parent);
        self.source.tracer.build_with_context(builder, &around)
    }
}

impl fmt::Debug for RequestTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTrace").finish_non_exhaustive()
    }
}

/// The kind of failure of a request, if it failed.
fn failure(record: &RequestLog) -> Option<Value> {
    if let Some(code) = record.error_code {
        return Some(code.into());
    }
    match record.status {
        None if thread::panicking() => Some("internal_error".into()),
        Some(status) if status.is_client_error() || status.is_server_error() => {
            Some(status.as_str().to_owned().into())
        }
        _ => (record.end != End::Complete).then(|| record.end.as_str().into()),
    }
}

/// Marks a span as failed. The kind of failure needs no description.
pub(super) fn fail(span: &mut Span, kind: impl Into<Value>) {
    span.set_attribute(KeyValue::new("error.type", kind));
    span.set_status(Status::error(""));
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The method, or `_OTHER` for one that is not known.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        _ => "_OTHER",
    }
}

fn in_name(method: &'static str) -> &'static str {
    if method == "_OTHER" { "HTTP" } else { method }
}

pub(super) fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// The host and port of the client's request.
fn asked(uri: &Uri, headers: &HeaderMap) -> Option<(String, Option<u16>)> {
    let host = || Authority::try_from(headers.get(header::HOST)?.as_bytes()).ok();
    let authority = uri.authority().cloned().or_else(host)?;
    Some((clip(bare(authority.host())).to_owned(), authority.port_u16()))
}

/// The address that a request is sent to.
fn place(uri: &Uri) -> Vec<KeyValue> {
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let port = uri.port_u16().unwrap_or(default);
    let host = bare(uri.host().unwrap_or_default()).to_owned();
    vec![KeyValue::new("server.address", host), KeyValue::new("server.port", i64::from(port))]
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The route of a path. A client can write any path, so spans have only these few.
fn route(path: &str) -> Option<&'static str> {
    const ROUTES: [&str; 8] = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/responses/{id}",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/invoke/{route}",
    ];
    let is_versioned = path.starts_with("/v1/");
    ROUTES.into_iter().find_map(|route| {
        let route = if is_versioned { route } else { &route["/v1".len()..] };
        let fits = match route.split_once('{') {
            None => path == route,
            Some((start, _)) => path.strip_prefix(start).is_some_and(|rest| !rest.is_empty()),
        };
        fits.then_some(route)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_one_of_the_known_ones() {
        for (path, expected) in [
            ("/v1/chat/completions", Some("/v1/chat/completions")),
            ("/chat/completions", Some("/chat/completions")),
            ("/v1/models", Some("/v1/models")),
            ("/v1/models/google/gemini-2.5-flash", Some("/v1/models/{model}")),
            ("/responses/resp_1", Some("/responses/{id}")),
            ("/v1/responses/", None),
            ("/v1/invoke/v1/chat/completions", Some("/v1/invoke/{route}")),
            ("/v1/chat/completions/", None),
            ("/v1", None),
            ("/", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn the_server_address_is_that_of_the_clients_request() {
        for (uri, host, expected) in [
            ("/v1", Some("gateway.example:8080"), Some(("gateway.example", Some(8080)))),
            ("/v1", Some("gateway.example"), Some(("gateway.example", None))),
            ("/v1", Some("[::1]:8080"), Some(("::1", Some(8080)))),
            ("/v1", Some("user:secret@host"), Some(("host", None))),
            ("https://h2.example/v1", Some("other"), Some(("h2.example", None))),
            ("/v1", Some("no host"), None),
            ("/v1", None, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert(header::HOST, host.parse().unwrap());
            }
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(asked(&uri.parse().unwrap(), &headers), expected, "{uri} {host:?}");
        }
    }

    #[test]
    fn an_unknown_method_is_not_named() {
        let invented = method(&Method::from_bytes(b"INVENTED").unwrap());
        assert_eq!((invented, in_name(invented)), ("_OTHER", "HTTP"));
        assert_eq!(in_name(method(&Method::PATCH)), "PATCH");
    }
}
