//! The parts of a request that go to Vertex AI, and the parts of its response that go to the
//! client.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tower_vertex_emulator::Emulator;

use super::{Files, openai_error};
use crate::common::{Http, chat, chat_stream, in_time, text};

const OPENAPI: &str = "/v1/projects/p1/locations/us-central1/endpoints/openapi";

/// A server that sends the same response to each request, and records the requests.
struct Upstream {
    addr: SocketAddr,
    came: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    async fn answering(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, came) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let (answer, written) = (answer.to_owned(), Arc::clone(&came));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                while !is_whole(&read) && socket.read_buf(&mut read).await.unwrap_or(0) > 0 {}
                written.lock().unwrap().push(String::from_utf8_lossy(&read).into_owned());
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { addr, came }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The only request that arrived.
    fn only(&self) -> String {
        let mut came = std::mem::take(&mut *self.came.lock().unwrap());
        assert_eq!(came.len(), 1, "{came:?}");
        came.remove(0)
    }
}

fn is_whole(read: &[u8]) -> bool {
    let read = String::from_utf8_lossy(read).to_lowercase();
    let Some((head, body)) = read.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";

/// The names of the headers of a request, as it arrived.
fn names(came: &str) -> Vec<String> {
    let head = came.split_once("\r\n\r\n").unwrap().0;
    let names = head.lines().skip(1).map(|line| line.split(':').next().unwrap().to_lowercase());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn secrets_and_addresses_of_a_client_are_not_forwarded_over_both_protocols() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = Upstream::answering(OK).await;
    let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
    for http in [Http::One, Http::Two] {
        let mut request = chat("x");
        for name in [
            "cookie",
            "forwarded",
            "from",
            "referer",
            "via",
            "accept-language",
            "cdn-loop",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-client-cert",
            "x-forwarded-access-token",
            "x-real-ip",
            "x-api-key",
            "x-client-ip",
            "true-client-ip",
            "x-goog-iap-jwt-assertion",
            "x-goog-authenticated-user-email",
            "x-serverless-authorization",
            "x-amzn-oidc-data",
            "cf-access-jwt-assertion",
            "x-auth-request-access-token",
            "x-goog-quota-user",
            "x-goog-user-project",
            "x-goog-fieldmask",
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-stainless-os",
            "openai-organization",
            "x-nobody-has-thought-of",
        ] {
            request.headers_mut().append(name, "SECRET".parse().unwrap());
        }
        for name in ["accept", "user-agent", "idempotency-key", "x-vertex-ai-labels"] {
            request.headers_mut().append(name, "kept".parse().unwrap());
        }
        assert_eq!(gateway.call_over(http, &mut request).await.status(), StatusCode::OK);
        let came = upstream.only();
        assert!(!came.contains("SECRET"), "{came}");
        let expected = [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "idempotency-key",
            "user-agent",
            "x-vertex-ai-labels",
        ];
        let names = names(&came);
        let others: Vec<_> =
            names.iter().filter(|name| !expected.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{http:?}: {others:?}");
        for name in
            ["accept", "authorization", "user-agent", "idempotency-key", "x-vertex-ai-labels"]
        {
            assert!(names.iter().any(|there| there == name), "{http:?}: {came}");
        }
    }
}

#[tokio::test]
async fn a_connection_header_removes_no_header_of_the_configuration() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = Upstream::answering(OK).await;
    let config = files.write(
        "gateway.toml",
        "[[model]]\nname = \"m\"\n\
         headers = { X-Vertex-AI-LLM-Request-Type = \"shared\", X-Of-The-Entry = \"1\" }\n",
    );
    let gateway = files.start_to(&vertex, &upstream.url(), &["--config", &config]).await;
    let body = r#"{"model":"m"}"#;
    let answer = gateway
        .raw(
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
                 Connection: close, x-vertex-ai-llm-request-type, x-of-the-entry, x-request-id\r\n\
                 X-Request-Id: r\r\nX-Vertex-AI-LLM-Request-Type: dedicated\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let came = upstream.only().to_lowercase();
    assert!(came.contains("\r\nx-vertex-ai-llm-request-type: shared\r\n"), "{came}");
    assert!(came.contains("\r\nx-of-the-entry: 1\r\n"), "{came}");
    assert!(!came.contains("dedicated") && !came.contains("x-request-id"), "{came}");
}

#[tokio::test]
async fn a_setting_forwards_more_headers_and_parameters() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = Upstream::answering(OK).await;
    let config = files.write("gateway.toml", "forward_query = [\"tenant\"]\n");
    let options = [
        "--config",
        &config,
        "--forward-header",
        "X-Mine",
        "--forward-header",
        "X-Goog-User-Project",
    ];
    let gateway = files.start_to(&vertex, &upstream.url(), &options).await;
    let mut request = chat("x");
    *request.uri_mut() = "/v1/chat/completions?tenant=1&other=SECRET".parse().unwrap();
    for (name, value) in [("x-mine", "1"), ("x-goog-user-project", "payer"), ("x-other", "SECRET")]
    {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
    let came = upstream.only().to_lowercase();
    assert!(came.starts_with(&format!("post {OPENAPI}/chat/completions?tenant=1 ")), "{came}");
    assert!(
        came.contains("\r\nx-mine: 1\r\n") && came.contains("\r\nx-goog-user-project: payer\r\n")
    );
    assert!(!came.contains("secret"), "{came}");
    for option in
        ["--forward-header=host", "--forward-header=x-goog-api-key", "--forward-query=$key"]
    {
        let (mut command, _key) = super::before(&vertex, &upstream.url(), &[option]);
        let output = in_time("the end of the process", command.output()).await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{option}: {error}");
        assert!(error.contains("to forward"), "{option}: {error}");
    }
}

#[tokio::test]
async fn googles_system_parameters_are_not_forwarded_in_any_spelling() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = Upstream::answering(OK).await;
    let options = ["--endpoint", "123"];
    let gateway = files.start_to(&vertex, &upstream.url(), &options).await;
    for path in ["/v1/chat/completions", "/v1/invoke/x"] {
        for pair in [
            "key=S",
            "KEY=S",
            "k%65y=S",
            "%256bey=S",
            "+key=S",
            "%20key=S",
            "a=1;key=S",
            "$key=S",
            "%24key=S",
            "%2524key=S",
            "access_token=S",
            "oauth_token=S",
            "userProject=S",
            "$userProject=S",
            "quotaUser=S",
            "$quotaUser=S",
            "$ct=S",
            "$alt=S",
            "$fields=S",
            "fields=S",
            "callback=S",
            "$callback=S",
            "$httpMethod=S",
            "$httpHeaders=S",
            "prettyPrint=S",
            "$prettyPrint=S",
            "upload_protocol=S",
            "uploadType=S",
            "$.xgafv=S",
            "$anything=S",
            "a%26key=S",
        ] {
            let mut request = chat("x");
            *request.uri_mut() = format!("{path}?{pair}&alt=sse&{pair}").parse().unwrap();
            assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
            let came = upstream.only();
            let target = came.split(' ').nth(1).unwrap();
            assert!(target.ends_with("?alt=sse"), "{path} {pair}: {target}");
        }
    }
    let mut request = chat("x");
    *request.uri_mut() = "/v1/invoke/x?a=b&c".parse().unwrap();
    assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
    assert!(
        upstream.only().contains("/endpoints/123/invoke/x?a=b&c "),
        "a container gets its own parameters"
    );
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_405_and_is_not_forwarded() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &["--endpoint", "123"]).await;
    for (path, allowed) in [
        ("/v1/chat/completions", "POST"),
        ("/v1/embeddings/?x=1", "POST"),
        ("/v1/responses", "POST"),
        ("/v1/responses/r", "GET, HEAD, DELETE"),
        ("/v1/invoke/x", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("/v1/models", "GET, HEAD"),
        ("/v1/models/m", "GET, HEAD"),
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PRI", "LOCK", "PROPFIND",
            "FOO", "post", "get",
        ] {
            if allowed.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 X-HTTP-Method-Override: DELETE\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            let answer = gateway.raw(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            assert!(answer.contains(&format!("\r\nallow: {allowed}\r\n")), "{method}: {answer}");
            if method != "HEAD" {
                assert!(answer.contains(r#""code":"method_not_allowed""#), "{method}: {answer}");
            }
        }
    }
    for http in [Http::One, Http::Two] {
        let trace = Request::builder().method("TRACE").uri("/v1/responses/r");
        let mut trace = trace.body(Full::<Bytes>::default()).unwrap();
        let answer = gateway.call_over(http, &mut trace).await;
        assert_eq!(answer.headers()["allow"], "GET, HEAD, DELETE");
        let (status, code, message) = openai_error(answer).await;
        assert_eq!((status, code.as_str()), (405, "method_not_allowed"));
        assert!(message.contains("TRACE") && message.contains("GET, HEAD, DELETE"), "{message}");
    }
    assert_eq!(vertex.stats().api_requests, 0, "{:?}", vertex.requests());
    files.told(2, "code=\"method_not_allowed\"").await;
}

#[tokio::test]
async fn a_handshake_for_another_protocol_is_426_and_is_not_forwarded() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let gateway = files.start(&vertex, &["--client-key-file", &files.path("keys")]).await;
    let key = super::ALICE;
    for (path, upgrade) in [
        ("/v1/responses", "websocket"),
        ("/v1/responses", "WebSocket"),
        ("/responses?model=m", "websocket"),
        ("/v1/realtime", "websocket"),
        ("/v1/chat/completions", "h2c, websocket"),
        ("/v1/responses", "HTTP/3.0"),
        ("/v1/responses", "TLS/1.3"),
        ("/v1/responses", "connect-udp"),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\
             Authorization: Bearer {key}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
             GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{upgrade}: {answer}");
        let answer_lower = answer.to_lowercase();
        assert!(answer_lower.contains("\r\nupgrade: http/1.1\r\n"), "{upgrade}: {answer}");
        assert!(answer_lower.contains("\r\nconnection: upgrade\r\n"), "{upgrade}: {answer}");
        assert!(answer.contains(r#""code":"upgrade_required""#), "{upgrade}: {answer}");
        assert!(answer.contains("HTTP/1.1 200 OK"), "the connection stays open: {answer}");
    }
    let stranger = "GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n\
                    Upgrade: websocket\r\n\r\n";
    let answer = gateway.raw(stranger.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(vertex.stats().api_requests, 0, "{:?}", vertex.requests());
    files.told(1, "code=\"upgrade_required\"").await;

    // Java's client offers this upgrade with each first request in clear text.
    let body = r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"x"}]}"#;
    let offer = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
         Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = gateway.raw(offer.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let came = &vertex.requests()[0].header_names;
    assert!(!came.iter().any(|name| name == "upgrade" || name == "http2-settings"), "{came:?}");
}

#[tokio::test]
async fn a_response_with_a_length_and_chunks_ends_with_its_chunks() {
    const BODY: &str = r#"{"an":"answer, and all of it is there"}"#;
    let chunks = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    for status in ["200 OK", "500 Internal Server Error"] {
        for lengths in ["content-length: 5\r\n", "content-length: 500\r\n", "content-length: 1\r\n"]
        {
            for order in [
                format!("{lengths}transfer-encoding: chunked\r\n"),
                format!("Transfer-Encoding: chunked\r\n{lengths}"),
            ] {
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{order}\
                     connection: close, content-type\r\n\r\n{chunks}"
                );
                let upstream = Upstream::answering(&answer).await;
                let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
                for http in [Http::One, Http::Two] {
                    let answer = gateway.call_over(http, &mut chat("x")).await;
                    assert!(status.starts_with(answer.status().as_str()));
                    if let Some(length) = answer.headers().get("content-length") {
                        assert_eq!(length, &*BODY.len().to_string(), "{order}");
                    }
                    let body = in_time("the end of the response", answer.into_body().collect())
                        .await
                        .unwrap();
                    assert_eq!(body.to_bytes(), BODY, "{http:?} {order}");
                }
            }
        }
    }
}

#[tokio::test]
async fn equal_lengths_are_merged_and_conflicting_ones_are_a_502() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    for (headers, is_fine) in [
        ("content-length: 2\r\ncontent-length: 2\r\n", true),
        ("content-length: 2, 2\r\n", true),
        ("content-length: 2\r\ncontent-length: 3\r\n", false),
        ("content-length: +2\r\n", false),
        ("transfer-encoding: gzip, chunked\r\n", false),
        ("transfer-encoding: gzip\r\n", false),
        ("transfer-encoding: identity\r\ncontent-length: 2\r\n", false),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n{{}}");
        let upstream = Upstream::answering(&answer).await;
        let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
        let answer = gateway.call(chat("x")).await;
        if is_fine {
            assert_eq!(answer.status(), StatusCode::OK, "{headers}");
            let lengths: Vec<_> = answer.headers().get_all("content-length").iter().collect();
            assert_eq!(lengths, ["2"], "{headers}");
            assert_eq!(text(answer).await, "{}", "{headers}");
        } else {
            let (status, code, _) = openai_error(answer).await;
            assert_eq!((status, code.as_str()), (502, "upstream_reset"), "{headers}");
        }
    }
}

#[tokio::test]
async fn a_response_over_http_1_0_is_forwarded_over_http_1_1() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream =
        Upstream::answering("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{}").await;
    let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
    let body = r#"{"model":"m"}"#;
    let chat = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}\
         GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let answers = gateway.raw(chat.as_bytes()).await;
    assert_eq!(
        answers.matches("HTTP/1.1 200 OK").count(),
        2,
        "the connection stays open: {answers}"
    );
    assert!(!answers.contains("HTTP/1.0"), "{answers}");
}

#[tokio::test]
async fn headers_about_the_upstreams_own_host_are_not_forwarded() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let of_the_host = [
        "Alt-Svc: h3=\":443\"",
        "Set-Cookie: NID=S",
        "Strict-Transport-Security: max-age=31536000",
        "Public-Key-Pins: S",
        "Expect-CT: S",
        "NEL: S",
        "Report-To: S",
        "Reporting-Endpoints: S",
        "Clear-Site-Data: S",
        "Accept-CH: S",
        "Critical-CH: S",
        "Origin-Agent-Cluster: S",
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Credentials: true",
        "Cross-Origin-Opener-Policy-Report-Only: S",
        "Content-Security-Policy: S",
        "Permissions-Policy: S",
        "Timing-Allow-Origin: *",
        "Service-Worker-Allowed: /",
        "X-Accel-Redirect: /etc/passwd",
        "X-Sendfile: /etc/passwd",
        "X-Vertex-Gateway-Attempts: 77",
        "Proxy-Authenticate: Basic",
    ];
    for status in ["200 OK", "403 Forbidden"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\n{}\r\ncontent-type: application/json\r\nx-mine: kept\r\n\
             vary: origin\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}",
            of_the_host.join("\r\n")
        );
        let upstream = Upstream::answering(&answer).await;
        let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
        for http in [Http::One, Http::Two] {
            let answer = gateway.call_over(http, &mut chat("x")).await;
            let mut names: Vec<_> = answer.headers().keys().map(http::HeaderName::as_str).collect();
            names.sort_unstable();
            names.retain(|name| !["date", "connection"].contains(name));
            let expected = [
                "content-length",
                "content-type",
                "vary",
                "x-mine",
                "x-request-id",
                "x-vertex-gateway-attempts",
            ];
            assert_eq!(names, expected, "{status} {http:?}");
            assert_eq!(answer.headers()["x-vertex-gateway-attempts"], "1");
        }
    }
}

#[tokio::test]
async fn trailers_of_the_upstream_are_not_forwarded() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    for trailers in
        ["Set-Cookie: NID=S\r\nX-Vertex-Gateway-Attempts: 77\r\n", "Connection: close\r\n"]
    {
        for kind in ["application/json", "text/event-stream"] {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\
                 trailer: set-cookie\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n{trailers}\r\n"
            );
            let upstream = Upstream::answering(&answer).await;
            let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
            for http in [Http::One, Http::Two] {
                let mut request = chat("x");
                request.headers_mut().insert("te", "trailers".parse().unwrap());
                let answer = gateway.call_over(http, &mut request).await;
                let body = in_time("the whole body", answer.into_body().collect()).await.unwrap();
                assert_eq!(body.trailers(), None, "{http:?} {kind}");
                assert_eq!(body.to_bytes(), "data: x\n\n", "{http:?} {kind}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_of_events_disables_buffering_in_proxies() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &[]).await;
    let answer = gateway.call(chat_stream("x")).await;
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    assert!(!gateway.call(chat("x")).await.headers().contains_key("x-accel-buffering"));
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\
         Cache-Control: private\r\nconnection: close\r\n\r\ndata: [DONE]\n\n",
    )
    .await;
    let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
    let answer = gateway.call(chat_stream("x")).await;
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    assert_eq!(answer.headers()["cache-control"], "private");
}

const ENTRIES: &str = r#"
[[model]]
name = "mine"
location = "us-east4"
endpoint = "123"

[[model]]
name = "twice"
model = "gemini-2.5-flash"
locations = ["us-east1", "us-west1"]
"#;

#[tokio::test]
async fn the_full_path_of_a_configured_endpoint_is_served() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let config = files.write("gateway.toml", ENTRIES);
    let options = ["--config", &config, "--max-attempts", "2"];
    let gateway = files.start(&vertex, &options).await;
    let of = |location: &str, id: &str| format!("projects/p1/locations/{location}/endpoints/{id}");
    let chat_with = |path: &str, model: &str| {
        let body = serde_json::json!({
            "model": model, "messages": [{ "role": "user", "content": "x" }],
        });
        Request::post(path).body(Full::<Bytes>::from(body.to_string())).unwrap()
    };
    let (base, mine) = (of("us-central1", "openapi"), of("us-east4", "123"));
    for (path, model, goes) in [
        (format!("/v1/{base}/chat/completions"), "google/gemini-2.5-flash", &base),
        (format!("/v1beta1/{base}/chat/completions"), "gemini-2.5-flash", &base),
        (format!("/v1/{base}/chat/completions/"), "gemini-2.5-flash", &base),
        // With the base path of all requests, the model selects the destination.
        (format!("/v1/{base}/chat/completions"), "mine", &mine),
        (format!("/v1/{mine}/chat/completions"), "mine", &mine),
        (format!("/v1/{mine}/chat/completions"), "", &mine),
        (format!("/v1/{mine}/chat/completions"), "whatever", &mine),
        (
            format!("/v1/{}/chat/completions", of("us-west1", "openapi")),
            "twice",
            &of("us-east1", "openapi"),
        ),
    ] {
        let answer = gateway.call(chat_with(&path, model)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path} {model}");
        let went = vertex.requests().pop().unwrap().path;
        assert_eq!(went, format!("/v1/{goes}/chat/completions"), "{path} {model}");
    }
    let request = Request::get(format!("/v1/{base}/models")).body(Full::default()).unwrap();
    assert!(text(gateway.call(request).await).await.contains(r#""id":"mine""#));
    let request =
        Request::get(format!("/v1/{base}/chat/completions")).body(Full::default()).unwrap();
    assert_eq!(openai_error(gateway.call(request).await).await.0, 405);

    let before = vertex.stats().api_requests;
    for (path, model, said) in [
        (
            format!("/v1/{}/chat/completions", of("europe-west4", "openapi")),
            "m",
            vec!["europe-west4", &base, &mine],
        ),
        (
            format!("/v1/{}/chat/completions", base.replace("p1", "other")),
            "m",
            vec!["projects/other/", &base],
        ),
        (
            format!("/v1/{}/chat/completions", of("us-central1", "77")),
            "m",
            vec!["endpoints/77", &base],
        ),
        // The model has another destination than the path.
        (format!("/v1/{mine}/chat/completions"), "twice", vec![&*mine, "twice"]),
    ] {
        let (status, code, message) =
            openai_error(gateway.call(chat_with(&path, model)).await).await;
        assert_eq!((status, code.as_str()), (404, "resource_not_served"), "{path}: {message}");
        for said in said {
            assert!(message.contains(said), "{path}: {message}");
        }
    }
    for path in
        [format!("/v1/{base}/../x"), format!("/v1/{base}/%2e%2e/x"), format!("/v1/{base}//x")]
    {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(answer.contains(r#""code":"invalid_path""#), "{path}: {answer}");
    }
    assert_eq!(vertex.stats().api_requests, before, "{:?}", vertex.requests());
}

#[tokio::test]
async fn an_extra_slash_is_accepted_at_the_end_and_explained_elsewhere() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &[]).await;
    for path in ["/v1/chat/completions/", "/chat/completions/"] {
        let mut request = chat("x");
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(gateway.call(request).await.status(), StatusCode::OK, "{path}");
        let went = vertex.requests().pop().unwrap().path;
        assert_eq!(went, format!("{OPENAPI}/chat/completions"));
    }
    let mut request = chat("x");
    *request.uri_mut() = "/v1//chat/completions".parse().unwrap();
    let (status, code, message) = openai_error(gateway.call(request).await).await;
    assert_eq!((status, code.as_str()), (400, "invalid_path"));
    assert!(message.contains("does the client's base URL end with a slash?"), "{message}");
    assert_eq!(vertex.stats().api_requests, 2);
}

#[tokio::test]
async fn a_404_for_an_unknown_model_has_a_remedy() {
    let models = ["google/gemini-2.5-flash"];
    let vertex = Emulator::builder().models(models).start().await.unwrap();
    let files = Files::new();
    let gateway = files.start(&vertex, &[]).await;
    let ask = |gateway, model: &str| {
        let body = serde_json::json!({
            "model": model, "messages": [{ "role": "user", "content": "x" }],
        });
        let request = Request::post("/v1/chat/completions");
        let request = request.body(Full::<Bytes>::from(body.to_string())).unwrap();
        async move { super::Gateway::call(gateway, request).await }
    };
    let listed = Request::get("/v1/models/gpt-4o-mini").body(Full::default()).unwrap();
    for answer in [ask(&gateway, "gpt-4o-mini").await, gateway.call(listed).await] {
        let (status, _, message) = openai_error(answer).await;
        assert_eq!(status, 404);
        for part in ["[[model]]", r#"name = "gpt-*""#, r#"model = "gemini-2.5-flash""#] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    let remedy = "[[model]]\nname = \"gpt-*\"\nmodel = \"gemini-2.5-flash\"\n";
    let config = files.write("gateway.toml", remedy);
    let gateway = files.start(&vertex, &["--config", &config]).await;
    assert_eq!(ask(&gateway, "gpt-4o-mini").await.status(), StatusCode::OK);
}
