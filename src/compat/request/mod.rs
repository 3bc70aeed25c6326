//! The cures of requests, one file each.
//!
//! | file | what it cures |
//! |---|---|
//! | `triggers` | whether a request may need a cure at all |
//! | `chat` | the parts of a request that the cures edit |
//! | `thought_signature` | thought signatures that the client has dropped |
//! | `developer_role` | the role `developer` |
//! | `system_messages` | several system messages |
//! | `extra_body` | Gemini's own parameters in the wrong place |
//! | `thinking` | `reasoning_effort` |
//! | `tool_choice` | a choice of the only tool by its name |
//! | `empty_parts` | empty texts beside other parts |
//! | `max_tokens` | limits of `-1` and `0` |
//! | `blank_content` | text beside tool calls |

mod blank_content;
mod chat;
mod developer_role;
mod empty_parts;
mod extra_body;
mod max_tokens;
mod system_messages;
mod thinking;
mod thought_signature;
mod tool_choice;
mod triggers;

use bytes::Bytes;

use self::{chat::Chat, extra_body::Parameters};
pub(super) use self::{
    thought_signature::Remembered,
    triggers::{Texts, Triggers, may_want_base64},
};
use super::{
    json::{Edits, Value},
    settings::{Cure, Cures},
};

/// The thought signatures that were restored, and those that were not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The signatures that were restored.
    pub(super) restored: u64,
    /// The calls of the current turn that should have a signature and have none.
    pub(super) missing: u64,
}

/// A request that was cured.
#[derive(Debug)]
pub(super) struct Cured {
    pub(super) body: Bytes,
    /// The cures that changed it.
    pub(super) applied: Cures,
}

/// Applies the cures that need no response. `None` if the body stays as it is. `found` counts
/// signatures.
pub(super) fn cure(
    body: &[u8],
    triggers: Triggers,
    cures: Cures,
    model: &str,
    remembered: Remembered<'_>,
    found: &mut Found,
) -> Option<Cured> {
    let text = std::str::from_utf8(body).ok()?;
    let chat = Chat::parse(text)?;
    let mut edits = Edits::default();
    let mut applied = Cures::none();
    let on = |cure| cures.is_on(cure);
    let mut note = |cure, did| applied = applied.with(cure, did || applied.is_on(cure));
    if on(Cure::Signatures) && triggers.tool_calls {
        *found = thought_signature::restore(&chat, remembered, &mut edits);
        note(Cure::Signatures, found.restored > 0);
    }
    if on(Cure::DeveloperRole) {
        note(Cure::DeveloperRole, developer_role::cure(&chat, &mut edits));
    }
    if on(Cure::MergeSystemMessages) {
        let merged = system_messages::cure(&chat, on(Cure::DeveloperRole), &mut edits);
        note(Cure::MergeSystemMessages, merged);
    }
    let google = if on(Cure::ExtraBody) {
        let (google, moved) = extra_body::cure(&chat, &mut edits);
        note(Cure::ExtraBody, moved);
        google
    } else {
        Parameters::of(&chat)
    };
    let conflict = on(Cure::EffortConflict) && thinking::drop_effort(&chat, &google, &mut edits);
    note(Cure::EffortConflict, conflict);
    if on(Cure::RemapEffort) && !conflict {
        note(Cure::RemapEffort, thinking::remap_effort(&chat, model, &mut edits));
    }
    if on(Cure::ToolChoice) {
        note(Cure::ToolChoice, tool_choice::cure(&chat, &mut edits));
    }
    if on(Cure::EmptyParts) {
        note(Cure::EmptyParts, empty_parts::cure(&chat, &mut edits));
    }
    if on(Cure::MaxTokens) {
        note(Cure::MaxTokens, max_tokens::cure(&chat, &mut edits));
    }
    (!applied.is_empty()).then(|| Cured { body: edits.apply(text).into(), applied })
}

/// Applies the cures that fit a refusal of `body` with status 400, whose body is `error`. `None` if no
/// cure fits. Returns the number of placeholders too.
pub(super) fn cure_refused(body: &[u8], error: &[u8], cures: Cures) -> Option<(Cured, u64)> {
    let is_about_signatures = is_about_signatures(error);
    let place = cures.is_on(Cure::PlaceholderSignature) && is_about_signatures;
    let blank = cures.is_on(Cure::BlankContent) && message(error).is_some_and(is_bare);
    if !place && !blank {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let chat = Chat::parse(text)?;
    let mut edits = Edits::default();
    let placed = if place { thought_signature::place(&chat, &mut edits) } else { 0 };
    let blanked = blank && blank_content::cure(&chat, &mut edits);
    let applied = Cures::none()
        .with(Cure::PlaceholderSignature, placed > 0)
        .with(Cure::BlankContent, blanked);
    (!applied.is_empty()).then(|| (Cured { body: edits.apply(text).into(), applied }, placed))
}

/// Whether an error says that a thought signature is missing or wrong. The known texts are
/// ``… is missing a `thought_signature` ``, `Thought signature is not valid.` and
/// `Invalid thought signature`.
fn is_about_signatures(error: &[u8]) -> bool {
    let has = |text: &[u8]| memchr::memmem::find(error, text).is_some();
    has(b"thought_signature") || is_invalid_signature(error)
}

/// Whether an error says that a thought signature is wrong.
pub(super) fn is_invalid_signature(error: &[u8]) -> bool {
    let has = |text: &[u8]| memchr::memmem::find(error, text).is_some();
    has(b"Thought signature is not valid") || has(b"nvalid thought signature")
}

/// The message of an error, in OpenAI's form or in Google's.
fn message(error: &[u8]) -> Option<String> {
    let error = Value::parse_bytes(error)?;
    let error = match error.array() {
        Some(errors) => *errors.elements.first()?,
        None => error,
    };
    Some(error.get("error")?.get("message")?.string()?.into_owned())
}

fn is_bare(message: String) -> bool {
    message.trim() == blank_content::REFUSAL
}

/// The major version of a Gemini model, such as 3 for `google/gemini-3.1-pro-preview`.
pub(super) fn generation(model: &str) -> Option<u32> {
    let version = model.rsplit('/').next()?.strip_prefix("gemini-")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests;
