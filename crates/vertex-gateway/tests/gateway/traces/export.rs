//! The export of spans: sampling, secrets that no span may contain, and unavailable collectors.

use std::{fs, process::Stdio, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tower_vertex_emulator::{ApiFault, Emulator, Faults, StreamBehavior};

use super::{
    CLIENTS, CONTENT, PARENT, Traced,
    collector::{Collector, Mood},
    nowhere,
    spans::traced,
};
use crate::common::{
    chat, chat_stream, eventually,
    gateway::{Gateway, before, command},
    text,
};

#[tokio::test]
async fn nothing_secret_is_in_any_export() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let (key, wrong) = ("the-key-of-team-a-0123456789", "a-key-that-is-not-known");
    fs::write(&keys, format!("team-a:{key}\n")).unwrap();
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=KEY%20OF%20THE%20COLLECTOR");
    let options = ["--client-key-file", keys.to_str().unwrap()];
    let mut traced = traced(&collector, &[headers], &options).await;
    let with_key = |mut request: Request<Full<bytes::Bytes>>, key: &str| {
        let key = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, key);
        request.headers_mut().insert("x-secret", "SECRET-IN-A-HEADER".parse().unwrap());
        request.headers_mut().insert("user-agent", "SECRET-IN-AN-AGENT".parse().unwrap());
        let uri = format!("{}?key=SECRET-IN-A-QUERY&q=QUERY", request.uri().path());
        *request.uri_mut() = uri.parse().unwrap();
        request
    };
    let call = async |request| text(traced.gateway.call(request).await).await;
    assert!(call(with_key(chat(CONTENT), key)).await.contains(CONTENT));
    assert!(call(with_key(chat_stream(CONTENT), key)).await.contains("[DONE]"));
    call(with_key(chat(CONTENT), wrong)).await;
    traced.vertex.revoke_tokens();
    call(with_key(chat(CONTENT), key)).await;
    traced.vertex.set_faults(Faults { api: Some(ApiFault::new(403)), ..Faults::default() });
    call(with_key(chat(CONTENT), key)).await;
    eventually("14 spans", || collector.spans().0.len() >= 14).await;
    let named = |span: &&super::collector::Seen| span.get("vertex_gateway.client") == "team-a";
    assert_eq!(collector.spans().0.iter().filter(named).count(), 4);

    for export in collector.exports() {
        assert_eq!(export.path, "/v1/traces");
        assert_eq!(export.headers["content-type"], "application/x-protobuf");
        assert_eq!(export.headers["x-collector-key"], "KEY OF THE COLLECTOR");
        assert!(!export.headers.contains_key(header::AUTHORIZATION), "{:?}", export.headers);
        assert!(!export.headers.contains_key("traceparent"), "{:?}", export.headers);
        let body = String::from_utf8_lossy(&export.body).into_owned();
        for secret in [CONTENT, key, wrong, "SECRET", "QUERY", "ya29.", "Bearer", "PRIVATE KEY"] {
            assert!(!body.contains(secret), "{secret:?} in {body}");
        }
    }
    let sent = traced.upstream.take();
    assert!(sent.iter().all(|head| head.all("x-collector-key").is_empty()));

    // The log has the URL of the collector, but not its key.
    traced.gateway.terminate();
    assert!(traced.gateway.ended().await.success());
    let mut log = String::new();
    while let Some(line) = traced.log.line().await {
        log += &line;
    }
    assert!(log.contains("exporting traces") && log.contains(&collector.url), "{log}");
    assert!(!log.contains("COLLECTOR"), "{log}");
}

#[tokio::test]
async fn contexts_are_forwarded_with_the_decision_of_the_sampler() {
    let sampler = |name| ("OTEL_TRACES_SAMPLER", name);
    let ratio = |ratio| ("OTEL_TRACES_SAMPLER_ARG", ratio);
    let sampled = [("traceparent", PARENT)];
    let unsampled = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")];
    for (variables, headers, is_sampled) in [
        (&[sampler("always_off")][..], &sampled[..], false),
        (&[sampler("parentbased_always_off")], &[], false),
        (&[sampler("parentbased_always_off")], &sampled, true),
        (&[sampler("traceidratio"), ratio("0")], &sampled, false),
        (&[sampler("traceidratio"), ratio("1")], &unsampled, true),
        (&[sampler("parentbased_traceidratio"), ratio("0.0")], &[], false),
        (&[sampler("always_on")], &unsampled, true),
    ] {
        let collector = Collector::start().await;
        let mut traced = traced(&collector, variables, &[]).await;
        traced.ask_with(headers).await;
        let sent = traced.upstream.take();
        let [parent] = sent[0].all("traceparent")[..] else { panic!("{sent:?}") };
        assert!(parent.ends_with(if is_sampled { "-01" } else { "-00" }), "{variables:?} {parent}");
        if let [(_, theirs)] = headers {
            assert_eq!(parent[..35], theirs[..35]);
            assert_ne!(parent[36..52], theirs[36..52]);
        }
        // At the end of the process, all spans have been exported.
        traced.gateway.terminate();
        assert!(traced.gateway.ended().await.success());
        assert_eq!(collector.spans().0.len(), if is_sampled { 3 } else { 0 }, "{variables:?}");
    }
}

#[tokio::test]
async fn without_a_propagator_the_clients_context_is_forwarded_unchanged() {
    let collector = Collector::start().await;
    let traced = traced(&collector, &[("OTEL_PROPAGATORS", "none")], &[]).await;
    traced.ask_with(&CLIENTS).await;
    let spans = collector.take(3).await;
    assert_eq!(spans.server().parent, "");
    assert_ne!(spans.server().trace, PARENT[3..35]);
    let sent = traced.upstream.take();
    for (name, value) in &CLIENTS[..2] {
        assert_eq!(sent[0].all(name), [*value]);
    }
}

#[tokio::test]
async fn the_environment_sets_the_resource() {
    let collector = Collector::start().await;
    let variables = [
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=7"),
        ("OTEL_SERVICE_NAME", "my-gateway"),
    ];
    let traced = traced(&collector, &variables, &[]).await;
    traced.ask_with(&[]).await;
    let resource = collector.take(3).await.server().resource;
    assert_eq!(resource["service.name"], "my-gateway");
    assert_eq!(resource["service.version"], "7");
    assert_eq!(resource["deployment.environment.name"], "test");
    assert_eq!(resource["telemetry.sdk.language"], "rust");
}

#[tokio::test]
async fn the_last_spans_are_exported_at_the_end() {
    let collector = Collector::start().await;
    // With this delay, the next export would be in an hour.
    let late = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut traced = traced(&collector, &[late], &["--drain-timeout", "1"]).await;
    traced.ask_with(&[]).await;
    let chunk_delay = Duration::from_secs(3600);
    let stream = StreamBehavior { chunk_delay, chunks: Some(3), ..StreamBehavior::default() };
    traced.vertex.set_faults(Faults { stream, ..Faults::default() });
    let mut answer = traced.gateway.call(chat_stream(CONTENT)).await;
    answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(collector.exports().len(), 0);
    traced.gateway.terminate();
    assert!(traced.gateway.ended().await.success());
    let spans = collector.take(6).await;
    let cut = spans.0.iter().filter(|span| span.is_error).collect::<Vec<_>>();
    assert_eq!(cut.len(), 3, "the spans of the request that was closed early: {spans:#?}");
}

pub(super) async fn metrics(admin: &str) -> String {
    let request = Request::get(format!("http://{admin}/metrics"));
    let request =
        request.body(tower_vertex::replay::ReplayBody::plain(Full::<bytes::Bytes>::default()));
    let answer = crate::common::client(crate::common::Http::One).request(request.unwrap()).await;
    text(answer.unwrap()).await
}

/// The number of lost spans, according to the metrics.
async fn lost(admin: &str) -> u64 {
    let metrics = metrics(admin).await;
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("vertex_gateway_spans_dropped_total "));
    line.expect(&metrics).parse().unwrap()
}

impl Traced {
    pub(super) async fn admin(&mut self) -> String {
        let line = self.gateway.stdout.next_line().await.unwrap().unwrap();
        line.strip_prefix("admin on http://").expect(&line).to_owned()
    }

    async fn until_lost(&self, admin: &str, number: u64) {
        for _ in 0..2000 {
            if lost(admin).await >= number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("only {} were lost", lost(admin).await);
    }
}

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

#[tokio::test]
async fn an_unreachable_collector_fails_no_request() {
    let (_socket, gone) = nowhere();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*gone),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
    ];
    let mut traced = Traced::start(&variables, &ADMIN).await;
    let admin = traced.admin().await;
    assert_eq!(lost(&admin).await, 0);
    for _ in 0..20 {
        traced.ask_with(&[]).await;
    }
    traced.until_lost(&admin, 60).await;
    let line = traced.told("spans dropped").await;
    assert_eq!(line["level"], "WARN");
    assert!(line["reason"].as_str().unwrap().contains("Connection refused"), "{line}");
    traced.gateway.terminate();
    assert!(traced.gateway.ended().await.success());
    // The loss was logged once, regardless of the number of failures.
    while let Some(line) = traced.log.line().await {
        assert!(!line.contains("spans dropped"), "{line}");
    }
}

#[tokio::test]
async fn a_collector_that_does_not_respond_blocks_no_request_and_excess_spans_are_lost() {
    let collector = Collector::start().await;
    collector.turn(Mood::Silent);
    let variables = [("OTEL_BSP_MAX_QUEUE_SIZE", "5"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")];
    let mut traced = traced(&collector, &variables, &ADMIN).await;
    let admin = traced.admin().await;
    traced.ask_with(&[]).await;
    eventually("an export", || !collector.exports().is_empty()).await;
    for _ in 0..20 {
        traced.ask_with(&[]).await;
    }
    // At most the three spans of a first request are with the collector, and five wait.
    traced.until_lost(&admin, 63 - 3 - 5).await;
    assert!(lost(&admin).await <= 63 - 1 - 5);
    let line = traced.told("spans dropped").await;
    assert!(line["reason"].as_str().unwrap().contains("OTEL_BSP_MAX_QUEUE_SIZE"), "{line}");
    // The shutdown does not wait for the collector for ever: `ended` fails after 20 s.
    traced.gateway.terminate();
    assert!(traced.gateway.ended().await.success());
    traced.told("the last spans were not exported").await;
}

#[tokio::test]
async fn spans_that_a_collector_rejects_are_counted_as_lost() {
    let collector = Collector::start().await;
    collector.turn(Mood::TakesAPart);
    // All three spans of a request are in one export.
    let late = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let three = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3");
    let mut traced = traced(&collector, &[late, three], &ADMIN).await;
    let admin = traced.admin().await;
    traced.ask_with(&[]).await;
    traced.until_lost(&admin, 2).await;
    assert_eq!(lost(&admin).await, 2);
    let line = traced.told("spans dropped").await;
    assert_eq!(line["reason"], r#"the collector rejected them: "two are too long""#);
    collector.turn(Mood::Takes);
    traced.ask_with(&[]).await;
    assert_eq!(traced.told("spans are exported again").await["lost"], 2);
}

#[tokio::test]
async fn an_export_that_gets_a_503_is_repeated() {
    let collector = Collector::start().await;
    collector.turn(Mood::IsAwayOnce);
    let late = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let three = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3");
    let mut traced = traced(&collector, &[late, three], &ADMIN).await;
    let admin = traced.admin().await;
    traced.ask_with(&[]).await;
    eventually("the export is repeated", || collector.exports().len() == 2).await;
    let [first, second] = &collector.exports()[..] else { panic!("{:?}", collector.exports()) };
    assert_eq!(first.body, second.body);
    assert_eq!(lost(&admin).await, 0);
}

#[tokio::test]
async fn empty_headers_for_traces_do_not_override_the_general_ones() {
    let collector = Collector::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", ""),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=a%2Cb"),
    ];
    let traced = traced(&collector, &variables, &[]).await;
    traced.ask_with(&[]).await;
    eventually("an export", || !collector.exports().is_empty()).await;
    assert_eq!(collector.exports()[0].headers["x-collector-key"], "a,b");
}

#[tokio::test]
async fn the_recovery_of_a_collector_is_logged() {
    let collector = Collector::start().await;
    collector.turn(Mood::Refuses);
    let mut traced = traced(&collector, &[], &ADMIN).await;
    let admin = traced.admin().await;
    traced.ask_with(&[]).await;
    traced.until_lost(&admin, 3).await;
    let line = traced.told("spans dropped").await;
    assert!(line["reason"].as_str().unwrap().contains("status code: 400"), "{line}");
    collector.turn(Mood::Takes);
    traced.ask_with(&[]).await;
    let line = traced.told("spans are exported again").await;
    assert_eq!(line["lost"], json!(lost(&admin).await));
}

#[tokio::test]
async fn a_wrong_variable_is_a_sentence_and_status_2() {
    for (name, value, expected) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "set one such as http://127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_always_on"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file", "cannot read certificates"),
    ] {
        let mut command = command(&["--emulator", "--listen", "127.0.0.1:0"]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9").env(name, value);
        let output = tokio::time::timeout(Duration::from_secs(20), command.output());
        let output = output.await.expect("the process ends").unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(name) && error.contains(expected), "{error}");
        assert!(output.stdout.is_empty(), "the process began to serve");
    }
}

#[tokio::test]
async fn a_collector_over_tls_must_have_a_trusted_certificate() {
    // The emulator is no collector, but it has TLS and records its requests.
    let collector = Emulator::builder().tls(true).start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let pem = collector.certificate_pem().unwrap();
    std::io::Write::write_all(&mut file, pem.as_bytes()).unwrap();
    let url = collector.url();
    let came = || collector.requests().iter().filter(|seen| seen.path == "/v1/traces").count();
    let delay = ("OTEL_BSP_SCHEDULE_DELAY", "20");
    let here = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), delay];

    let mut stranger = Traced::start(&here, &[]).await;
    stranger.ask_with(&[]).await;
    let line = stranger.told("spans dropped").await;
    assert!(line["reason"].as_str().unwrap().contains("UnknownIssuer"), "{line}");
    assert_eq!(came(), 0);

    let certificate = ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.path().to_str().unwrap());
    let known = Traced::start(&[&here[..], &[certificate]].concat(), &[]).await;
    known.ask_with(&[]).await;
    eventually("the export arrives", || came() > 0).await;
}

#[tokio::test]
async fn other_commands_trace_nothing() {
    let vertex = Emulator::start().await.unwrap();
    let (_, key) = before(&vertex, &vertex.url(), &[]);
    let mut token = command(&["token", "--credentials", key.to_str().unwrap()]);
    token.env("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense").stderr(Stdio::piped());
    let output = token.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_sidecar_with_its_own_emulator_is_traced_too() {
    let collector = Collector::start().await;
    let mut command = command(&["--emulator", "--listen", "127.0.0.1:0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let gateway = Gateway::start(command).await;
    let answer = gateway.call(chat(CONTENT)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body().collect().await.unwrap();
    assert_eq!(collector.take(3).await.operation().get("gen_ai.provider.name"), "gcp.vertex_ai");
}
