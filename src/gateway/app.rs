//! The stack of the sidecar: the way of a request to Vertex AI, and of an answer or an error back.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
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
    config::{Failure, Options},
    inbound::{InboundBody, admit},
    models,
    refusal::Refusal,
};
use crate::{
    BoxError,
    auth::{VertexAuth, VertexAuthLayer},
    model::{ModelBody, VertexModel, VertexModelLayer},
    openai_error::{ErrorBody, VertexError, VertexErrorLayer},
    replay::ReplayBody,
    route::{Upstream, VertexRoute, VertexRouteLayer, remove_named_by_connection},
};

/// As much of a path as the log shows: one may have 64 KiB.
const LONGEST_LOGGED: usize = 200;

/// A connection that is not there by then is not coming.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The client of requests with bodies `B`.
pub(super) type HttpClient<B> = Client<HttpsConnector<HttpConnector>, ReplayBody<B>>;
pub(super) type Answer = Response<Either<ErrorBody<Incoming>, Full<Bytes>>>;
type Stack = VertexModel<VertexError<VertexRoute<VertexAuth<HttpClient<ModelBody<InboundBody>>>>>>;

/// What serves each request. Cheap to clone.
#[derive(Clone)]
pub(super) struct App {
    stack: Stack,
    settings: Arc<Settings>,
}

struct Settings {
    upstream: Upstream,
    models: VertexModelLayer,
    /// When it began to serve, in seconds since 1970.
    since: u64,
    max_request_bytes: usize,
    response_timeout: Option<Duration>,
}

impl App {
    pub(super) fn new(
        options: &Options,
        upstream: Upstream,
        models: VertexModelLayer,
        auth: VertexAuthLayer,
    ) -> Result<Self, Failure> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let route = VertexRouteLayer::new(upstream.clone());
        let stack = models.layer(VertexErrorLayer::new().layer(route.layer(auth.layer(client()?))));
        let settings = Settings {
            upstream,
            models,
            since: since.unwrap_or_default().as_secs(),
            max_request_bytes: options.max_request_bytes,
            response_timeout: options.response_timeout(),
        };
        Ok(Self { stack, settings: Arc::new(settings) })
    }

    pub(super) async fn serve(self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let started = Instant::now();
        let method = request.method().clone();
        let path: String = request.uri().path().chars().take(LONGEST_LOGGED).collect();
        let Settings { models, since, max_request_bytes, .. } = &*self.settings;
        let answer = match admit(request, *max_request_bytes) {
            Ok(request) => {
                match models::answer(&method, request.uri().path(), &models.table(), *since) {
                    Some(answer) => Ok(answer.map(|body| Either::Right(Full::new(body)))),
                    None => self.forward(request).await,
                }
            }
            Err(refusal) => Err(refusal),
        };
        let answer = answer.unwrap_or_else(|refusal| {
            refusal.to_response().map(|body| Either::Right(Full::new(body)))
        });
        log(&method, &path, answer.status(), started.elapsed());
        Ok(answer)
    }

    async fn forward(self, request: Request<InboundBody>) -> Result<Answer, Refusal> {
        let Self { stack, settings } = self;
        // A clone for each request: readiness that an error leaves unused goes with it.
        let call = stack.oneshot(request);
        let answered = match settings.response_timeout {
            Some(limit) => tokio::time::timeout(limit, call)
                .await
                .map_err(|_elapsed| Refusal::timed_out(limit, &settings.upstream))?,
            None => call.await,
        };
        match answered {
            Ok(mut response) => {
                strip_hop_by_hop(response.headers_mut());
                Ok(response.map(Either::Left))
            }
            Err(error) => Err(Refusal::of(&error, &settings.upstream)),
        }
    }
}

/// HTTP/1.1 with as many connections as there are requests under way: one HTTP/2 connection to
/// Vertex AI carries 100 streams, and the client would hold the next one back.
pub(super) fn client<B>() -> Result<HttpClient<B>, Failure>
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
    http.set_keepalive(Some(Duration::from_secs(60)));
    let https = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(tokio_rustls::rustls::crypto::ring::default_provider())
        .map_err(|error| {
            Failure::new(format!(
                "no root certificates found: install the package ca-certificates ({error})"
            ))
        })?
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https))
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

/// One line a request; the path without its query, which may carry a key.
fn log(method: &Method, path: &str, status: StatusCode, head_after: Duration) {
    let (status, milliseconds) = (status.as_u16(), head_after.as_millis());
    tracing::info!(%method, path, status, milliseconds, "answered");
}
