//! The clients: some of every kind of request that a sidecar gets, some of them aborted.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::BoxError;

pub const KEY: &str = "sk-soak-0123456789abcdef";
const MODEL: &str = "google/gemini-2.5-flash";
/// The pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(50);

/// The number of requests by kind and outcome.
pub type Outcomes = Arc<Mutex<BTreeMap<(&'static str, u16), u64>>>;

/// A request without a whole response: the client closed it, or it failed.
pub const ABORTED: u16 = 499;
pub const FAILED: u16 = 0;

type Http = Client<HttpConnector, Full<Bytes>>;

fn client(number: usize) -> Http {
    let mut builder = Client::builder(TokioExecutor::new());
    // Every third client uses HTTP/2.
    builder.http2_only(number.is_multiple_of(3)).build_http()
}

/// A client that works until then.
pub async fn work(number: usize, addr: SocketAddr, until: Instant, outcomes: Outcomes) {
    let mut http = client(number);
    let mut sent = number * 7;
    while Instant::now() < until {
        let kind = kind(sent);
        if kind == "new connection" {
            http = client(number);
        }
        let status = send(&http, addr, kind, sent).await.unwrap_or(FAILED);
        if let Ok(mut outcomes) = outcomes.lock() {
            *outcomes.entry((kind, status)).or_default() += 1;
        }
        sent += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The product mixes the kinds: each of the hundred remainders occurs once in a hundred requests.
fn kind(number: usize) -> &'static str {
    match number * 37 % 100 {
        0..2 => "wrong key",
        2..4 => "unknown model",
        4..6 => "not JSON",
        6..8 => "body of 1 MiB",
        8..11 => "list of models",
        11..20 => "aborted stream",
        20..24 => "new connection",
        24..28 => "Gemini's protocol",
        28..36 => "embeddings",
        36..64 => "stream",
        _ => "chat",
    }
}

async fn send(http: &Http, addr: SocketAddr, kind: &str, number: usize) -> Result<u16, BoxError> {
    let text = format!("request {number} of a long day");
    let text = if kind == "body of 1 MiB" { text.repeat(40_000) } else { text };
    let model = if kind == "unknown model" { "google/nothing" } else { MODEL };
    let streaming = matches!(kind, "stream" | "aborted stream");
    let (method, path, body) = match kind {
        "list of models" => (Method::GET, "v1/models", String::new()),
        "not JSON" => (Method::POST, "v1/chat/completions", "{\"model\": ".to_owned()),
        "embeddings" => (
            Method::POST,
            "v1/embeddings",
            format!(
                r#"{{"model":"google/gemini-embedding-001","input":"{text}","dimensions":16}}"#
            ),
        ),
        "Gemini's protocol" => (
            Method::POST,
            "v1beta/models/gemini-2.5-flash:generateContent",
            format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{text}"}}]}}]}}"#),
        ),
        _ => (
            Method::POST,
            "v1/chat/completions",
            format!(
                r#"{{"model":"{model}","stream":{streaming},"messages":[{{"role":"user","content":"{text}"}}]}}"#
            ),
        ),
    };
    let key = if kind == "wrong key" { "sk-of-no-one-0123456789" } else { KEY };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{addr}/{path}"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Full::from(body))?;
    let response = http.request(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    if kind == "aborted stream" && status == StatusCode::OK {
        // Dropping the body closes the connection, or resets the stream over HTTP/2.
        let _ = body.frame().await;
        return Ok(ABORTED);
    }
    body.collect().await?;
    Ok(status.as_u16())
}

/// Whether a sidecar that works may have this outcome. The emulator is made to return 503 now and
/// then, and a key may lose the list of models for a moment while the files change.
pub fn is_expected(kind: &str, status: u16) -> bool {
    match kind {
        "wrong key" => status == 401,
        "unknown model" => matches!(status, 404 | 503),
        "not JSON" => status == 400,
        "aborted stream" => matches!(status, ABORTED | 503),
        _ => matches!(status, 200 | 503),
    }
}
