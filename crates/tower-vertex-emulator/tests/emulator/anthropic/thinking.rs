//! Thinking, and the blocks that come back.

use tower_vertex_emulator::SignatureCounts;

use super::*;

fn enabled() -> Value {
    json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 }, "tools": [tool("one")] })
}

#[tokio::test]
async fn a_budget_shows_thoughts_with_a_signature() {
    let bench = Bench::new().await;
    let response = ask(&bench, HAIKU, &message("hello", enabled())).await;
    let [thoughts, text] = &response["content"].as_array().unwrap()[..] else {
        panic!("{response}")
    };
    assert_eq!(thoughts["type"], "thinking");
    assert!(!thoughts["thinking"].as_str().unwrap().is_empty());
    assert!(thoughts["signature"].as_str().unwrap().len() > 300);
    assert_eq!(text["text"], ECHO);
    let without = ask(&bench, HAIKU, &message("hello", json!({}))).await;
    let output = |response: &Value| response["usage"]["output_tokens"].as_u64().unwrap();
    assert!(output(&response) > output(&without));
}

#[tokio::test]
async fn newer_models_omit_their_thoughts_without_a_display() {
    let bench = Bench::new().await;
    for (model, thinking, is_shown) in [
        (OPUS, json!({ "type": "adaptive" }), false),
        (OPUS, json!({ "type": "adaptive", "display": "summarized" }), true),
        ("claude-sonnet-4-6", json!({ "type": "adaptive" }), true),
        ("claude-sonnet-4-6", json!({ "type": "adaptive", "display": "omitted" }), false),
    ] {
        let body = message("hello", json!({ "thinking": thinking }));
        let response = ask(&bench, model, &body).await;
        let thoughts = &response["content"][0];
        assert_eq!(thoughts["type"], "thinking");
        assert_eq!(!thoughts["thinking"].as_str().unwrap().is_empty(), is_shown, "{model}");
    }
    let body = message("hello", json!({ "thinking": { "type": "disabled" } }));
    assert_eq!(ask(&bench, OPUS, &body).await["content"][0]["type"], "text");
}

#[tokio::test]
async fn thinking_blocks_come_back_unmodified() {
    let bench = Bench::new().await;
    let prompt = user("call the tool one");
    let first = ask(&bench, HAIKU, &conversation(std::slice::from_ref(&prompt), enabled())).await;
    assert_eq!(first["stop_reason"], "tool_use");
    let again =
        |turn: Value| conversation(&[prompt.clone(), turn, results(&first, "1")], enabled());
    ask(&bench, HAIKU, &again(assistant(&first))).await;

    let mut modified = assistant(&first);
    modified["content"][0]["thinking"] = "other thoughts".into();
    let text = refusal(&bench, HAIKU, &again(modified)).await;
    assert!(text.starts_with("messages.1.content.0: `thinking` or `redacted_thinking` blocks in"));

    let mut forged = assistant(&first);
    forged["content"][0]["signature"] = "Zm9yZ2Vk".into();
    let invalid = "messages.1.content.0: Invalid `signature` in `thinking` block";
    assert_eq!(refusal(&bench, HAIKU, &again(forged.clone())).await, invalid);
    // A signature belongs to a model.
    assert_eq!(refusal(&bench, "claude-sonnet-4-5", &again(assistant(&first))).await, invalid);

    let mut dropped = assistant(&first);
    dropped["content"].as_array_mut().unwrap().remove(0);
    let text = refusal(&bench, HAIKU, &again(dropped)).await;
    assert!(text.starts_with(
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`."
    ));
    let SignatureCounts { valid, wrong, missing, .. } = bench.emulator.signatures();
    assert_eq!((valid, wrong, missing), (1, 3, 1));

    bench
        .emulator
        .set_chat(ChatBehavior { demand_signatures: Some(false), ..ChatBehavior::default() });
    ask(&bench, HAIKU, &again(forged)).await;
}

#[tokio::test]
async fn thinking_must_fit_the_model_and_the_other_options() {
    let bench = Bench::new().await;
    let budget = |tokens: u64| json!({ "type": "enabled", "budget_tokens": tokens });
    let any = json!({ "type": "any" });
    for (model, more, start) in [
        (
            HAIKU,
            json!({ "thinking": budget(1023) }),
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            HAIKU,
            json!({ "thinking": budget(2048) }),
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        (HAIKU, json!({ "thinking": { "type": "enabled" } }), "thinking.enabled.budget_tokens: F"),
        (
            HAIKU,
            json!({ "thinking": { "type": "adaptive" } }),
            "adaptive thinking is not supported on this model",
        ),
        (
            OPUS,
            json!({ "thinking": budget(1024) }),
            "\"thinking.type.enabled\" is not supported for this model.",
        ),
        (HAIKU, json!({ "thinking": { "type": "on" } }), "thinking: Input tag 'on' found"),
        (
            HAIKU,
            json!({ "thinking": budget(1024), "temperature": 0.5 }),
            "`temperature` may only be set to 1 when thinking is enabled.",
        ),
        (
            OPUS,
            json!({ "thinking": { "type": "adaptive" }, "tools": [tool("one")],
                "tool_choice": any }),
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
    ] {
        let found = refusal(&bench, model, &message("hello", more)).await;
        assert!(found.starts_with(start), "{found}");
    }
    // With interleaved thinking, the budget is that of a turn.
    let body = message("hello", json!({ "thinking": budget(9000) })).to_string();
    let request = bench
        .request(Method::POST, &path(HAIKU, "rawPredict"))
        .header("anthropic-beta", "interleaved-thinking-2025-05-14");
    let answer = bench.send(request.body(full(body)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}
