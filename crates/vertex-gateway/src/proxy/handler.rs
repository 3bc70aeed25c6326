//! The stack of layers between a client and Vertex AI: a request passes through it, and its
//! response or error returns through it.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tower::{Layer, ServiceExt};

use super::{
    admission::{Admission, admit_head},
    errors,
    idle_timeout::{IdleTimeout, IdleTimeoutBody},
    recorded_body::{RecordedBody, RequestRecord},
};
use crate::{
    access::{Client, Clients, concurrency::Limits},
    error::Error,
    inbound::{
        activity::InFlightRequest,
        body_limit::{Drain, admit, host, is_upgrade},
        browser::{Browsers, Cors, Listener, answer_options, is_options},
        content_encoding::{DecodedBody, decompress},
        tls::Tls,
    },
    local_reply::LocalReply,
    models::{list::protocol_of, publishers::PublisherLists},
    outbound::{self, Outbound, stream_headers},
    telemetry::{
        Telemetry,
        trace::{Traced, TracedBody, Traces},
    },
};
use tower_vertex::{
    auth::{VertexAuth, VertexAuthLayer},
    compat::{CompatBody, RequestBody, SignatureScope, VertexCompat, VertexCompatLayer},
    connect::Network,
    error_format::{ErrorBody, VertexError, VertexErrorLayer},
    model::{ModelBody, VertexModel, VertexModelLayer},
    replay::ReplayBody,
    retry::{VertexRetry, VertexRetryLayer},
    route::{Protocol, Upstream, VertexRoute, VertexRouteLayer, headers::strip_client_headers},
};

/// The header that names the project to bill and to charge quota to.
pub(crate) const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// The inner replay body is kept for a retry, and the outer one for a replay after a 401.
type ForwardedBody = ReplayBody<RequestBody<ModelBody<DecodedBody>>>;
type SentBody = ReplayBody<ForwardedBody>;
type ErrorsTranslated = ErrorBody<IdleTimeoutBody<TracedBody<outbound::UpstreamBody<SentBody>>>>;
type UpstreamBody = Either<CompatBody<ErrorsTranslated>, Full<Bytes>>;
pub(crate) type ClientResponse = Response<RecordedBody<UpstreamBody>>;
type Authorized = VertexAuth<Traced<Outbound<SentBody>>>;
type Forwarded = VertexError<IdleTimeout<VertexRoute<Authorized>>>;
type Stack = VertexModel<Admission<VertexCompat<VertexRetry<Forwarded>>>>;

/// The number of times the request was sent to Vertex AI.
const ATTEMPTS: HeaderName = HeaderName::from_static("x-vertex-gateway-attempts");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same for Anthropic's clients.
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// A longer id is replaced by a new one, because it would make the log expensive.
const LONGEST_REQUEST_ID: usize = 128;

/// Serves the requests of clients. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handler {
    /// Cloned where a request is sent, because layers move a request's own copy.
    stack: Arc<Stack>,
    pub(crate) shared: Arc<GatewayState>,
}

/// The state that all handlers share.
pub(crate) struct GatewayState {
    pub(crate) upstream: Upstream,
    pub(crate) models: VertexModelLayer,
    pub(crate) publishers: Arc<PublisherLists>,
    /// Its memory of thought signatures outlives every reload.
    pub(crate) compat: VertexCompatLayer,
    pub(crate) auth: VertexAuthLayer,
    pub(crate) retry: VertexRetryLayer,
    pub(crate) clients: Arc<ArcSwap<Clients>>,
    pub(crate) browsers: Arc<Browsers>,
    pub(crate) listener: Listener,
    /// Path of the health check.
    pub(crate) health_path: Option<String>,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Time limit of the TLS handshake.
    pub(crate) tls_handshake_timeout: Duration,
    pub(crate) request_header_timeout: Duration,
    pub(crate) keepalive_timeout: Duration,
    pub(crate) http2_ping_interval: Duration,
    pub(crate) http2_ping_timeout: Duration,
    /// Largest size of a request head.
    pub(crate) max_header_bytes: usize,
    pub(crate) limits: Arc<Limits>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) traces: Traces,
    /// The start of the gateway, in seconds since 1970.
    pub(crate) since: u64,
    /// Age at which a connection to Vertex AI takes no new requests.
    pub(crate) connection_lifetime: Option<Duration>,
    /// The proxy and the certificates of connections to Vertex AI.
    pub(crate) network: Network,
    pub(crate) max_request_bytes: usize,
    /// Whether the log contains the address of the peer.
    pub(crate) log_peer_address: bool,
    pub(crate) response_header_timeout: Option<Duration>,
    pub(crate) stream_idle_timeout: Option<Duration>,
    pub(crate) request_body_timeout: Option<Duration>,
    pub(crate) send_timeout: Option<Duration>,
}

impl Handler {
    pub(crate) fn new(shared: Arc<GatewayState>) -> Result<Self, Error> {
        let route = VertexRouteLayer::new(shared.upstream.clone());
        let client =
            Outbound::new(shared.telemetry.upstream(), shared.connection_lifetime, &shared.network);
        let client = shared.traces.layer(client);
        // Without traces, no inner layer reads the extensions.
        let auth = shared.auth.clone().forward_extensions(shared.traces.is_on());
        let forwarded = route.layer(auth.layer(client));
        let watched = IdleTimeout::new(forwarded, shared.stream_idle_timeout);
        let forwarded = VertexErrorLayer::new().layer(watched);
        let retried = shared.retry.layer(forwarded);
        // Inside of the admission, so that a resend is part of the admitted request and of its time
        // limit. The record of a request and its scanner of usage are outside, so they see the bytes
        // that the client gets. The scanner finds the same usage in cured and in original bytes.
        let cured = shared.compat.layer(retried);
        let limits = Arc::clone(&shared.limits);
        let stack =
            shared.models.layer(Admission::new(cured, limits, shared.response_header_timeout));
        Ok(Self { stack: Arc::new(stack), shared })
    }

    pub(crate) async fn serve(
        self,
        request: Request<Incoming>,
        call: &InFlightRequest,
    ) -> ClientResponse {
        let Self { stack, shared } = self;
        if let Some(healthy) = health(&shared, &request) {
            return healthy;
        }
        let cors = shared.browsers.cors(request.headers());
        let id = request_id(request.headers());
        let (method, path) = (request.method().clone(), request.uri().path());
        let protocol = protocol_of(path, request.headers(), request.uri().query());
        let telemetry = Arc::clone(&shared.telemetry);
        let mut record = Box::new(RequestRecord::new(id.clone(), method, path, telemetry));
        record.log.peer_address = call.activity().peer_address();
        record.trace = shared.traces.begin(&request, shared.tls.is_some());
        let answer = answer(&stack, &shared, request, protocol, &cors, &mut record, call);
        let answer = AssertUnwindSafe(answer);
        let answer = answer.catch_unwind().await;
        // The panic hook has logged the panic.
        let answer = answer.unwrap_or_else(|_panic| Err(LocalReply::failed()));
        let left = answer.as_ref().is_err_and(LocalReply::is_incomplete_request);
        let mut answer = answer.unwrap_or_else(|refusal| {
            record.log.refuse(&refusal);
            let mut answer = refusal.to_response(protocol);
            if !call.is_authenticated() && call.activity().refused() {
                // RFC 9112 §9.6. HTTP/2 has its own frames for this, and hyper removes the header
                // there.
                let close = const { HeaderValue::from_static("close") };
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            local(answer)
        });
        record.log.status = (!left).then(|| answer.status());
        if protocol == Protocol::Anthropic {
            // Anthropic's SDKs show this header in their exceptions.
            answer.headers_mut().entry(ANTHROPIC_REQUEST_ID).or_insert_with(|| id.clone());
        }
        answer.headers_mut().insert(REQUEST_ID, id);
        cors.put_on(answer.headers_mut());
        if let Some(attempts) = record.context.attempts() {
            // The usual number needs no allocation.
            let one = const { HeaderValue::from_static("1") };
            let attempts = if attempts == 1 { one } else { attempts.into() };
            answer.headers_mut().insert(ATTEMPTS, attempts);
        }
        answer.map(|body| RecordedBody::new(body, record))
    }
}

async fn answer(
    stack: &Stack,
    shared: &GatewayState,
    request: Request<Incoming>,
    protocol: Protocol,
    cors: &Cors,
    record: &mut RequestRecord,
    call: &InFlightRequest,
) -> Result<Response<UpstreamBody>, LocalReply> {
    let host = host(&request);
    let client = welcome(shared, &request, protocol);
    let drain = if client.is_ok() { Drain::OF_A_CLIENT } else { Drain::OF_A_STRANGER };
    let (limit, patience) = (shared.max_request_bytes, shared.request_body_timeout);
    let request = admit(request, limit, patience, drain);
    host?;
    let client = client?;
    if is_options(&record.log.method) {
        return answer_options(request?.headers(), cors).map(local);
    }
    call.let_in();
    let mut request = request?;
    if let Some(client) = &client {
        let _ = record.context.client.set(Arc::clone(client));
        request.extensions_mut().insert(SignatureScope::new(Arc::clone(client.name())));
    }
    if is_upgrade(&request) {
        return Err(LocalReply::upgrade_required());
    }
    let table = shared.models.table();
    let (publishers, since) = (&shared.publishers, shared.since);
    let models = admit_head(&mut request, &table, publishers, client.as_deref(), since).await?;
    if let Some(models) = models {
        return Ok(local(models));
    }
    let mut request = decompress(request, limit)?;
    strip_client(request.headers_mut(), table.base());
    record.trace.follow(request.extensions_mut());
    request.extensions_mut().insert(Arc::clone(&record.context));
    // A reload during this request applies to the next one.
    request.extensions_mut().insert(table);
    // Each request uses its own clone of the stack, so readiness that an error leaves unused is
    // dropped with it.
    match stack.clone().oneshot(request).await {
        // The gateway requests no upgrade of the protocol and could not speak another one.
        Ok(response) if response.status().is_informational() => {
            Err(errors::unexpected_status(response.status(), &asked(record, shared)))
        }
        Ok(mut response) => {
            // RFC 9112 §2.3: the version of a response is that of its sender.
            *response.version_mut() = Version::HTTP_11;
            let headers = response.headers_mut();
            let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
            for (name, value) in stream_headers(kind, headers.contains_key(header::CACHE_CONTROL)) {
                headers.insert(name, value);
            }
            Ok(response.map(Either::Left))
        }
        Err(error) => Err(errors::local_reply(&error, &asked(record, shared))),
    }
}

/// Removes client headers that may not be forwarded to `base`. This must run before the gateway
/// sets any header, because a `Connection` header removes the headers that it names.
pub(crate) fn strip_client(headers: &mut HeaderMap, base: &Upstream) {
    let more = base.forwarded_headers();
    strip_client_headers(headers, more);
    // A client must not choose the project that is billed.
    if !more.contains(&QUOTA_PROJECT) {
        headers.remove(QUOTA_PROJECT);
    }
}

/// The client of the request, if it is allowed in. A preflight has no key.
fn welcome(
    shared: &GatewayState,
    request: &Request<Incoming>,
    protocol: Protocol,
) -> Result<Option<Arc<Client>>, LocalReply> {
    let clients = shared.clients.load();
    if !clients.have_keys() {
        shared.browsers.admit(request.uri(), request.headers(), shared.listener)?;
    }
    if is_options(request.method()) {
        return Ok(None);
    }
    clients.authenticate(request.headers(), request.uri().query(), protocol)
}

/// The response to a health check, which is not recorded.
fn health(shared: &GatewayState, request: &Request<Incoming>) -> Option<ClientResponse> {
    let path = shared.health_path.as_deref()?;
    let asks = [Method::GET, Method::HEAD].contains(request.method());
    if !asks || request.uri().path() != path {
        return None;
    }
    let mut answer = local(Response::default());
    if shared.telemetry.is_draining() {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Some(answer.map(RecordedBody::unrecorded))
}

/// The upstream of a request that got no response.
fn asked(record: &RequestRecord, shared: &GatewayState) -> Upstream {
    record.context.upstream().unwrap_or_else(|| shared.upstream.clone())
}

fn local(answer: Response<Bytes>) -> Response<UpstreamBody> {
    answer.map(|body| Either::Right(Full::new(body)))
}

/// The client's request id if it is valid, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fit = |id: &&HeaderValue| {
        !id.is_empty()
            && id.len() <= LONGEST_REQUEST_ID
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(fit) {
        return id.clone();
    }
    const PREFIX: &[u8] = b"req_";
    let mut id = [0; PREFIX.len() + 32];
    let (prefix, digits) = id.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(PREFIX);
    let mut bits = fastrand::u128(..);
    for digit in digits {
        *digit = b"0123456789abcdef"[(bits & 0xf) as usize];
        bits >>= 4;
    }
    // Hexadecimal digits are valid in a header.
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("req_"))
}
