//! Images, tools and structured responses.

use super::*;

/// A request for a chat, with further fields.
fn chat(messages: Value, more: Value) -> Value {
    chat_with(MODEL, messages.as_array().unwrap(), more)
}

/// The message of an assistant that calls a function.
fn call_of(name: &str) -> Value {
    let function = json!({ "name": name, "arguments": "{}" });
    json!({ "role": "assistant", "tool_calls": [{ "id": "1", "function": function }] })
}

fn weather() -> Value {
    json!([
        { "type": "function", "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": { "city": { "type": "string" }, "days": { "type": "integer", "minimum": 1 } },
                "required": ["city", "days"],
            },
        }},
        { "type": "function", "function": { "name": "now" } },
    ])
}

#[tokio::test]
async fn an_image_is_named_in_the_echo() {
    let bench = Bench::new().await;
    let url = format!("data:image/png;base64,{}", STANDARD.encode([7; 70]));
    let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    let parts = |url: &str| json!([{ "type": "text", "text": "hello" }, image(url)]);
    let answer = bench.post(CHAT, &chat(json!([user(parts(&url))]), json!({}))).await.json();
    let content = &answer["choices"][0]["message"]["content"];
    assert_eq!(*content, format!("{ECHO} [image/png, 70 bytes]"));
    let broken = chat(json!([user(parts("data:image/png;base64,%"))]), json!({}));
    let error = bench.post(CHAT, &broken).await.error(true);
    assert!(error["message"].as_str().unwrap().contains("bad base64"), "{error}");
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_is_echoed() {
    let bench = Bench::new().await;
    let tools = || json!({ "tools": weather() });
    let asked = "hello. Call the tool weather.";
    let answer = bench.post(CHAT, &chat(json!([user(asked)]), tools())).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("weather")));
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "city": "example", "days": 1 }));

    let said = json!({ "role": "tool", "tool_call_id": call["id"], "content": "rain" });
    let messages = json!([user(asked), choice["message"], said]);
    let answer = bench.post(CHAT, &chat(messages, tools())).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(
        choice["message"]["content"],
        format!("{ECHO}. Call the tool weather. The tool said: rain")
    );
}

/// Coding agents offer a shell with each request, which must not be called by accident.
#[tokio::test]
async fn no_tool_is_called_unless_the_request_names_one() {
    let bench = Bench::new().await;
    let called = async |said: &str, more: Value| {
        let mut more = more;
        more["tools"] = weather();
        let answer = bench.post(CHAT, &chat(json!([user(said)]), more)).await.json();
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"].clone()
    };
    // Only the first 100 occurrences of the phrase are checked.
    let often = "call the tool tomorrow, ".repeat(100) + "call the tool now";
    for said in [
        "hello",
        &often,
        "weather",
        "What is the weather now?",
        "call weather",
        "call the tool",
        "call the tool ",
        "call the tool tomorrow",
        "call the tool weather_of_today",
        "call the tool weather.today",
        "call the tools weather",
    ] {
        assert_eq!(called(said, json!({})).await, Value::Null, "{said}");
        assert_eq!(called(said, json!({ "tool_choice": "auto" })).await, Value::Null, "{said}");
        assert_eq!(called(said, json!({ "tool_choice": "required" })).await, "weather", "{said}");
    }
    for (said, expected) in [
        ("call the tool now", "now"),
        ("Grüße! Please CALL THE TOOL weather, then stop.", "weather"),
        ("Call the tool tomorrow, or call the tool now.", "now"),
    ] {
        assert_eq!(called(said, json!({})).await, expected, "{said}");
        assert_eq!(called(said, json!({ "tool_choice": "required" })).await, expected, "{said}");
        assert_eq!(called(said, json!({ "tool_choice": "none" })).await, Value::Null, "{said}");
    }
    // A tool is called only once for one prompt.
    let told = json!([
        user("call the tool now"),
        call_of("now"),
        { "role": "tool", "content": "noon" },
        { "role": "assistant", "content": "It is" },
    ]);
    let answer = bench.post(CHAT, &chat(told, json!({ "tools": weather() }))).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    // Only the user's last message can call a tool.
    for (role, said) in [("system", "call the tool now"), ("user", "call the tool now")] {
        let messages = json!([{ "role": role, "content": said }, user("hello")]);
        let answer = bench.post(CHAT, &chat(messages, json!({ "tools": weather() }))).await.json();
        assert_eq!(answer["choices"][0]["message"]["content"], ECHO);
    }
}

/// Tests the tools of coding agents.
#[tokio::test]
async fn the_arguments_of_a_tool_fit_its_schema_and_repeat_no_text_of_the_user() {
    let bench = Bench::new().await;
    let secret = "rm -rf the-users-text";
    let called = async |parameters: Value| {
        let more = json!({
            "tools": [{ "type": "function", "function": { "name": "t", "parameters": parameters } }],
            "tool_choice": "required",
        });
        let answer = bench.post(CHAT, &chat(json!([user(secret)]), more)).await;
        assert!(!answer.text().contains("the-users-text"), "{}", answer.text());
        let answer = answer.json();
        let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
        serde_json::from_str::<Value>(call["arguments"].as_str().unwrap()).unwrap()
    };
    let shell = json!({
        "type": "object",
        "properties": {
            "command": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            "timeout": { "type": "integer", "minimum": 1, "maximum": 600_000 },
            "delay": { "type": "number", "minimum": 0, "exclusiveMinimum": 0 },
            "mode": { "type": "string", "enum": ["read", "write"] },
            "id": { "type": "string", "pattern": "^[a-f0-9]{8}$" },
            "workdir": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
        },
        "required": ["command", "timeout"],
        "additionalProperties": false,
    });
    let expected = json!({
        "command": ["example"], "timeout": 1, "delay": 1, "mode": "read", "id": "aaaaaaaa",
        "workdir": "example",
    });
    assert_eq!(called(shell).await, expected);
    assert_eq!(called(Value::Null).await, json!({}));
    // Some tools have schemas of draft 4, or of pydantic.
    let todos = json!({
        "type": "object",
        "properties": {
            "todos": { "type": "array", "items": { "$ref": "#/$defs/Todo" }, "minItems": 2 },
            "retries": { "type": "integer", "minimum": 0, "exclusiveMinimum": true },
        },
        "required": ["todos"],
        "$defs": { "Todo": {
            "type": "object",
            "properties": {
                "content": { "type": "string", "minLength": 9 },
                "status": { "type": "string", "const": "pending" },
                "due": { "type": "string", "format": "date" },
            },
            "required": ["content", "status"],
        }},
    });
    let todo = json!({ "content": "example..", "status": "pending", "due": "2026-01-02" });
    assert_eq!(called(todos).await, json!({ "todos": [todo, todo], "retries": 1 }));

    let none = json!({ "properties": { "n": { "type": "integer", "minimum": 2, "maximum": 1 } }, "required": ["n"] });
    let more = json!({
        "tools": [{ "type": "function", "function": { "name": "t", "parameters": none } }],
        "tool_choice": "required",
    });
    let answer = bench.post(CHAT, &chat(json!([user("hello")]), more)).await;
    assert_eq!(answer.error(true)["status"], "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_streamed_call_adds_up() {
    let bench = Bench::new().await;
    let more = json!({ "tools": weather(), "tool_choice": "required", "stream": true });
    let body = chat(json!([user("hello")]), more);
    let streamed = bench.post(CHAT, &body).await;
    let events = json_events(streamed.text());
    let calls: Vec<&Value> =
        events.iter().map(|event| &event["choices"][0]["delta"]["tool_calls"][0]).collect();
    assert_eq!(calls[0]["function"]["name"], "weather");
    assert!(calls[0]["id"].is_string() && calls[1..].iter().all(|call| call.get("id").is_none()));
    assert!(calls.iter().all(|call| call["index"] == 0));
    let arguments: String =
        calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
    let arguments: Value = serde_json::from_str(&arguments).unwrap();
    assert_eq!(arguments, json!({ "city": "example", "days": 1 }));
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn the_choice_of_a_tool_is_obeyed() {
    let bench = Bench::new().await;
    let called = async |messages: Value, choice: Value| {
        let more = json!({ "tools": weather(), "tool_choice": choice });
        let answer = bench.post(CHAT, &chat(messages, more)).await.json();
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"].clone()
    };
    let asked = || json!([user("hello")]);
    let answered =
        || json!([user("hello"), call_of("weather"), { "role": "tool", "content": "rain" }]);
    let now = || json!({ "type": "function", "function": { "name": "now" } });
    assert_eq!(called(asked(), json!("none")).await, Value::Null);
    assert_eq!(called(asked(), json!("auto")).await, Value::Null);
    assert_eq!(called(asked(), json!("required")).await, "weather");
    assert_eq!(called(asked(), now()).await, "now");
    assert_eq!(called(answered(), json!("auto")).await, Value::Null);
    assert_eq!(called(answered(), json!("required")).await, "weather");
    assert_eq!(called(answered(), now()).await, "now");

    let missing = json!({ "type": "function", "function": { "name": "tomorrow" } });
    for more in [
        json!({ "tools": weather(), "tool_choice": missing }),
        json!({ "tools": weather(), "tool_choice": "perhaps" }),
        json!({ "tool_choice": "required" }),
        json!({ "tools": "weather" }),
        json!({ "tools": [{ "type": "function", "function": {} }] }),
    ] {
        let answer = bench.post(CHAT, &chat(asked(), more)).await;
        assert_eq!(answer.error(true)["status"], "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn a_response_has_the_requested_format() {
    let bench = Bench::new().await;
    let schema = json!({
        "type": "object",
        "properties": { "word": { "type": "string" }, "count": { "type": "integer" } },
    });
    let with_schema = |schema: &Value| {
        let json_schema = json!({ "name": "words", "strict": true, "schema": schema });
        json!({ "response_format": { "type": "json_schema", "json_schema": json_schema } })
    };
    let object = json!({ "response_format": { "type": "json_object" } });
    for (format, expected) in [
        (with_schema(&schema), json!({ "word": "hello", "count": 0 })),
        (object, json!({ "said": "hello" })),
    ] {
        let answer = bench.post(CHAT, &chat(json!([user("hello")]), format)).await.json();
        let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(content).unwrap(), expected);
    }
    let text = json!({ "response_format": { "type": "text" } });
    let answer = bench.post(CHAT, &chat(json!([user("hello")]), text)).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], ECHO);
    for bad in [
        with_schema(&json!("object")),
        json!({ "response_format": { "type": "json_schema" } }),
        json!({ "response_format": { "type": "xml" } }),
    ] {
        let answer = bench.post(CHAT, &chat(json!([user("hello")]), bad)).await;
        assert_eq!(answer.error(true)["status"], "INVALID_ARGUMENT");
    }
}
