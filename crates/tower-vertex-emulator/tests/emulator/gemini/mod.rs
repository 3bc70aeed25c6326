//! Gemini's own API.

mod calls;

use super::*;

const GOOGLE: &str = "/v1beta1/projects/p1/locations/us-central1/publishers/google/models";
const FLASH: &str = "gemini-2.5-flash";
const THREE: &str = "gemini-3.1-pro-preview";

fn path(model: &str, method: &str) -> String {
    format!("{GOOGLE}/{model}:{method}")
}

fn says(text: &str) -> Value {
    json!({ "role": "user", "parts": [{ "text": text }] })
}

/// A request with one message of the user, and further members.
fn asks(text: &str, more: Value) -> Value {
    let mut body = json!({ "contents": [says(text)] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn generate(bench: &Bench, model: &str, body: Value) -> Value {
    let answer = bench.post(&path(model, "generateContent"), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

/// The data of the events, which end as Google's front end ends them.
fn chunks(text: &str) -> Vec<Value> {
    assert!(text.ends_with("\r\n\r\n"), "{text}");
    let events = text.split_terminator("\r\n\r\n");
    events
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn a_response_has_the_members_that_were_recorded() {
    let bench = Bench::new().await;
    let body = generate(&bench, FLASH, asks("hello", json!({}))).await;
    let candidate = &body["candidates"][0];
    assert_eq!(candidate["content"], json!({ "role": "model", "parts": [{ "text": ECHO }] }));
    assert_eq!(candidate["finishReason"], "STOP");
    assert_eq!(candidate.get("index"), None, "zero is not written");
    assert_eq!(body["modelVersion"], FLASH);
    assert_eq!(body["responseId"].as_str().unwrap().len(), 23);
    let time = body["createTime"].as_str().unwrap();
    assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    let chat = bench.chat().await.json();
    let (usage, of_chat) = (&body["usageMetadata"], &chat["usage"]);
    for (name, of_openapi) in [
        ("promptTokenCount", &of_chat["prompt_tokens"]),
        ("candidatesTokenCount", &of_chat["completion_tokens"]),
        ("thoughtsTokenCount", &of_chat["completion_tokens_details"]["reasoning_tokens"]),
        ("totalTokenCount", &of_chat["total_tokens"]),
    ] {
        assert_eq!(&usage[name], of_openapi, "{name}");
    }
    assert_eq!(usage["trafficType"], "ON_DEMAND");
    assert_eq!(usage["promptTokensDetails"], json!([{ "modality": "TEXT", "tokenCount": 2 }]));
}

#[tokio::test]
async fn a_stream_is_an_array_unless_the_query_selects_events() {
    let bench = Bench::new().await;
    let stream = path(FLASH, "streamGenerateContent");
    let answer = bench.post(&stream, asks("hello", json!({}))).await;
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    let array = answer.json();
    let events = bench.post(&format!("{stream}?alt=sse"), asks("hello", json!({}))).await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    for chunks in [array.as_array().unwrap().clone(), chunks(events.text())] {
        assert_eq!(chunks.len(), 5);
        let text = |chunk: &Value| {
            chunk["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap().to_owned()
        };
        assert_eq!(chunks.iter().map(text).collect::<String>(), ECHO);
        for chunk in &chunks[..4] {
            assert_eq!(chunk["usageMetadata"], json!({ "trafficType": "ON_DEMAND" }));
            assert_eq!(chunk["candidates"][0].get("finishReason"), None);
            assert_eq!(chunk["responseId"], chunks[0]["responseId"]);
        }
        assert_eq!(chunks[4]["candidates"][0]["finishReason"], "STOP");
        assert_eq!(chunks[4]["usageMetadata"]["promptTokenCount"], 2);
    }
    assert_eq!(bench.emulator.stats().streams.completed, 2);
}

#[tokio::test]
async fn a_stream_obeys_its_settings() {
    let bench = Bench::new().await;
    for query in ["", "?alt=sse"] {
        bench.set_stream(StreamBehavior { chunks: Some(8), ..StreamBehavior::default() });
        let stream = path(FLASH, "streamGenerateContent") + query;
        let answer = bench.post(&stream, asks("hello", json!({}))).await;
        let count = match query {
            "" => answer.json().as_array().unwrap().len(),
            _ => chunks(answer.text()).len(),
        };
        assert_eq!(count, 8);
        let cut = StreamBehavior { cut_after: Some(2), ..StreamBehavior::default() };
        bench.set_stream(cut);
        let body = full(asks("hello", json!({})).to_string());
        let request = bench.request(Method::POST, &stream).body(body).unwrap();
        let cut = bench.open(request).await.into_body().collect().await;
        assert!(cut.is_err(), "the connection is reset");
        let record = bench.emulator.requests().pop().unwrap();
        assert_eq!(record.chunks_sent, 2);
    }
    assert_eq!(bench.emulator.stats().streams.aborted, 2);
}

#[tokio::test]
async fn errors_have_the_form_of_the_method() {
    let bench = Bench::new().await;
    for (method, is_array) in [
        ("generateContent", false),
        ("streamGenerateContent", true),
        ("streamGenerateContent?alt=sse", false),
        ("streamGenerateContent?%24alt=sse", false),
        ("countTokens", false),
    ] {
        let answer = bench.post(&path(FLASH, method), json!({ "contents": [], "x": 1 })).await;
        assert_eq!(answer.error(is_array)["status"], "INVALID_ARGUMENT", "{method}");
        // The credential is checked before the body and the model.
        let request = Request::post(bench.emulator.url() + &path("none", method));
        let request = request.header("authorization", "Bearer wrong").body(full("{")).unwrap();
        let error = bench.send(request).await.error(is_array);
        assert_eq!(error["status"], "UNAUTHENTICATED");
        let name = &method[..method.find('?').unwrap_or(method.len())];
        let rpc = error["details"][0]["metadata"]["method"].as_str().unwrap();
        assert_eq!(rpc.rsplit('.').next().unwrap().to_lowercase(), name.to_lowercase());
    }
    let fault = ApiFault { times: Some(1), ..ApiFault::new(429) };
    bench.emulator.set_faults(Faults { api: Some(fault), ..Faults::default() });
    let answer = bench.post(&path(FLASH, "streamGenerateContent"), asks("hello", json!({}))).await;
    assert_eq!(answer.error(true)["status"], "RESOURCE_EXHAUSTED");
}

#[tokio::test]
async fn a_model_is_served_by_its_own_methods() {
    const MISSING: &str = "Publisher Model `projects/p1/locations/us-central1/publishers/google/\
                           models/none` was not found";
    const PREDICT: &str = "Gemini cannot be accessed through Vertex Predict/RawPredict API.";
    let bench = Bench::new().await;
    let google = |model: &str| path(model, "");
    let claude = google("claude-sonnet-4-5@20250929").replace("google", "anthropic");
    for (path, method, status, message) in [
        (google("none"), "generateContent", 404, MISSING),
        (google("none"), "embedContent", 404, MISSING),
        (google("none"), "predict", 404, MISSING),
        (
            google("none"),
            "countTokens",
            400,
            "countTokens is infeasible for projects/p1/locations/us-central1/publishers/google/\
             models/none",
        ),
        (
            claude.clone(),
            "generateContent",
            400,
            "claude-sonnet-4-5@20250929 is not supported in the generateContent API.",
        ),
        (
            claude.replace('@', "%40"),
            "streamGenerateContent?alt=sse",
            400,
            "claude-sonnet-4-5@20250929 is not supported in the streamGenerateContent API.",
        ),
        (google(FLASH), "predict", 400, PREDICT),
        (google(FLASH), "rawPredict", 400, PREDICT),
        (google("gemini-embedding-2"), "predict", 400, "Precondition check failed."),
        (
            google("text-embedding-005"),
            "generateContent",
            400,
            "text-embedding-005 is not supported in the generateContent API.",
        ),
    ] {
        let path = format!("{path}{method}");
        let answer = bench.post(&path, "{}").await;
        assert_eq!(answer.status, status, "{path}");
        let error = answer.error(false);
        assert!(error["message"].as_str().unwrap().starts_with(message), "{path}: {error}");
    }
    // The front end reads the body first.
    let error = bench.post(&path("none", "generateContent"), json!({ "x": 1 })).await.error(false);
    assert_eq!(
        error["message"],
        "Invalid JSON payload received. Unknown name \"x\": Cannot find field."
    );
}

#[tokio::test]
async fn unknown_and_wrong_fields_are_refused_with_their_paths() {
    let bench = Bench::new().await;
    let violation = |field: &str, description: &str| match field {
        "" => json!({ "description": description }),
        field => json!({ "field": field, "description": description }),
    };
    for (body, field, description) in [
        (
            json!({ "model_name": "m" }),
            "",
            "Invalid JSON payload received. Unknown name \"model_name\": Cannot find field.",
        ),
        (
            json!({ "contents": [{ "parts": [{ "txt": "a" }] }] }),
            "contents[0].parts[0]",
            "Invalid JSON payload received. Unknown name \"txt\" at 'contents[0].parts[0]': Cannot \
             find field.",
        ),
        (
            json!({ "tools": { "functionDeclarations": { "parameters": {
                "properties": { "a": { "items": { "const": 1 } } } } } } }),
            "tools[0].function_declarations[0].parameters.properties[0].value.items",
            "Invalid JSON payload received. Unknown name \"const\" at 'tools[0].\
             function_declarations[0].parameters.properties[0].value.items': Cannot find field.",
        ),
        (
            json!({ "generation_config": { "temperature": "hot" } }),
            "generation_config.temperature",
            "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"hot\"",
        ),
        (
            json!({ "generationConfig": { "responseSchema": { "type": ["STRING", "NULL"] } } }),
            "generation_config.response_schema",
            "Invalid JSON payload received. Unknown name \"type\" at 'generation_config.\
             response_schema': Proto field is not repeating, cannot start list.",
        ),
        (
            json!({ "safetySettings": [{ "threshold": "NEVER" }] }),
            "safety_settings[0].threshold",
            "Invalid value at 'safety_settings[0].threshold' (type.googleapis.com/google.cloud.\
             aiplatform.v1beta1.SafetySetting.HarmBlockThreshold), \"NEVER\"",
        ),
        (
            json!({ "contents": [{ "parts": [{ "thoughtSignature": "%" }] }] }),
            "contents[0].parts[0].thought_signature",
            "Invalid value at 'contents[0].parts[0].thought_signature' (TYPE_BYTES), Base64 \
             decoding failed for \"%\"",
        ),
        (
            json!({ "contents": [{ "parts": [{ "text": "a", "inlineData": {} }] }] }),
            "contents[0].parts[0]",
            "Invalid value at 'contents[0].parts[0]' (oneof), oneof field 'data' is already set. \
             Cannot set 'text'",
        ),
        (
            json!({ "contents": ["hello"] }),
            "contents[0]",
            "Invalid value at 'contents[0]' (type.googleapis.com/google.cloud.aiplatform.v1beta1.\
             Content), \"hello\"",
        ),
    ] {
        let error = bench.post(&path(FLASH, "generateContent"), body).await.error(false);
        assert_eq!(error["message"], description);
        assert_eq!(error["details"][0]["fieldViolations"], json!([violation(field, description)]));
    }
    let two = json!({ "a": 1, "contents": [{ "b": 1 }] });
    let error = bench.post(&path(FLASH, "generateContent"), two).await.error(false);
    assert_eq!(error["message"].as_str().unwrap().lines().count(), 2);
    assert_eq!(error["details"][0]["fieldViolations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn both_names_of_a_field_and_single_messages_are_accepted() {
    let bench = Bench::new().await;
    for body in [
        json!({ "contents": { "role": "user", "parts": { "text": "hello" } } }),
        json!({
            "contents": [says("hello")],
            "generation_config": { "max_output_tokens": "500", "top_p": 1, "stopSequences": null },
            "safety_settings": [{ "category": "HARM_CATEGORY_HARASSMENT", "threshold": 5 }],
            "labels": { "team": "a" },
            "tools": [{ "google_search": {} }],
        }),
    ] {
        let body = generate(&bench, FLASH, body).await;
        assert_eq!(body["candidates"][0]["content"]["parts"][0]["text"], ECHO);
    }
    let config = json!({ "generation_config": { "max_output_tokens": 5.0, "thinkingConfig": { "thinking_budget": 0 } } });
    let body = generate(&bench, FLASH, asks("hello", config)).await;
    assert_eq!(body["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(body["usageMetadata"]["candidatesTokenCount"], 5);
    assert_eq!(body["usageMetadata"].get("thoughtsTokenCount"), None);
}

#[tokio::test]
async fn contents_that_the_model_cannot_read_are_refused() {
    let bench = Bench::new().await;
    for (body, message) in [
        (json!({}), "Unable to submit request because at least one contents field is required."),
        (
            json!({ "contents": [{ "parts": [{ "text": "hello" }] }] }),
            "Unable to submit request because Please use a valid role: user, model.. Learn more: ",
        ),
        (
            json!({ "contents": [{ "role": "user", "parts": [] }] }),
            "Unable to submit request because it must include at least one parts field",
        ),
        (
            json!({ "contents": [{ "role": "user", "parts": [{ "thought": true }] }] }),
            "Unable to submit request because it must include at least one parts field",
        ),
        (asks("", json!({})), "Unable to submit request because it has an empty text parameter."),
        (
            asks("a", json!({ "generationConfig": { "candidateCount": 9 } })),
            "Unable to submit request because it has a candidateCount value of 9 but",
        ),
        (
            asks("a", json!({ "generationConfig": { "maxOutputTokens": 65536 } })),
            "Unable to submit request because it has a maxOutputTokens value of 65536 but",
        ),
        (
            asks("a", json!({ "toolConfig": { "functionCallingConfig": { "mode": "ANY" } } })),
            "Function calling config is set without function_declarations.",
        ),
        (
            asks(
                "a",
                json!({ "generationConfig": { "thinkingConfig": {
                "thinkingLevel": "LOW", "thinkingBudget": 1 } } }),
            ),
            "You can only set only one of thinking budget and thinking level.",
        ),
        (
            asks(
                "a",
                json!({ "generationConfig": { "thinkingConfig": { "thinkingLevel": "LOW" } } }),
            ),
            "Unable to submit request because thinking_level is not supported by this model..",
        ),
        (
            json!({ "contents": [{ "role": "user", "parts": [{ "fileData": { "fileUri": "gs://b/f" } }] }] }),
            "Unable to submit request because it has an empty mimeType parameter in fileData.",
        ),
    ] {
        let error = bench.post(&path(FLASH, "generateContent"), &body).await.error(false);
        let text = error["message"].as_str().unwrap();
        assert!(text.starts_with(message), "{body}: {text}");
    }
}

#[tokio::test]
async fn the_system_instruction_and_the_files_reach_the_model() {
    let bench = Bench::new().await;
    let system = json!({ "systemInstruction": { "parts": [{ "text": "Be brief." }] } });
    let body = generate(&bench, FLASH, asks("repeat the system message", system)).await;
    assert_eq!(body["candidates"][0]["content"]["parts"][0]["text"], "Be brief.");
    let body = json!({ "contents": [{ "role": "user", "parts": [
        { "text": "look" },
        { "inlineData": { "mimeType": "image/gif", "data": "R0lGODk=" } },
        { "fileData": { "mimeType": "video/mp4", "fileUri": "gs://b/v.mp4" } },
    ]}]});
    let body = generate(&bench, FLASH, body).await;
    assert_eq!(
        body["candidates"][0]["content"]["parts"][0]["text"],
        "This is the Vertex AI emulator. You said: look [image/gif, 5 bytes] [video/mp4, \
         gs://b/v.mp4]"
    );
}

#[tokio::test]
async fn a_response_follows_its_schema() {
    let bench = Bench::new().await;
    let schema = json!({ "type": "OBJECT", "required": ["n"],
        "properties": { "n": { "type": "INTEGER", "minimum": 3 } } });
    for (config, expected) in [
        (
            json!({ "responseMimeType": "application/json", "responseSchema": schema }),
            json!({ "n": 3 }),
        ),
        (
            json!({ "responseMimeType": "application/json",
                "responseJsonSchema": { "const": ["x"] } }),
            json!(["x"]),
        ),
        (json!({ "responseMimeType": "application/json" }), json!({ "said": "hello" })),
    ] {
        let body =
            generate(&bench, FLASH, asks("hello", json!({ "generationConfig": config }))).await;
        let text = body["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected);
    }
    let config = json!({ "responseMimeType": "text/x.enum",
        "responseSchema": { "type": "STRING", "enum": ["red", "blue"] } });
    let body = generate(&bench, FLASH, asks("hello", json!({ "generationConfig": config }))).await;
    assert_eq!(body["candidates"][0]["content"]["parts"][0]["text"], "red");
}

#[tokio::test]
async fn limits_cut_the_response_and_repeat_it() {
    let bench = Bench::new().await;
    let config = json!({ "generationConfig": { "stopSequences": [" You"], "candidateCount": 2 } });
    let body = generate(&bench, FLASH, asks("hello", config.clone())).await;
    let candidates = body["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2);
    assert_eq!(candidates[1]["index"], 1);
    for candidate in candidates {
        assert_eq!(candidate["content"]["parts"][0]["text"], "This is the Vertex AI emulator.");
    }
    let stream = path(FLASH, "streamGenerateContent");
    let chunks = bench.post(&stream, asks("hello", config)).await.json();
    let of = |index: u64| {
        let chunks = chunks.as_array().unwrap().iter().map(|chunk| &chunk["candidates"][0]);
        let own = chunks
            .filter(move |one| one.get("index").map_or(0, |at| at.as_u64().unwrap()) == index);
        own.map(|one| one["content"]["parts"][0]["text"].as_str().unwrap()).collect::<String>()
    };
    assert_eq!((of(0), of(1)), (of(1), "This is the Vertex AI emulator.".to_owned()));
    // The thoughts take all tokens.
    let config = json!({ "generationConfig": { "maxOutputTokens": 4 } });
    let body = generate(&bench, FLASH, asks("hello", config)).await;
    assert_eq!(body["candidates"][0]["content"], json!({ "role": "model" }));
    assert_eq!(body["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(body["usageMetadata"]["thoughtsTokenCount"], 4);
    assert_eq!(body["usageMetadata"].get("candidatesTokenCount"), None);
}

#[tokio::test]
async fn thoughts_are_parts_with_a_mark() {
    let bench = Bench::new().await;
    let config = |level: &str| {
        json!({ "generationConfig": { "thinkingConfig": {
        "includeThoughts": true, "thinkingLevel": level } } })
    };
    let body = generate(&bench, THREE, asks("hello", config("HIGH"))).await;
    let parts = body["candidates"][0]["content"]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0]["thought"], true);
    assert_eq!((&parts[1]["text"], parts[1].get("thought")), (&json!(ECHO), None));
    assert!(parts[1]["thoughtSignature"].is_string());
    let error = bench.post(&path(THREE, "generateContent"), asks("a", config("MINIMAL"))).await;
    assert!(error.error(false)["message"].as_str().unwrap().starts_with(
        "Unable to submit request because thinking_level MINIMAL is not supported by this model."
    ));
    let high = body["usageMetadata"]["thoughtsTokenCount"].as_u64();
    let body = generate(&bench, THREE, asks("hello", config("LOW"))).await;
    assert!(body["usageMetadata"]["thoughtsTokenCount"].as_u64() < high);
    let stream = path(THREE, "streamGenerateContent?alt=sse");
    let stream = bench.post(&stream, asks("hello", config("HIGH"))).await;
    let parts: Vec<Value> = chunks(stream.text())
        .iter()
        .map(|chunk| chunk["candidates"][0]["content"]["parts"][0].clone())
        .collect();
    assert_eq!(parts.iter().filter(|part| part["thought"] == true).count(), 2);
    let signed = |part: &&Value| part.get("thoughtSignature").is_some();
    assert_eq!(parts.iter().rposition(|part| signed(&part)), Some(parts.len() - 1));
    assert_eq!(parts.iter().filter(signed).count(), 1);
}

#[tokio::test]
async fn the_settings_of_chats_apply() {
    let bench = Bench::new().await;
    let set = |finish_reason: &str| ChatBehavior {
        finish_reason: Some(finish_reason.into()),
        ..ChatBehavior::default()
    };
    bench.emulator.set_chat(set("content_filter: PROHIBITED_CONTENT"));
    let body = generate(&bench, FLASH, asks("hello", json!({}))).await;
    assert_eq!(body["promptFeedback"], json!({ "blockReason": "PROHIBITED_CONTENT" }));
    assert_eq!(body.get("candidates"), None);
    assert_eq!(body["usageMetadata"]["totalTokenCount"], 2);
    bench.emulator.set_chat(set("function_call_filter: MALFORMED_FUNCTION_CALL"));
    let body = generate(&bench, FLASH, asks("hello", json!({}))).await;
    assert_eq!(body["candidates"], json!([{ "finishReason": "MALFORMED_FUNCTION_CALL" }]));
    bench.emulator.set_chat(ChatBehavior {
        stream_events: vec![tower_vertex_emulator::StreamEvent::Error],
        signature: tower_vertex_emulator::SignaturePlace::Trailing,
        ..ChatBehavior::default()
    });
    let stream = path(THREE, "streamGenerateContent?alt=sse");
    let stream = bench.post(&stream, asks("hello", json!({}))).await;
    let chunks = chunks(stream.text());
    assert_eq!(chunks.last().unwrap()["error"]["status"], "UNAVAILABLE");
    assert_eq!(chunks.len(), 4, "half of five chunks and the signature");
}
