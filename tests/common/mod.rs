//! Common parts of the tests on real sockets: a client, a stack, and requests.
#![allow(dead_code)] // Each test binary uses a part of it.

pub(crate) mod door;
pub(crate) mod metadata;
pub(crate) mod world;

use std::{fs, path::Path, time::Duration};

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
    replay::ReplayBody,
    route::{Upstream, VertexRoute, VertexRouteLayer},
    token::{GcpAuth, TokenCache, TokenSource},
};
use tower_vertex_emulator::{Emulator, Faults, StreamBehavior};

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

/// The real `gcp_auth`, with a key whose token endpoint is the emulator's.
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

/// The time limit of a wait. Even on the slowest machine, everything that a test waits for is
/// faster.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// Waits for a result. The test fails at the time limit, with the name of the result.
pub(crate) async fn in_time<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(LONGEST, coming).await;
    came.unwrap_or_else(|_| panic!("no result after {LONGEST:?}: {what}"))
}

/// A request as an OpenAI SDK sends it.
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
    let body = in_time("the rest of a response", response.into_body().collect()).await;
    String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
}

/// Sets the pace of all following responses, and removes other faults.
pub(crate) fn pace(vertex: &Emulator, stream: StreamBehavior) {
    vertex.set_faults(Faults { stream, ..Faults::default() });
}

/// Creates or replaces a file atomically, as a careful editor or a volume of Kubernetes does.
pub(crate) fn put(folder: &Path, name: &str, text: &str) -> String {
    let (new, path) = (folder.join("new"), folder.join(name));
    fs::write(&new, text).unwrap();
    fs::rename(new, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The emulator's text for this prompt.
pub(crate) fn echo(question: &str) -> String {
    format!("This is the Vertex AI emulator. You said: {question}")
}

/// The text of a stream, if the stream is complete.
pub(crate) fn said(stream: &str) -> Option<String> {
    let (said, end) = chunks(stream)?;
    (end == "data: [DONE]").then_some(said)
}

/// The text of an interrupted stream, if an error in OpenAI's format reports the interruption.
pub(crate) fn said_until_the_break(stream: &str) -> Option<String> {
    let (said, end) = chunks(stream)?;
    let error = serde_json::from_str::<serde_json::Value>(end.strip_prefix("data: ")?).ok()?;
    (error["error"]["code"] == "stream_interrupted").then_some(said)
}

/// The text of all chunks of a stream, and the event after them.
fn chunks(stream: &str) -> Option<(String, &str)> {
    let stream = stream.strip_suffix("\n\n")?;
    let (chunks, end) = stream.rsplit_once("\n\n").unwrap_or(("", stream));
    let content = |chunk: &str| {
        let chunk =
            serde_json::from_str::<serde_json::Value>(chunk.strip_prefix("data: ")?).ok()?;
        Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())
    };
    let said: Option<String> =
        chunks.split("\n\n").filter(|chunk| !chunk.is_empty()).map(content).collect();
    Some((said?, end))
}

/// Waits until a condition holds, by polling it. The test fails at the time limit.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    in_time(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
