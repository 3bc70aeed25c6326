//! Several system messages become one.
//!
//! Gemini has a single system instruction. Google's OpenAI-compatible API of AI Studio takes the last
//! system message for it and drops the others without an error (microsoft/autogen 6117,
//! olimorris/codecompanion.nvim 2522). Vertex AI has the same kind of translator; no one has
//! published which messages it keeps. OpenAI's API follows all of them. So their texts are joined in
//! the first one, with an empty line between them. A message in the middle of a conversation moves to
//! the front with that.
//!
//! The messages stay as they are if one of them has content that is no text.

use super::chat::{Chat, has_role};
use crate::compat::json::{Edits, Object, Value, quote};

/// Returns whether messages were joined. `with_developer` is whether messages of the role
/// `developer` become system messages too.
pub(super) fn cure(chat: &Chat<'_>, with_developer: bool, edits: &mut Edits) -> bool {
    let is_system = |message: &Object<'_>| {
        has_role(message, "system") || with_developer && has_role(message, "developer")
    };
    let mut systems = chat.messages().filter(|(_, message)| is_system(message));
    let (Some(list), Some((_, first))) = (&chat.list, systems.next()) else { return false };
    let Some(content) = first.get("content") else { return false };
    let others: Vec<_> = systems.collect();
    if others.is_empty() {
        return false;
    }
    let mut texts = Vec::new();
    for (_, message) in others.iter().copied().chain([(0, first)]) {
        match message.get("content").and_then(text_of) {
            Some(text) => texts.push(text),
            None => return false,
        }
    }
    texts.rotate_right(1);
    texts.retain(|text| !text.is_empty());
    edits.replace(content, quote(&texts.join("\n\n")));
    for (index, _) in others {
        edits.remove_element(list, index);
    }
    true
}

/// The text of a content. `None` if a part of it is no text.
fn text_of(content: Value<'_>) -> Option<String> {
    if let Some(text) = content.string() {
        return Some(text.into_owned());
    }
    let parts = content.array()?.elements.into_iter().map(|part| {
        let part = part.object().filter(|part| is_text(part))?;
        part.get("text")?.string()
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("\n"))
}

/// Whether a part of a content is text.
pub(super) fn is_text(part: &Object<'_>) -> bool {
    part.get("type").is_some_and(|kind| kind.is_string("text"))
}
