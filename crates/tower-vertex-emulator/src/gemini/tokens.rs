//! `countTokens` and `computeTokens`. Four bytes are one token, as in the usage of a response.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::super::usage::tokens;

/// The bytes of one token.
const BYTES: usize = 4;

/// The response to `countTokens` for this prompt.
pub(super) fn count(prompt: &str) -> Value {
    let count = tokens(prompt);
    json!({
        "totalTokens": count,
        "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": count }],
    })
}

/// The response to `computeTokens`: the tokens of each content. The id of a token is made of its
/// bytes.
pub(super) fn compute(request: &Map<String, Value>) -> Value {
    let contents = request.get("contents").and_then(Value::as_array).into_iter().flatten();
    let infos = contents.map(|content| {
        let parts = content.get("parts").and_then(Value::as_array).into_iter().flatten();
        let text: String = parts.filter_map(|part| part.get("text")?.as_str()).collect();
        let (mut bytes, mut ids) = (Vec::new(), Vec::new());
        for token in text.as_bytes().chunks(BYTES) {
            bytes.push(STANDARD.encode(token));
            // A number of 64 bits is a text in this JSON.
            let id = token.iter().fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
            ids.push(id.to_string());
        }
        json!({ "tokens": bytes, "tokenIds": ids, "role": content.get("role") })
    });
    json!({ "tokensInfo": infos.collect::<Value>() })
}
