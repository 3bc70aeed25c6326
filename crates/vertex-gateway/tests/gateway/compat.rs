//! Cures of the sidecar, from a user's view.

use std::{
    collections::VecDeque,
    fs,
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tower_vertex_emulator::Emulator;

use crate::common::{
    gateway::{self, Gateway, Log, command},
    text,
    vitals::Admin,
};

const MODEL: &str = "google/gemini-3.1-pro-preview";

/// A response: its status, its type and its body.
type Reply = (StatusCode, &'static str, String);

/// A stand-in for Vertex AI, which records the bodies of requests and returns the responses of a
/// script.
#[derive(Clone, Default)]
struct Upstream {
    bodies: Arc<Mutex<Vec<Bytes>>>,
    next: Arc<Mutex<VecDeque<Reply>>>,
}

impl Upstream {
    /// Returns the URL too.
    async fn start() -> (Self, String) {
        let this = Self::default();
        let app = Router::new().fallback(Self::respond).with_state(this.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (this, url)
    }

    async fn respond(State(this): State<Self>, body: Bytes) -> axum::response::Response {
        this.bodies.lock().unwrap().push(body);
        let next = this.next.lock().unwrap().pop_front();
        let (status, kind, body) =
            next.unwrap_or((StatusCode::OK, "application/json", "{}".into()));
        (status, [(CONTENT_TYPE, kind)], body).into_response()
    }

    fn next(&self, status: StatusCode, kind: &'static str, body: impl Into<String>) {
        self.next.lock().unwrap().push_back((status, kind, body.into()));
    }

    /// The body of the only request since the last call.
    fn body(&self) -> String {
        let mut bodies = std::mem::take(&mut *self.bodies.lock().unwrap());
        assert_eq!(bodies.len(), 1);
        String::from_utf8(bodies.remove(0).to_vec()).unwrap()
    }
}

async fn send(gateway: &Gateway, key: &str, body: impl Into<String>) -> Response<Incoming> {
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"));
    gateway.call(request.body(Full::from(body.into())).unwrap()).await
}

/// A request, a response and a stream that every cure would change.
const REQUEST: &str = r#"{ "model": "google/gemini-3.1-pro-preview", "google": {"thinking_config": {}}, "reasoning_effort": "none",
 "max_tokens": -1, "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "f"}},
 "messages": [{"role": "developer", "content": "a"}, {"role": "system", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
 {"role": "user", "content": "hi"}, {"role": "assistant", "content": "x", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]}"#;
const RESPONSE: &str = r#"{"choices":[{"index":0,"finish_reason":"content_filter: SAFETY"}],  "usage":{"total_tokens":1}}"#;
const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"a\"},\"index\":0}]}\n\n\
    data: : keepalive\n\n\
    data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"b\"},\"index\":0}]}\n\n\
    data: [DONE]\n\n";

#[tokio::test]
async fn with_compat_off_every_byte_of_a_request_and_of_its_response_is_kept() {
    let vertex = Emulator::start().await.unwrap();
    let (upstream, url) = Upstream::start().await;
    let (command, _key) = gateway::before(&vertex, &url, &["--compat", "off"]);
    let gateway = Gateway::start(command).await;
    for (status, kind, body) in [
        (StatusCode::OK, "application/json", RESPONSE),
        (StatusCode::OK, "text/event-stream", STREAM),
        (StatusCode::BAD_REQUEST, "application/json", MISSING),
    ] {
        upstream.next(status, kind, body);
        let response = send(&gateway, "any", REQUEST).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get("x-vertex-compat"), None);
        assert_eq!(upstream.body(), REQUEST);
        let length = response.headers().get("content-length").cloned();
        let returned = text(response).await;
        if status == StatusCode::OK {
            assert_eq!(returned, body);
            assert_eq!(length.unwrap(), body.len().to_string());
        }
    }
}

const MISSING: &str = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"Unable to submit request because function call `default_api:f` in the 2. content block is missing a `thought_signature`."}}"#;

#[tokio::test]
async fn a_cure_is_turned_off_by_its_name_and_a_wrong_name_is_refused() {
    let vertex = Emulator::start().await.unwrap();
    let (upstream, url) = Upstream::start().await;
    let options = ["--compat", "on,-merge_system_messages,-max_tokens"];
    let (command, _key) = gateway::before(&vertex, &url, &options);
    let gateway = Gateway::start(command).await;
    let response = send(&gateway, "any", REQUEST).await;
    assert_eq!(
        response.headers()["x-vertex-compat"],
        "developer_role, extra_body, effort_conflict, empty_parts, tool_choice",
    );
    let sent = upstream.body();
    let value: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(value["max_tokens"], -1);
    assert_eq!(value["messages"][0], json!({ "role": "system", "content": "a" }));
    assert_eq!(value["messages"][1]["content"], json!([{ "type": "text", "text": "b" }]));

    let output = command_with(&["--compat", "on,-merge"]).await;
    assert_eq!(output.0, Some(2), "{}", output.1);
    assert!(
        output.1.contains("invalid --compat: give on, off, all, or names of role,"),
        "{}",
        output.1
    );
}

/// The exit code of a sidecar that does not start, and its error.
async fn command_with(options: &[&str]) -> (Option<i32>, String) {
    let args = [&["--emulator", "--listen", "127.0.0.1:0"], options].concat();
    let output = command(&args).output().await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_lost_signature_is_healed_by_the_placeholder_and_counted() {
    let vertex = Emulator::start().await.unwrap();
    let (upstream, url) = Upstream::start().await;
    let options = ["--admin-listen", "127.0.0.1:0", "--log-format", "json"];
    let (mut command, _key) = gateway::before(&vertex, &url, &options);
    command.stderr(Stdio::piped());
    let mut gateway = Gateway::start(command).await;
    let admin = Admin::of(&mut gateway).await;
    let mut log = Log::of(&mut gateway);
    upstream.next(StatusCode::BAD_REQUEST, "application/json", MISSING);
    upstream.next(
        StatusCode::OK,
        "application/json",
        r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#,
    );
    let response = send(&gateway, "any", conversation("lost")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-vertex-compat"], "placeholder_signature");
    assert_eq!(response.headers()["x-vertex-gateway-attempts"], "2");
    text(response).await;
    let metrics = admin.metrics().await;
    for (result, count) in [("restored", 0.0), ("placeholder", 1.0), ("missing", 1.0)] {
        let labels = format!("result=\"{result}\"");
        assert_eq!(metrics.sum("vertex_gateway_signatures_total", &labels), count, "{result}");
    }
    assert_eq!(metrics.sum("vertex_gateway_input_tokens_total", ""), 7.0);
    let line = log.until(r#""message":"request""#).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["status"], &line["attempts"]), (&json!(200), &json!(2)), "{line}");
}

/// A conversation whose last step called a tool with this id, as most clients send it back.
fn conversation(id: &str) -> String {
    let call =
        json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let messages = json!([
        { "role": "user", "content": "hi" },
        { "role": "assistant", "tool_calls": [call] },
        { "role": "tool", "tool_call_id": id, "content": "1" },
    ]);
    json!({ "model": MODEL, "messages": messages }).to_string()
}

/// Whether the first call of the request that arrived has this signature.
fn signature(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap();
    body["messages"][1]["tool_calls"][0]["extra_content"]["google"]["thought_signature"].clone()
}

#[cfg(unix)]
#[tokio::test]
async fn a_signature_returns_to_the_key_that_received_it_also_after_a_reload() {
    let vertex = Emulator::start().await.unwrap();
    let (upstream, url) = Upstream::start().await;
    let keys = tempfile::NamedTempFile::new().unwrap();
    fs::write(keys.path(), "one:sk-one-0123456789\ntwo:sk-two-0123456789\n").unwrap();
    let options = ["--client-key-file", keys.path().to_str().unwrap()];
    let (mut command, _key) = gateway::before(&vertex, &url, &options);
    command.stderr(Stdio::piped());
    let mut gateway = Gateway::start(command).await;
    let mut log = Log::of(&mut gateway);
    let (one, two) = ("sk-one-0123456789", "sk-two-0123456789");

    let extra = json!({ "google": { "thought_signature": "SIGNATURE" } });
    let call = json!({ "id": "call-1", "type": "function", "function": { "name": "f", "arguments": "{}" }, "extra_content": extra });
    let message = json!({ "role": "assistant", "tool_calls": [call] });
    let response =
        json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "tool_calls" }] });
    upstream.next(StatusCode::OK, "application/json", response.to_string());
    let first = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] });
    let response = text(send(&gateway, one, first.to_string()).await).await;
    assert!(response.contains("SIGNATURE"), "{response}");
    upstream.body();

    let response = send(&gateway, two, conversation("call-1")).await;
    assert_eq!(response.headers().get("x-vertex-compat"), None);
    assert_eq!(signature(&upstream.body()), Value::Null);
    for reloaded in [false, true] {
        if reloaded {
            let id = gateway.child.id().unwrap().to_string();
            let killed = std::process::Command::new("kill").args(["-HUP", &id]).status();
            assert!(killed.unwrap().success());
            log.until("client keys reloaded").await;
        }
        let response = send(&gateway, one, conversation("call-1")).await;
        assert_eq!(response.headers()["x-vertex-compat"], "signatures");
        assert_eq!(signature(&upstream.body()), "SIGNATURE");
    }
}
