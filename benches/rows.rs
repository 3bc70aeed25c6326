//! The rows and their requests, which the timings and the allocations share.

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use gcp_auth::{CustomServiceAccount, TokenProvider};
use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body::Body;
use http_body_util::{Empty, Full};
#[cfg(feature = "kube")]
use kube_client::client::middleware::BaseUriLayer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::{BoxError, Layer, Service, layer::util::Identity};
use tower_http::auth::AddAuthorizationLayer;
use tower_vertex::{
    auth::VertexAuthLayer,
    route::{Upstream, VertexRouteLayer},
    token::{CLOUD_PLATFORM_SCOPE, GcpAuth, TokenCache},
};

#[cfg(feature = "kube")]
const BASE: &str = "https://us-central1-aiplatform.googleapis.com/v1/projects/my-project/locations/us-central1/endpoints/openapi";
const ABSOLUTE: &str = "https://us-central1-aiplatform.googleapis.com/v1/projects/my-project/locations/us-central1/endpoints/openapi/chat/completions";

const PLACEHOLDER: &str = "Bearer sk-placeholder";

/// A row of the tables.
#[cfg_attr(not(feature = "kube"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Bare,
    Route,
    AuthReplay,
    AuthPlain,
    BothReplay,
    BothPlain,
    BaseUri,
    StaticHeader,
    Pair,
    Naive,
}

impl Row {
    /// The name of the row in criterion, and between the two programs.
    pub fn id(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Route => "route",
            Self::AuthReplay => "auth-replay",
            Self::AuthPlain => "auth-plain",
            Self::BothReplay => "route-auth-replay",
            Self::BothPlain => "route-auth-plain",
            Self::BaseUri => "base-uri",
            Self::StaticHeader => "static-header",
            Self::Pair => "base-uri-static-header",
            Self::Naive => "naive",
        }
    }

    fn target(self) -> Target {
        match self {
            // The baseline uses the same URI as these rows. An absolute URI in static memory would
            // cost it the same.
            Self::Bare | Self::Route | Self::BothReplay | Self::BothPlain => Target::OpenAi,
            Self::BaseUri | Self::Pair => Target::BelowBase,
            Self::AuthReplay | Self::AuthPlain | Self::StaticHeader | Self::Naive => {
                Target::Absolute
            }
        }
    }

    fn authorizes(self) -> bool {
        !matches!(self, Self::Bare | Self::Route | Self::BaseUri)
    }
}

/// The URL of a request. Every row except the bare one sends the request to the same URL.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// The path as OpenAI clients write it.
    OpenAi,
    /// The path that `BaseUri` appends to its base.
    BelowBase,
    Absolute,
}

/// Whether the request has an `Authorization` header, as requests of OpenAI clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    Present,
    Absent,
}

/// The request of a row: 9 or 10 headers, and a body of 1 KiB.
///
/// Each call gets a clone, made outside the timing. The URI is in static memory. The header values,
/// the `x-stainless-…` names and the body are reference counted and have been cloned before, as in
/// a client that keeps its default headers, and its body for a retry. (The first clone of a `Bytes`
/// made from a `Vec` allocates its counter, which is not a cost of any row.)
pub fn request(row: Row, authorization: Authorization) -> Request<Full<Bytes>> {
    let uri = match row.target() {
        Target::OpenAi => Uri::from_static("/v1/chat/completions"),
        Target::BelowBase => Uri::from_static("/chat/completions"),
        Target::Absolute => Uri::from_static(ABSOLUTE),
    };
    fresh(uri, authorization).clone()
}

/// The same request as a server has just read it: header values are parts of one buffer, and
/// non-standard names and the body were never cloned.
pub fn fresh(uri: Uri, authorization: Authorization) -> Request<Full<Bytes>> {
    const HEADERS: [(&str, &str); 10] = [
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python 2.8.1"),
        ("x-stainless-lang", "python"),
        ("x-stainless-package-version", "2.8.1"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-arch", "x64"),
        ("x-stainless-runtime", "CPython"),
        ("x-stainless-runtime-version", "3.13.9"),
        ("authorization", PLACEHOLDER),
    ];
    let values = Bytes::from(HEADERS.map(|(_, value)| value).concat());
    let mut at = 0;
    let body = Full::new(Bytes::from(vec![b'x'; 1024]));
    let mut request = Request::post(uri).body(body).expect("a request");
    for (name, value) in HEADERS {
        let slice = values.slice(at..at + value.len());
        at += value.len();
        if name == "authorization" && authorization == Authorization::Absent {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        let value = HeaderValue::from_maybe_shared(slice).expect("a header value");
        request.headers_mut().append(name, value);
    }
    request
}

/// The state that exists before a request: layers, and valid tokens in their caches.
pub struct Stage {
    upstream: Upstream,
    cache: TokenCache,
    token: String,
    provider: Arc<CustomServiceAccount>,
}

impl Stage {
    /// Fetches a token into our cache and into that of `gcp_auth`, with the same service-account
    /// key, from the same token endpoint on loopback.
    pub fn set() -> Result<Self, BoxError> {
        // The length is that of a token of Google's service accounts.
        let token = format!("ya29.c.{}", "x".repeat(1017));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (cache, provider) = runtime.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let address = listener.local_addr()?;
            tokio::spawn(token_endpoint(listener, token.clone()));
            let key = service_account_key(&format!("http://{address}/token"))?;

            let cache = TokenCache::new(GcpAuth::from_service_account_key(&key)?);
            cache.warm_up().await?;
            let provider = Arc::new(CustomServiceAccount::from_json(&key)?);
            provider.token(&[CLOUD_PLATFORM_SCOPE]).await?;
            Ok::<_, BoxError>((cache, provider))
        })?;
        let upstream = Upstream::new("my-project", "us-central1")?;
        Ok(Self { upstream, cache, token, provider })
    }

    /// Passes every row to `visitor`, after a check that the row does its work.
    pub fn visit(&self, visitor: &mut impl Visitor) {
        let route = || VertexRouteLayer::new(self.upstream.clone());
        let auth = || VertexAuthLayer::with_cache(self.cache.clone());
        #[cfg(feature = "kube")]
        let base_uri = || BaseUriLayer::new(Uri::from_static(BASE));
        let header = || AddAuthorizationLayer::bearer(&self.token).as_sensitive(true);
        let bearer = format!("Bearer {}", self.token);
        let mut show = Prove { visitor, bearer };

        show.row(Row::Bare, Identity::new());
        show.row(Row::Route, route());
        show.row(Row::AuthReplay, auth());
        show.row(Row::AuthPlain, auth().replay_limit(0));
        show.row(Row::BothReplay, (route(), auth()));
        show.row(Row::BothPlain, (route(), auth().replay_limit(0)));
        #[cfg(feature = "kube")]
        show.row(Row::BaseUri, base_uri());
        show.row(Row::StaticHeader, header());
        #[cfg(feature = "kube")]
        show.row(Row::Pair, (base_uri(), header()));
        show.row(Row::Naive, NaiveLayer { provider: self.provider.clone() });
    }
}

/// Receives the rows one by one.
pub trait Visitor {
    fn row(&mut self, row: Row, layer: impl Middleware);
}

/// A layer for every inner service of this file.
pub trait Middleware:
    Layer<NoOp, Service: Client> + Layer<Reader, Service: Client> + Layer<Witness, Service: Client>
{
}

impl<L> Middleware for L where
    L: Layer<NoOp, Service: Client>
        + Layer<Reader, Service: Client>
        + Layer<Witness, Service: Client>
{
}

/// Passes a row to its visitor after it has sent one request to the right URL with the right token.
struct Prove<'a, V> {
    visitor: &'a mut V,
    bearer: String,
}

impl<V: Visitor> Visitor for Prove<'_, V> {
    fn row(&mut self, row: Row, layer: impl Middleware) {
        for authorization in [Authorization::Present, Authorization::Absent] {
            let witness = Witness(Arc::default());
            let sent = request(row, authorization);
            let asked_for = sent.uri().clone();
            exchange(&mut layer.layer(witness.clone()), sent);
            let (uri, value) = witness.0.lock().expect("no panic").take().expect("a request");
            let untouched = (authorization == Authorization::Present).then_some(PLACEHOLDER);
            let expected = if row.authorizes() { Some(self.bearer.as_str()) } else { untouched };
            assert_eq!(value.as_ref().map(HeaderValue::as_bytes), expected.map(str::as_bytes));
            if row == Row::Bare {
                assert_eq!(uri, asked_for);
            } else {
                assert_eq!(uri, ABSOLUTE, "{row:?}");
            }
        }
        self.visitor.row(row, layer);
    }
}

/// A service that sends the requests of a row.
pub trait Client:
    'static + Service<Request<Full<Bytes>>, Response = Response<Empty<Bytes>>, Error: fmt::Debug>
{
}

impl<S> Client for S where
    S: 'static
        + Service<Request<Full<Bytes>>, Response = Response<Empty<Bytes>>, Error: fmt::Debug>
{
}

/// Sends one request, from the check for readiness to the end of the response. This is measured.
#[inline(always)]
pub fn exchange(service: &mut impl Client, request: Request<Full<Bytes>>) {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("not ready") };
    let mut response = pin!(service.call(request));
    match response.as_mut().poll(&mut cx) {
        Poll::Ready(Ok(response)) => drop(black_box(response)),
        Poll::Ready(Err(error)) => panic!("{error:?}"),
        Poll::Pending => panic!("no response at once"),
    }
}

/// Drops the request and returns 200, without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct NoOp;

/// Like [`NoOp`], but reads the whole body first.
#[derive(Clone, Copy, Debug)]
pub struct Reader;

/// Like [`NoOp`], but keeps the URI and the authorization.
#[derive(Clone, Debug)]
pub struct Witness(Arc<Mutex<Option<Seen>>>);

type Seen = (Uri, Option<HeaderValue>);

type Answer = Ready<Result<Response<Empty<Bytes>>, Infallible>>;

fn ok() -> Answer {
    ready(Ok(Response::new(Empty::new())))
}

impl<B> Service<Request<B>> for NoOp {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        drop(black_box(request));
        ok()
    }
}

impl<B: Body<Data = Bytes>> Service<Request<B>> for Reader {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let mut body = pin!(request.into_body());
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
            drop(black_box(frame));
        }
        ok()
    }
}

impl<B> Service<Request<B>> for Witness {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let seen = (request.uri().clone(), authorization);
        *self.0.lock().expect("no panic") = Some(seen);
        ok()
    }
}

/// A simple middleware: it gets the cached token of `gcp_auth`, formats the header, and boxes the
/// future.
#[derive(Clone)]
struct NaiveLayer {
    provider: Arc<CustomServiceAccount>,
}

#[derive(Clone)]
struct Naive<S> {
    inner: S,
    provider: Arc<dyn TokenProvider>,
}

impl<S> Layer<S> for NaiveLayer {
    type Service = Naive<S>;

    fn layer(&self, inner: S) -> Naive<S> {
        Naive { inner, provider: self.provider.clone() }
    }
}

impl<S, B> Service<Request<B>> for Naive<S>
where
    S: Service<Request<B>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let provider = self.provider.clone();
        Box::pin(async move {
            let token = provider.token(&[CLOUD_PLATFORM_SCOPE]).await?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
            inner.call(request).await.map_err(Into::into)
        })
    }
}

/// Responds to every request with `token`, as Google's token endpoint would.
async fn token_endpoint(listener: TcpListener, token: String) {
    let json = format!(r#"{{"access_token":"{token}","expires_in":3599,"token_type":"Bearer"}}"#);
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{json}",
        json.len()
    );
    while let Ok((mut socket, _)) = listener.accept().await {
        let response = response.clone();
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !is_whole(&request) && matches!(socket.read_buf(&mut request).await, Ok(1..)) {}
            let _ = socket.write_all(response.as_bytes()).await;
        });
    }
}

/// Whether the buffer contains the whole HTTP/1.1 request.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:").and_then(|length| length.trim().parse().ok())
    });
    body.len() >= length.unwrap_or(0)
}

fn service_account_key(token_uri: &str) -> Result<String, BoxError> {
    // This is the key of the emulator.
    let key = include_str!("../crates/tower-vertex-emulator/src/public-test-key.pem");
    let begin = key.find("-----BEGIN").ok_or("the key begins with its label")?;
    let key = &key[begin..];
    let key = serde_json::json!({
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "0",
        "private_key": key,
        "client_email": "bench@my-project.iam.gserviceaccount.com",
        "client_id": "0",
        "token_uri": token_uri,
    });
    Ok(key.to_string())
}
