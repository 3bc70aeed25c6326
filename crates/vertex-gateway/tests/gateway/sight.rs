//! The view of operators on `vertex-gateway`: its log, its metrics, its health.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, process::Command};
use tower_vertex::replay::ReplayBody;
use tower_vertex_emulator::{
    ApiFault, Emulator, Faults, StreamBehavior, TokenBehavior, TokenFault,
};

use crate::common::{
    Http,
    certificates::Authority,
    chat, chat_stream, client, eventually,
    gateway::{self, Gateway, before, bytes, command},
    in_time, pace, put, text,
};

const MODEL: &str = "google/gemini-2.5-flash";
/// A text in requests, and so in responses, that must be nowhere else.
const CONTENT: &str = "content-of-the-conversation";

/// A gateway with an admin listener, and its log.
struct Watched {
    gateway: Gateway,
    admin: SocketAddr,
}

impl Watched {
    async fn start(vertex: &Emulator, options: &[&str]) -> Self {
        Self::start_with(vertex, options, |_| {}).await
    }

    async fn start_with(
        vertex: &Emulator,
        options: &[&str],
        set: impl FnOnce(&mut Command),
    ) -> Self {
        let options = [&["--admin-listen", "127.0.0.1:0"], options].concat();
        let (mut command, _key) = before(vertex, &vertex.url(), &options);
        command.stderr(Stdio::piped());
        set(&mut command);
        let mut gateway = Gateway::start(command).await;
        let line = in_time("the admin listener", gateway.stdout.next_line()).await;
        let line = line.unwrap().unwrap();
        let admin = line.strip_prefix("admin on http://").expect(&line).parse().unwrap();
        Self { gateway, admin }
    }

    fn log(&mut self) -> Log {
        Log { lines: gateway::Log::of(&mut self.gateway), all: "".into() }
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        call(self.gateway.addr, request).await
    }

    async fn admin(&self, method: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Full::default()).unwrap();
        let answer = call(self.admin, request).await;
        (answer.status().as_u16(), text(answer).await)
    }

    async fn metrics(&self) -> Metrics {
        let form = "application/openmetrics-text; version=1.0.0";
        let (kind, text) = self.metrics_as(Some(form)).await;
        assert_eq!(kind, format!("{form}; charset=utf-8"));
        Metrics::parse(&text)
    }

    /// The metrics in the accepted format, with their media type.
    async fn metrics_as(&self, accept: Option<&str>) -> (String, String) {
        let mut request = Request::get("/metrics").body(Full::default()).unwrap();
        if let Some(accept) = accept {
            request.headers_mut().insert(header::ACCEPT, accept.parse().unwrap());
        }
        let answer = call(self.admin, request).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        (kind, text(answer).await)
    }

    /// The metrics once this many requests have ended.
    async fn metrics_after(&self, requests: f64) -> Metrics {
        self.metrics_when("vertex_gateway_requests_total", &[], requests).await
    }

    /// The metrics once a metric has reached a value.
    async fn metrics_when(&self, name: &str, labels: &[(&str, &str)], value: f64) -> Metrics {
        for _ in 0..2000 {
            let metrics = self.metrics().await;
            if metrics.sum(name, labels) >= value {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} never reached {value}: {:?}", self.metrics().await.samples);
    }

    async fn until_readiness(&self, expected: (u16, &str)) {
        for _ in 0..4000 {
            let (status, reason) = self.admin("GET", "/readyz").await;
            if status == expected.0 && reason.contains(expected.1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {expected:?}: {:?}", self.admin("GET", "/readyz").await);
    }
}

async fn call(addr: SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().unwrap().clone();
    head.uri = format!("http://{addr}{path}").parse().unwrap();
    let request = Request::from_parts(head, ReplayBody::plain(body));
    in_time("a response", client(Http::One).request(request)).await.unwrap()
}

fn ask(model: &str) -> Request<Full<Bytes>> {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": CONTENT }] });
    let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
    request.body(Full::from(body.to_string())).unwrap()
}

/// All lines of a JSON log so far.
struct Log {
    lines: gateway::Log,
    all: String,
}

impl Log {
    /// The line of the next request that ends.
    async fn request(&mut self) -> Value {
        loop {
            let line = self.lines.line().await.unwrap();
            self.all += &line;
            let line: Value = serde_json::from_str(&line).expect(&line);
            assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
            if line["target"] == "vertex_gateway::access_log" {
                assert_eq!((&line["level"], &line["message"]), (&json!("INFO"), &json!("request")));
                return line;
            }
        }
    }

    /// The line of the next request, without values that differ each time.
    async fn steady(&mut self) -> Value {
        let mut line = self.request().await;
        let fields = line.as_object_mut().unwrap();
        for name in ["timestamp", "level", "message", "target"] {
            fields.remove(name).expect(name);
        }
        // Every error has a message of its own, and nothing else has one.
        let reason = fields.remove("error_message");
        let status = fields["status"].as_u64().unwrap();
        let left = fields["end"] == "client_closed" && !fields.contains_key("error_code");
        assert_eq!(reason.is_some_and(|reason| reason != ""), status >= 400 && !left);
        assert!(fields.remove("request_id").unwrap().as_str().unwrap().len() > 4);
        let total = fields.remove("duration_seconds").unwrap().as_f64().unwrap();
        if let Some(first) = fields.remove("time_to_first_byte_seconds") {
            assert!((0.0..=total).contains(&first.as_f64().unwrap()), "{first} of {total}");
        }
        line
    }
}

/// The tokens that Google bills as output.
fn billed(usage: &Value) -> u64 {
    usage["total_tokens"].as_u64().unwrap() - usage["prompt_tokens"].as_u64().unwrap()
}

/// The content of `/metrics`.
#[derive(Debug)]
struct Metrics {
    /// Names and kinds of the families.
    families: BTreeMap<String, String>,
    /// Each sample with its labels.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    /// A parser as strict as Prometheus. Label values here contain no `,` and no `}`.
    fn parse(text: &str) -> Self {
        let text = text.strip_suffix("# EOF\n").expect("the end");
        let (mut families, mut samples) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                continue;
            }
            if line.starts_with("# ") {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect(line);
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect(line);
            let label = |label: &str| {
                let (name, value) = label.split_once("=\"").expect(line);
                (name.to_owned(), value.strip_suffix('"').expect(line).to_owned())
            };
            let labels = labels.split(',').filter(|labels| !labels.is_empty()).map(label).collect();
            samples.push((name.to_owned(), labels, value.parse().expect(line)));
        }
        Self { families, samples }
    }

    /// The sum over all series with these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let of = |(sample, has, _): &&(String, BTreeMap<String, String>, f64)| {
            sample == name && labels.iter().all(|(k, v)| has.get(*k).is_some_and(|has| has == v))
        };
        self.samples.iter().filter(of).map(|(.., value)| value).sum()
    }

    /// Whether there is a series with these labels.
    fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.samples.iter().any(|(sample, has, _)| {
            sample == name && labels.iter().all(|(k, v)| has.get(*k).is_some_and(|has| has == v))
        })
    }

    fn labels(&self, label: &str) -> BTreeSet<&str> {
        self.samples.iter().filter_map(|(_, has, _)| has.get(label)).map(String::as_str).collect()
    }

    /// The names that queries may use.
    fn names(&self) -> BTreeSet<String> {
        let names = self.families.iter().flat_map(|(name, kind)| {
            let suffixes: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                other => panic!("{name} is a {other}"),
            };
            suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
        });
        names.collect()
    }
}

#[tokio::test]
async fn each_request_has_a_line_without_its_content() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start_with(&vertex, &["--log-format", "json"], |command| {
        command.env("VERTEX_GATEWAY_LOG", "warn,tower_vertex=trace,vertex_gateway=trace");
    })
    .await;
    let mut log = watched.log();
    let path = "/v1/chat/completions";
    let at_vertex = |status: u16, end: &str| {
        json!({
            "method": "POST", "path": path, "model": MODEL, "location": "us-central1",
            "status": status, "end": end, "attempts": 1,
        })
    };
    let with = |mut line: Value, more: Value| {
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let usage_of = |answer: &str| {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let usage = &answer["usage"];
        assert!(usage["prompt_tokens"].as_u64().unwrap() > 0, "{usage}");
        json!({
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": billed(usage),
            "reasoning_output_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
            "traffic_type": "ON_DEMAND",
        })
    };

    // A complete response.
    let answer = text(watched.call(chat(CONTENT)).await).await;
    let usage = usage_of(&answer);
    let expected = with(at_vertex(200, "complete"), usage.clone());
    let expected = with(expected, json!({ "bytes_sent": answer.len() }));
    assert_eq!(log.steady().await, expected);

    // A stream.
    let answer = text(watched.call(chat_stream(CONTENT)).await).await;
    let expected = with(at_vertex(200, "complete"), usage);
    let expected = with(expected, json!({ "bytes_sent": answer.len() }));
    assert_eq!(log.steady().await, expected);

    // An error of Vertex AI.
    vertex.set_faults(Faults { api: Some(ApiFault::new(403)), ..Faults::default() });
    let answer = text(watched.call(chat(CONTENT)).await).await;
    let expected = with(at_vertex(403, "complete"), json!({ "bytes_sent": answer.len() }));
    assert_eq!(log.steady().await, expected);
    vertex.clear_faults();

    // A token that was revoked.
    vertex.revoke_tokens();
    let answer = text(watched.call(chat(CONTENT)).await).await;
    let expected = with(at_vertex(200, "complete"), usage_of(&answer));
    let expected =
        with(expected, json!({ "bytes_sent": answer.len(), "token_replay": "replayed" }));
    assert_eq!(log.steady().await, expected);

    // A refusal, for a path with a key in its query.
    let request = Request::post("/v1/images/generations?key=SECRET-IN-A-QUERY");
    let answer = watched.call(request.body(Full::from(CONTENT)).unwrap()).await;
    let answer = text(answer).await;
    let line = log.steady().await;
    let expected = json!({
        "method": "POST", "path": "/v1/images/generations", "status": 404,
        "error_code": "unsupported_path", "end": "complete", "bytes_sent": answer.len(),
    });
    assert_eq!(line, expected);

    // A response of the gateway itself that is no error, and one without a body.
    for (method, sent) in [("GET", true), ("HEAD", false)] {
        let request = Request::builder().method(method).uri("/v1/models").body(Full::default());
        let answer = text(watched.call(request.unwrap()).await).await;
        assert_eq!(answer.is_empty(), !sent);
        let line = log.steady().await;
        let expected = json!({
            "method": method, "path": "/v1/models", "status": 200, "end": "complete",
            "bytes_sent": answer.len(),
        });
        assert_eq!(line, expected);
    }

    // A client that leaves in the middle of a stream.
    let slow = StreamBehavior {
        chunk_delay: Duration::from_secs(600),
        chunks: Some(3),
        ..StreamBehavior::default()
    };
    pace(&vertex, slow);
    let mut answer = watched.call(chat_stream(CONTENT)).await;
    let first =
        in_time("a chunk", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
    drop(answer);
    let expected = with(at_vertex(200, "client_closed"), json!({ "bytes_sent": first.len() }));
    assert_eq!(log.steady().await, expected);

    // A client that leaves before there is a response.
    vertex.reset_stats();
    let silent =
        StreamBehavior { first_byte_delay: Duration::from_secs(600), ..StreamBehavior::default() };
    pace(&vertex, silent);
    let seen = vertex.requests().len();
    let mut socket = TcpStream::connect(watched.gateway.addr).await.unwrap();
    socket.write_all(&bytes(chat(CONTENT)).await).await.unwrap();
    eventually("the request arrives", || vertex.requests().len() > seen).await;
    drop(socket);
    let expected = with(at_vertex(499, "client_closed"), json!({ "bytes_sent": 0 }));
    assert_eq!(log.steady().await, expected);

    // A client that leaves in the middle of its own request, which is not forwarded at all.
    vertex.set_faults(Faults::default());
    let mut socket = TcpStream::connect(watched.gateway.addr).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 99\r\n\r\n{{"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    drop(socket);
    let line = log.steady().await;
    assert_eq!((&line["status"], &line["error_code"]), (&json!(499), &json!("incomplete_request")));
    assert_eq!((&line["end"], &line["attempts"]), (&json!("client_closed"), &Value::Null));
    assert!(!log.all.contains("no response from upstream"), "{}", log.all);

    // A stream that is closed early.
    let cut = StreamBehavior { cut_after: Some(2), ..StreamBehavior::default() };
    pace(&vertex, cut);
    let answer = watched.call(chat_stream(CONTENT)).await.into_body();
    let _ = in_time("the break", answer.collect()).await;
    let line = log.steady().await;
    assert!(line["bytes_sent"].as_u64().unwrap() > 0, "{line}");
    let expected =
        with(at_vertex(200, "upstream_reset"), json!({ "bytes_sent": line["bytes_sent"].clone() }));
    assert_eq!(line, expected);

    watched.gateway.terminate();
    assert!(watched.gateway.ended().await.success());
    while let Some(line) = log.lines.line().await {
        log.all += &line;
    }
    assert!(log.all.contains("access token fetched"), "the log was not verbose: {}", log.all);
    for secret in [CONTENT, "SECRET-IN-A-QUERY", "sk-placeholder", "ya29.", "PRIVATE KEY", "Bearer"]
    {
        assert!(!log.all.contains(secret), "{secret:?} in {}", log.all);
    }
}

#[tokio::test]
async fn the_name_of_a_key_is_logged_and_never_the_key() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"team-a:the-key-of-team-a-0123456789\n").unwrap();
    let keys = ["--client-key-file", file.path().to_str().unwrap(), "--log-format", "json"];
    let mut watched = Watched::start(&vertex, &keys).await;
    let mut log = watched.log();
    let with_key = |key: &str| {
        let mut request = ask(MODEL);
        let value = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        request
    };
    let answer = watched.call(with_key("the-key-of-team-a-0123456789")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    text(answer).await;
    assert_eq!(log.request().await["client"], "team-a");
    text(watched.call(with_key("a-key-that-is-not-known")).await).await;
    let line = log.request().await;
    assert_eq!((&line["status"], &line["error_code"]), (&json!(401), &json!("invalid_api_key")));
    assert_eq!(line["client"], Value::Null);

    let metrics = watched.metrics_after(2.0).await;
    let team = [("client", "team-a"), ("status", "200")];
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &team), 1.0);
    assert!(metrics.sum("vertex_gateway_output_tokens_total", &[("client", "team-a")]) > 0.0);
    let unknown = [("error_code", "invalid_api_key")];
    assert_eq!(metrics.sum("vertex_gateway_local_replies_total", &unknown), 1.0);
    for key in ["the-key-of-team-a", "a-key-that-is-not-known"] {
        assert!(!log.all.contains(key), "{}", log.all);
    }
}

#[tokio::test]
async fn the_text_log_has_the_same_fields() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &[]).await;
    let mut log = watched.log();
    text(watched.call(ask("hostile\n\u{1b}[31mmodel")).await).await;
    let line = log.lines.until("vertex_gateway::access_log").await;
    assert!(line.contains(" INFO ") && line.contains(r#"method="POST""#), "{line}");
    assert!(line.contains(r#"model="hostile\n\u{1b}[31mmodel""#), "{line}");
    assert!(line.contains("status=") && line.contains("duration_seconds="), "{line}");
}

#[tokio::test]
async fn only_log_peer_address_adds_the_peer_to_each_line() {
    let vertex = Emulator::start().await.unwrap();
    let pair = Authority::new().server();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (put(folder.path(), "cert", &pair.0), put(folder.path(), "key", &pair.1));
    for asked in [true, false] {
        let mut options = vec!["--log-format", "json"];
        options.extend(asked.then_some("--log-peer-address"));
        let mut watched = Watched::start(&vertex, &options).await;
        let mut log = watched.log();
        let mut peers = Vec::new();
        let big = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
        for (sent, message) in [
            ("GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n", "request"),
            ("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n", "request"),
            ("GET / \u{1} HTTP/1.1\r\nhost: x\r\n\r\n", "request rejected: the request"),
            (&big, "request rejected: the request"),
            ("GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", "request rejected: ambiguous framing"),
            ("GET / HTTP/1.1\r\nhost: x\r\nhalf", "in the middle of a request head"),
        ] {
            let mut socket = TcpStream::connect(watched.gateway.addr).await.unwrap();
            let _ = socket.write_all(sent.as_bytes()).await;
            if sent.ends_with("half") {
                socket.shutdown().await.unwrap();
            }
            peers.push((socket.local_addr().unwrap().to_string(), message));
            let (peer, earlier) = peers.split_last().unwrap();
            let line = loop {
                let line = log.lines.until(message).await;
                let line: Value = serde_json::from_str(&line).unwrap();
                // The request head that was too long may be refused only now.
                if !earlier.iter().any(|(earlier, _)| line["peer_address"] == *earlier) {
                    break line;
                }
            };
            let peer = asked.then(|| json!(peer.0));
            assert_eq!(line["peer_address"], peer.unwrap_or_default(), "{line}");
        }
        // Over HTTP/2, where the test does not know the port of the client.
        text(watched.gateway.call_over(Http::Two, &mut chat("x")).await).await;
        let line = log.lines.until("/v1/chat/completions").await;
        assert_eq!(line.contains(r#""peer_address":"127.0.0.1:"#), asked, "{line}");

        let tls = ["--tls-cert", &cert, "--tls-key", &key, "--log-format", "json"];
        let tls = [&tls[..], if asked { &["--log-peer-address"] } else { &[] }].concat();
        let mut watched = Watched::start(&vertex, &tls).await;
        let mut log = watched.log();
        let mut socket = TcpStream::connect(watched.gateway.addr).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let line = log.lines.until("TLS handshake failed").await;
        let peer = format!(r#""peer_address":"{}""#, socket.local_addr().unwrap());
        assert_eq!(line.contains(&peer), asked, "{line}");
        assert_eq!(line.contains("peer"), asked, "{line}");
    }
}

#[tokio::test]
async fn the_line_of_an_error_has_its_reason_and_nothing_of_the_conversation() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "short"]).await;
    let mut log = watched.log();
    text(watched.call(ask("google/nosuch\u{2028}model")).await).await;
    let line = log.lines.until("POST /v1/chat/completions").await;
    assert!(line.contains("Z 404 POST ") && line.contains(": Publisher Model "), "{line}");
    assert!(line.contains(r"nosuch\u{2028}model us-central1 "), "{line}");
    text(watched.call(Request::get("/v1/what").body(Full::default()).unwrap()).await).await;
    let line = log.lines.until("/v1/what").await;
    assert!(line.contains(" unsupported_path: "), "{line}");
    text(watched.call(ask(MODEL)).await).await;
    let line = log.lines.until("Z 200 POST /v1/chat/completions").await;
    assert!(line.contains(" tokens") && line.len() < 160 && !line.contains("e-"), "{line}");
}

#[tokio::test]
async fn a_request_keeps_a_valid_id_of_its_client_or_gets_a_new_one() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let mut log = watched.log();
    let longest = "x".repeat(128);
    let mut made = BTreeSet::new();
    for (sent, kept) in [
        (Some(&b"b9a7-42_x.y"[..]), true),
        (Some(longest.as_bytes()), true),
        (Some("x".repeat(129).as_bytes()), false),
        (Some(b"two words"), false),
        (Some(b""), false),
        (Some("Ω".as_bytes()), false),
        (Some(b"tab\there"), false),
        (None, false),
    ] {
        let mut request = ask(MODEL);
        if let Some(id) = sent {
            request
                .headers_mut()
                .insert("x-request-id", http::HeaderValue::from_bytes(id).unwrap());
        }
        let answer = watched.call(request).await;
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        text(answer).await;
        assert_eq!(log.request().await["request_id"], json!(id));
        match sent.filter(|_| kept) {
            Some(sent) => assert_eq!(id.as_bytes(), sent),
            None => assert!(id.starts_with("req_") && made.insert(id.clone()), "{id}"),
        }
    }
}

#[tokio::test]
async fn long_values_of_a_client_are_shortened_in_the_log() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let mut log = watched.log();
    let long = "X".repeat(5000);
    let mut method = ask(MODEL);
    *method.method_mut() = long.parse().unwrap();
    let mut path = ask(MODEL);
    *path.uri_mut() = format!("/v1/{long}").parse().unwrap();
    for request in [method, path, ask(&long)] {
        text(watched.call(request).await).await;
        let line = log.request().await.to_string();
        assert!(line.len() < 2000, "{} bytes: {}", line.len(), &line[..200]);
    }
}

#[tokio::test]
async fn the_log_and_the_metrics_count_the_tokens_that_google_bills() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let mut log = watched.log();
    let chat = |more: Value| {
        let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "x" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("/v1/chat/completions", body)
    };
    let cached = json!({ "extra_body": { "google": { "cached_content": "cachedContents/1" } } });
    let asked = [
        ("chat", "", chat(json!({}))),
        ("chat", "", chat(json!({ "stream": true }))),
        ("chat", "", chat(cached)),
        ("chat", "dedicated", chat(json!({ "model": "google/gemini-3-flash" }))),
        ("chat", "", chat(json!({ "model": "google/gemini-2.0-flash" }))),
        ("text_completion", "", ("/v1/completions", json!({ "model": MODEL, "prompt": "x" }))),
        ("chat", "", ("/v1/responses", json!({ "model": MODEL, "input": "x" }))),
        ("chat", "", ("/v1/responses", json!({ "model": MODEL, "input": "x", "stream": true }))),
        (
            "embeddings",
            "",
            ("/v1/embeddings", json!({ "model": "google/text-embedding-005", "input": "x" })),
        ),
    ];
    let names =
        ["input_tokens", "cache_read_input_tokens", "output_tokens", "reasoning_output_tokens"];
    let mut sums = BTreeMap::<_, [u64; 4]>::new();
    for (operation, kind, (path, body)) in asked {
        let mut request = Request::post(path).header("content-type", "application/json");
        if !kind.is_empty() {
            request = request.header("x-vertex-ai-llm-request-type", kind);
        }
        let request = request.body(Full::from(body.to_string())).unwrap();
        let answer = text(watched.call(request).await).await;
        // In a stream, the last event with a usage counts.
        let lines = answer.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let usage = lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|said| {
                let places = [said.get("usage"), said.pointer("/response/usage")];
                places.into_iter().flatten().find(|usage| usage.is_object()).cloned()
            })
            .next_back()
            .expect(&answer);
        let of = |pointers: [&str; 2]| {
            pointers.into_iter().find_map(|at| usage.pointer(at)).and_then(Value::as_u64)
        };
        let input = of(["/prompt_tokens", "/input_tokens"]).unwrap();
        let output = of(["/total_tokens"; 2]).unwrap() - input;
        let reasoning = of([
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
        ]);
        let thinks = body["model"] != "google/gemini-2.0-flash" && operation != "embeddings";
        assert_eq!(reasoning.is_some(), thinks, "{usage}");
        if let Some(reasoning) = reasoning {
            assert!(0 < reasoning && reasoning < output, "{usage}");
        }
        let counts = [
            Some(input),
            of(["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"]),
            (operation != "embeddings").then_some(output),
            reasoning,
        ];
        let traffic_type = match (operation, kind) {
            ("embeddings", _) => "",
            (_, "dedicated") => "PROVISIONED_THROUGHPUT",
            _ => "ON_DEMAND",
        };
        let line = log.steady().await;
        for (name, count) in names.into_iter().zip(counts) {
            assert_eq!(line.get(name).and_then(Value::as_u64), count, "{name}: {line}");
        }
        let told = line.get("traffic_type").and_then(Value::as_str);
        assert_eq!(told.unwrap_or_default(), traffic_type, "{line}");
        let model = body["model"].as_str().unwrap().to_owned();
        let sums = sums.entry((operation, traffic_type, model)).or_default();
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count.unwrap_or(0);
        }
    }

    let metrics = watched.metrics_after(9.0).await;
    for ((operation, traffic_type, model), sums) in &sums {
        let labels = [
            ("client", ""),
            ("gen_ai_operation_name", *operation),
            ("gen_ai_provider_name", "gcp.vertex_ai"),
            ("gen_ai_request_model", model),
            ("gen_ai_token_modality", "unknown"),
            ("traffic_type", *traffic_type),
        ];
        for (name, sum) in names.into_iter().zip(sums) {
            let name = format!("gen_ai_client_inference_usage_{name}_total");
            assert_eq!(metrics.sum(&name, &labels), *sum as f64, "{name} {labels:?}");
            assert!(*sum > 0 || name.contains("cache") || !metrics.has(&name, &labels), "{name}");
        }
    }
    for (which, name) in [(0, "input_tokens"), (2, "output_tokens")] {
        let all: f64 = sums.values().map(|sums| sums[which] as f64).sum();
        assert_eq!(metrics.sum(&format!("vertex_gateway_{name}_total"), &[]), all);
    }
}

#[tokio::test]
async fn metrics_count_each_request_exactly_once() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[[model]]\nname = \"fast\"\nmodel = \"google/gemini-2.5-flash\"\n").unwrap();
    let config = ["--config", file.path().to_str().unwrap()];
    let watched = Watched::start(&vertex, &config).await;
    let before = watched.metrics().await;
    assert!(before.samples.iter().any(|(name, ..)| name == "vertex_gateway_build_info"));
    for family in
        ["requests", "time_to_first_byte_seconds", "upstream_retries", "upstream_failovers"]
    {
        assert!(before.families.contains_key(&format!("vertex_gateway_{family}")), "{family}");
    }

    let (mut input, mut output) = (0, 0);
    for _ in 0..3 {
        let answer: Value =
            serde_json::from_str(&text(watched.call(chat("x")).await).await).unwrap();
        input += answer["usage"]["prompt_tokens"].as_u64().unwrap();
        output += billed(&answer["usage"]);
        // The same request as a stream.
        text(watched.call(chat_stream("x")).await).await;
    }
    vertex.revoke_tokens();
    text(watched.call(ask("fast")).await).await;
    vertex.set_faults(Faults { api: Some(ApiFault::new(403)), ..Faults::default() });
    // One model is in the table, the other is unknown.
    text(watched.call(ask("fast")).await).await;
    text(watched.call(ask("nowhere/\"},model=\"x")).await).await;
    vertex.clear_faults();
    text(watched.call(Request::get("/v1/nothing").body(Full::default()).unwrap()).await).await;

    let after = watched.metrics_after(10.0).await;
    let requests = |labels: &[(&str, &str)]| after.sum("vertex_gateway_requests_total", labels);
    assert_eq!(requests(&[]), 10.0);
    let good =
        [("client", ""), ("location", "us-central1"), ("status", "200"), ("end", "complete")];
    assert_eq!(requests(&[&good[..], &[("model", MODEL)]].concat()), 6.0);
    assert_eq!(requests(&[&good[..], &[("model", "fast")]].concat()), 1.0);
    assert_eq!(requests(&[("status", "403"), ("model", "fast")]), 1.0);
    assert_eq!(requests(&[("status", "403"), ("model", "other")]), 1.0);
    assert_eq!(requests(&[("status", "404"), ("model", "")]), 1.0);
    assert_eq!(after.labels("model"), ["", "fast", MODEL, "other"].into());

    let of =
        |name: &str, labels: &[(&str, &str)]| after.sum(&format!("vertex_gateway_{name}"), labels);
    let model = [("model", MODEL)];
    assert_eq!(of("input_tokens_total", &model), 2.0 * input as f64);
    assert_eq!(of("output_tokens_total", &model), 2.0 * output as f64);
    assert_eq!(of("time_to_first_byte_seconds_count", &[]), 7.0);
    assert_eq!(of("request_duration_seconds_count", &[("status_class", "2xx")]), 7.0);
    assert_eq!(of("request_duration_seconds_count", &[("status_class", "4xx")]), 3.0);
    assert_eq!(of("request_duration_seconds_bucket", &[("le", "+Inf")]), 10.0);
    assert!(of("request_duration_seconds_sum", &[]) > 0.0);
    assert_eq!(of("local_replies_total", &[]), 1.0);
    assert_eq!(of("local_replies_total", &[("error_code", "unsupported_path")]), 1.0);
    assert_eq!(of("token_replays_total", &[("outcome", "replayed")]), 1.0);
    assert_eq!(of("token_rejections_total", &[]), 1.0);
    assert_eq!(of("token_generation", &[]), 2.0);
    let new = ("outcome", "new_token");
    assert_eq!(of("token_refreshes_total", &[("reason", "cold"), new]), 1.0);
    assert_eq!(of("token_refreshes_total", &[("reason", "rejected"), new]), 1.0);
    assert_eq!(of("token_refreshes_total", &[]), 2.0);
    assert!((3590.0..=3600.0).contains(&of("token_expires_in_seconds", &[])));
    assert!(of("token_age_seconds", &[]) < 10.0);
    assert_eq!(of("requests_in_flight", &[]), 0.0);
    assert_eq!(of("requests_queued", &[]), 0.0);
    assert_eq!(of("client_connections_opened_total", &[]), 10.0);
    assert!(of("upstream_connections_opened_total", &[]) >= 1.0);
    assert_eq!(of("log_lines_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn retries_and_failovers_are_counted() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let models = "[[model]]\nname = \"fast\"\nmodel = \"google/gemini-2.5-flash\"\n\
         locations = [\"us-central1\", \"us-east4\"]\n";
    file.write_all(models.as_bytes()).unwrap();
    let options = ["--config", file.path().to_str().unwrap(), "--max-attempts", "2"];
    let mut watched =
        Watched::start(&vertex, &[&options[..], &["--log-format", "json"]].concat()).await;
    let mut log = watched.log();
    let once = ApiFault { times: Some(1), ..ApiFault::new(503) };
    for (model, location) in [("fast", "us-east4"), (MODEL, "us-central1")] {
        vertex.set_faults(Faults { api: Some(once.clone()), ..Faults::default() });
        let answer = watched.call(ask(model)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer).await;
        let line = log.request().await;
        let said = (&line["attempts"], &line["location"], &line["model"]);
        assert_eq!(said, (&json!(2), &json!(location), &json!(model)));
    }
    let metrics = watched.metrics_after(2.0).await;
    for (model, location, failovers) in [("fast", "us-east4", 1.0), (MODEL, "us-central1", 0.0)] {
        let labels = [("model", model), ("location", location)];
        assert_eq!(metrics.sum("vertex_gateway_upstream_retries_total", &labels), 1.0);
        assert_eq!(metrics.sum("vertex_gateway_upstream_failovers_total", &labels), failovers);
    }
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &[("status", "200")]), 2.0);
}

#[tokio::test]
async fn an_unknown_model_has_an_error_code() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let mut log = watched.log();
    let request = Request::get("/v1/models/nobodys").body(Full::default()).unwrap();
    assert_eq!(watched.call(request).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(log.request().await["error_code"], "model_not_found");
    let metrics = watched.metrics_after(1.0).await;
    let labels = [("error_code", "model_not_found")];
    assert_eq!(metrics.sum("vertex_gateway_local_replies_total", &labels), 1.0);
}

#[tokio::test]
async fn requests_in_flight_are_counted() {
    let vertex = Emulator::start().await.unwrap();
    let options = ["--max-concurrent-requests", "2", "--workers", "1"];
    let watched = Watched::start(&vertex, &options).await;
    let slow = StreamBehavior {
        chunk_delay: Duration::from_secs(600),
        chunks: Some(3),
        ..StreamBehavior::default()
    };
    pace(&vertex, slow);
    let streams = [watched.call(chat_stream("x")).await, watched.call(chat_stream("x")).await];
    let addr = watched.gateway.addr;
    let waits = tokio::spawn(async move { call(addr, chat_stream("x")).await.status() });
    let gauge = |metrics: &Metrics, name: &str| metrics.sum(&format!("vertex_gateway_{name}"), &[]);
    let busy = watched.metrics_when("vertex_gateway_requests_queued", &[], 1.0).await;
    assert_eq!(gauge(&busy, "requests_in_flight"), 3.0);
    assert_eq!(gauge(&busy, "upstream_connections"), 2.0);
    assert_eq!(gauge(&busy, "client_connections"), 3.0);
    drop(streams);
    assert_eq!(waits.await.unwrap(), StatusCode::OK);
    let after = watched.metrics_after(3.0).await;
    assert_eq!(after.sum("vertex_gateway_requests_total", &[("end", "client_closed")]), 3.0);
    assert_eq!(gauge(&after, "requests_in_flight"), 0.0);
    assert_eq!(gauge(&after, "requests_queued"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_labels_is_bounded() {
    let long = format!("google/{}", "x".repeat(200));
    let models = (0..205).map(|number| format!("google/model-{number}"));
    let models: Vec<String> = [long].into_iter().chain(models).collect();
    let vertex = Emulator::builder().models(models.clone()).start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    for model in models {
        let answer = watched.call(ask(&model)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer).await;
    }
    let metrics = watched.metrics_after(206.0).await;
    assert_eq!(metrics.labels("model").len(), 101);
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &[("model", "other")]), 106.0);
    // A model with repeated requests gets a label of its own.
    for _ in 0..10 {
        text(watched.call(ask("google/model-204")).await).await;
    }
    let metrics = watched.metrics_after(216.0).await;
    let again = [("model", "google/model-204")];
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &again), 2.0);
}

/// Checks the text format 0.0.4 as strictly as Prometheus' own checker: each family begins with its
/// help and its type, has only samples of its own names, and occurs once.
fn check_text_format(text: &str) -> BTreeMap<String, (String, usize)> {
    let mut families: BTreeMap<String, (String, usize)> = BTreeMap::new();
    let (mut help, mut current) = (None, String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, said) = rest.split_once(' ').expect(line);
            assert!(!said.is_empty(), "{line}");
            help = Some(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(help.take(), Some(name), "{line}");
            assert!(
                ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind),
                "{line}"
            );
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            current = name.to_owned();
            assert!(families.insert(current.clone(), (kind.to_owned(), 0)).is_none(), "{line}");
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line}");
            let name = line.split(['{', ' ']).next().unwrap();
            let (kind, samples) = families.get_mut(&current).expect(line);
            let suffix = name.strip_prefix(&current).expect(line);
            let suffixes: &[&str] =
                if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            line.rsplit_once(' ').unwrap().1.parse::<f64>().expect(line);
            *samples += 1;
        }
    }
    families
}

#[tokio::test]
async fn metrics_are_text_unless_the_scraper_prefers_openmetrics() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    text(watched.call(chat("x")).await).await;
    let metrics = watched.metrics_after(1.0).await;
    for accept in [None, Some("text/html,*/*;q=0.8"), Some("text/plain;version=0.0.4")] {
        let (kind, text) = watched.metrics_as(accept).await;
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
        let families = check_text_format(&text);
        assert_eq!(families.len(), metrics.families.len());
        assert_eq!(families["vertex_gateway_build_info"], ("gauge".to_owned(), 1));
        assert_eq!(families["vertex_gateway_requests_total"], ("counter".to_owned(), 1));
        assert!(text.contains("vertex_gateway_requests_total{client=\"\",model=\""), "{text}");
    }
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
         text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let (kind, text) = watched.metrics_as(Some(prometheus)).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn a_sidecar_is_ready_while_its_token_is_valid() {
    let vertex = Emulator::start().await.unwrap();
    let failing = TokenBehavior {
        expires_in: json!(2),
        fail: Some(TokenFault { status: 503, times: None }),
        ..TokenBehavior::default()
    };
    vertex.set_token_behavior(failing.clone());
    let watched = Watched::start(&vertex, &[]).await;
    watched.until_readiness((503, "no access token yet")).await;
    assert_eq!(watched.admin("GET", "/healthz").await, (200, "ok\n".into()));
    let failed = [("reason", "cold"), ("outcome", "failed")];
    let metrics = watched.metrics_when("vertex_gateway_token_refreshes_total", &failed, 1.0).await;
    assert_eq!(metrics.sum("vertex_gateway_token_expires_in_seconds", &[]), 0.0);

    vertex.set_token_behavior(TokenBehavior { fail: None, ..failing.clone() });
    watched.until_readiness((200, "ready")).await;
    vertex.set_token_behavior(failing);
    watched.until_readiness((503, "has expired")).await;
}

#[tokio::test]
async fn a_draining_sidecar_is_not_ready_and_reports_so_until_its_end() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--drain-timeout", "0"]).await;
    watched.until_readiness((200, "ready")).await;
    let slow = StreamBehavior {
        chunk_delay: Duration::from_secs(600),
        chunks: Some(3),
        ..StreamBehavior::default()
    };
    pace(&vertex, slow);
    let answer = watched.call(chat_stream("x")).await;
    watched.gateway.terminate();
    watched.until_readiness((503, "draining")).await;
    assert_eq!(watched.admin("GET", "/healthz").await.0, 200);
    assert_eq!(watched.metrics().await.sum("vertex_gateway_requests_in_flight", &[]), 1.0);
    drop(answer);
    assert!(watched.gateway.ended().await.success());
}

#[tokio::test]
async fn the_admin_listener_serves_only_its_own_paths_and_methods() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(
            watched.admin("POST", path).await,
            (405, "only GET and HEAD\n".into()),
            "{path}"
        );
        assert_eq!(watched.admin("HEAD", path).await.1, "", "{path}");
    }
    assert_eq!(watched.admin("HEAD", "/healthz").await.0, 200);
    assert_eq!(watched.admin("GET", "/healthz?verbose").await.0, 200);
    for path in ["/", "/v1/models", "/metrics/", "/healthz/x"] {
        assert_eq!(watched.admin("GET", path).await.0, 404, "{path}");
    }
    // The listener for clients does not serve these paths.
    for path in ["/metrics", "/healthz", "/readyz"] {
        let request = Request::get(path).body(Full::default()).unwrap();
        assert_eq!(watched.call(request).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused_by_the_admin_listener() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &["--allowed-host", "metrics.example"]).await;
    for (host, status) in [("evil.example", 403), ("metrics.example", 200), ("localhost", 200)] {
        let request = Request::get("/metrics").header("host", host).body(Full::default()).unwrap();
        assert_eq!(call(watched.admin, request).await.status(), status, "{host}");
    }
}

#[tokio::test]
async fn an_unusable_admin_address_is_one_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (addr, said) in [
        ("nowhere", r#"invalid --admin-listen "nowhere""#),
        (&taken, "choose another address with --admin-listen"),
    ] {
        let args = ["--emulator", "--listen", "127.0.0.1:0", "--admin-listen", addr];
        let output = in_time("the end of the process", command(&args).output()).await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.lines().last().unwrap().contains(said), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapes_under_load_are_complete_and_only_grow() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    let addr = watched.gateway.addr;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..25 {
                    let answer = call(addr, chat("x")).await;
                    assert_eq!(answer.status(), StatusCode::OK);
                    text(answer).await;
                }
            })
        })
        .collect();
    let (mut last, mut scrapes) = (0.0, 0);
    while scrapes == 0 || calls.iter().any(|call| !call.is_finished()) {
        let metrics = watched.metrics().await;
        let requests = metrics.sum("vertex_gateway_requests_total", &[]);
        assert!(requests >= last, "{requests} after {last}");
        (last, scrapes) = (requests, scrapes + 1);
    }
    for call in calls {
        call.await.unwrap();
    }
    let metrics = watched.metrics_after(200.0).await;
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &[("status", "200")]), 200.0);
    assert_eq!(metrics.sum("vertex_gateway_time_to_first_byte_seconds_count", &[]), 200.0);
    assert_eq!(metrics.sum("vertex_gateway_requests_in_flight", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_a_reader_stalls_no_request() {
    // A pipe holds 64 KiB, and so does the buffer in front of it.
    const REQUESTS: usize = 600;
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let path = format!("/v1/{}", "x".repeat(200));
    let client = client(Http::One);
    let uri: http::Uri = format!("http://{}{path}", watched.gateway.addr).parse().unwrap();
    for _ in 0..REQUESTS {
        let body = ReplayBody::plain(Full::<Bytes>::default());
        let answer = client.request(Request::get(&uri).body(body).unwrap());
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        text(answer).await;
    }
    let metrics = watched.metrics_after(REQUESTS as f64).await;
    assert_eq!(metrics.sum("vertex_gateway_log_lines_dropped_total", &[]), 0.0);
    let mut log = watched.log();
    for _ in 0..REQUESTS {
        assert_eq!(log.request().await["status"], 404);
    }
    assert!(log.all.len() > 2 * (64 << 10), "the lines fit into the buffers: {}", log.all.len());
}

#[tokio::test]
async fn a_closed_standard_error_fails_no_request() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &[]).await;
    drop(watched.log());
    for _ in 0..10 {
        assert_eq!(watched.call(chat("x")).await.status(), StatusCode::OK);
    }
    watched.gateway.terminate();
    assert_eq!(watched.gateway.ended().await.code(), Some(0));

    let mut command = command(&["--listen", "nowhere", "--project", "p", "--location", "global"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(in_time("the end of the process", child.wait()).await.unwrap().code(), Some(2));
}

/// Each string under a key of this name, anywhere in the document.
fn strings<'a>(document: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match document {
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|field| strings(field, key, found));
        }
        _ => {}
    }
}

/// The words of a query that could be names.
fn words(query: &str) -> impl Iterator<Item = &str> {
    query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[tokio::test]
async fn the_dashboard_and_the_manual_name_exactly_the_existing_metrics() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    vertex.revoke_tokens();
    text(watched.call(chat("x")).await).await;
    text(watched.call(Request::get("/nothing").body(Full::default()).unwrap()).await).await;
    let metrics = watched.metrics_after(2.0).await;
    let names = metrics.names();
    let mut labels: BTreeSet<&str> = metrics
        .samples
        .iter()
        .flat_map(|(_, labels, _)| labels.keys().map(String::as_str))
        .collect();
    // Prometheus adds this label.
    labels.insert("instance");

    let dashboard = include_str!("../../../../deploy/grafana/vertex-gateway.json");
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut queries = Vec::new();
    strings(&dashboard, "expr", &mut queries);
    strings(&dashboard, "definition", &mut queries);
    assert!(queries.len() > 20, "{}", queries.len());
    let mut shown = BTreeSet::new();
    let prefixes = ["vertex_gateway_", "gen_ai_client_"];
    for query in queries {
        let in_query: BTreeSet<&str> =
            words(query).filter(|word| prefixes.iter().any(|p| word.starts_with(p))).collect();
        assert!(!in_query.is_empty(), "{query}");
        for name in in_query {
            assert!(names.contains(name), "there is no {name}: {query}");
            shown.insert(name.to_owned());
        }
        let groups = query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
        let matched = query.split('{').skip(1).flat_map(|rest| {
            let matchers = rest.split('}').next().unwrap().split(", ");
            matchers.map(|matcher| words(matcher).next().unwrap())
        });
        for label in groups.flat_map(words).chain(matched) {
            assert!(labels.contains(label), "no metric has the label {label}: {query}");
        }
    }
    let mut legends = Vec::new();
    strings(&dashboard, "legendFormat", &mut legends);
    for legend in legends {
        for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            assert!(labels.contains(label), "no metric has the label {label}: {legend}");
        }
    }
    // Every metric has a panel.
    for (family, kind) in &metrics.families {
        let is_shown = shown.iter().any(|name| name.starts_with(family.as_str()));
        assert!(is_shown, "no panel shows the {kind} {family}");
    }

    let manual = include_str!("../../../../docs/operations.md");
    let rows = manual
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter(|row| prefixes.iter().any(|prefix| row.starts_with(prefix)));
    let documented: BTreeMap<&str, Vec<&str>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[0].trim_end_matches('`'), cells)
        })
        .collect();
    for (family, kind) in &metrics.families {
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("{family}{suffix}");
        let row = documented.get(name.as_str());
        let row = row.unwrap_or_else(|| panic!("the manual has no {name}"));
        assert_eq!(row[1], kind, "{name}");
        let sample = metrics.samples.iter().find(|(sample, ..)| sample.starts_with(&name));
        if let Some((_, has, _)) = sample {
            let has: BTreeSet<&str> =
                has.keys().map(String::as_str).filter(|l| *l != "le").collect();
            assert_eq!(words(row[2]).collect::<BTreeSet<_>>(), has, "{name}");
        }
    }
    assert_eq!(
        documented.len(),
        metrics.families.len(),
        "the manual has metrics that do not exist"
    );
}
