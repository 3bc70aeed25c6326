//! The chats that Gemini refuses.

use super::*;

/// A chat with more than its model and messages.
fn chat(model: &str, messages: Value, more: Value) -> Value {
    let mut body = json!({ "model": format!("google/{model}"), "messages": messages });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn user(content: impl Into<Value>) -> Value {
    json!({ "role": "user", "content": content.into() })
}

fn assistant(content: impl Into<Value>) -> Value {
    json!({ "role": "assistant", "content": content.into() })
}

/// A message that calls the function `f` this number of times.
fn calls(number: usize) -> Value {
    let call = |index| {
        json!({
            "id": format!("call_{index}"), "type": "function",
            "function": { "name": "f", "arguments": "{}" },
        })
    };
    let calls: Vec<Value> = (0..number).map(call).collect();
    json!({ "role": "assistant", "content": null, "tool_calls": calls })
}

fn result(index: usize) -> Value {
    json!({ "role": "tool", "tool_call_id": format!("call_{index}"), "content": "42" })
}

fn function(name: &str, parameters: Value) -> Value {
    json!({ "tools": [{ "type": "function", "function": {
        "name": name, "parameters": parameters,
    }}]})
}

/// Sends the chat three times: as it is, with the rule off, and to a model of another publisher.
async fn is_refused(rule: &str, on: bool, body: Value, message: &str) {
    let bench = Bench::new().await;
    if !on {
        assert_eq!(bench.post(CHAT, &body).await.status, StatusCode::OK, "{rule} is off");
        let set = bench.control("PUT", "refusals", json!({ rule: true })).await;
        assert_eq!(set.json()[rule], true);
    }
    let error = bench.post(CHAT, &body).await.error(true);
    assert_eq!(error["status"], "INVALID_ARGUMENT", "{rule}");
    let text = error["message"].as_str().unwrap();
    assert!(text.starts_with(message), "{rule}: {text}");

    let off = bench.control("PUT", "refusals", json!({ rule: false })).await;
    assert_eq!(off.json()[rule], false);
    assert_eq!(bench.post(CHAT, &body).await.status, StatusCode::OK, "{rule} is off");
    bench.control("DELETE", "refusals", Value::Null).await;
    let mut body = body;
    body["model"] = "meta/llama-3.3-70b-instruct-maas".into();
    assert_eq!(bench.post(CHAT, &body).await.status, StatusCode::OK, "{rule} is Gemini's");
}

#[tokio::test]
async fn calls_and_results_out_of_order_are_refused() {
    let number = "Please ensure that the number of function response parts is equal to the number \
        of function call parts of the function call turn.";
    for (rule, messages, message) in [
        ("tool_results", json!([user("x"), calls(2), result(0)]), number),
        ("tool_results", json!([user("x"), calls(1), result(0), result(1)]), number),
        ("tool_results", json!([user("x"), calls(1), user("y")]), number),
        (
            "tool_results",
            json!([user("x"), result(0)]),
            "Please ensure that function response turn comes immediately after a function call \
             turn.",
        ),
        (
            "call_order",
            json!([user("x"), assistant("hm"), calls(1), result(0)]),
            "Please ensure that function call turn comes immediately after a user turn or after a \
             function response turn.",
        ),
    ] {
        is_refused(rule, true, chat("gemini-2.5-flash", messages, json!({})), message).await;
    }
}

#[tokio::test]
async fn empty_messages_are_refused() {
    let part = "Unable to submit request because it must include at least one parts field";
    let text = "Unable to submit request because it has an empty text parameter. Add a value";
    let none = "Unable to submit request because at least one contents field is required. Learn";
    for (rule, messages, message) in [
        ("empty_content", json!([user("")]), part),
        ("empty_content", json!([user(json!([])), user("x")]), part),
        ("empty_content", json!([user("x"), assistant(Value::Null), user("y")]), part),
        ("empty_content", json!([user(json!([{ "type": "text", "text": "" }]))]), text),
        ("no_contents", json!([{ "role": "system", "content": "x" }]), none),
    ] {
        is_refused(rule, true, chat("gemini-2.5-flash", messages, json!({})), message).await;
    }
}

#[tokio::test]
async fn some_rules_hold_for_a_few_models_alone() {
    const BARE: &str = "Request contains an invalid argument.";
    let mut said = calls(1);
    said["content"] = "I will call it.".into();
    let said = json!([user("x"), said, result(0)]);
    let ends = json!([user("x"), assistant("y")]);
    let images = json!([user(json!([
        { "type": "image_url", "image_url": { "url": "https://x/1.png", "detail": "low" } },
        { "type": "image_url", "image_url": { "url": "https://x/2.png", "detail": "high" } },
    ]))]);
    let none = json!({ "reasoning_effort": "none" });
    let mut both = function("f", json!({ "type": "object" }));
    both["response_format"] = json!({ "type": "json_object" });
    let hello = json!([user("x")]);
    let unsupported =
        "Function calling with a response mime type: 'application/json' is unsupported";
    let model_turn = "Requests ending with a model turn are not supported.";
    let empty = json!({});
    for (rule, refusing, accepting, messages, more, message) in [
        ("text_beside_calls", "gemini-3.6-flash", "gemini-3.1-flash-lite", &said, &empty, BARE),
        ("text_beside_calls", "gemini-3.5-flash-lite", "gemini-2.5-flash", &said, &empty, BARE),
        ("model_turn_last", "gemini-3.7-flash", "gemini-3.6-flash", &ends, &empty, model_turn),
        ("effort_none", "gemini-3.6-flash", "gemini-3.5-flash", &hello, &none, BARE),
        ("effort_none", "gemini-2.5-pro", "gemini-2.5-flash", &hello, &none, BARE),
        ("image_details", "gemini-2.5-flash", "gemini-3.5-flash", &images, &empty, BARE),
        ("tools_with_json", "gemini-2.5-flash", "gemini-3.5-flash", &hello, &both, unsupported),
    ] {
        let body = |model| chat(model, messages.clone(), more.clone());
        let bench = Bench::new().await;
        // Signatures are a rule of their own.
        bench.control("PUT", "chat", json!({ "demand_signatures": false })).await;
        let answer = bench.post(CHAT, body(accepting)).await;
        assert_eq!(answer.status, StatusCode::OK, "{rule} {}", answer.text());
        let error = bench.post(CHAT, body(refusing)).await.error(true);
        assert_eq!(error["message"], message, "{rule}");
    }
}

#[tokio::test]
async fn the_two_settings_of_thinking_exclude_each_other() {
    let with = |thinking: Value, effort: Value| {
        json!({
            "reasoning_effort": effort, "extra_body": { "google": { "thinking_config": thinking } },
        })
    };
    let body = |more| chat("gemini-2.5-flash", json!([user("x")]), more);
    let two = with(json!({ "thinking_budget": 100 }), "low".into());
    let only = "Only one of `reasoning_effort` or `extra_body.google.thinking_config` may be";
    is_refused("two_thinking_knobs", true, body(two), only).await;
    let hidden = with(json!({ "thinking_budget": 0, "include_thoughts": true }), Value::Null);
    let disabled =
        "Unable to submit request because Thinking_config.include_thoughts is only enabled when";
    is_refused("thoughts_without_thinking", true, body(hidden), disabled).await;
}

#[tokio::test]
async fn numbers_out_of_their_range_are_refused() {
    for (model, field, value, end) in [
        ("gemini-2.0-flash", "max_tokens", 64000, 8193),
        ("gemini-2.5-flash", "max_completion_tokens", 65536, 65536),
        ("gemini-3.5-flash", "max_tokens", -1, 65537),
        ("gemini-3.5-flash", "max_tokens", 0, 65537),
    ] {
        let message = format!(
            "Unable to submit request because it has a maxOutputTokens value of {value} but the \
             supported range is from 1 (inclusive) to {end} (exclusive). Update the value and try \
             again."
        );
        let body = chat(model, json!([user("x")]), json!({ field: value }));
        let bench = Bench::new().await;
        assert_eq!(bench.post(CHAT, &body).await.error(true)["message"], message);
    }
    let body = chat("gemini-2.5-flash", json!([user("x")]), json!({ "temperature": 3 }));
    let message = "Unable to submit request because it has a temperature value of 3 but";
    is_refused("temperature", false, body, message).await;
}

#[tokio::test]
async fn functions_that_gemini_cannot_read_are_refused() {
    let of = |properties: Value| json!({ "type": "object", "properties": properties });
    let begins = "Unable to submit request because `f` functionDeclaration ";
    for (rule, on, tools, message) in [
        ("function_name", true, function("1f", of(json!({}))), "Invalid function name. Must start"),
        ("function_name", true, function(&"f".repeat(65), of(json!({}))), "Invalid function name."),
        (
            "schema_type",
            true,
            function("f", of(json!({ "a": { "type": "array", "items": { "enum": ["x"] } } }))),
            &format!("{begins}`parameters.a.items` schema didn't specify the schema type field."),
        ),
        (
            "schema_any_of",
            true,
            function(
                "f",
                of(json!({ "a": {
                    "anyOf": [{ "type": "string" }, { "type": "null" }], "default": null,
                } })),
            ),
            &format!(
                "{begins}`parameters.a` schema specified other fields alongside any_of. When \
                 using any_of, it must be the only field set. Learn more: "
            ),
        ),
        (
            "schema_object",
            false,
            function("f", json!({ "type": "string" })),
            &format!("{begins}parameters schema should be of type OBJECT."),
        ),
        (
            "schema_properties",
            false,
            function("f", of(json!({}))),
            "parameters.properties: should be non-empty for OBJECT type",
        ),
        (
            "schema_items",
            false,
            function("f", of(json!({ "a": { "type": "array" } }))),
            "parameters.a.items: missing field.",
        ),
        (
            "schema_enum",
            false,
            function("f", of(json!({ "a": { "type": "integer", "enum": [1] } }))),
            "parameters.a.enum: only allowed for STRING type",
        ),
    ] {
        let body = chat("gemini-2.5-flash", json!([user("x")]), tools);
        is_refused(rule, on, body, message).await;
    }
}

#[tokio::test]
async fn usual_chats_with_tools_are_accepted() {
    let bench = Bench::new().await;
    let free = json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] });
    let tools = function(
        "get.the-weather:now",
        json!({
            "type": "OBJECT", "additionalProperties": false, "$schema": "x",
            "properties": { "a": free, "b": { "$ref": "#/$defs/b" } },
            "$defs": { "b": { "type": "INTEGER" } },
        }),
    );
    for messages in [
        json!([user("x"), calls(2), result(0), result(1)]),
        json!([user("x"), calls(1), result(0), calls(1), result(0), assistant("y"), user("z")]),
        json!([user("x"), calls(1)]),
        json!([user("x"), user("y")]),
        json!([{ "role": "system", "content": "" }, user("x"), assistant("y")]),
    ] {
        let body = chat("gemini-2.5-flash", messages, tools.clone());
        let answer = bench.post(CHAT, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{body} {}", answer.text());
    }
}

#[tokio::test]
async fn the_record_names_the_parameters_that_vertex_ai_ignores() {
    let bench = Bench::new().await;
    let more = json!({
        "store": true, "stream_options": { "include_usage": true }, "temperature": 1,
        "user": "SECRET", "logprobs": true,
    });
    bench.post(CHAT, chat("gemini-2.5-flash", json!([user("x")]), more)).await;
    let records = bench.control("GET", "requests", Value::Null).await;
    let expected = json!(["logprobs", "store", "stream_options", "user"]);
    assert_eq!(records.json()[0]["ignored"], expected);
    assert!(!records.text().contains("SECRET"));
}

#[tokio::test]
async fn an_unknown_rule_changes_nothing() {
    let bench = Bench::new().await;
    let unknown = json!({ "effort_none": false, "everything": false });
    let answer = bench.control("PUT", "refusals", unknown).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let rules = bench.control("GET", "refusals", Value::Null).await.json();
    assert_eq!(rules["effort_none"], true);
    bench.emulator.set_refusals(Refusals::none());
    let rules = bench.control("GET", "refusals", Value::Null).await.json();
    assert!(rules.as_object().unwrap().values().all(|on| *on == false), "{rules}");
}

/// Google's page on the OpenAI library lists these forms, which OpenAI's API does not have.
#[tokio::test]
async fn documented_forms_beyond_those_of_openai_are_accepted() {
    let bench = Bench::new().await;
    let file = |url: Value| json!([user(json!([{ "type": "image_url", "image_url": url }]))]);
    let pdf = format!("data:application/pdf;base64,{}", STANDARD.encode("%PDF"));
    let hello = json!([user("x")]);
    let mut validated = function("f", json!({ "type": "OBJECT", "properties": {} }));
    validated["tool_choice"] = "validated".into();
    let schema = json!({ "type": "OBJECT", "properties": { "n": { "type": "INTEGER" } } });
    for (messages, more, expected) in [
        (file(json!({ "url": pdf })), json!({}), "[application/pdf, 4 bytes]"),
        (file(json!("gs://bucket/image.png")), json!({}), "[image]"),
        (file(json!({ "url": "https://example.com/image.png" })), json!({}), "[image]"),
        (hello.clone(), validated, "You said: x"),
        (hello.clone(), json!({ "response_format": { "type": "text/x.enum" } }), ""),
        (
            hello,
            json!({ "response_format": { "type": "json_schema", "json_schema": {
                "name": "n", "schema": schema,
            } } }),
            r#"{"n":0}"#,
        ),
    ] {
        let answer = bench.post(CHAT, chat("gemini-2.5-flash", messages, more.clone())).await;
        assert_eq!(answer.status, StatusCode::OK, "{more} {}", answer.text());
        let content = answer.json()["choices"][0]["message"]["content"].clone();
        assert!(content.as_str().unwrap().contains(expected), "{more} {content}");
    }
}
