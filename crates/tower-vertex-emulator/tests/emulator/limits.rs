//! `max_tokens`, `stop` and `n`.

use super::*;

/// A model that does not think.
const PLAIN: &str = "google/gemini-2.0-flash";

async fn ask(bench: &Bench, model: &str, more: Value) -> Value {
    let answer = bench.post(CHAT, &chat_with(model, &[user("hello")], more)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_text_is_cut_at_the_largest_number_of_tokens() {
    let bench = Bench::new().await;
    for name in ["max_tokens", "max_completion_tokens"] {
        let answer = ask(&bench, PLAIN, json!({ name: 3 })).await;
        let choice = &answer["choices"][0];
        assert_eq!(choice["message"]["content"], "This is the ");
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 3);
        let chunks = bench
            .post(CHAT, &chat_with(PLAIN, &[user("hello")], json!({ name: 3, "stream": true })))
            .await;
        let chunks = json_events(chunks.text());
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
    }
    let answer = ask(&bench, PLAIN, json!({ "max_tokens": 12 })).await;
    assert_eq!(answer["choices"][0]["message"]["content"], ECHO);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn thoughts_take_their_tokens_before_the_text() {
    let bench = Bench::new().await;
    let answer = ask(&bench, MODEL, json!({ "max_tokens": 50 })).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "This is ");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let usage = &answer["usage"];
    assert_eq!(usage["completion_tokens"], 2);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 48);
    assert_eq!(usage["total_tokens"], 52);

    // No token is left for the message.
    let answer = ask(&bench, MODEL, json!({ "max_tokens": 20 })).await;
    assert_eq!(answer["choices"], json!([{ "index": 0, "finish_reason": "length" }]));
    let usage = answer["usage"].as_object().unwrap();
    assert_eq!(usage.get("completion_tokens"), None);
    assert_eq!((&usage["prompt_tokens"], &usage["total_tokens"]), (&json!(2), &json!(22)));
    let body = chat_with(MODEL, &[user("hello")], json!({ "max_tokens": 20, "stream": true }));
    let chunks = json_events(bench.post(CHAT, &body).await.text());
    let choice = json!({
        "index": 0, "delta": { "role": "assistant" }, "logprobs": null, "finish_reason": "length",
    });
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0]["choices"], json!([choice]));

    let whole = ask(&bench, MODEL, json!({ "max_tokens": 20, "reasoning_effort": "none" })).await;
    assert_eq!(whole["choices"][0]["message"]["content"], ECHO);
}

#[tokio::test]
async fn a_call_that_does_not_fit_is_no_call() {
    let bench = Bench::new().await;
    let mut offered = tools(&["one"]);
    offered[0]["function"]["parameters"] =
        json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let more = json!({ "tools": offered, "tool_choice": "required", "max_tokens": 2 });
    let choice = ask(&bench, PLAIN, more).await["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["message"], json!({ "role": "assistant" }));
}

#[tokio::test]
async fn a_text_ends_before_its_first_stop_sequence() {
    let bench = Bench::new().await;
    for stop in [json!(" emulator"), json!(["You", " emulator", ""])] {
        let answer = ask(&bench, MODEL, json!({ "stop": stop })).await;
        assert_eq!(answer["choices"][0]["message"]["content"], "This is the Vertex AI");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn n_choices_are_counted_and_have_calls_of_their_own() {
    let bench = Bench::new().await;
    let one = ask(&bench, MODEL, json!({})).await["usage"].clone();
    let answer = ask(&bench, MODEL, json!({ "n": 3 })).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(
        choices.iter().map(|choice| choice["index"].as_u64()).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    assert!(choices.iter().all(|choice| choice["message"]["content"] == ECHO));
    let count = |usage: &Value, name: &str| usage[name].as_u64().unwrap();
    let completion = count(&one, "completion_tokens");
    assert_eq!(count(&answer["usage"], "completion_tokens"), 3 * completion);
    assert_eq!(answer["usage"]["prompt_tokens"], one["prompt_tokens"]);

    let more = json!({ "n": 2, "tools": tools(&["one"]), "tool_choice": "required" });
    let answer = ask(&bench, MODEL, more).await;
    let id = |choice: usize| &answer["choices"][choice]["message"]["tool_calls"][0]["id"];
    assert_ne!(id(0), id(1));

    let body = chat_with(MODEL, &[user("hello")], json!({ "n": 2, "stream": true }));
    let chunks = json_events(bench.post(CHAT, &body).await.text());
    for index in 0..2 {
        let of_choice = chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == index);
        let texts = of_choice.map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        assert_eq!(texts.map(Option::unwrap).collect::<String>(), ECHO);
    }
    assert_eq!(chunks.iter().filter(|chunk| chunk.get("usage").is_some()).count(), 1);
    for n in [json!(2.0), Value::Null] {
        ask(&bench, MODEL, json!({ "n": n })).await;
    }
    for wrong in [json!(0), json!(9), json!(1.5), json!(-1.0), json!("2")] {
        let body = chat_with(MODEL, &[user("hello")], json!({ "n": wrong }));
        assert_eq!(bench.post(CHAT, &body).await.error(true)["status"], "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn completions_have_the_same_limits() {
    let bench = Bench::new().await;
    let ask = async |more: Value| {
        let mut body = json!({ "model": PLAIN, "prompt": "hello" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = bench.post(&format!("{OPENAPI}/completions"), &body).await.json();
        let choice = answer["choices"][0].clone();
        (choice["text"].clone(), choice["finish_reason"].clone())
    };
    assert_eq!(ask(json!({ "max_tokens": 2 })).await, (json!("This is "), json!("length")));
    assert_eq!(ask(json!({ "stop": " is" })).await, (json!("This"), json!("stop")));
}
