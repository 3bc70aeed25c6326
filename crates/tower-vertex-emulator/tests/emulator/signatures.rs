//! Thought signatures of Gemini 3.

use super::*;

const GEMINI_3: &str = "google/gemini-3.1-pro-preview";
const PLACEHOLDER: &str = "skip_thought_signature_validator";
const SIGNATURE: &str = "/extra_content/google/thought_signature";

/// Sends the messages as a client does that keeps every member of a message, and returns the
/// message of the model.
async fn next(bench: &Bench, messages: &[Value], is_streamed: bool) -> Value {
    let more = json!({ "tools": tools(&["one", "two"]), "stream": is_streamed });
    let answer = bench.post(CHAT, &chat_with(GEMINI_3, messages, more)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    if is_streamed {
        collected(&json_events(answer.text()))
    } else {
        answer.json()["choices"][0]["message"].clone()
    }
}

/// The message of a stream with complete calls.
fn collected(events: &[Value]) -> Value {
    let mut message = json!({ "role": "assistant", "content": "", "tool_calls": [] });
    for event in events {
        let delta = &event["choices"][0]["delta"];
        let text = delta["content"].as_str().unwrap_or_default();
        message["content"] = format!("{}{text}", message["content"].as_str().unwrap()).into();
        let calls = delta["tool_calls"].as_array().cloned().unwrap_or_default();
        message["tool_calls"].as_array_mut().unwrap().extend(calls);
        if let Some(content) = delta.get("extra_content") {
            message["extra_content"] = content.clone();
        }
    }
    if message["tool_calls"] == json!([]) {
        message.as_object_mut().unwrap().remove("tool_calls");
    }
    message
}

fn signature(value: &Value) -> Option<&str> {
    value.pointer(SIGNATURE).and_then(Value::as_str)
}

/// The messages of a turn that has called the tool `one`, with the call as the model made it.
async fn called(bench: &Bench) -> Vec<Value> {
    let mut messages = vec![user("call the tool one, then call the tool two")];
    let message = next(bench, &messages, false).await;
    let result = result_of(&message["tool_calls"][0], "1");
    messages.extend([message, result]);
    messages
}

async fn refused(bench: &Bench, model: &str, messages: &[Value]) -> String {
    let more = json!({ "tools": tools(&["one", "two"]) });
    let answer = bench.post(CHAT, &chat_with(model, messages, more)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    let error = answer.error(true);
    assert_eq!(error["status"], "INVALID_ARGUMENT");
    error["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_loop_that_returns_every_signature_runs_to_its_end() {
    let bench = Bench::new().await;
    for (round, is_streamed) in [(1, false), (2, true)] {
        let mut messages = vec![user("call the tool one, then call the tools one and two at once")];
        for names in [&["one"][..], &["one", "two"]] {
            let message = next(&bench, &messages, is_streamed).await;
            let calls = message["tool_calls"].as_array().unwrap().clone();
            let called: Vec<&str> =
                calls.iter().map(|call| call["function"]["name"].as_str().unwrap()).collect();
            assert_eq!(called, names);
            let first = signature(&calls[0]).unwrap();
            assert!((300..=1200).contains(&STANDARD.decode(first).unwrap().len()));
            assert!(calls[1..].iter().all(|call| call.get("extra_content").is_none()));
            messages.push(message);
            messages.extend(calls.iter().map(|call| result_of(call, "done")));
        }
        let last = next(&bench, &messages, is_streamed).await;
        assert!(last["content"].as_str().unwrap().ends_with("The tool said: done"));
        assert!(signature(&last).is_some(), "{last}");
        let counts = bench.emulator.signatures();
        assert_eq!((counts.valid, counts.missing, counts.wrong), (3 * round, 0, 0));
    }
}

#[tokio::test]
async fn a_missing_signature_is_refused_with_the_name_and_the_block() {
    let bench = Bench::new().await;
    let mut messages = called(&bench).await;
    messages[1]["tool_calls"][0].as_object_mut().unwrap().remove("extra_content");
    let learn_more =
        "Learn more: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures";
    let text = |block: u32| {
        format!(
            "Unable to submit request because function call `default_api:one` in the {block}. \
             content block is missing a `thought_signature`. {learn_more}"
        )
    };
    assert_eq!(refused(&bench, GEMINI_3, &messages).await, text(2));
    // The system message is no content, and earlier turns count.
    let mut longer = vec![
        json!({ "role": "system", "content": "be brief" }),
        user("hello"),
        json!({ "role": "assistant", "content": "hi" }),
    ];
    longer.extend(messages.clone());
    assert_eq!(refused(&bench, GEMINI_3, &longer).await, text(4));
    let counts = bench.control("GET", "chat", Value::Null).await.json()["signatures"].clone();
    assert_eq!(counts, json!({ "valid": 0, "placeholder": 0, "missing": 2, "wrong": 0 }));
    // Only the current turn is checked.
    messages.push(user("hello"));
    next(&bench, &messages, false).await;
    assert_eq!(bench.emulator.signatures().missing, 2);
}

#[tokio::test]
async fn every_step_needs_its_own_signature() {
    let bench = Bench::new().await;
    let mut messages = called(&bench).await;
    let second = next(&bench, &messages, false).await;
    let result = result_of(&second["tool_calls"][0], "2");
    messages.extend([second, result]);
    next(&bench, &messages, false).await;
    let mut lost = messages.clone();
    lost[3]["tool_calls"][0].as_object_mut().unwrap().remove("extra_content");
    let message = refused(&bench, GEMINI_3, &lost).await;
    assert!(message.contains("`default_api:two` in the 4. content block"), "{message}");
    lost[3]["tool_calls"][0]["extra_content"] =
        messages[1]["tool_calls"][0]["extra_content"].clone();
    let not_valid = "Unable to submit request because Thought signature is not valid.";
    assert_eq!(refused(&bench, GEMINI_3, &lost).await, not_valid);
    // The signature of another model is not valid either.
    assert_eq!(refused(&bench, "google/gemini-3-flash-preview", &messages).await, not_valid);
    let other = called(&Bench::new().await).await;
    assert_eq!(refused(&bench, GEMINI_3, &other).await, not_valid);
}

#[tokio::test]
async fn parallel_calls_that_are_sent_back_as_two_steps_are_refused() {
    let bench = Bench::new().await;
    let prompt = user("call the tools one and two at once");
    let message = next(&bench, std::slice::from_ref(&prompt), false).await;
    let calls = message["tool_calls"].as_array().unwrap();
    let step = |call: &Value| json!({ "role": "assistant", "tool_calls": [call] });
    let apart = [
        prompt,
        step(&calls[0]),
        result_of(&calls[0], "1"),
        step(&calls[1]),
        result_of(&calls[1], "2"),
    ];
    let text = refused(&bench, GEMINI_3, &apart).await;
    assert!(text.contains("`default_api:two` in the 4. content block"), "{text}");
}

#[tokio::test]
async fn the_placeholder_is_accepted_and_counted() {
    let bench = Bench::new().await;
    let mut messages = called(&bench).await;
    messages[1]["tool_calls"][0]["extra_content"]["google"]["thought_signature"] =
        PLACEHOLDER.into();
    next(&bench, &messages, false).await;
    let counts = bench.emulator.signatures();
    assert_eq!((counts.valid, counts.placeholder, counts.wrong), (0, 1, 0));
    let reset = bench.control("DELETE", "chat", Value::Null).await.json();
    assert_eq!(reset["signatures"]["placeholder"], 0);
}

#[tokio::test]
async fn a_client_may_format_the_call_again_but_not_change_it() {
    let bench = Bench::new().await;
    let mut messages = called(&bench).await;
    let call = &mut messages[1]["tool_calls"][0];
    call["id"] = "mine".into();
    call["function"]["arguments"] = "{ }".into();
    let sent = signature(call).unwrap().replace('+', "-").replace('/', "_");
    call["extra_content"]["google"]["thought_signature"] = sent.trim_end_matches('=').into();
    next(&bench, &messages, false).await;
    messages[1]["tool_calls"][0]["function"]["arguments"] = r#"{"a":1}"#.into();
    refused(&bench, GEMINI_3, &messages).await;
    let counts = bench.emulator.signatures();
    assert_eq!((counts.valid, counts.wrong), (1, 1));
}

#[tokio::test]
async fn a_trailing_delta_can_carry_the_signature() {
    let bench = Bench::new().await;
    for place in ["trailing", "trailing_call"] {
        bench.control("PUT", "chat", json!({ "signature": place })).await;
        let more = json!({ "tools": tools(&["one"]), "stream": true });
        let body = chat_with(GEMINI_3, &[user("call the tool one")], more);
        let events = json_events(bench.post(CHAT, &body).await.text());
        let [call, trailing] = &events[..] else { panic!("{events:?}") };
        assert!(call["choices"][0]["delta"]["tool_calls"][0].get("extra_content").is_none());
        assert_eq!(trailing["choices"][0]["finish_reason"], "tool_calls");
        let delta = &trailing["choices"][0]["delta"];
        if place == "trailing" {
            assert_eq!(delta["content"], "");
            assert!(signature(delta).is_some());
        } else {
            let call = delta["tool_calls"][0].as_object().unwrap();
            assert_eq!(call.keys().collect::<Vec<_>>(), ["extra_content"]);
        }
        // A client that keeps the signature with the message or with the call is accepted.
        let mut call = call["choices"][0]["delta"]["tool_calls"][0].clone();
        let content = delta.pointer("/tool_calls/0/extra_content").or(delta.get("extra_content"));
        call["extra_content"] = content.unwrap().clone();
        let messages = [
            user("call the tool one"),
            json!({ "role": "assistant", "tool_calls": [call] }),
            result_of(&call, "1"),
        ];
        next(&bench, &messages, true).await;
    }
}

#[tokio::test]
async fn only_gemini_3_demands_signatures_unless_a_setting_says_so() {
    let bench = Bench::new().await;
    let ask = async |model: &str| {
        let messages = [
            user("call the tool one"),
            json!({ "role": "assistant", "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "one", "arguments": "{}" } },
            ]}),
            json!({ "role": "tool", "tool_call_id": "a", "content": "1" }),
        ];
        let more = json!({ "tools": tools(&["one"]) });
        bench.post(CHAT, &chat_with(model, &messages, more)).await.status.as_u16()
    };
    let image = "google/gemini-3-pro-image-preview";
    for (setting, model, status) in [
        (Value::Null, GEMINI_3, 400),
        (Value::Null, image, 200),
        (Value::Null, MODEL, 200),
        (json!(false), GEMINI_3, 200),
        (json!(true), MODEL, 400),
        (json!(true), image, 400),
        (json!(true), "openai/gpt-oss-120b-maas", 200),
    ] {
        bench.control("PUT", "chat", json!({ "demand_signatures": setting })).await;
        assert_eq!(ask(model).await, status, "{setting} {model}");
    }
    // Gemini 2.5 has no signatures to return.
    bench.emulator.set_chat(ChatBehavior::default());
    let answer = bench.chat().await.json();
    assert_eq!(answer["choices"][0]["message"].get("extra_content"), None);
}

#[tokio::test]
async fn records_hold_no_signature() {
    let bench = Bench::new().await;
    let messages = called(&bench).await;
    let sent = signature(&messages[1]["tool_calls"][0]).unwrap();
    next(&bench, &messages, false).await;
    for what in ["requests", "stats", "chat"] {
        let shown = bench.control("GET", what, Value::Null).await;
        assert!(!shown.text().contains(&sent[..40]), "{what}");
    }
}
