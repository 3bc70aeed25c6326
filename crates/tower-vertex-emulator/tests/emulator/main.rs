//! Tests of the emulator over real sockets.

mod answers;
mod anthropic;
mod chat_refusals;
mod chats;
mod control;
mod credentials;
mod early_answers;
mod faults;
mod framing;
mod gemini;
mod hosts;
mod limits;
mod models;
mod predictions;
mod provider;
mod publisher_models;
mod refusals;
mod responses;
mod shapes;
mod signatures;
mod thoughts;
mod tokens;
mod tool_calls;

use std::{
    convert::Infallible,
    future::Future,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Channel, Full, channel::Sender, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tower_vertex_emulator::{
    ApiFault, ChatBehavior, Emulator, EndpointInfo, ErrorShape, Faults, Kind, Model, Refusals,
    ResponsesModels, StreamBehavior, Surface, TokenBehavior, TokenFault,
};

const OPENAPI: &str = "/v1/projects/p1/locations/us-central1/endpoints/openapi";
const CHAT: &str = "/v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions";
const MODEL: &str = "google/gemini-2.5-flash";
/// Only Grok's models are served by the Responses API.
const ECHO: &str = "This is the Vertex AI emulator. You said: hello";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const MIB: usize = 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type TestClient = Client<HttpsConnector<HttpConnector>, Body>;

fn tls_config(emulator: &Emulator) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = emulator.certificate_pem() {
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    }
    ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A client that trusts the emulator and speaks one version.
fn client_for(emulator: &Emulator, version: Version) -> TestClient {
    let http2 = version == Version::HTTP_2;
    let builder =
        HttpsConnectorBuilder::new().with_tls_config(tls_config(emulator)).https_or_http();
    let connector =
        if http2 { builder.enable_http2().build() } else { builder.enable_http1().build() };
    Client::builder(TokioExecutor::new()).http2_only(http2).build(connector)
}

struct Answer {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The `error` object; `array` says whether it must be wrapped in an array.
    fn error(&self, array: bool) -> Value {
        let body = self.json();
        assert_eq!(body.is_array(), array, "{body}");
        let error = if array { &body[0]["error"] } else { &body["error"] };
        assert_eq!(error["code"], self.status.as_u16());
        assert_eq!(self.headers["content-type"], "application/json; charset=UTF-8");
        error.clone()
    }

    fn is_front_end_page(&self) -> bool {
        self.headers["content-type"] == "text/html; charset=UTF-8"
            && self.body.len() == 1561
            && self.text().contains("<title>Error 404 (Not Found)!!1</title>")
    }
}

/// An emulator, a client and a token.
struct Bench {
    emulator: Emulator,
    client: TestClient,
    token: String,
}

impl Bench {
    async fn new() -> Self {
        Self::over(Emulator::start().await.unwrap(), Version::HTTP_11)
    }

    fn over(emulator: Emulator, version: Version) -> Self {
        let client = client_for(&emulator, version);
        let token = emulator.mint();
        Self { emulator, client, token }
    }

    async fn open(&self, request: Request<Body>) -> http::Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, version: parts.version, headers: parts.headers, body }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let bearer = format!("Bearer {}", self.token);
        let uri = format!("{}{path}", self.emulator.url());
        Request::builder().method(method).uri(uri).header("authorization", bearer)
    }

    async fn post(&self, path: &str, body: impl ToString) -> Answer {
        let request = self.request(Method::POST, path).body(full(body.to_string()));
        self.send(request.unwrap()).await
    }

    async fn chat(&self) -> Answer {
        self.post(CHAT, hello()).await
    }

    async fn open_stream(&self) -> Incoming {
        let mut body = hello();
        body["stream"] = true.into();
        let request = self.request(Method::POST, CHAT).body(full(body.to_string()));
        self.open(request.unwrap()).await.into_body()
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).body(full("")).unwrap()).await
    }

    /// Calls `/__emulator/`, without a credential.
    async fn control(&self, method: &str, what: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let uri = format!("{}/__emulator/{what}", self.emulator.control_url());
        self.send(Request::builder().method(method).uri(uri).body(full(body)).unwrap()).await
    }

    async fn ask_for_token(&self, body: String) -> Answer {
        let uri = format!("{}/token", self.emulator.control_url());
        self.send(Request::post(uri).body(full(body)).unwrap()).await
    }

    async fn metadata(&self, path: &str) -> Answer {
        let uri = format!("{}{path}", self.emulator.control_url());
        let request = Request::get(uri).header("metadata-flavor", "Google");
        self.send(request.body(full("")).unwrap()).await
    }

    fn set_stream(&self, stream: StreamBehavior) {
        self.emulator.set_faults(Faults { stream, ..Faults::default() });
    }
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

fn hello() -> Value {
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hello" }] })
}

/// A request for a chat, with further fields.
fn chat_with(model: &str, messages: &[Value], more: Value) -> Value {
    let mut body = json!({ "model": model, "messages": messages });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn user(content: impl Into<Value>) -> Value {
    json!({ "role": "user", "content": content.into() })
}

/// The result of a call.
fn result_of(call: &Value, content: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": call["id"], "content": content })
}

/// Tools with these names and without parameters.
fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| json!({ "type": "function", "function": { "name": name } });
    names.iter().map(tool).collect()
}

fn sha256(data: &[u8]) -> String {
    digest(&SHA256, data).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The data of the events in a stream.
fn events(text: &str) -> Vec<&str> {
    assert!(text.ends_with("\n\n"));
    let events = text.split_terminator("\n\n");
    events.map(|event| event.split_once("data: ").unwrap().1).collect()
}

/// The parsed data of the events, without the end mark.
fn json_events(text: &str) -> Vec<Value> {
    let events = events(text).into_iter().filter(|event| *event != "[DONE]");
    events.map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// Waits for a condition instead of a fixed time.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(20), future).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"))
}
