//! Calls of functions, and their signatures.

use super::*;

fn weather() -> Value {
    json!([{ "functionDeclarations": [{
        "name": "weather",
        "parameters": { "type": "OBJECT", "properties": { "place": { "type": "STRING" } } },
    }, { "name": "time" }] }])
}

#[tokio::test]
async fn the_choice_of_functions_is_followed() {
    let bench = Bench::new().await;
    for (config, text, expected) in [
        (json!({}), "hello", None),
        (json!({}), "call the tool weather", Some("weather")),
        (json!({ "mode": "NONE" }), "call the tool weather", None),
        (json!({ "mode": "ANY" }), "hello", Some("weather")),
        (json!({ "mode": "any", "allowedFunctionNames": ["time"] }), "hello", Some("time")),
        (json!({ "mode": "VALIDATED" }), "call the tool time", Some("time")),
    ] {
        let more = json!({ "tools": weather(), "toolConfig": { "functionCallingConfig": config } });
        let body = generate(&bench, FLASH, asks(text, more)).await;
        let part = &body["candidates"][0]["content"]["parts"][0];
        assert_eq!(part["functionCall"]["name"].as_str(), expected, "{config}: {part}");
        assert_eq!(body["candidates"][0]["finishReason"], "STOP");
    }
    // A JSON schema in place of Google's own.
    let tools = json!([{ "functionDeclarations": [{ "name": "f", "parametersJsonSchema":
        { "type": "object", "properties": { "n": { "const": 7 } } } }] }]);
    let body = generate(&bench, FLASH, asks("call the tool f", json!({ "tools": tools }))).await;
    assert_eq!(
        body["candidates"][0]["content"]["parts"][0]["functionCall"],
        json!({ "name": "f", "args": { "n": 7 } })
    );
}

#[tokio::test]
async fn gemini_3_demands_its_signatures_back() {
    let bench = Bench::new().await;
    let question = says("call the tool weather");
    let first = json!({ "contents": [question], "tools": weather() });
    let body = generate(&bench, THREE, first).await;
    let answer = body["candidates"][0]["content"].clone();
    assert!(answer["parts"][0]["thoughtSignature"].is_string(), "{answer}");
    let result = json!({ "role": "user", "parts": [{ "functionResponse": {
        "name": "weather", "response": { "result": "rain" } } }] });
    let second =
        |answer: Value| json!({ "contents": [question, answer, result], "tools": weather() });
    let body = generate(&bench, THREE, second(answer.clone())).await;
    assert_eq!(
        body["candidates"][0]["content"]["parts"][0]["text"],
        "This is the Vertex AI emulator. You said: call the tool weather The tool said: rain"
    );
    let mut bare = answer.clone();
    bare["parts"][0].as_object_mut().unwrap().remove("thoughtSignature");
    let error = bench.post(&path(THREE, "generateContent"), second(bare)).await.error(false);
    assert_eq!(
        error["message"],
        "Unable to submit request because function call `default_api:weather` in the 2. content \
         block is missing a `thought_signature`. Learn more: https://docs.cloud.google.com/\
         vertex-ai/generative-ai/docs/thought-signatures"
    );
    let mut placeholder = answer.clone();
    placeholder["parts"][0]["thoughtSignature"] = "skip_thought_signature_validator".into();
    generate(&bench, THREE, second(placeholder)).await;
    let mut wrong = answer.clone();
    wrong["parts"][0]["functionCall"]["args"]["place"] = "Rome".into();
    let error = bench.post(&path(THREE, "generateContent"), second(wrong)).await.error(false);
    assert_eq!(
        error["message"],
        "Unable to submit request because Thought signature is not valid."
    );
    let counts = bench.emulator.signatures();
    assert_eq!((counts.valid, counts.placeholder, counts.missing, counts.wrong), (1, 1, 1, 1));
    // The same call is accepted from a client of the OpenAI-compatible API.
    let signature = &answer["parts"][0]["thoughtSignature"];
    let call = json!({ "role": "assistant", "tool_calls": [{ "id": "1", "type": "function",
        "function": { "name": "weather",
            "arguments": answer["parts"][0]["functionCall"]["args"].to_string() },
        "extra_content": { "google": { "thought_signature": signature } } }] });
    let messages =
        [user("call the tool weather"), call, json!({ "role": "tool", "content": "rain" })];
    let body =
        chat_with(&format!("google/{THREE}"), &messages, json!({ "tools": tools(&["weather"]) }));
    assert_eq!(bench.post(CHAT, body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_chunks_of_a_stream_can_come_back_as_contents() {
    let bench = Bench::new().await;
    let question = says("call the tools weather and time at once");
    let first = json!({ "contents": [question], "tools": weather() });
    let stream = bench.post(&path(THREE, "streamGenerateContent"), first).await.json();
    let mut contents = vec![question.clone()];
    let answers = stream.as_array().unwrap().iter();
    contents.extend(answers.map(|chunk| chunk["candidates"][0]["content"].clone()));
    assert_eq!(contents.len(), 3, "each call is in a chunk of its own");
    let result = |name: &str| {
        json!({ "functionResponse": {
            "name": name, "response": { "result": format!("{name} is fine") } } })
    };
    contents.push(json!({ "role": "user", "parts": [result("weather"), result("time")] }));
    let body = json!({ "contents": contents, "tools": weather() });
    let stream = bench.post(&path(THREE, "streamGenerateContent"), body).await;
    assert_eq!(stream.status, StatusCode::OK, "{}", stream.text());
    let answers = stream.json().as_array().unwrap().clone();
    let mut contents = vec![question];
    contents.extend(answers.iter().map(|chunk| chunk["candidates"][0]["content"].clone()));
    contents.push(says("repeat your last message"));
    let body = generate(&bench, THREE, json!({ "contents": contents })).await;
    let text = body["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("The tool said: time is fine"), "{text}");
}

#[tokio::test]
async fn arguments_can_be_streamed_in_pieces() {
    let bench = Bench::new().await;
    let tools = json!([{ "functionDeclarations": [{ "name": "f", "parameters": {
        "type": "OBJECT", "properties": {
            "a": { "type": "STRING" }, "b": { "type": "ARRAY", "items": { "type": "INTEGER" },
            "minItems": 1 } } } }] }]);
    let config = json!({ "functionCallingConfig": { "streamFunctionCallArguments": true } });
    let more = json!({ "tools": tools, "toolConfig": config });
    bench.set_stream(StreamBehavior { chunks: Some(2), ..StreamBehavior::default() });
    let stream = path(THREE, "streamGenerateContent?alt=sse");
    let answer = bench.post(&stream, asks("call the tool f", more)).await;
    let calls: Vec<Value> = chunks(answer.text())
        .iter()
        .map(|chunk| chunk["candidates"][0]["content"]["parts"][0]["functionCall"].clone())
        .collect();
    let piece = |argument: Value| json!({ "partialArgs": [argument], "willContinue": true });
    assert_eq!(
        calls,
        [
            json!({ "name": "f", "willContinue": true }),
            piece(json!({ "jsonPath": "$.a", "stringValue": "exa", "willContinue": true })),
            piece(json!({ "jsonPath": "$.a", "stringValue": "mple" })),
            piece(json!({ "jsonPath": "$.b[0]", "numberValue": 0 })),
            json!({}),
        ]
    );
}
