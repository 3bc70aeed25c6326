//! The members that OpenAI's responses always have.
//!
//! **Evidence.** A blocked response is
//! `{"choices":[{"index":0,"finish_reason":"content_filter: PROHIBITED_CONTENT"}],"usage":{…}}`,
//! without a `message` (captured with the Gemini API; agentgateway/agentgateway#1465 with Vertex AI,
//! where `completion_tokens` and `prompt_tokens` are missing too). An empty response has
//! `"message":{"role":"assistant"}`, and no `finish_reason`. Tool calls come without `content`, as
//! in Google's documentation. async-openai, the AI SDK and openai-python's `parse` fail without
//! `message`. A chunk without `choices` (agentgateway/agentgateway#977) raises `KeyError` in
//! openai-python 3.57 and `chunk.choices is not iterable` in openai-node 6.49. The helper `.stream()`
//! of openai-node 6.49 and 7.59 fails at the end of a stream whose choice had no role.
//!
//! **Rule.** A missing member gets the value that OpenAI sends in its place: an empty list of
//! `choices`; in a body, a `message` with the role and without content, and `"content":null`; in a
//! stream, an empty `delta`. A choice of a stream that had no role gets it in the first `delta` that
//! is added, or else in its last one, unless the cure `role` is off. A choice of a complete body
//! without a reason gets `stop`, or `tool_calls` if it has calls. A stream gets no reason, because
//! one without it has been interrupted, which its client must notice.
//!
//! **Cost.** Chunks that have `choices` and `delta` are not parsed for this cure.

use crate::compat::json::{Edits, Object, Value};

const FIRST_DELTA: &str = r#"{"role":"assistant"}"#;
const EMPTY_MESSAGE: &str = r#"{"role":"assistant","content":null,"refusal":null}"#;

/// The top level of a body or of a chunk.
pub(super) fn cure_root(root: &Object<'_>, edits: &mut Edits) {
    let object = root.get("object").and_then(Value::string);
    let is_chat = object.is_none_or(|object| object.starts_with("chat.completion"));
    let is_other = root.get("error").is_some() || root.get("type").is_some() || !is_chat;
    if root.get_some("choices").is_none() && !is_other {
        edits.set(root, "choices", "[]");
    }
}

/// A choice of a complete body.
pub(super) fn cure_choice(choice: &Object<'_>, has_calls: bool, edits: &mut Edits) {
    match choice.get_some("message") {
        None => edits.set(choice, "message", EMPTY_MESSAGE),
        Some(message) => {
            if let Some(message) = message.object() {
                if message.get("content").is_none() {
                    edits.insert_last(&message, "content", "null");
                }
                if message.get_some("role").is_none() {
                    edits.set(&message, "role", r#""assistant""#);
                }
            }
        }
    }
    if choice.get_some("finish_reason").is_none() {
        let reason = if has_calls { r#""tool_calls""# } else { r#""stop""# };
        edits.set(choice, "finish_reason", reason);
    }
}

/// A choice of a chunk. Returns whether it gets a role, which its choice has not had before.
pub(super) fn cure_chunk_choice(choice: &Object<'_>, lacks_role: bool, edits: &mut Edits) -> bool {
    let Some(delta) = choice.get_some("delta") else {
        edits.set(choice, "delta", if lacks_role { FIRST_DELTA } else { "{}" });
        return lacks_role;
    };
    let is_last = choice.get_some("finish_reason").is_some();
    let delta = delta.object().filter(|delta| delta.get_some("role").is_none());
    let Some(delta) = delta.filter(|_| lacks_role && is_last) else { return false };
    edits.set(&delta, "role", r#""assistant""#);
    true
}
