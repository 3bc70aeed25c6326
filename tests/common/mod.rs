//! What the tests on real sockets share: a client, a stack, and requests.
#![allow(dead_code)] // Each test binary uses a part of it.

pub(crate) mod door;
#[cfg(feature = "gateway")]
pub(crate) mod gateway;
#[cfg(feature = "gateway")]
pub(crate) mod load;
#[cfg(all(feature = "gateway", target_os = "linux"))]
pub(crate) mod vitals;
pub(crate) mod world;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::ServiceBuilder;
use tower_vertex::{
    auth::{VertexAuth, VertexAuthLayer},
    emulator::Emulator,
    replay::ReplayBody,
    route::{Upstream, VertexRoute, VertexRouteLayer},
    token::{GcpAuth, TokenCache, TokenSource},
};

pub(crate) type HttpClient<B> = Client<HttpConnector, ReplayBody<B>>;
pub(crate) type Stack<B> = VertexRoute<VertexAuth<HttpClient<B>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

pub(crate) fn client<B>(http: Http) -> HttpClient<B>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<tower_vertex::BoxError>,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .http2_only(http == Http::Two)
        .build(connector)
}

pub(crate) fn upstream(vertex: &Emulator) -> Upstream {
    Upstream::builder().project("p1").location("us-central1").origin(vertex.url()).build().unwrap()
}

/// The real `gcp_auth` and a key whose token endpoint is the emulator's.
pub(crate) fn key_source(vertex: &Emulator) -> GcpAuth {
    GcpAuth::from_service_account_key(vertex.service_account_key()).unwrap()
}

pub(crate) fn auth(vertex: &Emulator, cache: TokenCache) -> VertexAuthLayer {
    VertexAuthLayer::with_cache(cache).trust_origin(vertex.url()).unwrap()
}

pub(crate) fn stack<B>(vertex: &Emulator, source: impl TokenSource, http: Http) -> Stack<B>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<tower_vertex::BoxError>,
{
    ServiceBuilder::new()
        .layer(VertexRouteLayer::new(upstream(vertex)))
        .layer(auth(vertex, TokenCache::new(source)))
        .service(client(http))
}

/// As an OpenAI SDK sends it.
pub(crate) fn chat(text: &str) -> Request<Full<Bytes>> {
    chat_with(text, false)
}

pub(crate) fn chat_stream(text: &str) -> Request<Full<Bytes>> {
    chat_with(text, true)
}

fn chat_with(text: &str, stream: bool) -> Request<Full<Bytes>> {
    let body = serde_json::json!({
        "model": "google/gemini-2.5-flash",
        "stream": stream,
        "messages": [{ "role": "user", "content": text }],
    });
    Request::post("https://api.openai.com/v1/chat/completions")
        .header("authorization", "Bearer sk-placeholder")
        .header("content-type", "application/json")
        .header("openai-organization", "org-1")
        .body(Full::from(body.to_string()))
        .unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Waits until a condition holds that nothing announces; fails the test after ten seconds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never came true: {what}");
}
