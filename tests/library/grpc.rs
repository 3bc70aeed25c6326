//! gRPC calls through `VertexAuth`, over HTTP/2 on real sockets.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, channel::Channel};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::oneshot};
use tower::{Layer as _, ServiceExt as _};
use tower_vertex::{
    BoxError,
    auth::{RefreshOutcome, Trust, VertexAuth, VertexAuthLayer},
    token::{AccessToken, StaticToken, TokenCache, token_fn},
};

use crate::common::{Http, HttpClient, client, eventually, in_time};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
type Stack<B> = VertexAuth<HttpClient<B>>;

/// A gRPC server. The path of a call says how the server responds to a token that it rejects.
struct Server {
    address: SocketAddr,
    /// The number of the first token that is accepted: `t1` is number 1.
    accepted: Arc<AtomicU32>,
    /// The calls that arrived: token and path, and the body if it was read to its end.
    calls: Arc<Mutex<Vec<(String, String)>>>,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    /// Set when the headers of a call have arrived.
    arrived: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            accepted: Arc::new(AtomicU32::new(1)),
            calls: Arc::default(),
            bodies: Arc::default(),
            arrived: Arc::default(),
        };
        let parts = server.parts();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let parts = parts.clone();
                tokio::spawn(async move {
                    let serve = service_fn(move |request| respond(parts.clone(), request));
                    let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
                    let _ = builder.serve_connection(TokioIo::new(socket), serve).await;
                });
            }
        });
        server
    }

    fn parts(&self) -> Parts {
        let (accepted, calls) = (Arc::clone(&self.accepted), Arc::clone(&self.calls));
        let (bodies, arrived) = (Arc::clone(&self.bodies), Arc::clone(&self.arrived));
        Parts { accepted, calls, bodies, arrived }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn layer(&self, cache: &TokenCache) -> VertexAuthLayer {
        VertexAuthLayer::with_cache(cache.clone()).trust(Trust::origin(self.origin()).unwrap())
    }

    fn stack<B>(&self, cache: &TokenCache) -> Stack<B>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.layer(cache).layer(client(Http::Two))
    }

    fn call<B>(&self, path: &str, body: B) -> Request<B> {
        Request::post(format!("{}{path}", self.origin()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "20S")
            .body(body)
            .unwrap()
    }

    fn tokens(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|(token, _)| token.clone()).collect()
    }

    fn bodies(&self) -> Vec<Bytes> {
        self.bodies.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Parts {
    accepted: Arc<AtomicU32>,
    calls: Arc<Mutex<Vec<(String, String)>>>,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    arrived: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

async fn respond(parts: Parts, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let token = request.headers()["authorization"].to_str().unwrap();
    let token = token.strip_prefix("Bearer ").unwrap().to_owned();
    let path = request.uri().path().to_owned();
    assert_eq!(request.headers()["te"], "trailers");
    parts.calls.lock().unwrap().push((token.clone(), path.clone()));
    if let Some(arrived) = parts.arrived.lock().unwrap().take() {
        let _ = arrived.send(());
    }
    let number: u32 = token.trim_start_matches('t').parse().unwrap_or(0);
    let good = number >= parts.accepted.load(SeqCst);
    if path == "/s/BeforeTheUpload" && !good {
        return Ok(trailers_only("16"));
    }
    let Ok(body) = request.into_body().collect().await else { return Ok(trailers_only("13")) };
    parts.bodies.lock().unwrap().push(body.to_bytes());
    Ok(match path.as_str() {
        "/s/Unauthenticated" | "/s/BeforeTheUpload" if !good => trailers_only("16"),
        "/s/Status401" if !good => {
            let mut response = Response::new(body_of(["no"], None));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response
        }
        "/s/Denied" => trailers_only("7"),
        "/s/AfterAMessage" if !good => grpc(body_of(["one"], Some("16"))),
        "/s/InTrailers" if !good => grpc(body_of([""; 0], Some("16"))),
        "/s/WithAMessage" if !good => {
            let mut response = grpc(body_of(["one"], None));
            response.headers_mut().insert("grpc-status", "16".parse().unwrap());
            response
        }
        "/s/Json" | "/s/Web" if !good => {
            let mut response = trailers_only("16");
            let kind = if path == "/s/Json" { "application/json" } else { "application/grpc-web" };
            response.headers_mut().insert("content-type", kind.parse().unwrap());
            response
        }
        _ => grpc(body_of(["one", "two", "three"], Some("0"))),
    })
}

/// A response without a body, whose headers have the status of the call.
fn trailers_only(status: &str) -> Response<Body> {
    let mut response = grpc(Full::default().map_err(|never| match never {}).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert("grpc-status", status.parse().unwrap());
    headers.insert("grpc-message", "the%20token%20is%20invalid".parse().unwrap());
    headers.insert("x-mark", "original".parse().unwrap());
    response
}

fn grpc(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// Messages, each in a frame of its own, and the status in trailers.
fn body_of<'a>(messages: impl IntoIterator<Item = &'a str>, status: Option<&str>) -> Body {
    let mut frames: Vec<_> =
        messages.into_iter().map(|text| Ok(Frame::data(message(text)))).collect();
    if let Some(status) = status {
        let trailers =
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
        frames.push(Ok(Frame::trailers(trailers)));
    }
    StreamBody::new(tokio_stream::iter(frames)).boxed_unsync()
}

/// A message with the prefix of gRPC: not compressed, and its length.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0][..], &length, text.as_bytes()].concat().into()
}

/// The body of a request with one message.
fn only(text: &str) -> Full<Bytes> {
    Full::new(message(text))
}

/// The messages of a response, and the `grpc-status` in its trailers.
async fn received(response: Response<Incoming>) -> (Bytes, Option<String>) {
    let body = in_time("the rest of a response", response.into_body().collect()).await.unwrap();
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
    let status = status.map(|status| status.to_str().unwrap().to_owned());
    (body.to_bytes(), status)
}

fn three_messages() -> (Bytes, Option<String>) {
    ([message("one"), message("two"), message("three")].concat().into(), Some("0".to_owned()))
}

/// A cache of tokens `t1`, `t2`, …, and the number of tokens so far.
fn tokens() -> (TokenCache, Arc<AtomicU32>) {
    let minted = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&minted);
    let cache = TokenCache::new(token_fn(move |_| {
        let number = count.fetch_add(1, SeqCst) + 1;
        async move { Ok(AccessToken::new(format!("t{number}"), Some(Duration::from_secs(3600)))?) }
    }));
    (cache, minted)
}

async fn send<B>(stack: &Stack<B>, request: Request<B>) -> Response<Incoming>
where
    B: http_body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    in_time("a response", stack.clone().oneshot(request)).await.unwrap()
}

#[tokio::test]
async fn a_call_that_ends_unauthenticated_before_its_first_message_is_healed() {
    for path in ["/s/Unauthenticated", "/s/BeforeTheUpload", "/s/Status401"] {
        let server = Server::start().await;
        let (cache, minted) = tokens();
        let stack = server.stack(&cache);
        send(&stack, server.call(path, only("warm"))).await;
        server.accepted.store(2, SeqCst);
        let response = send(&stack, server.call(path, only("hello"))).await;
        assert!(
            matches!(response.extensions().get(), Some(RefreshOutcome::Replayed)),
            "{path}: {response:?}"
        );
        assert_eq!(received(response).await, three_messages(), "{path}");
        assert_eq!(server.tokens(), ["t1", "t1", "t2"], "{path}");
        assert_eq!(server.bodies().last(), Some(&message("hello")), "{path}");
        assert_eq!(minted.load(SeqCst), 2, "{path}");
    }
}

#[tokio::test]
async fn many_calls_are_healed_by_one_refresh_and_each_is_accepted_once() {
    let server = Server::start().await;
    let (cache, minted) = tokens();
    let stack = server.stack(&cache);
    send(&stack, server.call("/s/BeforeTheUpload", only("warm"))).await;
    server.accepted.store(2, SeqCst);
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let body = only(&format!("number {number}"));
            tokio::spawn(stack.clone().oneshot(server.call("/s/BeforeTheUpload", body)))
        })
        .collect();
    for call in calls {
        let response = in_time("a call", call).await.unwrap().unwrap();
        assert_eq!(received(response).await, three_messages());
    }
    assert_eq!(minted.load(SeqCst), 2);
    // Only calls that were accepted have been read.
    let mut times = BTreeMap::new();
    for body in server.bodies() {
        *times.entry(body).or_insert(0) += 1;
    }
    assert_eq!(times.len(), 51);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

#[tokio::test]
async fn a_call_whose_status_may_follow_messages_is_not_sent_again() {
    for (path, messages, status) in [
        ("/s/AfterAMessage", message("one"), Some("16")),
        ("/s/InTrailers", Bytes::new(), Some("16")),
        ("/s/WithAMessage", message("one"), None),
        ("/s/Json", Bytes::new(), None),
        ("/s/Web", Bytes::new(), None),
        ("/s/Denied", Bytes::new(), None),
    ] {
        let server = Server::start().await;
        server.accepted.store(2, SeqCst);
        let (cache, minted) = tokens();
        let stack = server.stack(&cache);
        let response = send(&stack, server.call(path, only("hello"))).await;
        assert!(response.extensions().get::<RefreshOutcome>().is_none(), "{path}");
        let received = received(response).await;
        assert_eq!((received.0, received.1.as_deref()), (messages, status), "{path}");
        assert_eq!(server.tokens(), ["t1"], "{path}");
        assert_eq!((minted.load(SeqCst), cache.stats().rejections), (1, 0), "{path}");
    }
}

#[tokio::test]
async fn an_unauthenticated_that_lasts_is_delivered_unchanged_and_costs_few_tokens() {
    let server = Server::start().await;
    server.accepted.store(1_000_000, SeqCst);
    let (cache, minted) = tokens();
    let stack = server.stack(&cache);
    for _ in 0..20 {
        let response = send(&stack, server.call("/s/Unauthenticated", only("x"))).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "16");
        assert_eq!(response.headers()["grpc-message"], "the%20token%20is%20invalid");
        assert_eq!(response.headers()["x-mark"], "original");
        assert!(response.extensions().get::<RefreshOutcome>().is_some());
        assert_eq!(received(response).await, (Bytes::new(), None));
    }
    // The first token, and at most three forced ones at once.
    assert!(minted.load(SeqCst) <= 4, "{minted:?}");
    let replays = server.tokens().len() - 20;
    assert!(replays < minted.load(SeqCst) as usize, "{replays}: one replay for each new token");
}

#[tokio::test]
async fn the_original_is_delivered_if_the_token_stays_the_same_or_the_body_was_not_kept() {
    let server = Server::start().await;
    server.accepted.store(2, SeqCst);
    let fixed = TokenCache::new(StaticToken::new("t1").unwrap());
    let call = || server.call("/s/Unauthenticated", only("hello"));
    let response = send(&server.stack(&fixed), call()).await;
    assert!(matches!(response.extensions().get(), Some(RefreshOutcome::SameToken)));
    assert_eq!(response.headers()["x-mark"], "original");

    let (cache, minted) = tokens();
    let stack: Stack<_> = server.layer(&cache).replay_limit(4).layer(client(Http::Two));
    let response = send(&stack, call()).await;
    assert!(matches!(response.extensions().get(), Some(RefreshOutcome::NotReplayable)));
    assert_eq!(response.headers()["x-mark"], "original");
    eventually("the refresh was started", || minted.load(SeqCst) == 2).await;
    let response = send(&stack, call()).await;
    assert_eq!(received(response).await, three_messages());
    assert_eq!(server.tokens(), ["t1", "t1", "t2"]);
}

#[tokio::test]
async fn an_upload_that_is_rejected_halfway_continues_in_the_replay() {
    let server = Server::start().await;
    server.accepted.store(2, SeqCst);
    let (cache, minted) = tokens();
    let stack = server.stack(&cache);
    let (sender, arrived) = oneshot::channel();
    *server.arrived.lock().unwrap() = Some(sender);
    let (mut upload, body) = Channel::<Bytes, BoxError>::new(1);
    upload.send_data(message("first")).await.unwrap();
    let call = tokio::spawn(stack.oneshot(server.call("/s/BeforeTheUpload", body)));
    in_time("the first attempt", arrived).await.unwrap();
    eventually("the second attempt", || server.tokens().len() == 2).await;
    for text in ["second", "third"] {
        in_time("a part of the upload", upload.send_data(message(text))).await.unwrap();
    }
    drop(upload);
    let response = in_time("the response", call).await.unwrap().unwrap();
    assert_eq!(received(response).await, three_messages());
    assert_eq!(server.tokens(), ["t1", "t2"]);
    let all = [message("first"), message("second"), message("third")].concat();
    assert_eq!(server.bodies(), [all], "no message is missing or doubled");
    assert_eq!(minted.load(SeqCst), 2);
}
