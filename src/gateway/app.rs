//! The stack of the sidecar: the way of a request to Vertex AI, and of an answer or an error back.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{Layer, ServiceExt};

use super::{
    breaks::{Watch, WatchedBody},
    clients::Clients,
    config::Failure,
    inbound::{Drain, InboundBody, admit},
    limits::Limits,
    models,
    policy::{Passport, Policy},
    record::{Record, RecordedBody},
    refusal::Refusal,
    sight::{Connections, CountConnections, Sight},
    tls::Tls,
};
use crate::{
    BoxError,
    auth::{RefreshOutcome, VertexAuth, VertexAuthLayer},
    model::{ModelBody, ReadModel, VertexModel, VertexModelLayer},
    openai_error::{ErrorBody, VertexError, VertexErrorLayer},
    replay::ReplayBody,
    retry::{VertexRetry, VertexRetryLayer},
    route::{Upstream, VertexRoute, VertexRouteLayer, remove_named_by_connection},
};

/// Who pays.
const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// A connection that is not there by then is not coming.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that acknowledges nothing for so long is dead: Linux alone would send for 15 minutes what
/// a vanished machine never takes, and keep its idle connections for eleven.
const DEAD_PEER: Duration = Duration::from_secs(30);

/// As long as a connection waits for its next request: hyper-util 0.1 lets it go after that, or as
/// long again later. A burst leaves as many as there were requests, and each holds memory.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// The client of requests with bodies `B`.
pub(super) type HttpClient<B> =
    Client<HttpsConnector<CountConnections<HttpConnector>>, ReplayBody<B>>;
type AnswerBody = Either<ErrorBody<WatchedBody<Incoming>>, Full<Bytes>>;
pub(super) type Answer = Response<RecordedBody<AnswerBody>>;
type SentBody = ReplayBody<ModelBody<InboundBody>>;
type Forwarded = VertexError<Watch<VertexRoute<VertexAuth<HttpClient<SentBody>>>>>;
type Stack = VertexModel<Policy<VertexRetry<Forwarded>>>;

/// How often a request was sent to Vertex AI.
const ATTEMPTS: HeaderName = HeaderName::from_static("x-vertex-gateway-attempts");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ones are nobody's: they would make the log expensive.
const LONGEST_REQUEST_ID: usize = 128;

/// What serves each request. Cheap to clone.
#[derive(Clone)]
pub(super) struct App {
    stack: Stack,
    pub(super) shared: Arc<Shared>,
}

/// What all that serve have in common.
pub(super) struct Shared {
    pub(super) upstream: Upstream,
    pub(super) models: VertexModelLayer,
    pub(super) auth: VertexAuthLayer,
    pub(super) retry: VertexRetryLayer,
    pub(super) clients: ArcSwap<Clients>,
    /// `None` for HTTP in clear text.
    pub(super) tls: Option<Arc<Tls>>,
    /// How long the head of a request may take.
    pub(super) header_timeout: Duration,
    pub(super) limits: Arc<Limits>,
    pub(super) sight: Arc<Sight>,
    /// When it began to serve, in seconds since 1970.
    pub(super) since: u64,
    pub(super) max_request_bytes: usize,
    pub(super) response_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) client_body_timeout: Option<Duration>,
    pub(super) send_timeout: Option<Duration>,
}

impl App {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, Failure> {
        let route = VertexRouteLayer::new(shared.upstream.clone());
        let client = client(shared.sight.upstream())?;
        let forwarded = route.layer(shared.auth.layer(client));
        let watched = Watch::new(forwarded, shared.idle_timeout);
        let forwarded = VertexErrorLayer::new().layer(watched);
        let retried = shared.retry.layer(forwarded);
        let stack = shared.models.layer(Policy::new(retried, Arc::clone(&shared.limits)));
        Ok(Self { stack, shared })
    }

    pub(super) async fn serve(self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let shared = Arc::clone(&self.shared);
        let id = request_id(request.headers());
        let (method, path) = (request.method().clone(), request.uri().path());
        let mut record = Record::new(id.clone(), method, path, Arc::clone(&shared.sight));
        let answer = self.answer(request, &mut record).await;
        let mut answer = answer.unwrap_or_else(|refusal| {
            record.refused = Some(refusal.code());
            local(refusal.to_response())
        });
        record.status = Some(answer.status());
        answer.headers_mut().insert(REQUEST_ID, id);
        if let Some(attempts) = record.routed.attempts() {
            answer.headers_mut().insert(ATTEMPTS, attempts.into());
        }
        Ok(answer.map(|body| RecordedBody::new(body, record)))
    }

    async fn answer(
        self,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let Self { stack, shared } = self;
        let client = shared.clients.load().authenticate(request.headers());
        let drain = if client.is_ok() { Drain::OF_A_CLIENT } else { Drain::OF_A_STRANGER };
        let (limit, patience) = (shared.max_request_bytes, shared.client_body_timeout);
        let request = admit(request, limit, patience, drain);
        let (client, mut request) = (client?, request?);
        record.client.clone_from(&client);
        let table = || shared.models.table();
        let may =
            |model: &str| client.as_ref().is_none_or(|client| client.allow(Some(model)).is_ok());
        let path = request.uri().path();
        if let Some(answer) = models::answer(&record.method, path, table, may, shared.since) {
            return Ok(local(answer));
        }
        if let Some(client) = &client {
            client.count_request()?;
            if client.has_list() {
                request.extensions_mut().insert(ReadModel);
            }
        }
        // What is billed is not for a client to choose.
        request.headers_mut().remove(QUOTA_PROJECT);
        let routed = Arc::clone(&record.routed);
        request.extensions_mut().insert(Passport { client, routed });
        // A clone for each request: readiness that an error leaves unused goes with it.
        let call = stack.oneshot(request);
        let answered = match shared.response_timeout {
            Some(limit) => tokio::time::timeout(limit, call)
                .await
                .map_err(|_elapsed| Refusal::timed_out(limit, &shared.upstream))?,
            None => call.await,
        };
        match answered {
            Ok(mut response) => {
                record.refresh = response.extensions().get().map(RefreshOutcome::as_str);
                strip_hop_by_hop(response.headers_mut());
                Ok(response.map(Either::Left))
            }
            Err(error) => Err(Refusal::of(&error, &shared.upstream)),
        }
    }
}

fn local(answer: Response<Bytes>) -> Response<AnswerBody> {
    answer.map(|body| Either::Right(Full::new(body)))
}

/// The client's own, if it is fit to be shown, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fit = |id: &&HeaderValue| {
        !id.is_empty()
            && id.len() <= LONGEST_REQUEST_ID
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(fit) {
        return id.clone();
    }
    // Hexadecimal digits are fit for a header.
    let id = format!("req_{:032x}", fastrand::u128(..));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("req_"))
}

/// HTTP/1.1 with as many connections as there are requests under way: one HTTP/2 connection to
/// Vertex AI carries 100 streams, and the client would hold the next one back.
pub(super) fn client<B>(connections: &Connections) -> Result<HttpClient<B>, Failure>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    // Without it, the small frames of a request wait for acknowledgements.
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // A peer that vanished without a word, idle or in the middle of an answer: asked three times.
    http.set_keepalive(Some(DEAD_PEER / 2));
    http.set_keepalive_interval(Some(DEAD_PEER / 6));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    http.set_tcp_user_timeout(Some(DEAD_PEER));
    let https = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(tokio_rustls::rustls::crypto::ring::default_provider())
        .map_err(|error| {
            Failure::new(format!(
                "no root certificates found: install the package ca-certificates ({error})"
            ))
        })?
        .https_or_http()
        .enable_http1()
        .wrap_connector(CountConnections::new(http, connections));
    let mut builder = Client::builder(TokioExecutor::new());
    Ok(builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_CONNECTION).build(https))
}

/// RFC 9110 §7.6.1: these speak of the connection to Vertex AI, and HTTP/2 clients refuse them.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    const NAMES: [HeaderName; 7] = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::PROXY_AUTHENTICATE,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::UPGRADE,
    ];
    remove_named_by_connection(headers);
    for name in &NAMES {
        headers.remove(name);
    }
}
