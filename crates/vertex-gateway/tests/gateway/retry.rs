//! Retries and failover of `vertex-gateway`, from a user's view.

use std::{io::Write as _, process::Stdio};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tower_vertex_emulator::{ApiFault, Emulator, Faults};

use crate::common::{
    chat,
    gateway::{self, Gateway, Log, command},
    text,
};

const TWO_PLACES: &str = r#"
[[model]]
name = "mine"
model = "gemini-2.5-flash"
locations = ["us-central1", "us-east4"]
"#;

fn fail(vertex: &Emulator, fault: ApiFault) {
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
}

fn attempts(answer: &Response<Incoming>) -> &str {
    answer.headers()["x-vertex-gateway-attempts"].to_str().unwrap()
}

/// The locations of the requests, the first one first.
fn locations(vertex: &Emulator) -> Vec<String> {
    let location = |path: &str| path.split('/').nth(5).unwrap().to_owned();
    vertex.requests().iter().map(|seen| location(&seen.path)).collect()
}

async fn before(vertex: &Emulator, config: &str, options: &[&str]) -> Gateway {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config.as_bytes()).unwrap();
    let config = ["--config", file.path().to_str().unwrap()];
    Gateway::before(vertex, &[&config[..], options].concat()).await
}

async fn ask(gateway: &Gateway) -> Response<Incoming> {
    let body = json!({ "model": "mine", "messages": [{ "role": "user", "content": "x" }] });
    let request = Request::post("/v1/chat/completions");
    gateway.call(request.body(Full::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn without_max_attempts_no_request_is_retried() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    fail(&vertex, ApiFault { times: Some(1), ..ApiFault::new(503) });
    let answer = gateway.call(chat("x")).await;
    assert_eq!((answer.status(), attempts(&answer)), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(vertex.requests().len(), 1);
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_and_each_attempt_is_counted() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &["--max-attempts", "3"]).await;
    fail(&vertex, ApiFault { times: Some(1), ..ApiFault::new(429) });
    let answer = gateway.call(chat("x")).await;
    assert_eq!((answer.status(), attempts(&answer)), (StatusCode::OK, "2"));
    // This delay exceeds the longest wait of the gateway, so the client has to decide.
    let delay = Some("31s".to_owned());
    fail(&vertex, ApiFault { retry_delay: delay, ..ApiFault::new(429) });
    let answer = gateway.call(chat("x")).await;
    assert_eq!((answer.status(), attempts(&answer)), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(answer.headers()["retry-after"], "31");
}

#[tokio::test]
async fn the_next_location_serves_after_a_429_and_stays_the_first_choice() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = before(&vertex, TWO_PLACES, &["--max-attempts", "2"]).await;
    let location = Some("us-central1".to_owned());
    fail(&vertex, ApiFault { location, ..ApiFault::new(429) });
    let answer = ask(&gateway).await;
    assert_eq!((answer.status(), attempts(&answer)), (StatusCode::OK, "2"));
    let answer = ask(&gateway).await;
    assert_eq!((answer.status(), attempts(&answer)), (StatusCode::OK, "1"));
    assert_eq!(locations(&vertex), ["us-central1", "us-east4", "us-east4"]);

    // If no other location can serve, the client gets the failure.
    fail(&vertex, ApiFault::new(503));
    let answer = ask(&gateway).await;
    assert_eq!((answer.status(), attempts(&answer)), (StatusCode::SERVICE_UNAVAILABLE, "2"));
    assert!(!locations(&vertex).contains(&"global".to_owned()));
    assert_eq!(vertex.stats().token_mints, 1);
}

#[tokio::test]
async fn a_list_of_locations_that_is_never_used_is_refused() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(TWO_PLACES.as_bytes()).unwrap();
    let config = file.path().to_str().unwrap();
    let output = command(&["--emulator", "--listen", "127.0.0.1:0", "--config", config]).output();
    let output = output.await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(r#"model "mine" has 2 locations"#), "{error}");
    assert!(error.contains("set --max-attempts to 2 or more"), "{error}");
}

#[tokio::test]
async fn a_discarded_response_does_not_affect_the_outcome_of_the_forwarded_one() {
    let vertex = Emulator::start().await.unwrap();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    tokio::spawn(async move {
        let json = "content-type: application/json\r\nconnection: close\r\ncontent-length";
        for answer in [
            format!("HTTP/1.1 503 Service Unavailable\r\n{json}: 99\r\n\r\n{{\"error"),
            format!("HTTP/1.1 200 OK\r\n{json}: 2\r\n\r\n{{}}"),
        ] {
            let (mut socket, _) = upstream.accept().await.unwrap();
            assert!(gateway::request(&mut socket).await);
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let options = ["--max-attempts", "2", "--log-format", "json", "--compat", "off"];
    let (mut command, _key) = gateway::before(&vertex, &url, &options);
    command.stderr(Stdio::piped());
    let mut gateway = Gateway::start(command).await;
    let mut log = Log::of(&mut gateway);
    let answer = gateway.call(chat("x")).await;
    assert_eq!((answer.status(), attempts(&answer)), (StatusCode::OK, "2"));
    assert_eq!(text(answer).await, "{}");
    let line = log.until(r#""message":"request""#).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["status"], &line["end"]), (&json!(200), &json!("complete")), "{line}");
}

#[tokio::test]
async fn a_request_that_the_gateway_refuses_has_no_attempts() {
    let vertex = Emulator::start().await.unwrap();
    for most in ["1", "3"] {
        let options = ["--max-attempts", most, "--log-format", "json"];
        let (mut command, _key) = gateway::before(&vertex, &vertex.url(), &options);
        command.stderr(Stdio::piped());
        let mut gateway = Gateway::start(command).await;
        let mut log = Log::of(&mut gateway);
        let mut request = chat("x");
        *request.uri_mut() = "https://x/v1/chat/%2e%2e/completions".parse().unwrap();
        let answer = gateway.call(request).await;
        assert!(!answer.headers().contains_key("x-vertex-gateway-attempts"), "{answer:?}");
        let (status, code, _) = gateway::openai_error(answer).await;
        assert_eq!((status, &*code), (400, "invalid_path"));
        let line = log.until(r#""message":"request""#).await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line.get("attempts").is_none(), "{line}");
    }
    assert!(vertex.requests().is_empty());
}
