//! `finish_reason` out of OpenAI's list, and `tool_calls` after tool calls.
//!
//! **Evidence.** Gemini's OpenAI-compatible responses have `content_filter: PROHIBITED_CONTENT`,
//! `content_filter: RECITATION`, `content_filter: SAFETY` and
//! `function_call_filter: MALFORMED_FUNCTION_CALL` (captured bytes of several projects, such as
//! Wei-Shaw/sub2api; with Vertex AI inferred). async-openai cannot deserialise them, openai-dotnet
//! neither (openai/openai-dotnet#340), and other clients take the response as an empty success.
//!
//! Streams end with `stop` after tool calls (googleapis/python-genai#2868, BerriAI/litellm#21041),
//! with the call and the end in one chunk or in two. A client that continues for `tool_calls` only
//! never calls its tools.
//!
//! **Rule.** A reason with a colon becomes the part before the colon if that is a reason of
//! OpenAI's. The names of the native API, `STOP` and `MAX_TOKENS`, become `stop` and `length`. Any
//! other reason becomes `content_filter`, which is the only one that means that the output was
//! withheld; after `stop`, agents would take an empty turn for complete. The original is in
//! `native_finish_reason`, which is OpenRouter's name for it.
//!
//! After tool calls of the same choice, `stop` becomes `tool_calls`. `length` and `content_filter`
//! stay, because the calls may be incomplete.
//!
//! **Cost.** Only a choice with a reason is parsed: one event per stream.

use super::chunk::Choice;
use crate::compat::{
    Cure, Cures,
    json::{Edits, Object, quote},
};

const REASONS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];

/// `object` is an element of `choices`.
pub(super) fn cure(object: &Object<'_>, choice: &Choice, cures: Cures, edits: &mut Edits) {
    let Some(value) = object.get_some("finish_reason") else { return };
    let Some(original) = value.string() else { return };
    let mut reason = &*original;
    if cures.is_on(Cure::FinishReason) {
        reason = openai_reason(reason);
        if reason != original && object.get("native_finish_reason").is_none() {
            edits.insert_last(object, "native_finish_reason", value.text());
        }
    }
    if cures.is_on(Cure::StopAfterCalls) && reason == "stop" && choice.has_calls() {
        reason = "tool_calls";
    }
    if reason != original {
        edits.replace(value, quote(reason));
    }
}

fn openai_reason(reason: &str) -> &str {
    if REASONS.contains(&reason) {
        return reason;
    }
    let category = reason.split_once(':').map_or(reason, |(category, _)| category).trim();
    match REASONS.iter().find(|known| **known == category) {
        Some(known) => known,
        None if category == "STOP" => "stop",
        None if category == "MAX_TOKENS" => "length",
        None => "content_filter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_becomes_one_of_openai() {
        for (reason, expected) in [
            ("stop", "stop"),
            ("length", "length"),
            ("tool_calls", "tool_calls"),
            ("function_call", "function_call"),
            ("content_filter", "content_filter"),
            ("content_filter: PROHIBITED_CONTENT", "content_filter"),
            ("content_filter:RECITATION", "content_filter"),
            ("function_call_filter: MALFORMED_FUNCTION_CALL", "content_filter"),
            ("STOP", "stop"),
            ("MAX_TOKENS", "length"),
            ("SAFETY", "content_filter"),
            ("", "content_filter"),
        ] {
            assert_eq!(openai_reason(reason), expected, "{reason}");
        }
    }
}
