//! The spans of a request: their number, their parents, and their attributes.

use std::{fs, io::Write as _, time::Duration};

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower_vertex_emulator::{
    ApiFault, ChatBehavior, Emulator, Faults, ResponsesModels, StreamBehavior, TokenBehavior,
    TokenFault,
};

use super::{
    CLIENTS, CONTENT, PARENT, Traced,
    collector::{Collector, Seen, Spans},
    export::metrics,
    nowhere,
};
use crate::common::{Http, chat, chat_stream, eventually, text};

const MODEL: &str = "google/gemini-2.5-flash";

/// A gateway whose spans are exported at once.
pub(super) async fn traced(
    collector: &Collector,
    variables: &[(&str, &str)],
    options: &[&str],
) -> Traced {
    let ours =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
    Traced::start(&[&ours[..], variables].concat(), options).await
}

/// Checks that the spans are one trace: the request, its operation, and the attempts of the
/// operation.
fn assert_tree(spans: &Spans, parent: &str) {
    let (server, operation, attempts) = (spans.server(), spans.operation(), spans.attempts());
    assert_eq!(spans.0.len(), 2 + attempts.len(), "{spans:#?}");
    assert_eq!((&*server.parent, &*operation.parent), (parent, &*server.id));
    for span in &spans.0 {
        assert_eq!(span.trace, server.trace);
        assert!(span.start <= span.end && span.start >= server.start && span.end <= server.end);
    }
    for attempt in &attempts {
        assert_eq!(attempt.parent, operation.id);
        assert!(attempt.start >= operation.start && attempt.end <= operation.end);
    }
    for (kind, span) in [("SERVER", server), ("CLIENT", operation), ("CLIENT", attempts[0].clone())]
    {
        assert_eq!(span.kind, kind);
    }
}

fn with(mut all: Value, more: Value) -> Value {
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

impl Traced {
    fn port(&self) -> u16 {
        self.upstream.url().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The attributes of the request's span.
    fn server(&self, more: Value) -> Value {
        let all = json!({
            "http.request.method": "POST", "http.route": "/v1/chat/completions",
            "url.path": "/v1/chat/completions", "url.scheme": "http",
            "server.address": "127.0.0.1", "server.port": self.gateway.addr.port(),
            "network.protocol.version": "1.1", "http.response.status_code": 200,
            "vertex_gateway.attempts": 1, "vertex_gateway.end": "complete",
        });
        with(all, more)
    }

    /// The attributes of the model's operation.
    fn operation(&self, more: Value) -> Value {
        let all = json!({
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "gcp.vertex_ai",
            "gen_ai.request.model": MODEL, "server.address": "127.0.0.1",
            "server.port": self.port(), "vertex_gateway.location": "us-central1",
        });
        with(all, more)
    }

    /// The attributes of an attempt.
    fn attempt(&self, location: &str, more: Value) -> Value {
        let url = format!(
            "{}/v1/projects/p1/locations/{location}/endpoints/openapi/chat/completions",
            self.upstream.url()
        );
        let all = json!({
            "http.request.method": "POST", "url.full": url,
            "server.address": "127.0.0.1", "server.port": self.port(),
            "network.protocol.version": "1.1", "vertex_gateway.location": location,
            "http.response.status_code": 200,
        });
        with(all, more)
    }
}

/// The tokens that Google bills as output.
fn output(usage: &Value) -> u64 {
    usage["total_tokens"].as_u64().unwrap() - usage["prompt_tokens"].as_u64().unwrap()
}

fn usage_of(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let usage = &answer["usage"];
    assert!(usage["prompt_tokens"].as_u64().unwrap() > 0, "{usage}");
    json!({
        "gen_ai.response.model": MODEL,
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": output(usage),
        "gen_ai.usage.reasoning.output_tokens":
            usage["completion_tokens_details"]["reasoning_tokens"],
        "vertex_gateway.traffic_type": "ON_DEMAND",
    })
}

#[tokio::test]
async fn a_chat_is_a_request_an_operation_and_an_attempt() {
    let collector = Collector::start().await;
    let mut traced = traced(&collector, &[], &[]).await;
    let answer = text(traced.gateway.call(chat(CONTENT)).await).await;
    let spans = collector.take(3).await;
    assert_tree(&spans, "");
    let (server, operation, attempts) = (spans.server(), spans.operation(), spans.attempts());
    assert_eq!(server.name, "POST /v1/chat/completions");
    assert_eq!(operation.name, "chat google/gemini-2.5-flash");
    assert_eq!(attempts[0].name, "POST");
    assert!(spans.0.iter().all(|span| !span.is_error), "{spans:#?}");

    let id = server.get("vertex_gateway.request_id").as_str().unwrap();
    assert!(id.starts_with("req_"), "{id}");
    assert_eq!(server.clone().without("vertex_gateway.request_id"), traced.server(json!({})));
    assert_eq!(json!(operation.attributes), traced.operation(usage_of(&answer)));
    assert_eq!(json!(attempts[0].attributes), traced.attempt("us-central1", json!({})));

    assert_eq!(server.resource["service.name"], "vertex-gateway");
    assert_eq!(server.resource["service.version"], env!("CARGO_PKG_VERSION"));

    // Vertex AI and the log get the trace.
    let sent = traced.upstream.take();
    assert_eq!(sent[0].all("traceparent"), [attempts[0].traceparent()]);
    assert_eq!(traced.told(r#""message":"request""#).await["trace_id"], json!(server.trace));
}

#[tokio::test]
async fn the_span_of_a_stream_has_the_time_of_the_first_chunk_and_ends_with_the_last() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &[]).await;
    let answer = text(traced.gateway.call(chat_stream(CONTENT)).await).await;
    let last = answer.lines().rev().find(|line| line.contains("usage")).unwrap();
    let usage = usage_of(last.strip_prefix("data: ").unwrap());
    let spans = collector.take(3).await;
    assert_tree(&spans, "");
    let operation = spans.operation();
    let seconds = operation.get("gen_ai.response.time_to_first_chunk").as_f64().unwrap();
    let whole = Duration::from_nanos(operation.end - operation.start).as_secs_f64();
    assert!(seconds > 0.0 && seconds <= whole + 0.001, "{seconds} of {whole}");
    let expected = traced.operation(with(usage, json!({ "gen_ai.request.stream": true })));
    assert_eq!(operation.without("gen_ai.response.time_to_first_chunk"), expected);
    let server = spans.server().without("vertex_gateway.request_id");
    assert_eq!(server, traced.server(json!({})));
}

#[tokio::test]
async fn a_span_has_the_tokens_that_google_bills() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &[]).await;
    let body = json!({
        "model": MODEL, "messages": [{ "role": "user", "content": CONTENT }],
        "extra_body": { "google": { "cached_content": "cachedContents/1" } },
    });
    let request = Request::post("/v1/chat/completions")
        .header("x-vertex-ai-llm-shared-request-type", "flex")
        .body(Full::from(body.to_string()));
    let answer = text(traced.gateway.call(request.unwrap()).await).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let usage = &answer["usage"];
    let operation = collector.take(3).await.operation();
    let get = |name: &str| operation.get(&format!("gen_ai.usage.{name}"));
    assert_eq!(get("input_tokens"), &usage["prompt_tokens"]);
    assert_eq!(get("cache_read.input_tokens"), &usage["prompt_tokens_details"]["cached_tokens"]);
    assert!(get("cache_read.input_tokens").as_u64().unwrap() > 0);
    assert_eq!(get("output_tokens"), output(usage));
    let reasoning = &usage["completion_tokens_details"]["reasoning_tokens"];
    assert_eq!(get("reasoning.output_tokens"), reasoning);
    let completion = usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(output(usage), completion + reasoning.as_u64().unwrap());
    assert_eq!(operation.get("vertex_gateway.traffic_type"), "ON_DEMAND_FLEX");
}

#[tokio::test]
async fn other_methods_are_operations_of_their_own() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &[]).await;
    let model = "google/gemini-embedding-001";
    let body = json!({ "model": model, "input": CONTENT });
    let request = Request::post("/v1/embeddings").body(Full::from(body.to_string())).unwrap();
    let answer = traced.gateway.call(request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    text(answer).await;
    let spans = collector.take(3).await;
    assert_tree(&spans, "");
    let operation = spans.operation();
    assert_eq!(operation.name, format!("embeddings {model}"));
    assert_eq!(operation.get("gen_ai.operation.name"), "embeddings");
    assert!(operation.get("gen_ai.usage.input_tokens").as_u64().unwrap() > 0);
    assert_eq!(
        operation.get("gen_ai.usage.output_tokens"),
        &Value::Null,
        "embeddings have no output"
    );
    assert_eq!(spans.server().name, "POST /v1/embeddings");

    // A request without a model has no operation, and a request that the gateway itself serves has
    // no attempt.
    let request = Request::get("/v1/models").body(Full::default()).unwrap();
    text(traced.gateway.call(request).await).await;
    let spans = collector.take(1).await;
    assert_eq!(spans.server().name, "GET /v1/models");
    assert_eq!(spans.server().get("vertex_gateway.attempts"), &Value::Null);
    let method = Method::from_bytes(b"INVENTED").unwrap();
    let request = Request::builder().method(method).uri("/path-of-a-client");
    text(traced.gateway.call(request.body(Full::default()).unwrap()).await).await;
    let spans = collector.take(1).await;
    assert_eq!(spans.server().name, "HTTP");
    assert_eq!(spans.server().get("http.request.method"), "_OTHER");
    assert_eq!(spans.server().get("http.route"), &Value::Null);
}

#[tokio::test]
async fn the_tokens_of_a_fetched_response_are_not_counted_again() {
    let collector = Collector::start().await;
    let mut traced = traced(&collector, &[], &["--admin-listen", "127.0.0.1:0"]).await;
    let admin = traced.admin().await;
    traced
        .vertex
        .set_chat(ChatBehavior { responses: ResponsesModels::Any, ..ChatBehavior::default() });
    let body = json!({ "model": MODEL, "input": CONTENT });
    let request = Request::post("/v1/responses").body(Full::from(body.to_string())).unwrap();
    let made: Value =
        serde_json::from_str(&text(traced.gateway.call(request).await).await).unwrap();
    let operation = collector.take(3).await.operation();
    let tokens = ["input_tokens", "output_tokens"];
    for tokens in tokens {
        assert!(made["usage"][tokens].as_u64().unwrap() > 0, "{made}");
        assert_eq!(operation.get(&format!("gen_ai.usage.{tokens}")), &made["usage"][tokens]);
    }
    let line = traced.told(r#""message":"request""#).await;
    assert_eq!(line["input_tokens"], made["usage"]["input_tokens"]);
    let counted = async || {
        let metrics = metrics(&admin).await;
        let line = |line: &&str| line.contains("put_tokens_total{");
        metrics.lines().filter(line).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = counted().await;
    // Two of these metrics are the gateway's. Four follow the conventions: all tokens, and the
    // cached or reasoning part of them.
    assert_eq!(before.len(), 6, "{before:?}");

    let id = made["id"].as_str().unwrap();
    for _ in 0..3 {
        let request = Request::get(format!("/v1/responses/{id}")).body(Full::default()).unwrap();
        let fetched = text(traced.gateway.call(request).await).await;
        let fetched: Value = serde_json::from_str(&fetched).unwrap();
        assert_eq!(fetched["usage"], made["usage"]);
        let spans = collector.take(3).await;
        assert_tree(&spans, "");
        let operation = spans.operation();
        assert_eq!(operation.name, "fetch_response");
        assert_eq!(operation.get("gen_ai.response.id"), id);
        let line = traced.told(r#""message":"request""#).await;
        for tokens in tokens {
            assert_eq!(operation.get(&format!("gen_ai.usage.{tokens}")), &Value::Null);
            assert_eq!(line.get(tokens), None);
        }
    }
    assert_eq!(counted().await, before);
}

#[tokio::test]
async fn the_span_of_a_request_over_http_2_has_its_version() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &[]).await;
    text(traced.gateway.call_over(Http::Two, &mut chat(CONTENT)).await).await;
    let spans = collector.take(3).await;
    let of_two = traced.server(json!({ "network.protocol.version": "2" }));
    assert_eq!(spans.server().without("vertex_gateway.request_id"), of_two);
    assert_eq!(spans.attempts()[0].get("network.protocol.version"), "1.1");
}

#[tokio::test]
async fn the_span_of_a_sampling_client_is_the_parent_of_all() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &[]).await;
    traced.ask_with(&CLIENTS).await;
    let spans = collector.take(3).await;
    let (_, trace, parent) = split(PARENT);
    assert_tree(&spans, parent);
    assert_eq!(spans.server().trace, trace);
    assert!(spans.0.iter().all(|span| span.state == "a=1,b=2"), "{spans:#?}");
    let sent = traced.upstream.take();
    assert_eq!(sent[0].all("traceparent"), [spans.attempts()[0].traceparent()]);
    assert_eq!(sent[0].all("tracestate"), [CLIENTS[1].1]);
    assert!(sent[0].all("baggage").is_empty());
}

/// The version, the trace and the span.
fn split(traceparent: &str) -> (&str, &str, &str) {
    assert_eq!(traceparent.len(), 55, "{traceparent}");
    (&traceparent[..2], &traceparent[3..35], &traceparent[36..52])
}

#[tokio::test]
async fn a_client_that_does_not_sample_is_not_sampled_and_its_trace_is_forwarded() {
    let collector = Collector::start().await;
    let mut traced = traced(&collector, &[], &[]).await;
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    traced.ask_with(&[("traceparent", unsampled), CLIENTS[1], CLIENTS[2]]).await;
    let sent = traced.upstream.take();
    let [ours] = sent[0].all("traceparent")[..] else { panic!("{sent:?}") };
    let (version, trace, span) = split(ours);
    assert_eq!((version, trace), ("00", split(unsampled).1));
    assert_ne!(span, split(unsampled).2);
    assert!(ours.ends_with("-00"), "{ours}");
    assert_eq!(sent[0].all("tracestate"), [CLIENTS[1].1]);
    assert!(sent[0].all("baggage").is_empty());
    assert_eq!(traced.told(r#""message":"request""#).await["trace_id"], json!(trace));
    // The spans of the next request are exported, and none were exported before.
    traced.ask_with(&[]).await;
    assert_ne!(collector.take(3).await.server().trace, trace);
}

#[tokio::test]
async fn a_malformed_traceparent_begins_a_new_trace() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &[]).await;
    let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
    for headers in [
        &[("traceparent", "broken"), CLIENTS[1]][..],
        &[("traceparent", zero), CLIENTS[1]],
        &[("traceparent", ""), CLIENTS[1]],
        &[("traceparent", PARENT), ("traceparent", PARENT), CLIENTS[1]],
        &[CLIENTS[1]],
    ] {
        traced.ask_with(headers).await;
        let spans = collector.take(3).await;
        assert_tree(&spans, "");
        assert_ne!(spans.server().trace, split(PARENT).1);
        assert_eq!(spans.server().state, "");
        let sent = traced.upstream.take();
        assert_eq!(sent[0].all("traceparent"), [spans.attempts()[0].traceparent()]);
        assert_eq!(sent[0].all("tracestate"), [""; 0], "the state of another trace is dropped");
    }
}

#[tokio::test]
async fn a_failover_is_two_attempts_of_one_operation() {
    let collector = Collector::start().await;
    let config = "[[model]]\nname = \"mine\"\nmodel = \"gemini-2.5-flash\"\n\
                  locations = [\"us-central1\", \"us-east4\"]\n";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config.as_bytes()).unwrap();
    let options = ["--config", file.path().to_str().unwrap(), "--max-attempts", "2"];
    let traced = traced(&collector, &[], &options).await;
    let location = Some("us-central1".to_owned());
    let fault = ApiFault { location, ..ApiFault::new(429) };
    traced.vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
    let body = json!({ "model": "mine", "messages": [{ "role": "user", "content": CONTENT }] });
    let request = Request::post("/v1/chat/completions").body(Full::from(body.to_string()));
    text(traced.gateway.call(request.unwrap()).await).await;
    let spans = collector.take(4).await;
    assert_tree(&spans, "");
    let (server, operation, attempts) = (spans.server(), spans.operation(), spans.attempts());
    assert_eq!(server.get("vertex_gateway.attempts"), 2);
    assert_eq!((&*operation.name, operation.is_error), ("chat mine", false));
    assert_eq!(operation.get("gen_ai.response.model"), MODEL);
    assert_eq!(operation.get("vertex_gateway.location"), "us-east4");
    let first = json!({ "http.response.status_code": 429, "error.type": "429" });
    assert_eq!(json!(attempts[0].attributes), traced.attempt("us-central1", first));
    let second = json!({ "http.request.resend_count": 1 });
    assert_eq!(json!(attempts[1].attributes), traced.attempt("us-east4", second));
    assert_eq!([attempts[0].is_error, attempts[1].is_error], [true, false]);
    assert!(attempts[0].end <= attempts[1].start, "the wait is in no attempt");
    let sent = traced.upstream.take();
    for (sent, attempt) in sent.iter().zip(&attempts) {
        assert_eq!(sent.all("traceparent"), [attempt.traceparent()]);
    }
}

#[tokio::test]
async fn an_error_of_vertex_ai_is_an_error_of_the_operation_and_a_4xx_none_of_the_request() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &["--max-attempts", "2"]).await;
    for (status, is_ours) in [(403, false), (503, true)] {
        let fault = ApiFault { retry_delay: Some("31s".to_owned()), ..ApiFault::new(status) };
        traced.vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
        text(traced.gateway.call(chat(CONTENT)).await).await;
        let spans = collector.take(3).await;
        assert_tree(&spans, "");
        let kind = json!(status.to_string());
        assert_eq!(
            (spans.operation().is_error, spans.operation().get("error.type")),
            (true, &kind)
        );
        assert_eq!(spans.attempts()[0].get("error.type"), &kind);
        let server = spans.server();
        let expected = if is_ours { &kind } else { &Value::Null };
        assert_eq!((server.is_error, server.get("error.type")), (is_ours, expected));
        assert_eq!(server.get("http.response.status_code"), status);
    }
}

#[tokio::test]
async fn a_replay_after_a_401_is_an_attempt_too() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &[]).await;
    text(traced.gateway.call(chat(CONTENT)).await).await;
    collector.take(3).await;
    traced.vertex.revoke_tokens();
    text(traced.gateway.call(chat(CONTENT)).await).await;
    let spans = collector.take(4).await;
    assert_tree(&spans, "");
    let (server, attempts) = (spans.server(), spans.attempts());
    assert_eq!(server.get("vertex_gateway.token_replay"), "replayed");
    assert_eq!(server.get("vertex_gateway.attempts"), 1);
    let of = |span: &Seen, name: &str| span.get(name).clone();
    let statuses = attempts.iter().map(|span| of(span, "http.response.status_code"));
    assert_eq!(statuses.collect::<Vec<_>>(), [401, 200]);
    let resent = attempts.iter().map(|span| of(span, "http.request.resend_count"));
    assert_eq!(resent.collect::<Vec<_>>(), [Value::Null, json!(1)]);
    assert_eq!(attempts[0].get("error.type"), "401");
    assert!(!spans.operation().is_error && !server.is_error);
}

#[tokio::test]
async fn a_request_that_the_gateway_refuses_has_no_attempt() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    fs::write(&keys, "team-a:the-key-of-team-a-0123456789\n").unwrap();
    let traced = traced(&collector, &[], &["--client-key-file", keys.to_str().unwrap()]).await;
    let answer = traced.gateway.call(chat(CONTENT)).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    text(answer).await;
    let server = collector.take(1).await.server();
    assert_eq!(server.get("vertex_gateway.error_code"), "invalid_api_key");
    assert_eq!(server.get("vertex_gateway.client"), &Value::Null);
    assert_eq!((server.is_error, server.get("error.type")), (false, &Value::Null));
    let mut request = chat(CONTENT);
    let key = "Bearer the-key-of-team-a-0123456789".parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, key);
    text(traced.gateway.call(request).await).await;
    assert_eq!(collector.take(3).await.server().get("vertex_gateway.client"), "team-a");
}

#[tokio::test]
async fn without_a_token_there_is_no_attempt_and_the_request_is_an_error() {
    let collector = Collector::start().await;
    let vertex = Emulator::start().await.unwrap();
    let fail = Some(TokenFault { status: 403, times: None });
    vertex.set_token_behavior(TokenBehavior { fail, ..TokenBehavior::default() });
    let here =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
    let traced = Traced::start_before(vertex, &here, &[]).await;
    let answer = traced.gateway.call(chat(CONTENT)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    text(answer).await;
    let server = collector.take(1).await.server();
    assert_eq!((server.is_error, server.get("error.type")), (true, &json!("token_unavailable")));
    assert_eq!(server.get("vertex_gateway.error_code"), "token_unavailable");
    assert_eq!(server.get("http.response.status_code"), 503);
    assert_eq!(traced.upstream.take().len(), 0);
}

#[tokio::test]
async fn without_a_connection_the_attempt_has_the_reason() {
    let collector = Collector::start().await;
    let mut traced = traced(&collector, &[], &[]).await;
    // This address has no listener any more.
    let vertex = Emulator::start().await.unwrap();
    let (_socket, gone) = nowhere();
    let (mut command, _key) = crate::common::gateway::before(&vertex, &gone, &[]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).env("OTEL_BSP_SCHEDULE_DELAY", "20");
    traced.gateway = crate::common::gateway::Gateway::start(command).await;
    text(traced.gateway.call(chat(CONTENT)).await).await;
    let spans = collector.take(3).await;
    assert_tree(&spans, "");
    assert_eq!(spans.attempts()[0].get("error.type"), "ConnectionRefused");
    assert_eq!(spans.operation().get("error.type"), "upstream_unreachable");
    let server = spans.server();
    assert_eq!((server.is_error, server.get("error.type")), (true, &json!("upstream_unreachable")));
    assert_eq!(server.get("vertex_gateway.error_code"), "upstream_unreachable");
    assert_eq!(server.get("http.response.status_code"), 502);
}

#[tokio::test]
async fn a_stream_that_does_not_complete_is_an_error_of_all_spans() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[], &["--stream-idle-timeout", "1"]).await;
    let slow = |chunk_delay, cut_after| {
        let chunks = Some(4);
        let stream = StreamBehavior { chunk_delay, cut_after, chunks, ..StreamBehavior::default() };
        traced.vertex.set_faults(Faults { stream, ..Faults::default() });
    };
    let hour = Duration::from_secs(3600);
    for (delay, cut, leaves, end, of_attempt) in [
        (hour, None, true, "client_closed", "cancelled"),
        (Duration::ZERO, Some(2), false, "upstream_reset", "upstream_reset"),
        (hour, None, false, "upstream_idle", "cancelled"),
    ] {
        slow(delay, cut);
        let mut answer = traced.gateway.call(chat_stream(CONTENT)).await;
        if leaves {
            answer.body_mut().frame().await.unwrap().unwrap();
            drop(answer);
        } else {
            let _ = answer.into_body().collect().await;
        }
        let spans = collector.take(3).await;
        assert_tree(&spans, "");
        let (server, operation, attempts) = (spans.server(), spans.operation(), spans.attempts());
        for (span, kind) in [(&server, end), (&operation, end), (&attempts[0], of_attempt)] {
            assert_eq!((span.is_error, span.get("error.type")), (true, &json!(kind)), "{end}");
        }
        assert_eq!(server.get("vertex_gateway.end"), end);
        assert_eq!(server.get("http.response.status_code"), 200);
    }

    // A client that leaves before there is a response.
    let stream = StreamBehavior { first_byte_delay: hour, ..StreamBehavior::default() };
    traced.vertex.set_faults(Faults { stream, ..Faults::default() });
    let before = traced.vertex.requests().len();
    let call = tokio::time::timeout(hour, traced.gateway.call(chat(CONTENT)));
    tokio::select! {
        _ = call => panic!("there is a response"),
        () = eventually("the request arrives", || traced.vertex.requests().len() > before) => {}
    }
    let spans = collector.take(3).await;
    assert_tree(&spans, "");
    let (server, attempts) = (spans.server(), spans.attempts());
    assert_eq!(server.get("http.response.status_code"), &Value::Null);
    assert_eq!((server.is_error, server.get("error.type")), (true, &json!("client_closed")));
    assert_eq!(attempts[0].get("error.type"), "cancelled");
}
