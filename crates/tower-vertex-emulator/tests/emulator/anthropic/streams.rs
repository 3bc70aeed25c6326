//! Streamed messages.

use tower_vertex_emulator::StreamEvent;

use super::*;

/// The events of a stream, with their names.
async fn events(bench: &Bench, model: &str, mut body: Value) -> Vec<(String, Value)> {
    body["stream"] = true.into();
    let answer = bench.post(&path(model, "streamRawPredict"), &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
    let event = |text: &str| {
        let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        (name.to_owned(), data)
    };
    answer.text().trim_end().split("\n\n").map(event).collect()
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

/// The message that the events add up to.
fn folded(events: &[(String, Value)]) -> Value {
    let mut message = Value::Null;
    let mut inputs = String::new();
    for (name, data) in events {
        let index = data["index"].as_u64().unwrap_or(0) as usize;
        match name.as_str() {
            "message_start" => message = data["message"].clone(),
            "content_block_start" => {
                message["content"].as_array_mut().unwrap().push(data["content_block"].clone());
                inputs.clear();
            }
            "content_block_delta" => {
                let block = &mut message["content"][index];
                let delta = &data["delta"];
                let (name, piece) = match delta["type"].as_str().unwrap() {
                    "input_json_delta" => {
                        inputs += delta["partial_json"].as_str().unwrap();
                        continue;
                    }
                    "text_delta" => ("text", &delta["text"]),
                    "thinking_delta" => ("thinking", &delta["thinking"]),
                    "signature_delta" => ("signature", &delta["signature"]),
                    other => panic!("{other}"),
                };
                let text = block[name].as_str().unwrap().to_owned() + piece.as_str().unwrap();
                block[name] = text.into();
            }
            "content_block_stop" if message["content"][index]["type"] == "tool_use" => {
                message["content"][index]["input"] = serde_json::from_str(&inputs).unwrap();
            }
            "message_delta" => {
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                message["usage"]["output_tokens"] = data["usage"]["output_tokens"].clone();
            }
            _ => {}
        }
    }
    message
}

#[tokio::test]
async fn a_stream_has_anthropics_events_in_their_order() {
    let bench = Bench::new().await;
    let events = events(&bench, HAIKU, message("hello", json!({}))).await;
    let names = names(&events);
    assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(names[3..8], ["content_block_delta"; 5]);
    assert_eq!(names[8..], ["content_block_stop", "message_delta", "message_stop"]);
    let start = &events[0].1["message"];
    assert_eq!(start["content"], json!([]));
    assert_eq!(start["usage"]["input_tokens"], 2);
    let delta = &events[9].1;
    assert_eq!(delta["delta"], json!({ "stop_reason": "end_turn", "stop_sequence": null }));
    let cached = json!({ "input_tokens": 2, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0, "output_tokens": ECHO.len().div_ceil(4) });
    assert_eq!(delta["usage"], cached);
}

#[tokio::test]
async fn a_stream_adds_up_to_the_whole_message() {
    let bench = Bench::new().await;
    for (model, thinking) in [
        (HAIKU, json!({ "type": "enabled", "budget_tokens": 1024 })),
        (OPUS, json!({ "type": "adaptive" })),
        (OPUS, json!({ "type": "disabled" })),
    ] {
        let more = json!({ "thinking": thinking, "tools": [tool("one"), tool("two")] });
        let body = message("call the tools one and two at once", more);
        let mut whole = ask(&bench, model, &body).await;
        let mut streamed = folded(&events(&bench, model, body).await);
        for message in [&mut whole, &mut streamed] {
            message["id"] = Value::Null;
            for block in message["content"].as_array_mut().unwrap() {
                if block["type"] == "tool_use" {
                    block["id"] = Value::Null;
                }
            }
        }
        assert_eq!(streamed, whole);
        assert_eq!(streamed["stop_reason"], "tool_use");
    }
}

#[tokio::test]
async fn a_stream_needs_both_the_method_and_the_member_stream() {
    let bench = Bench::new().await;
    for (method, stream) in [
        ("rawPredict", json!(true)),
        ("rawPredict", json!(false)),
        ("streamRawPredict", json!(false)),
    ] {
        let body = message("hello", json!({ "stream": stream }));
        let answer = bench.post(&path(OPUS, method), &body).await;
        assert_eq!(answer.json()["type"], "message", "{method} {stream}");
    }
    let answer = bench.post(&path(OPUS, "streamRawPredict"), message("hello", json!({}))).await;
    assert_eq!(answer.json()["type"], "message");
}

#[tokio::test]
async fn the_settings_of_chats_change_a_stream() {
    let bench = Bench::new().await;
    let with = |event| ChatBehavior { stream_events: vec![event], ..ChatBehavior::default() };
    let body = message("hello", json!({}));

    bench.emulator.set_chat(with(StreamEvent::Error));
    let found = events(&bench, OPUS, body.clone()).await;
    let (name, error) = found.last().unwrap();
    assert_eq!(name, "error");
    let overloaded = json!({ "details": null, "type": "overloaded_error",
        "message": "Overloaded" });
    assert_eq!(*error, json!({ "type": "error", "error": overloaded }));
    assert!(names(&found).contains(&"content_block_delta"));

    bench.emulator.set_chat(with(StreamEvent::VertexEvent));
    let found = events(&bench, OPUS, body.clone()).await;
    assert_eq!(names(&found)[1], "vertex_event");
    assert_eq!(found[1].1["usage"]["tiers"]["0-to-200000"]["input_tokens"], 2);

    bench.emulator.set_chat(with(StreamEvent::NoDone));
    let found = events(&bench, OPUS, body.clone()).await;
    assert_eq!(names(&found).last(), Some(&"message_delta"));

    let refused = ChatBehavior { finish_reason: Some("refusal".into()), ..ChatBehavior::default() };
    bench.emulator.set_chat(refused);
    assert_eq!(folded(&events(&bench, OPUS, body).await)["stop_reason"], "refusal");
}
