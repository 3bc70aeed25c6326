//! Traces of `vertex-gateway`, from the view of a collector and of Vertex AI.

#[cfg(feature = "otel")]
mod collector;
#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod spans;
mod upstream;

use std::process::Stdio;

use http::{HeaderValue, StatusCode};
use tempfile::TempPath;
use tower_vertex_emulator::Emulator;
use upstream::Upstream;

use crate::common::{
    chat,
    gateway::{Gateway, Log, before},
    text,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// A text in requests, and so in responses, that must be nowhere else.
const CONTENT: &str = "content-of-the-conversation";

/// A gateway in front of an emulator whose requests are recorded, and its log.
struct Traced {
    gateway: Gateway,
    #[cfg_attr(not(feature = "otel"), allow(dead_code))] // Keeps the emulator running.
    vertex: Emulator,
    upstream: Upstream,
    log: Log,
    _key: TempPath,
}

impl Traced {
    async fn start(variables: &[(&str, &str)], options: &[&str]) -> Self {
        Self::start_before(Emulator::start().await.unwrap(), variables, options).await
    }

    async fn start_before(vertex: Emulator, variables: &[(&str, &str)], options: &[&str]) -> Self {
        let upstream = Upstream::before(vertex.addr()).await;
        let options = [&["--log-format", "json"], options].concat();
        let (mut command, key) = before(&vertex, &upstream.url(), &options);
        command.envs(variables.iter().copied()).stderr(Stdio::piped());
        let mut gateway = Gateway::start(command).await;
        let log = Log::of(&mut gateway);
        Self { gateway, vertex, upstream, log, _key: key }
    }

    /// The next line of the log that contains this text.
    async fn told(&mut self, what: &str) -> serde_json::Value {
        serde_json::from_str(&self.log.until(what).await).unwrap()
    }

    /// Sends a chat as a part of a trace of the client.
    async fn ask_with(&self, headers: &[(&'static str, &'static str)]) {
        let mut request = chat(CONTENT);
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let answer = self.gateway.call(request).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(text(answer).await.contains(CONTENT));
    }
}

/// An address without a listener, for as long as the socket is kept.
#[cfg(feature = "otel")]
fn nowhere() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

const CLIENTS: [(&str, &str); 3] =
    [("traceparent", PARENT), ("tracestate", "a=1, b=2"), ("baggage", "user=1;p=2, x=%20")];

#[tokio::test]
async fn without_an_endpoint_a_clients_context_is_forwarded_unchanged() {
    let broken = ("traceparent", "broken");
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        #[cfg(feature = "otel")]
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_SDK_DISABLED", "true")],
    ] {
        let mut traced = Traced::start(variables, &[]).await;
        for headers in [&CLIENTS[..], &[broken, CLIENTS[1]], &[broken, broken]] {
            traced.ask_with(headers).await;
            let sent = traced.upstream.take();
            assert_eq!(sent.len(), 1);
            // Baggage may identify the user.
            assert!(sent[0].all("baggage").is_empty());
            for name in ["traceparent", "tracestate"] {
                let came = headers.iter().filter(|(came, _)| *came == name);
                assert_eq!(sent[0].all(name), came.map(|(_, value)| *value).collect::<Vec<_>>());
            }
            assert_eq!(traced.told(r#""message":"request""#).await.get("trace_id"), None);
        }
    }
}

#[cfg(not(feature = "otel"))]
#[tokio::test]
async fn a_build_without_traces_warns_if_an_endpoint_is_set() {
    let endpoint = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9");
    let mut traced = Traced::start(&[endpoint], &[]).await;
    let line = traced.told("traces are not exported").await;
    assert_eq!((&line["level"], &line["variable"]), (&"WARN".into(), &endpoint.0.into()));
}
