//! The tests of async-openai through a sidecar. `matrix.json` describes each cell.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use async_openai::{
    error::{ApiErrorResponse, OpenAIError},
    types::chat::{ChatCompletionMessageToolCalls, FinishReason, ResponseFormat},
};
use serde_json::{Value, from_str, from_value, json, to_value};
use tokio_stream::StreamExt;

use super::sidecar::{OpenAI, Sidecar, file};

const MODEL: &str = "google/gemini-2.5-flash";
const EMBEDDING_MODEL: &str = "google/text-embedding-005";
const ECHO: &str = "This is the Vertex AI emulator. You said: ";
/// A name without a slash would get its publisher from the sidecar.
const MALFORMED: &str = "/gemini-2.5-flash";
/// An image of one pixel.
const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPh\
                   fDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const TWO_MODELS: &str = r#"
[[model]]
name = "fast"
model = "gemini-2.5-flash"

[[model]]
name = "vectors"
model = "text-embedding-005"
"#;
const RESOURCE_EXHAUSTED: &str = "Resource exhausted. Please try again later.";

/// Notes on cells in which the client differs from the description.
pub(crate) const NOTES: [(&str, &str); 3] = [
    ("429_retry_info", "its errors have no headers; its retries follow Retry-After"),
    ("500", "the message of the error is the whole body of the response"),
    ("503", "the message of the error is the whole body of the response"),
];

/// The text of an error as users see it: directly from Vertex AI, and through the sidecar.
pub(crate) struct Sees {
    pub(crate) raw: String,
    pub(crate) layer: String,
}

/// Runs one cell. Panics if it fails. A cell about an error returns the texts of the error.
pub(crate) async fn run(action: &str) -> Option<Sees> {
    match action {
        "chat" => chat().await,
        "streaming" => streaming().await,
        "tools" => tools().await,
        "structured_output" => structured_output().await,
        "image" => image().await,
        "embeddings" => embeddings().await,
        "models" => models().await,
        "401_healed" => healed().await,
        "413" => too_large().await,
        "cut_stream" => cut_stream().await,
        "silence" => silence().await,
        _ => return Some(error(action).await),
    }
    None
}

async fn error(action: &str) -> Sees {
    match action {
        "400" => refused(400, MALFORMED, "Malformed publisher model").await,
        "403" => refused(403, MODEL, "Permission 'aiplatform.endpoints.predict' denied").await,
        "404" => refused(404, "google/no-such-model", "Publisher Model `").await,
        "429" => retried(429, None, RESOURCE_EXHAUSTED).await,
        "429_retry_info" => retried(429, Some(2), RESOURCE_EXHAUSTED).await,
        "500" => retried(500, None, "Internal error encountered.").await,
        "503" => retried(503, None, "The service is currently unavailable.").await,
        _ => panic!("there is no cell for {action}"),
    }
}

/// A request with one message of a user, and further fields.
fn asked<T: serde::de::DeserializeOwned>(model: &str, content: &Value, more: Value) -> T {
    let mut request = json!({
        "model": model,
        "messages": [{ "role": "user", "content": content }],
    });
    let Value::Object(more) = more else { panic!("{more}") };
    request.as_object_mut().unwrap().extend(more);
    from_value(request).unwrap()
}

async fn ask(client: &OpenAI, model: &str, text: &str) -> Result<String, OpenAIError> {
    let answer = client.chat().create(asked(model, &text.into(), json!({}))).await?;
    assert!(answer.usage.unwrap().total_tokens > 0);
    Ok(answer.choices[0].message.content.clone().unwrap())
}

async fn chat() {
    let sidecar = Sidecar::start(&[]).await;
    let answer = ask(&sidecar.once(), MODEL, "Grüße 🦀").await.unwrap();
    assert_eq!(answer, format!("{ECHO}Grüße 🦀"));
}

async fn streaming() {
    read_stream(&Sidecar::start(&[]).await.once()).await;
}

async fn read_stream(client: &OpenAI) {
    let options = json!({ "stream_options": { "include_usage": true } });
    let request = asked(MODEL, &"one two three".into(), options);
    let stream = client.chat().create_stream(request).await.unwrap();
    let chunks: Vec<_> = stream.collect::<Result<_, _>>().await.unwrap();
    let texts: Vec<_> =
        chunks.iter().filter_map(|chunk| chunk.choices[0].delta.content.as_deref()).collect();
    assert_eq!(texts.len(), 5);
    assert_eq!(texts.concat(), format!("{ECHO}one two three"));
    let usage = chunks.iter().find_map(|chunk| chunk.usage.as_ref());
    assert!(usage.unwrap().total_tokens > 0);
}

async fn tools() {
    let sidecar = Sidecar::start(&[]).await;
    let client = sidecar.once();
    let tools = json!([{ "type": "function", "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": { "type": "string" },
                "unit": { "type": "string", "enum": ["celsius", "fahrenheit"] },
            },
            "required": ["city", "unit"],
        },
    }}]);
    let prompt = "Paris? Call the tool weather.";
    let request = asked(MODEL, &prompt.into(), json!({ "tools": tools }));
    let answer = client.chat().create(request).await.unwrap();
    let choice = &answer.choices[0];
    assert_eq!(choice.finish_reason, Some(FinishReason::ToolCalls));
    let calls = choice.message.tool_calls.as_deref().unwrap();
    let [ChatCompletionMessageToolCalls::Function(call)] = calls else { panic!("{calls:?}") };
    assert_eq!(call.function.name, "weather");
    let arguments: Value = from_str(&call.function.arguments).unwrap();
    assert_eq!(arguments, json!({ "city": "example", "unit": "celsius" }));

    let messages = json!([
        { "role": "user", "content": prompt },
        { "role": "assistant", "tool_calls": to_value(calls).unwrap() },
        { "role": "tool", "tool_call_id": call.id, "content": "22 degrees" },
    ]);
    let told = json!({ "tools": tools, "messages": messages });
    let answer = client.chat().create(asked(MODEL, &Value::Null, told)).await.unwrap();
    let text = answer.choices[0].message.content.as_deref().unwrap();
    assert_eq!(text, format!("{ECHO}{prompt} The tool said: 22 degrees"));
}

async fn structured_output() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct City {
        name: String,
        inhabitants: u64,
        languages: Vec<String>,
    }
    let sidecar = Sidecar::start(&[]).await;
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "inhabitants": { "type": "integer", "minimum": 1 },
            "languages": { "type": "array", "items": { "type": "string" } },
        },
        "required": ["name", "inhabitants", "languages"],
        "additionalProperties": false,
    });
    let mut request: async_openai::types::chat::CreateChatCompletionRequest =
        asked(MODEL, &"Paris".into(), json!({}));
    let json_schema = from_value(json!({ "name": "city", "schema": schema, "strict": true }));
    request.response_format =
        Some(ResponseFormat::JsonSchema { json_schema: json_schema.unwrap() });
    let answer = sidecar.once().chat().create(request).await.unwrap();
    let city: City = from_str(answer.choices[0].message.content.as_deref().unwrap()).unwrap();
    assert_eq!(city.name, "Paris");
    assert!(city.inhabitants >= 1 && !city.languages.is_empty());
}

async fn image() {
    let sidecar = Sidecar::start(&[]).await;
    let content = json!([
        { "type": "text", "text": "Look:" },
        { "type": "image_url", "image_url": { "url": PNG } },
    ]);
    let answer = sidecar.once().chat().create(asked(MODEL, &content, json!({}))).await.unwrap();
    let text = answer.choices[0].message.content.as_deref().unwrap();
    assert_eq!(text, format!("{ECHO}Look: [image/png, 70 bytes]"));
}

async fn embeddings() {
    let sidecar = Sidecar::start(&[]).await;
    let client = sidecar.once();
    let embed = async |input: Value| {
        let request = json!({ "model": EMBEDDING_MODEL, "input": input });
        let answer = client.embeddings().create(from_value(request).unwrap()).await.unwrap();
        answer.data.into_iter().map(|item| item.embedding).collect::<Vec<_>>()
    };
    let both = embed(json!(["first", "second"])).await;
    let each = [embed(json!("first")).await, embed(json!("second")).await].concat();
    assert_eq!(both, each);
    assert_eq!(both[0].len(), 768);
    assert_ne!(both[0], both[1]);
}

async fn models() {
    let file = file(TWO_MODELS);
    let sidecar = Sidecar::start(&["--config", file.path().to_str().unwrap()]).await;
    let list = sidecar.once().models().list().await.unwrap();
    let names: Vec<_> = list.data.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(names[..2], ["fast", "vectors"]);
    assert!(names.contains(&MODEL), "{names:?}");
}

async fn healed() {
    let sidecar = Sidecar::start(&[]).await;
    let client = sidecar.once();
    ask(&client, MODEL, "before").await.unwrap();
    sidecar.revoke().await;
    assert_eq!(ask(&client, MODEL, "after").await.unwrap(), format!("{ECHO}after"));
    let stats = sidecar.stats().await;
    assert_eq!(stats["by_status"], json!({ "200": 2, "401": 1 }));
    assert_eq!(stats["token_mints"], 2);
}

async fn too_large() {
    let sidecar = Sidecar::start(&["--max-request-bytes", "1048576"]).await;
    let text = "x".repeat(8 * 1024 * 1024);
    let error = ask(&sidecar.once(), MODEL, &text).await.unwrap_err();
    expect(&error, 413, "1048576 bytes");
    assert_eq!(sidecar.stats().await["api_requests"], 0);
}

async fn cut_stream() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.faults(json!({ "stream": { "cut_after": 2 } })).await;
    let request = asked(MODEL, &"hello".into(), json!({}));
    let mut stream = sidecar.once().chat().create_stream(request).await.unwrap();
    let mut text = String::new();
    for _ in 0..2 {
        let chunk = stream.next().await.unwrap().unwrap();
        text += chunk.choices[0].delta.content.as_deref().unwrap();
    }
    assert!(!text.is_empty() && format!("{ECHO}hello").starts_with(&text), "{text}");
    let error = stream.next().await.expect("no silent end").unwrap_err();
    assert!(error.to_string().contains("broke in the middle of the response"), "{error}");
}

async fn silence() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.faults(json!({ "stream": { "first_byte_delay_ms": 30_000 } })).await;
    // The client's retries are on, so a retry after a timeout would be counted.
    read_stream(&sidecar.client()).await;
    assert_eq!(sidecar.answers().await, json!({ "200": 1 }));
}

/// Tests an error that no client retries. The model's name causes it, or else a fault.
async fn refused(status: u16, model: &str, says: &str) -> Sees {
    let sidecar = Sidecar::start(&[]).await;
    if model == MODEL {
        sidecar.faults(json!({ "api": { "status": status } })).await;
    }
    let error = ask(&sidecar.client(), model, "hello").await.unwrap_err();
    expect(&error, status, says);
    assert_eq!(sidecar.answers().await, json!({ status.to_string(): 1 }));
    sees(&sidecar, model).await
}

/// Tests a fault that the client retries: an error without its retries, a success with them.
async fn retried(status: u16, retry_delay: Option<u64>, says: &str) -> Sees {
    let sidecar = Sidecar::start(&[]).await;
    let fault = async |times: Option<u64>| {
        let delay = retry_delay.map(|seconds| format!("{seconds}s"));
        let fault = json!({ "status": status, "times": times, "retry_delay": delay });
        sidecar.faults(json!({ "api": fault })).await;
    };
    fault(None).await;
    let error = ask(&sidecar.once(), MODEL, "hello").await.unwrap_err();
    expect(&error, status, says);
    assert_eq!(sidecar.answers().await, json!({ status.to_string(): 1 }));
    let sees = sees(&sidecar, MODEL).await;
    sidecar.answers().await;

    fault(Some(1)).await;
    let began = Instant::now();
    assert_eq!(ask(&sidecar.client(), MODEL, "again").await.unwrap(), format!("{ECHO}again"));
    assert!(began.elapsed() >= Duration::from_secs(retry_delay.unwrap_or(0)));
    assert_eq!(sidecar.answers().await, json!({ status.to_string(): 1, "200": 1 }));
    sees
}

/// Asserts that the error is the client's own for this status and contains this text.
#[track_caller]
fn expect(error: &OpenAIError, status: u16, says: &str) {
    let OpenAIError::ApiError(api) = error else { panic!("{error:?}") };
    assert_eq!(api.status_code, status);
    assert!(error.to_string().contains(says), "{error}");
}

/// The text of the error without the sidecar, and through it.
async fn sees(sidecar: &Sidecar, model: &str) -> Sees {
    let printed = async |client: OpenAI| printed(&ask(&client, model, "hello").await.unwrap_err());
    Sees { raw: printed(sidecar.raw().await).await, layer: printed(sidecar.once()).await }
}

fn printed(error: &OpenAIError) -> String {
    let mut text = error.to_string();
    if let OpenAIError::ApiError(ApiErrorResponse { status_code, api_error }) = error {
        write!(text, " (status={}", status_code.as_u16()).unwrap();
        for (name, value) in [("type", &api_error.r#type), ("code", &api_error.code)] {
            if let Some(value) = value {
                write!(text, ", {name}={value}").unwrap();
            }
        }
        text.push(')');
    }
    text
}
