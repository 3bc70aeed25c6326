//! The prompt cache.

use super::*;

/// A system prompt of 2,000 tokens.
fn system(control: Value) -> Value {
    json!([{ "type": "text", "text": "word. ".repeat(8000 / 6), "cache_control": control }])
}

/// The input tokens of a response: those that were stored for five minutes and for an hour, those
/// that were read, and the others.
fn tokens(response: &Value) -> [u64; 4] {
    let usage = &response["usage"];
    let count = |value: &Value| value.as_u64().unwrap();
    let [short, long] = ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"]
        .map(|name| count(&usage["cache_creation"][name]));
    assert_eq!(count(&usage["cache_creation_input_tokens"]), short + long);
    [short, long, count(&usage["cache_read_input_tokens"]), count(&usage["input_tokens"])]
}

fn pass(bench: &Bench, seconds: i64) {
    let behavior = TokenBehavior { clock_offset_s: seconds, ..TokenBehavior::default() };
    bench.emulator.set_token_behavior(behavior);
}

#[tokio::test]
async fn a_marked_prompt_is_stored_and_then_read() {
    let bench = Bench::new().await;
    let body = message("hello", json!({ "system": system(json!({ "type": "ephemeral" })) }));
    assert_eq!(tokens(&ask(&bench, OPUS, &body).await), [2000, 0, 0, 2]);
    assert_eq!(tokens(&ask(&bench, OPUS, &body).await), [0, 0, 2000, 2]);
    // Another model, another prompt and another project have caches of their own.
    assert_eq!(tokens(&ask(&bench, HAIKU, &body).await), [2000, 0, 0, 2]);
    let other = path(OPUS, "rawPredict").replace("p1", "p2");
    assert_eq!(tokens(&bench.post(&other, &body).await.json()), [2000, 0, 0, 2]);
    let tools = json!({ "system": body["system"], "tools": [tool("one")] });
    let [stored, _, read, _] = tokens(&ask(&bench, OPUS, &message("hello", tools)).await);
    assert!(stored > 2000 && read == 0);
}

#[tokio::test]
async fn a_prompt_is_stored_for_five_minutes_or_an_hour_after_its_last_use() {
    let bench = Bench::new().await;
    let short = message("hello", json!({ "system": system(json!({ "type": "ephemeral" })) }));
    let long = json!({ "type": "ephemeral", "ttl": "1h" });
    let long = message("hello", json!({ "system": system(long), "tools": [tool("one")] }));
    assert_eq!(tokens(&ask(&bench, OPUS, &short).await)[0], 2000);
    assert!(tokens(&ask(&bench, OPUS, &long).await)[1] > 2000);
    for (seconds, is_short, is_long) in
        [(280, true, true), (560, true, true), (900, false, true), (4600, false, false)]
    {
        pass(&bench, seconds);
        let read = |response: &Value| tokens(response)[2] > 0;
        assert_eq!(read(&ask(&bench, OPUS, &short).await), is_short, "{seconds}");
        assert_eq!(read(&ask(&bench, OPUS, &long).await), is_long, "{seconds}");
    }
}

#[tokio::test]
async fn a_conversation_reads_the_prompt_of_its_last_turn() {
    let bench = Bench::new().await;
    let marked = |text: &str| json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }]);
    let long = "word. ".repeat(1000);
    let first = ask(&bench, OPUS, &conversation(&[user(marked(&long))], json!({}))).await;
    assert_eq!(tokens(&first), [1500, 0, 0, 0]);
    // The mark has moved to the next turn.
    let turns = [user(long.as_str()), assistant(&first), user(marked("and now?"))];
    let mut second = conversation(&turns, json!({}));
    second["messages"][0]["content"] = json!([{ "type": "text", "text": long }]);
    let [stored, _, read, rest] = tokens(&ask(&bench, OPUS, &second).await);
    assert_eq!((read, rest), (1500, 0));
    assert!(stored > 0);
    // A mark at the top is one at the last block.
    let body = message(
        "hello",
        json!({ "cache_control": { "type": "ephemeral" },
        "system": long }),
    );
    assert_eq!(tokens(&ask(&bench, OPUS, &body).await), [1502, 0, 0, 0]);
}

#[tokio::test]
async fn a_short_prompt_is_not_stored_and_marks_are_limited() {
    let bench = Bench::new().await;
    let block = json!({ "type": "text", "text": "short",
        "cache_control": { "type": "ephemeral" } });
    let body = message("hello", json!({ "system": [block] }));
    for _ in 0..2 {
        assert_eq!(tokens(&ask(&bench, OPUS, &body).await), [0, 0, 0, 4]);
    }
    let body = message(vec![block.clone(); 3], json!({ "system": vec![block; 2] }));
    assert_eq!(
        refusal(&bench, OPUS, &body).await,
        "A maximum of 4 blocks with cache_control may be provided. Found 5."
    );
}
