//! The refusals of the service, and their forms.

use super::*;

#[tokio::test]
async fn a_fault_of_the_body_is_refused_in_anthropics_form() {
    let bench = Bench::new().await;
    let without = |name: &str| {
        let mut body = message("hello", json!({}));
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let with = |more: Value| message("hello", more);
    let said = |content: Value| message(content, json!({}));
    let image = |source: Value| said(json!([{ "type": "image", "source": source }]));
    for (body, start) in [
        (without("anthropic_version"), "anthropic_version: Field required"),
        (without("max_tokens"), "max_tokens: Field required"),
        (without("messages"), "messages: Field required"),
        (with(json!({ "anthropic_version": "2023-06-01" })), "anthropic_version: Input should be"),
        (with(json!({ "max_tokens": "9" })), "max_tokens: Input should be a valid integer"),
        (with(json!({ "max_tokens": -1 })), "max_tokens: Input should be greater"),
        (with(json!({ "model": OPUS })), "model: Extra inputs are not permitted"),
        (with(json!({ "context_management": {} })), "context_management: Extra inputs are not"),
        (with(json!({ "frequency_penalty": 1 })), "frequency_penalty: Extra inputs are not"),
        (with(json!({ "stream": 1 })), "stream: Input should be a valid boolean"),
        (with(json!({ "stop_sequences": ["\n"] })), "stop_sequences: each stop sequence must con"),
        (with(json!({ "messages": [] })), "messages: at least one message is required"),
        (with(json!({ "messages": [{ "role": "tool", "content": "a" }] })), "messages: Unexpected"),
        (with(json!({ "messages": [{ "role": "user" }] })), "messages.0.content: Field required"),
        (with(json!({ "system": "  " })), "system: text content blocks must contain non-white"),
        (with(json!({ "system": 1 })), "system: Input should be a valid list"),
        (with(json!({ "temperature": 0.5 })), "`temperature` is deprecated for this model."),
        (with(json!({ "output_config": { "effort": "much" } })), "output_config.effort: Input"),
        (with(json!({ "tool_choice": { "type": "auto" } })), "tool_choice may only be specified"),
        (with(json!({ "tools": [{ "name": "a b" }] })), "tools.0.custom.name: String should match"),
        (with(json!({ "tools": [{ "name": "a" }] })), "tools.0.custom.input_schema: Field requir"),
        (
            with(json!({ "tools": [{ "name": "a", "input_schema": {} }] })),
            "tools.0.custom.input_schema.type: Field required",
        ),
        (with(json!({ "tools": [tool("a"), tool("a")] })), "tools: Tool names must be unique."),
        (
            with(json!({ "tools": [tool("a")], "tool_choice": { "type": "tool", "name": "b" } })),
            "Tool 'b' not found in provided tools",
        ),
        (
            with(json!({ "tools": [tool("a")], "tool_choice": { "type": "required" } })),
            "tool_choice: Input tag 'required' found using 'type'",
        ),
        (said(json!("")), "messages.0: user messages must have non-empty content"),
        (said(json!([])), "messages.0: user messages must have non-empty content"),
        (said(json!("\n")), "messages: text content blocks must contain non-whitespace text"),
        (
            said(json!([{ "type": "text", "text": "" }, { "type": "text", "text": "x" }])),
            "messages: text content blocks must be non-empty",
        ),
        (said(json!([{ "type": "input_text" }])), "messages.0.content.0: Input tag 'input_text'"),
        (said(json!([{ "text": "a" }])), "messages.0.content.0.type: Field required"),
        (
            image(json!({ "type": "base64", "media_type": "image/bmp", "data": "R0lG" })),
            "messages.0.content.0.image.source.base64.media_type: Input should be",
        ),
        (
            image(json!({ "type": "base64", "media_type": "image/png", "data": "?" })),
            "messages.0.content.0.image.source.base64: invalid base64 data",
        ),
    ] {
        let found = refusal(&bench, OPUS, &body).await;
        assert!(found.starts_with(start), "{found}");
    }
}

#[tokio::test]
async fn the_version_of_2026_has_further_rules() {
    let bench = Bench::new().await;
    let count = path("count-tokens", "rawPredict");
    let version = "2026-10-21";
    let with = |more: Value| {
        let mut body = message("hello", more);
        body["anthropic_version"] = version.into();
        body
    };
    let cited = json!({ "type": "text", "text": "a", "citations": [{ "cited_text": "a" }] });
    let found = json!({ "type": "search_result", "source": "s", "title": "t",
        "citations": { "enabled": true }, "content": [{ "type": "text", "text": "a" }] });
    let mut cited_within = found.clone();
    cited_within["content"] = json!([cited]);
    let document = json!({ "type": "document", "source": { "type": "text", "data": "a" } });
    let text = json!({ "type": "text", "text": "a", "citations": [] });

    ask(&bench, HAIKU, &with(json!({}))).await;
    ask(&bench, HAIKU, &with(json!({ "messages": [user(json!([found, text, document]))] }))).await;
    for member in ["temperature", "top_p", "top_k"] {
        let found = refusal(&bench, HAIKU, &with(json!({ member: 1 }))).await;
        assert_eq!(found, format!("{member}: Extra inputs are not permitted"));
    }
    let answered = json!({ "role": "assistant", "content": [document] });
    for (messages, start) in [
        (json!([user(json!([cited]))]), "messages.0.content.0.text: `citations`"),
        (json!([user(json!([cited_within]))]), "messages.0.content.0.search_result: `citations`"),
        (json!([user("a"), answered, user("b")]), "messages.1: `document` blocks can only be in"),
    ] {
        let found = refusal(&bench, HAIKU, &with(json!({ "messages": messages }))).await;
        assert!(found.starts_with(start), "{found}");
        ask(&bench, HAIKU, &message("", json!({ "messages": messages }))).await;

        let mut body = json!({ "model": OPUS, "messages": messages });
        assert_eq!(bench.post(&count, &body).await.status, StatusCode::OK);
        body["anthropic_version"] = version.into();
        assert_eq!(bench.post(&count, &body).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn texts_that_are_only_partly_empty_are_accepted() {
    let bench = Bench::new().await;
    let text = |text: &str| json!({ "type": "text", "text": text });
    let assistant = |content: Value| json!({ "role": "assistant", "content": content });
    for messages in [
        vec![user(json!([text("hi"), text(" ")]))],
        vec![user("hi"), assistant(json!("")), user("hello")],
        vec![user("hi"), assistant(json!([])), user("hello")],
        vec![user("hi"), assistant(json!([text(" "), text("ok")])), user("hello")],
        vec![assistant(json!("I begin")), user("hello")],
    ] {
        ask(&bench, OPUS, &conversation(&messages, json!({ "system": "" }))).await;
    }
}

#[tokio::test]
async fn the_role_system_and_a_prefill_depend_on_the_model() {
    let bench = Bench::new().await;
    let system = json!({ "role": "system", "content": "be brief" });
    let body = conversation(&[user("hello"), system], json!({}));
    ask(&bench, OPUS, &body).await;
    let found = refusal(&bench, HAIKU, &body).await;
    assert!(found.starts_with("messages: Unexpected role \"system\". The Messages API accepts"));

    let prefill = |text: &str| json!({ "role": "assistant", "content": text });
    let body = conversation(&[user("hello"), prefill("{")], json!({}));
    ask(&bench, HAIKU, &body).await;
    let found = refusal(&bench, OPUS, &body).await;
    assert!(found.starts_with("This model does not support assistant message prefill."));
    let body = conversation(&[user("hello"), prefill("so ")], json!({}));
    let found = refusal(&bench, HAIKU, &body).await;
    assert_eq!(found, "messages: final assistant content cannot end with trailing whitespace");
}

#[tokio::test]
async fn betas_that_vertex_ai_does_not_have_are_refused() {
    let bench = Bench::new().await;
    let ask = async |path: &str, beta: &str, body: Value| {
        let request = bench.request(Method::POST, path).header("anthropic-beta", beta);
        bench.send(request.body(full(body.to_string())).unwrap()).await
    };
    let raw = path(OPUS, "rawPredict");
    let body = message("hello", json!({ "context_management": {} }));
    let answer = ask(&raw, "context-management-2025-06-27", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let web = "effort-2025-11-24, web-search-2025-03-05";
    assert_eq!(ask(&raw, web, message("hello", json!({}))).await.status, StatusCode::OK);

    let answer = ask(&raw, "oauth-2025-04-20", message("hello", json!({}))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let count = json!({ "model": OPUS, "messages": [user("hello")] });
    let answer = ask(&path("count-tokens", "rawPredict"), web, count).await;
    let text = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(text.starts_with("Unexpected value(s) `web-search-2025-03-05` for the"), "{text}");
}

#[tokio::test]
async fn a_fault_of_the_token_or_of_the_quota_has_googles_form() {
    let bench = Bench::new().await;
    let raw = path(OPUS, "rawPredict");
    let body = message("hello", json!({}));
    let request = Request::post(format!("{}{raw}", bench.emulator.url()));
    let answer = bench.send(request.body(full(body.to_string())).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.error(false)["status"], "UNAUTHENTICATED");
    let not_json = bench.post(&raw, "{").await;
    assert_eq!(not_json.error(false)["status"], "INVALID_ARGUMENT");
    // The protocol of the model is Anthropic's alone.
    let answer = bench.post(&path(OPUS, "generateContent"), &body).await;
    assert!(answer.status.is_client_error() || answer.status == StatusCode::NOT_IMPLEMENTED);

    for (status, name) in [(403, "PERMISSION_DENIED"), (429, "RESOURCE_EXHAUSTED")] {
        let api = ApiFault { times: Some(1), ..ApiFault::new(status) };
        bench.emulator.set_faults(Faults { api: Some(api), ..Faults::default() });
        assert_eq!(bench.post(&raw, &body).await.error(false)["status"], name);
    }
    for (status, shape, kind) in [
        (500, None, "api_error"),
        (529, None, "overloaded_error"),
        (429, Some(ErrorShape::Anthropic), "rate_limit_error"),
    ] {
        let api = ApiFault { times: Some(1), shape, ..ApiFault::new(status) };
        bench.emulator.set_faults(Faults { api: Some(api), ..Faults::default() });
        let answer = bench.post(&raw, &body).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.json()["error"]["type"], kind);
    }
    // Elsewhere a 500 is Google's.
    let api = ApiFault { times: Some(1), ..ApiFault::new(500) };
    bench.emulator.set_faults(Faults { api: Some(api), ..Faults::default() });
    assert_eq!(bench.chat().await.error(true)["status"], "INTERNAL");
}
