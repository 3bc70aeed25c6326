//! The role `developer` becomes `system`.
//!
//! OpenAI's newer clients send instructions in that role. Google's list of roles for Chat
//! Completions does not have it (system, user, assistant, tool, function), and translators of
//! Gemini's API refuse it with `Please use a valid role: user, model.` In OpenAI's API both roles
//! have the same meaning, so nothing is lost.

use super::chat::{Chat, has_role};
use crate::compat::json::Edits;

/// Returns whether there was such a role.
pub(super) fn cure(chat: &Chat<'_>, edits: &mut Edits) -> bool {
    let mut found = false;
    for (_, message) in chat.messages() {
        if let Some(role) = message.get("role").filter(|_| has_role(message, "developer")) {
            edits.replace(role, r#""system""#);
            found = true;
        }
    }
    found
}
