//! The calls of the Responses API.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    super::{
        api::{invalid, is_streamed, ok},
        google_errors::GoogleError,
        head::{now, uuid},
        reply::Reply,
        said::{role, text_of},
        state::Shared,
        usage::{Cost, tokens},
    },
    Response, Storage, input, previous_id,
};

/// Creates a response.
pub(crate) fn create(
    shared: &Shared,
    model: &str,
    asked: Map<String, Value>,
    cost: &Cost,
    storage: Storage,
) -> Result<Reply, GoogleError> {
    let is_streamed = is_streamed(&asked)?;
    let is_stored = storage.check(&asked).map_err(|why| invalid(&why))?;
    let earlier = earlier(shared, &asked)?;
    let response = Response::of(model, asked, cost, earlier, is_stored);
    let response = response.map_err(|why| invalid(&why))?;
    if let Some(stored) = response.stored() {
        shared.keep_response(response.id(), stored);
    }
    let chunks = shared.stream_behavior().chunks;
    Ok(if is_streamed { Reply::events(response.stream(chunks)) } else { ok(response.body(true)) })
}

/// Returns a stored response.
pub(crate) fn get(shared: &Shared, id: &str) -> Result<Reply, GoogleError> {
    shared.response(id).map(|response| ok(response.body)).ok_or_else(|| not_found(id))
}

/// Deletes a stored response.
pub(crate) fn delete(shared: &Shared, id: &str) -> Result<Reply, GoogleError> {
    if !shared.forget_response(id) {
        return Err(not_found(id));
    }
    Ok(ok(json!({ "id": id, "object": "response", "deleted": true })))
}

/// Compacts a conversation: the messages of the user stay, and an item replaces all others.
///
/// The members are those of the SDK `openai` 3.57 (PyPI, `CompactedResponse`). The content of a real
/// item is unknown.
pub(crate) fn compact(shared: &Shared, asked: &Map<String, Value>) -> Result<Reply, GoogleError> {
    let earlier = earlier(shared, asked)?;
    let messages = match asked.get("input") {
        None | Some(Value::Null) if !earlier.is_empty() => earlier,
        _ => input::messages(asked, earlier).map_err(|why| invalid(&why))?,
    };
    let text = |message: &Value| text_of(message.get("content").unwrap_or(&Value::Null));
    let mut output = Vec::new();
    let mut prompt = 0;
    for message in &messages {
        let text = text(message).map_err(|why| invalid(&why))?;
        prompt += tokens(&text);
        if role(message) == Some("user") {
            output.push(json!({
                "id": format!("msg_{}", uuid()),
                "type": "message",
                "role": "user",
                "status": "completed",
                "content": [{ "type": "input_text", "text": text }],
            }));
        }
    }
    let content = STANDARD.encode(format!("emulator: {} messages", messages.len()));
    let completion = tokens(&content);
    output.push(json!({
        "id": format!("cmp_{}", uuid()),
        "type": "compaction",
        "encrypted_content": content,
    }));
    Ok(ok(json!({
        "id": format!("resp_{}", uuid()),
        "object": "response.compaction",
        "created_at": now(),
        "output": output,
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": completion,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": prompt + completion,
        },
    })))
}

/// The messages of the response that a request continues.
fn earlier(shared: &Shared, asked: &Map<String, Value>) -> Result<Vec<Value>, GoogleError> {
    match previous_id(asked) {
        Some(id) => Ok(shared.response(id).ok_or_else(|| not_found(id))?.messages),
        None => Ok(Vec::new()),
    }
}

fn not_found(id: &str) -> GoogleError {
    GoogleError::not_found(format!("Response `{id}` was not found."))
}
