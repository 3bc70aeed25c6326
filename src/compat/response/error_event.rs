//! An error in the place of a chunk.
//!
//! **Evidence.** A stream that has begun with status 200 can only report a failure in an event.
//! OpenAI's is `{"error":{"message":…,"type":…,"param":…,"code":…}}`; openai-python and openai-node
//! raise an error for an event with `error`. Google's errors have a number as `code`, no `type`, and
//! are often within an array, which these clients take for a chunk. That Vertex AI sends such an
//! array within a stream of `openapi` is inferred from its other streams. A user reports an error of
//! code 499 without the field `data:`, which clients skip.
//!
//! **Rule.** The array is removed, the code becomes a text, and the missing members are added. An
//! error without a field gets the field `data`.
//! `type` is the one that OpenAI uses with this status, as in
//! [`error_format`](crate::error_format). The rest of Google's error stays.
//!
//! **Cost.** Only events that contain `"error"` are parsed for this cure.

use crate::compat::json::{Edits, Value, quote};

/// Returns whether the text of an event is an error, with the edits for it.
pub(super) fn cure(text: Value<'_>, edits: &mut Edits) -> bool {
    let wrapper = text.array().filter(|array| array.elements.len() == 1);
    let object = wrapper.and_then(|array| array.elements.first().copied()).unwrap_or(text);
    let error = object.get("error").filter(|error| !error.is_null());
    let Some(error) = error.and_then(Value::object) else { return false };
    edits.keep_only(text, object);
    let code = error.get_some("code");
    if let Some(number) = code.and_then(Value::number) {
        if let Some(code) = code {
            edits.replace(code, quote(&number.to_string()));
        }
        if error.get("type").is_none() {
            edits.insert_last(&error, "type", &quote(kind(number)));
        }
        if error.get("param").is_none() {
            edits.insert_last(&error, "param", "null");
        }
    }
    true
}

/// The text of an error that stands in a stream without a field, in one line and in OpenAI's form.
/// `None` for anything else.
pub(super) fn cure_bare(event: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(event).ok()?.trim();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let mut edits = Edits::default();
    if !cure(Value::parse(text)?, &mut edits) {
        return None;
    }
    Some(edits.apply(text).replace(['\n', '\r'], ""))
}

fn kind(code: u64) -> &'static str {
    match code {
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    }
}
