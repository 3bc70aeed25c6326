//! The form of tool calls, complete and streamed.

use super::*;

const PARTNER: &str = "openai/gpt-oss-120b-maas";

fn city_tools() -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": parameters } });
    json!([tool("one"), tool("two")])
}

/// The chunks of a response that calls both tools at once.
async fn chunks(bench: &Bench, model: &str, more: Value) -> Vec<Value> {
    let mut all = json!({ "tools": city_tools(), "stream": true });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let prompt = user("call the tools one and two at once");
    json_events(bench.post(CHAT, &chat_with(model, &[prompt], all)).await.text())
}

fn calls(chunks: &[Value]) -> Vec<Value> {
    let calls = |chunk: &Value| chunk["choices"][0]["delta"]["tool_calls"].as_array().cloned();
    chunks.iter().filter_map(calls).flatten().collect()
}

fn names(message: &Value) -> Vec<&str> {
    let calls = message["tool_calls"].as_array();
    calls.map_or_else(Vec::new, |calls| {
        calls.iter().map(|call| call["function"]["name"].as_str().unwrap()).collect()
    })
}

#[tokio::test]
async fn a_message_with_calls_of_google_has_no_content_and_googles_ids() {
    let bench = Bench::new().await;
    let more = || json!({ "tools": city_tools(), "tool_choice": "required" });
    let ask = async |model: &str| {
        let body = chat_with(model, &[user("hello")], more());
        bench.post(CHAT, &body).await.json()["choices"][0].clone()
    };
    let choice = ask(MODEL).await;
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["logprobs"], Value::Null);
    let message = choice["message"].as_object().unwrap();
    assert_eq!(message.keys().collect::<Vec<_>>(), ["role", "tool_calls"]);
    let id = message["tool_calls"][0]["id"].as_str().unwrap();
    let uuid = id.strip_prefix("function-call-").unwrap();
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    let message = ask(PARTNER).await["message"].clone();
    assert_eq!(message.get("content"), Some(&Value::Null));
    assert!(message["tool_calls"][0]["id"].as_str().unwrap().starts_with("call_"));
}

#[tokio::test]
async fn the_prompt_orders_steps_and_parallel_calls() {
    let bench = Bench::new().await;
    let ask = async |messages: &[Value], offered: &[&str]| {
        let body = chat_with(MODEL, messages, json!({ "tools": tools(offered) }));
        bench.post(CHAT, &body).await.json()["choices"][0]["message"].clone()
    };
    let prompt =
        "Please call the tool a, then call the tool b_2, then call the tools a, b and b_2 at once.";
    let mut messages = vec![user(prompt)];
    for expected in [&["a"][..], &["b_2"], &["a", "b", "b_2"], &[]] {
        let message = ask(&messages, &["b", "a", "b_2"]).await;
        assert_eq!(names(&message), expected, "{message}");
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        messages.push(message);
        messages.extend(calls.iter().map(|call| result_of(call, "ok")));
    }
    for (prompt, expected) in [
        ("call the tools a and a at once", &["a", "a"][..]),
        ("call the tools a and c at once", &[]),
        ("call the tools a at once", &[]),
        ("call the tools a and b", &[]),
        ("call the tool a. I say it again: call the tool b", &["a"]),
    ] {
        assert_eq!(names(&ask(&[user(prompt)], &["a", "b"]).await), expected, "{prompt}");
    }
}

#[tokio::test]
async fn a_call_of_google_is_complete_in_one_chunk() {
    let bench = Bench::new().await;
    let chunks = chunks(&bench, MODEL, json!({})).await;
    assert_eq!(chunks.len(), 2);
    for (index, chunk) in chunks.iter().enumerate() {
        let choice = &chunk["choices"][0];
        assert_eq!(choice["delta"]["role"], "assistant");
        assert_eq!(choice["delta"].get("content"), None);
        let [call] = &choice["delta"]["tool_calls"].as_array().unwrap()[..] else { panic!() };
        assert_eq!(call["index"], index);
        assert_eq!(call["type"], "function");
        assert!(call["id"].as_str().unwrap().starts_with("function-call-"));
        assert_eq!(call["function"]["arguments"], r#"{"city":"example"}"#);
    }
    assert_eq!(chunks[0]["choices"][0].get("finish_reason"), None);
    assert_eq!(chunks[0].get("usage"), None);
    assert_eq!(chunks[1]["choices"][0]["finish_reason"], "tool_calls");
    assert!(chunks[1]["usage"]["total_tokens"].is_u64());
}

#[tokio::test]
async fn each_mode_of_streamed_calls_has_its_indexes_and_ids() {
    let bench = Bench::new().await;
    for (mode, indexes) in [
        ("whole", [Some(json!(0)), Some(json!(1))]),
        ("no_index", [None, None]),
        ("null_index", [Some(Value::Null), Some(Value::Null)]),
        ("index_zero", [Some(json!(0)), Some(json!(0))]),
        ("empty_ids", [Some(json!(0)), Some(json!(1))]),
    ] {
        let set = bench.control("PUT", "chat", json!({ "tool_stream": mode })).await;
        assert_eq!(set.json()["tool_stream"], mode);
        let calls = calls(&chunks(&bench, MODEL, json!({})).await);
        assert_eq!(
            calls.iter().map(|call| call.get("index").cloned()).collect::<Vec<_>>(),
            indexes
        );
        for call in &calls {
            assert_eq!(call["id"] == "", mode == "empty_ids", "{mode}: {call}");
            assert_eq!(call["function"]["arguments"], r#"{"city":"example"}"#);
        }
    }
}

/// Google's sample is on its page of examples for the OpenAI libraries.
#[tokio::test]
async fn streamed_arguments_have_the_form_of_googles_sample() {
    let bench = Bench::new().await;
    let model = "google/gemini-3.1-pro-preview";
    let asks = json!({ "extra_body": { "google": { "stream_function_call_arguments": true } } });
    let chunks = chunks(&bench, model, asks).await;
    let calls = calls(&chunks);
    assert_eq!(calls.len(), 10);
    let indexes: Vec<u64> = calls.iter().map(|call| call["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [1, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    for (half, name) in [(&calls[..5], "one"), (&calls[5..], "two")] {
        let mut arguments = String::new();
        for call in half {
            assert_eq!((&call["id"], &call["type"]), (&half[0]["id"], &json!("function")));
            assert_eq!(call["function"]["name"], name);
            arguments += call["function"]["arguments"].as_str().unwrap();
        }
        assert_eq!(arguments, r#"{"city":"example"}"#);
    }
    assert_ne!(calls[0]["id"], calls[5]["id"]);
    let signed = calls.iter().filter(|call| call.get("extra_content").is_some()).count();
    assert_eq!((signed, calls[0].get("extra_content").is_some()), (1, true));
    assert_eq!(chunks[9]["choices"][0]["finish_reason"], "tool_calls");
    // Elsewhere, Google ignores the field.
    for elsewhere in [
        json!({ "google": { "stream_function_call_arguments": true } }),
        json!({ "stream_function_call_arguments": true }),
    ] {
        assert_eq!(self::chunks(&bench, model, elsewhere).await.len(), 2);
    }
}

#[tokio::test]
async fn calls_of_partner_models_are_streamed_as_openai_does() {
    let bench = Bench::new().await;
    let chunks = chunks(&bench, PARTNER, json!({})).await;
    let with_role = |chunk: &&Value| chunk["choices"][0]["delta"].get("role").is_some();
    assert_eq!(chunks.iter().filter(with_role).count(), 1);
    assert_eq!(chunks[0]["choices"][0].get("finish_reason"), Some(&Value::Null));
    let calls = calls(&chunks);
    for (half, index) in [(&calls[..5], 0), (&calls[5..], 1)] {
        assert!(half[0]["id"].is_string() && half[0]["function"]["name"].is_string());
        assert!(half.iter().all(|call| call["index"] == index));
        assert!(half[1..].iter().all(|call| call.get("id").is_none()));
        let arguments: String =
            half.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
        assert_eq!(arguments, r#"{"city":"example"}"#);
    }
}

#[tokio::test]
async fn a_stream_can_stop_after_its_calls() {
    let bench = Bench::new().await;
    for (setting, length) in [(json!(true), 2), (json!("two_chunks"), 3)] {
        bench.control("PUT", "chat", json!({ "stop_after_calls": setting })).await;
        let chunks = chunks(&bench, MODEL, json!({})).await;
        assert_eq!(chunks.len(), length);
        assert_eq!(calls(&chunks).len(), 2);
        assert_eq!(chunks[length - 1]["choices"][0]["finish_reason"], "stop");
    }
    let wrong = bench.control("PUT", "chat", json!({ "stop_after_calls": "three" })).await;
    assert!(wrong.json()["error"].as_str().unwrap().contains("stop_after_calls"));
}

#[tokio::test]
async fn the_legacy_fields_call_one_function() {
    let bench = Bench::new().await;
    let functions = json!([{ "name": "one" }, { "name": "two" }]);
    let ask = async |messages: &[Value], choice: Value| {
        let more = json!({ "functions": functions, "function_call": choice });
        bench.post(CHAT, &chat_with(MODEL, messages, more)).await.json()["choices"][0].clone()
    };
    let prompt = [user("call the tool two")];
    let choice = ask(&prompt, Value::Null).await;
    assert_eq!(choice["finish_reason"], "function_call");
    let expected = json!({ "name": "two", "arguments": "{}" });
    assert_eq!(choice["message"]["function_call"], expected);
    assert_eq!(choice["message"].get("tool_calls"), None);
    assert_eq!(
        ask(&prompt, json!({ "name": "one" })).await["message"]["function_call"]["name"],
        "one"
    );
    assert_eq!(ask(&prompt, json!("none")).await["finish_reason"], "stop");
    let result = json!({ "role": "function", "name": "two", "content": "noon" });
    let messages = [prompt[0].clone(), choice["message"].clone(), result];
    let content = ask(&messages, json!("auto")).await["message"]["content"].clone();
    assert!(content.as_str().unwrap().ends_with("The tool said: noon"), "{content}");
}
