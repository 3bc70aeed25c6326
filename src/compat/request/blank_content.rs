//! Text beside tool calls is left out, after Vertex AI has refused the request.
//!
//! A model often says a sentence and calls a tool, and clients send both back in one message. On
//! Vertex AI, gemini-3.6-flash and gemini-3.5-flash-lite refuse that with the bare text `Request
//! contains an invalid argument.`, and accept the same message with an empty text
//! (NousResearch/hermes-agent 69231). The text has other causes too, and the model no longer sees its
//! sentence. So this cure is off by default.

use super::chat::Chat;
use crate::compat::json::Edits;

/// The whole message of the error.
pub(super) const REFUSAL: &str = "Request contains an invalid argument.";

/// Returns whether text was left out.
pub(super) fn cure(chat: &Chat<'_>, edits: &mut Edits) -> bool {
    let mut found = false;
    for step in chat.steps().filter(|step| step.is_current && !step.calls.is_empty()) {
        let Some(content) = step.message.get_some("content") else { continue };
        if !content.is_string("") {
            edits.replace(content, "\"\"");
            found = true;
        }
    }
    found
}
