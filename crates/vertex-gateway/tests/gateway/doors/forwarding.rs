//! Requests of every form before the emulator: retries, other locations, new tokens, and the usage.

use tower_vertex_emulator::{ApiFault, Faults};

use super::*;

/// Requests that the emulator serves.
fn served() -> Vec<(Protocol, &'static str, Value)> {
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hello" }] }] });
    let message = json!({
        "model": CLAUDE, "max_tokens": 20, "messages": [{ "role": "user", "content": "hello" }],
    });
    let mut stream = message.clone();
    stream["stream"] = true.into();
    let mut in_path = message.clone();
    in_path.as_object_mut().unwrap().remove("model");
    in_path["anthropic_version"] = "vertex-2023-10-16".into();
    let mut stream_in_path = in_path.clone();
    stream_in_path["stream"] = true.into();
    vec![
        (Protocol::Gemini, "/v1beta/models/gemini-2.5-flash:generateContent", contents.clone()),
        (
            Protocol::Gemini,
            "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            contents.clone(),
        ),
        (Protocol::Gemini, "/models/gemini-2.5-flash:streamGenerateContent", contents),
        (Protocol::Anthropic, "/v1/messages", message),
        (Protocol::Anthropic, "/v1/messages?beta=true", stream),
        (
            Protocol::Anthropic,
            "/v1/publishers/anthropic/models/claude-opus-4-5:rawPredict",
            in_path,
        ),
        (
            Protocol::Anthropic,
            "/v1/projects/x/locations/y/publishers/anthropic/models/claude-opus-4-5:streamRawPredict",
            stream_in_path,
        ),
    ]
}

fn fail(place: &Place, fault: ApiFault) {
    place.vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
}

fn location(path: &str) -> &str {
    path.split('/').nth(5).unwrap()
}

#[tokio::test]
async fn another_location_serves_each_form_after_a_429() {
    for (protocol, path, body) in served() {
        let place = Place::new().await;
        let config = "[[model]]\nname = \"*\"\nlocations = [\"us-central1\", \"us-east5\"]\n";
        let gateway = place.start(config, &["--max-attempts", "2"]).await;
        let first = Some("us-central1".to_owned());
        fail(&place, ApiFault { location: first, ..ApiFault::new(429) });
        let response = gateway.call(of_key(post(path, &body), ALICE)).await;
        assert_eq!(response.headers()["x-vertex-gateway-attempts"], "2", "{path}");
        assert_eq!(response.status(), 200, "{path}");
        let went = place.vertex.requests();
        let went: Vec<&str> = went.iter().map(|request| location(&request.path)).collect();
        assert_eq!(went, ["us-central1", "us-east5"], "{path}");

        // The last error goes to the client in its own form.
        fail(&place, ApiFault::new(503));
        let response = gateway.call(of_key(post(path, &body), ALICE)).await;
        assert_eq!(response.status(), 503, "{path}");
        let error: Value = serde_json::from_str(&text(response).await).unwrap();
        let kind = &error["error"][if protocol == Protocol::Gemini { "status" } else { "type" }];
        let expected =
            if protocol == Protocol::Gemini { "UNAVAILABLE" } else { "overloaded_error" };
        assert_eq!(kind, expected, "{error}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_replaced_for_each_form() {
    for (_, path, body) in served() {
        // Each sidecar limits how often a 401 may fetch a token.
        let place = Place::new().await;
        let gateway = place.start("", &[]).await;
        assert_eq!(gateway.call(of_key(post(path, &body), ALICE)).await.status(), 200, "{path}");
        place.vertex.revoke_tokens();
        let response = gateway.call(of_key(post(path, &body), ALICE)).await;
        assert_eq!(response.status(), 200, "{path}");
        text(response).await;
        let came = place.vertex.requests();
        let [.., refused, healed] = &came[..] else { panic!("{came:?}") };
        assert_eq!((refused.status, healed.status), (401, 200), "{path}");
        assert_eq!(refused.body_sha256, healed.body_sha256, "{path}");
    }
}

/// The sum of two numbers of an object, of which one may be missing.
fn sum(usage: &Value, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| usage[*name].as_u64()).sum()
}

#[tokio::test]
async fn the_log_has_the_usage_that_the_client_reads() {
    for (protocol, path, body) in served() {
        let place = Place::new().await;
        let gateway = place.start("", &[]).await;
        let response = gateway.call(of_key(post(path, &body), ALICE)).await;
        assert_eq!(response.status(), 200, "{path}");
        let came = text(response).await;
        let line = place.logged("status=200").await;
        let mut usages = Vec::new();
        let texts = came.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let values = texts.chain([came.as_str()]);
        for value in values.filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for value in values {
                let places = ["/usageMetadata", "/usage", "/message/usage"];
                usages.extend(places.iter().filter_map(|place| value.pointer(place).cloned()));
            }
        }
        let (input, output) = match protocol {
            Protocol::Gemini => {
                let last = usages.last().expect(&came);
                (
                    sum(last, &["promptTokenCount", "toolUsePromptTokenCount"]),
                    sum(last, &["candidatesTokenCount", "thoughtsTokenCount"]),
                )
            }
            _ => {
                let (first, last) = (usages.first().expect(&came), usages.last().unwrap());
                let names =
                    ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
                (sum(first, &names), sum(last, &["output_tokens"]))
            }
        };
        assert!(input > 0 && output > 0, "{came}");
        assert!(line.contains(&format!(" input_tokens={input} ")), "{path} {came}: {line}");
        assert!(line.contains(&format!(" output_tokens={output}")), "{path} {came}: {line}");
        let model = if protocol == Protocol::Gemini { GEMINI } else { CLAUDE };
        assert!(line.contains(&format!("model={model:?}")), "{line}");
    }
}
