//! The paths of Vertex AI's own, of the Gemini API and of Anthropic's: the keys of clients, the models
//! of a key, errors in the form of the client, and the usage.

mod errors;
mod hostile;
mod keys;
mod lists;
mod streams;

use std::{fs, process::Stdio};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tower_vertex::route::Protocol;
use tower_vertex_emulator::Emulator;

use crate::common::{
    eventually,
    gateway::{Gateway, before},
    put, text,
};

/// No response, no log and no request upstream may contain one of these.
const ALICE: &str = "sk-alice-SECRET-0123456789";
const BOB: &str = "sk-bob-SECRET-0123456789";

const GEMINI: &str = "gemini-2.5-flash";
const CLAUDE: &str = "claude-opus-4-5";
const GPT: &str = "gpt-5.5";

/// A sidecar with a log, and the emulator behind it.
struct Place {
    files: TempDir,
    vertex: Emulator,
}

impl Place {
    async fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        put(files.path(), "keys", &format!("alice:{ALICE}\nbob:{BOB}\n"));
        Self { files, vertex: Emulator::start().await.unwrap() }
    }

    /// Starts a sidecar whose clients need keys.
    async fn start(&self, config: &str, options: &[&str]) -> Gateway {
        self.start_to(&self.vertex.url(), config, options).await
    }

    async fn start_to(&self, upstream: &str, config: &str, options: &[&str]) -> Gateway {
        let config = put(self.files.path(), "gateway.toml", config);
        let keys = self.path("keys");
        let with_keys = ["--client-key-file", &keys, "--config", &config];
        self.open(upstream, &[&with_keys, options].concat()).await
    }

    /// Starts a sidecar without keys.
    async fn open(&self, upstream: &str, options: &[&str]) -> Gateway {
        let (mut command, _key) = before(&self.vertex, upstream, options);
        command.stderr(Stdio::from(fs::File::create(self.path("log")).unwrap()));
        Gateway::start(command).await
    }

    fn path(&self, name: &str) -> String {
        self.files.path().join(name).to_str().unwrap().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits for a line of the log that contains this text, and returns the line.
    async fn logged(&self, what: &str) -> String {
        eventually(what, || self.log().contains(what)).await;
        self.log().lines().find(|line| line.contains(what)).unwrap().to_owned()
    }
}

/// A request with a body of JSON.
fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Full::from(body.to_string())).unwrap()
}

fn with(
    mut request: Request<Full<Bytes>>,
    name: &'static str,
    value: &str,
) -> Request<Full<Bytes>> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

fn of_key(request: Request<Full<Bytes>>, key: &str) -> Request<Full<Bytes>> {
    with(request, "authorization", &format!("Bearer {key}"))
}

/// A request for a model in each form of its protocol.
fn every_form(protocol: Protocol, model: &str) -> Vec<(String, Value)> {
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "x" }] }] });
    let messages = json!({
        "model": model, "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }],
    });
    let mut in_path = messages.clone();
    in_path.as_object_mut().unwrap().remove("model");
    in_path["anthropic_version"] = "vertex-2023-10-16".into();
    let input = json!({ "model": model, "input": "x" });
    let paths: &[(&str, &Value)] = match protocol {
        Protocol::Gemini => &[
            ("/v1beta/models/{M}:generateContent", &contents),
            ("/v1/models/{M}:streamGenerateContent?alt=sse", &contents),
            ("/v1alpha/models/{M}:generateContent", &contents),
            ("/models/{M}:countTokens", &contents),
            ("/v1beta/models/google/{M}:generateContent", &contents),
            ("/v1/publishers/google/models/{M}:generateContent", &contents),
            ("/publishers/google/models/{M}:generateContent", &contents),
            ("/v1beta1/projects/x/locations/y/publishers/google/models/{M}:predict", &contents),
            (
                "/v1/projects/p1/locations/us-central1/publishers/google/models/{M}:embedContent",
                &contents,
            ),
            ("/projects/x/locations/y/publishers/google/models/{M}:generateContent", &contents),
        ],
        Protocol::Anthropic => &[
            ("/v1/messages", &messages),
            ("/messages", &messages),
            ("/v1/messages?beta=true", &messages),
            ("/v1/messages/count_tokens", &messages),
            ("/v1/publishers/anthropic/models/{M}:rawPredict", &in_path),
            ("/v1/projects/x/locations/y/publishers/anthropic/models/{M}:rawPredict", &in_path),
            ("/projects/x/locations/y/publishers/anthropic/models/{M}:rawPredict", &in_path),
            ("/v1/publishers/anthropic/models/count-tokens:rawPredict", &messages),
        ],
        _ => &[
            ("/v1/publishers/openai/v1/responses", &input),
            ("/publishers/openai/v1/responses/compact", &input),
            ("/v1/projects/x/locations/y/publishers/openai/v1/responses", &input),
        ],
    };
    paths.iter().map(|(path, body)| (path.replace("{M}", model), (*body).clone())).collect()
}

/// The code and the message of an error of the gateway in the form of this protocol. Any other
/// response fails the test.
async fn refusal(protocol: Protocol, response: Response<Incoming>) -> (u16, String, String) {
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = text(response).await;
    let body: Value = serde_json::from_str(&body).expect(&body);
    assert!(!body.to_string().contains("SECRET"), "{body}");
    let error = &body["error"];
    let code = match protocol {
        Protocol::Gemini => {
            assert_eq!(error["code"], status.as_u16(), "{body}");
            assert!(error["status"].is_string() && body.get("type").is_none(), "{body}");
            let info = &error["details"][0];
            assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{body}");
            info["reason"].as_str().expect("a reason").to_lowercase()
        }
        Protocol::Anthropic => {
            assert_eq!(body["type"], "error", "{body}");
            assert!(error["type"].is_string() && error.get("param").is_none(), "{body}");
            error["details"]["error_code"].as_str().expect("a code").to_owned()
        }
        _ => {
            assert!(error["type"].is_string() && error["param"].is_null(), "{body}");
            error["code"].as_str().expect("a code").to_owned()
        }
    };
    (status.as_u16(), code, error["message"].as_str().expect("a message").to_owned())
}

/// Responds to the first request on a socket with these bytes and closes the connection. Returns the
/// request up to the end of its headers.
async fn respond(listener: &TcpListener, response: &str) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    let head = loop {
        assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "the request ended early");
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                break head.to_owned();
            }
        }
    };
    socket.write_all(response.as_bytes()).await.unwrap();
    head
}

/// A response whose body ends with the connection, or is cut off if a chunk is incomplete.
fn chunked(kind: &str, chunks: &[&str], is_complete: bool) -> String {
    let mut response =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in chunks {
        response.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    }
    if is_complete {
        response.push_str("0\r\n\r\n");
    }
    response
}
