//! Protection against strangers: keys and their rules, malformed requests, and TLS. The records of
//! the emulator show which requests went upstream.

mod connections;
#[cfg(target_os = "linux")]
mod drips;
mod forwarding;
mod keys;
mod pages;
mod smuggling;
mod start;
mod tls;

use std::{fs, path::Path, process::Stdio};

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;
use tempfile::TempDir;
use tower_vertex_emulator::Emulator;

use crate::common::{
    certificates::Pair,
    chat, eventually,
    gateway::{Gateway, before, openai_error},
    put,
};

/// No response, no log and no request upstream may contain one of these.
const ALICE: &str = "sk-alice-SECRET-0123456789";
const BOB: &str = "sk-bob-SECRET-0123456789";

/// The files of a sidecar, including its log.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with_keys() -> Self {
        let files = Self::new();
        files.write("keys", &format!("# clients\n\nalice:{ALICE}\nbob:{BOB}\n"));
        files
    }

    fn write(&self, name: &str, text: &str) -> String {
        put(self.0.path(), name, text)
    }

    /// Writes the files of a certificate and its key, and returns their paths.
    fn write_pair(&self, name: &str, (cert, key): Pair) -> (String, String) {
        (self.write(&format!("{name}.pem"), &cert), self.write(&format!("{name}.key"), &key))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(Path::new(&self.path("log"))).unwrap()
    }

    /// Waits until the log contains a text this many times. A thread of its own writes the log.
    async fn told(&self, times: usize, what: &str) {
        let told = || self.log().matches(what).count();
        eventually(&format!("{times} times in the log: {what}"), || told() >= times).await;
    }

    /// Starts a sidecar in front of `vertex`, with its log in a file.
    async fn start(&self, vertex: &Emulator, options: &[&str]) -> Gateway {
        self.start_to(vertex, &vertex.url(), options).await
    }

    async fn start_to(&self, vertex: &Emulator, upstream: &str, options: &[&str]) -> Gateway {
        let (mut command, _key) = before(vertex, upstream, options);
        let log = fs::File::create(self.path("log")).unwrap();
        command.stderr(Stdio::from(log));
        Gateway::start(command).await
    }
}

fn bearer(key: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {key}")).unwrap()
}

/// A chat with this key.
fn chat_of(key: &str) -> Request<Full<Bytes>> {
    let mut request = chat("x");
    request.headers_mut().insert("authorization", bearer(key));
    request
}

/// A chat with this key and this model.
fn chat_with(key: &str, model: &str) -> Request<Full<Bytes>> {
    let body = serde_json::json!({
        "model": model, "messages": [{ "role": "user", "content": "x" }],
    });
    let request = Request::post("/v1/chat/completions").header("authorization", bearer(key));
    request.body(Full::from(body.to_string())).unwrap()
}

/// The status and the code of an error.
async fn error_of(gateway: &Gateway, request: Request<Full<Bytes>>) -> (u16, String) {
    let (status, code, message) = openai_error(gateway.call(request).await).await;
    assert!(!message.contains("SECRET"), "{message}");
    (status, code)
}

/// Repeats the request until the response has this status.
async fn until_status(gateway: &Gateway, status: u16, request: impl Fn() -> Request<Full<Bytes>>) {
    for _ in 0..1000 {
        if gateway.call(request()).await.status() == status {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no response had the status {status}");
}
