//! The view of operators on `vertex-gateway`: its log, its metrics, its health.

mod access_log;
mod admin;
mod metrics;
mod status;

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
use tempfile::TempPath;
use tokio::{io::AsyncWriteExt, net::TcpStream, process::Command};
use tower_vertex::replay::ReplayBody;
use tower_vertex_emulator::{
    ApiFault, ChatBehavior, Emulator, Faults, ResponsesModels, StreamBehavior, TokenBehavior,
    TokenFault,
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
    /// The status page's checks read the file again.
    _key: TempPath,
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
        let (mut command, key) = before(vertex, &vertex.url(), &options);
        command.stderr(Stdio::piped());
        set(&mut command);
        let mut gateway = Gateway::start(command).await;
        let line = in_time("the admin listener", gateway.stdout.next_line()).await;
        let line = line.unwrap().unwrap();
        let admin = line.strip_prefix("admin on http://").expect(&line).parse().unwrap();
        Self { gateway, admin, _key: key }
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

/// The tokens that Google bills as output.
fn billed(usage: &Value) -> u64 {
    usage["total_tokens"].as_u64().unwrap() - usage["prompt_tokens"].as_u64().unwrap()
}
