//! Claude's models: `rawPredict`, `streamRawPredict` and the counting of tokens.

mod cache;
mod refusals;
mod streams;
mod thinking;
mod tools;

use super::*;

/// A model that has dates, budgets and prefills.
const HAIKU: &str = "claude-haiku-4-5@20251001";
/// A model that adapts its thinking.
const OPUS: &str = "claude-opus-4-8";

fn path(model: &str, method: &str) -> String {
    format!("/v1/projects/p1/locations/us-east5/publishers/anthropic/models/{model}:{method}")
}

/// A request that says this, with further members.
fn message(said: impl Into<Value>, more: Value) -> Value {
    conversation(&[user(said)], more)
}

fn conversation(messages: &[Value], more: Value) -> Value {
    let mut body = json!({
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 2048,
        "messages": messages,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn ask(bench: &Bench, model: &str, body: &Value) -> Value {
    let answer = bench.post(&path(model, "rawPredict"), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

/// The message of a 400 in Anthropic's form.
async fn refusal(bench: &Bench, model: &str, body: &Value) -> String {
    let answer = bench.post(&path(model, "rawPredict"), body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text());
    let error = answer.json();
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], "invalid_request_error");
    assert!(error["request_id"].as_str().unwrap().starts_with("req_vrtx_01"));
    error["error"]["message"].as_str().unwrap().to_owned()
}

fn tool(name: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } },
        "required": ["city"] });
    json!({ "name": name, "description": "A tool.", "input_schema": schema })
}

fn assistant(response: &Value) -> Value {
    json!({ "role": "assistant", "content": response["content"] })
}

/// The results of all calls in a response, as the next message.
fn results(response: &Value, said: &str) -> Value {
    let calls = response["content"].as_array().unwrap().iter();
    let calls = calls.filter(|block| block["type"] == "tool_use");
    let results = calls
        .map(|call| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": said }));
    user(results.collect::<Vec<_>>())
}

#[tokio::test]
async fn a_message_has_the_members_of_vertex_ai() {
    let bench = Bench::new().await;
    let response = ask(&bench, HAIKU, &message("hello", json!({}))).await;
    let id = response["id"].as_str().unwrap();
    assert!(id.starts_with("msg_vrtx_01") && id.len() == 33, "{id}");
    assert_eq!(response["type"], "message");
    assert_eq!(response["role"], "assistant");
    assert_eq!(response["model"], "claude-haiku-4-5-20251001");
    assert_eq!(response["content"], json!([{ "type": "text", "text": ECHO }]));
    assert_eq!(response["stop_reason"], "end_turn");
    assert_eq!(response["stop_sequence"], Value::Null);
    let none = json!({ "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0 });
    let usage = json!({
        "input_tokens": 2,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": none,
        "output_tokens": ECHO.len().div_ceil(4),
    });
    assert_eq!(response["usage"], usage);
}

#[tokio::test]
async fn a_name_may_have_a_date_or_default_or_neither() {
    let bench = Bench::new().await;
    for (name, model) in [
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("claude-haiku-4-5%4020251001", "claude-haiku-4-5-20251001"),
        ("claude-opus-4-8", "claude-opus-4-8"),
        ("claude-opus-4-8@default", "claude-opus-4-8"),
    ] {
        assert_eq!(ask(&bench, name, &message("hello", json!({}))).await["model"], model, "{name}");
    }
    for name in ["claude-haiku-4-5@20990101", "claude-haiku-4-5@default@default", "claude-9"] {
        let answer = bench.post(&path(name, "rawPredict"), message("hello", json!({}))).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}");
        let error = answer.error(false);
        let text = error["message"].as_str().unwrap();
        assert!(text.contains(&format!("publishers/anthropic/models/{name}` was not found")));
    }
}

#[tokio::test]
async fn the_content_may_have_blocks_images_and_a_system_prompt() {
    let bench = Bench::new().await;
    let image = json!({ "type": "image", "source":
        { "type": "base64", "media_type": "image/gif", "data": "R0lG" } });
    let said = json!([{ "type": "text", "text": "look" }, image]);
    let response = ask(&bench, OPUS, &message(said, json!({}))).await;
    let text = response["content"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("You said: look [image/gif, 3 bytes]"), "{text}");

    let blocks = json!([{ "type": "text", "text": "be brief" }]);
    for system in [json!("be brief"), blocks] {
        let body = message("repeat the system message", json!({ "system": system }));
        assert_eq!(ask(&bench, OPUS, &body).await["content"][0]["text"], "be brief");
    }
    // Messages of one role in succession are one turn.
    let body = conversation(&[user("hello"), user("again")], json!({}));
    let text = ask(&bench, OPUS, &body).await["content"][0]["text"].clone();
    assert!(text.as_str().unwrap().ends_with("You said: hello again"), "{text}");
}

#[tokio::test]
async fn a_response_ends_at_a_stop_sequence_or_at_max_tokens() {
    let bench = Bench::new().await;
    let body = message("hello", json!({ "stop_sequences": ["You said", "emulator"] }));
    let response = ask(&bench, OPUS, &body).await;
    assert_eq!(response["content"][0]["text"], "This is the Vertex AI ");
    assert_eq!(response["stop_reason"], "stop_sequence");
    assert_eq!(response["stop_sequence"], "emulator");

    let response = ask(&bench, OPUS, &message("hello", json!({ "max_tokens": 2 }))).await;
    assert_eq!(response["content"][0]["text"], "This is ");
    assert_eq!(response["stop_reason"], "max_tokens");
    assert_eq!(response["usage"]["output_tokens"], 2);

    let response = ask(&bench, OPUS, &message("hello", json!({ "max_tokens": 0 }))).await;
    assert_eq!(response["content"], json!([]));
    assert_eq!(response["stop_reason"], "max_tokens");
}

#[tokio::test]
async fn a_format_of_the_output_makes_an_object_that_fits() {
    let bench = Bench::new().await;
    let schema = json!({ "type": "object", "properties": { "answer": { "type": "integer" } },
        "required": ["answer"], "additionalProperties": false });
    let config = json!({ "effort": "low", "format": { "type": "json_schema", "schema": schema } });
    let response = ask(&bench, OPUS, &message("hello", json!({ "output_config": config }))).await;
    let text = response["content"][0]["text"].as_str().unwrap();
    let object: Value = serde_json::from_str(text).unwrap();
    assert!(object["answer"].is_i64(), "{text}");
}

#[tokio::test]
async fn tokens_are_counted_for_names_without_a_version() {
    let bench = Bench::new().await;
    let path = path("count-tokens", "rawPredict");
    let more = json!({ "system": "be brief", "tools": [tool("one")] });
    let body = message("hello", more);
    let usage = ask(&bench, HAIKU, &body).await["usage"]["input_tokens"].clone();
    let mut count = body;
    let members = count.as_object_mut().unwrap();
    members.remove("max_tokens");
    members.remove("anthropic_version");
    for name in ["claude-haiku-4-5", OPUS] {
        count["model"] = name.into();
        let answer = bench.post(&path, &count).await;
        assert_eq!(answer.json(), json!({ "input_tokens": usage }), "{name}");
    }
    for name in ["claude-opus-4-8@default", HAIKU, "claude-9", "gemini-2.5-flash"] {
        count["model"] = name.into();
        let answer = bench.post(&path, &count).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let text = answer.json()["error"]["message"].clone();
        assert_eq!(text, format!("{name} is not supported for token counting"));
    }
    count.as_object_mut().unwrap().remove("model");
    let answer = bench.post(&path, &count).await;
    assert_eq!(answer.json()["error"]["message"], "model: Field required");
}
