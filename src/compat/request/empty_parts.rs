//! Parts of a content that are empty texts are left out, if another part remains.
//!
//! Clients send them beside images and after an interruption. Gemini refuses them: `Unable to submit
//! request because it has an empty text parameter` (langchain-ai/langchain-google 1935,
//! RooCodeInc/Roo-Code 10559). They have no content, so nothing is lost.

use super::{chat::Chat, system_messages::is_text};
use crate::compat::json::{Edits, Value};

/// Returns whether parts were left out.
pub(super) fn cure(chat: &Chat<'_>, edits: &mut Edits) -> bool {
    let mut found = false;
    for (_, message) in chat.messages() {
        let Some(parts) = message.get("content").and_then(Value::array) else { continue };
        let is_empty: Vec<_> = parts.elements.iter().map(|part| is_empty_text(*part)).collect();
        if is_empty.iter().all(|empty| *empty) {
            continue;
        }
        for (index, _) in is_empty.iter().enumerate().filter(|(_, empty)| **empty) {
            edits.remove_element(&parts, index);
            found = true;
        }
    }
    found
}

fn is_empty_text(part: Value<'_>) -> bool {
    let part = part.object().filter(is_text);
    part.and_then(|part| part.get("text")).is_some_and(|text| text.is_string(""))
}
