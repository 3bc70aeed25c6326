//! The shapes that the control API sets: finish reasons, choices, usage, events and embeddings.

use super::*;

async fn set(bench: &Bench, behavior: Value) {
    let answer = bench.control("PUT", "chat", behavior.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{behavior}: {}", answer.text());
}

async fn whole(bench: &Bench) -> Value {
    bench.chat().await.json()
}

async fn stream(bench: &Bench) -> Answer {
    let mut body = hello();
    body["stream"] = true.into();
    bench.post(CHAT, &body).await
}

#[tokio::test]
async fn a_composite_finish_reason_takes_the_message_away() {
    let bench = Bench::new().await;
    for (reason, message, streamed) in [
        ("content_filter: PROHIBITED_CONTENT", None, ""),
        ("content_filter: RECITATION", Some(json!({ "role": "assistant" })), ECHO),
        ("content_filter: SAFETY", Some(json!({ "role": "assistant" })), ECHO),
        (
            "function_call_filter: MALFORMED_FUNCTION_CALL",
            Some(json!({ "role": "assistant", "extra_content": { "google": {} } })),
            "",
        ),
    ] {
        set(&bench, json!({ "finish_reason": reason })).await;
        let answer = whole(&bench).await;
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], reason);
        assert_eq!(choice.get("message"), message.as_ref(), "{reason}");
        let count = |name: &str| answer["usage"][name].as_u64().unwrap();
        if streamed.is_empty() {
            assert_eq!(count("completion_tokens"), 0);
        }
        let chunks = json_events(stream(&bench).await.text());
        let text: String = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, streamed, "{reason}");
        let (last, others) = chunks.split_last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], reason);
        assert!(others.iter().all(|chunk| chunk["choices"][0].get("finish_reason").is_none()));
    }
}

#[tokio::test]
async fn a_choice_can_be_incomplete() {
    let bench = Bench::new().await;
    set(&bench, json!({ "choice": "without_message" })).await;
    let choice = json!({ "index": 0, "finish_reason": "stop" });
    assert_eq!(whole(&bench).await["choices"], json!([choice]));
    let chunks = json_events(stream(&bench).await.text());
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({}));
    set(&bench, json!({ "choice": "only_role" })).await;
    let choice = json!({ "index": 0, "message": { "role": "assistant" }, "logprobs": null });
    let answer = whole(&bench).await;
    assert_eq!(answer["choices"], json!([choice]));
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    let chunks = json_events(stream(&bench).await.text());
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant" }));
    assert_eq!(chunks[0]["choices"][0].get("finish_reason"), None);
}

#[tokio::test]
async fn the_usage_can_be_incomplete() {
    let bench = Bench::new().await;
    set(&bench, json!({ "usage": "without_counts" })).await;
    let usage = whole(&bench).await["usage"].clone();
    assert_eq!((usage.get("prompt_tokens"), usage.get("completion_tokens")), (None, None));
    assert!(usage["total_tokens"].is_u64());
    set(&bench, json!({ "usage": "missing" })).await;
    assert_eq!(whole(&bench).await.get("usage"), None);
    let chunks = json_events(stream(&bench).await.text());
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn a_stream_can_have_other_events_and_forms() {
    let bench = Bench::new().await;
    let with = async |events: Value| {
        set(&bench, json!({ "stream_events": events })).await;
        stream(&bench).await.text().to_owned()
    };
    let text = with(json!(["keep_alive"])).await;
    assert!(text.starts_with("data: : keepalive\n\ndata: {"), "{text}");
    assert_eq!(text.matches("data: : keepalive\n\n").count(), 2);
    let text = with(json!(["empty_data"])).await;
    assert_eq!(text.matches("data: \n\n").count(), 2);

    let text = with(json!(["multi_line_data"])).await;
    let chunks: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| event.lines().map(|line| line.strip_prefix("data: ").unwrap()).collect())
        .filter(|data: &Vec<&str>| data[0] != "[DONE]")
        .map(|data| serde_json::from_str(&data.join("\n")).unwrap())
        .collect();
    assert_eq!(chunks.len(), 5);
    assert!(text.lines().count() > 50);

    let text = with(json!(["single_newlines"])).await;
    assert!(!text.contains("\n\n"));
    assert_eq!(text.lines().count(), 6);

    let text = with(json!(["error"])).await;
    assert_eq!(events(&text).len(), 3);
    let error: Value = serde_json::from_str(events(&text)[2]).unwrap();
    assert_eq!(error["error"]["status"], "UNAVAILABLE");
    let text = with(json!(["bare_error"])).await;
    assert!(text.contains("\n\n{\"error\":{\"code\":499,"), "{text}");

    let text = with(json!(["no_done"])).await;
    assert_eq!(json_events(&text).len(), events(&text).len());
    let text = with(json!(["no_finish"])).await;
    assert!(!text.contains("finish_reason") && text.ends_with("data: [DONE]\n\n"));
    let text = with(json!(["no_finish", "no_done", "keep_alive"])).await;
    assert!(!text.contains("finish_reason") && text.contains("keepalive"));
}

#[tokio::test]
async fn base64_embeddings_can_be_numbers_or_a_refusal() {
    let bench = Bench::new().await;
    let ask = async || {
        let model = "intfloat/multilingual-e5-small-maas";
        let body = json!({ "model": model, "input": "a", "encoding_format": "base64" });
        bench.post(&format!("{OPENAPI}/embeddings"), &body).await
    };
    assert!(ask().await.json()["data"][0]["embedding"].is_string());
    set(&bench, json!({ "embeddings": "floats" })).await;
    assert!(ask().await.json()["data"][0]["embedding"].is_array());
    set(&bench, json!({ "embeddings": "refuse_base64" })).await;
    assert_eq!(ask().await.error(true)["status"], "INVALID_ARGUMENT");
}

#[tokio::test]
async fn the_settings_of_the_chat_are_shown_set_and_reset() {
    let bench = Bench::new().await;
    let default = json!({
        "tool_stream": null, "signature": "on_call", "demand_signatures": null,
        "stop_after_calls": false, "finish_reason": null, "choice": "whole", "usage": "google",
        "stream_events": [], "embeddings": "as_asked", "thoughts": "flag", "responses": "xai",
        "signatures": { "valid": 0, "placeholder": 0, "missing": 0, "wrong": 0 },
    });
    assert_eq!(bench.control("GET", "chat", Value::Null).await.json(), default);
    let set = json!({ "tool_stream": "openai", "stream_events": ["no_done"] });
    let shown = bench.control("PUT", "chat", set).await.json();
    assert_eq!(
        (&shown["tool_stream"], &shown["stream_events"]),
        (&json!("openai"), &json!(["no_done"]))
    );
    for (wrong, word) in [
        (json!({ "tool_streams": "openai" }), "tool_streams"),
        (json!({ "tool_stream": "other" }), "other"),
        (json!({ "stream_events": ["other"] }), "other"),
    ] {
        let answer = bench.control("PUT", "chat", wrong).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.json()["error"].as_str().unwrap().contains(word));
    }
    assert_eq!(bench.control("GET", "chat", Value::Null).await.json(), shown);
    assert_eq!(bench.control("DELETE", "chat", Value::Null).await.json(), default);
    bench.emulator.set_chat(ChatBehavior {
        finish_reason: Some("content_filter: SAFETY".into()),
        ..ChatBehavior::default()
    });
    assert_eq!(whole(&bench).await["choices"][0]["finish_reason"], "content_filter: SAFETY");
}
