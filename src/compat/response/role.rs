//! `role` only in the first delta of a choice.
//!
//! **Evidence.** All chunks in Google's documentation have `"role":"assistant"` in their delta, and
//! OpenAI's have it in the first one. openai-python 3.57 joins repeated strings: after three chunks,
//! its `chat.completions.stream()` returns the role `assistantassistantassistant`, which a request
//! must not have (tried with those bytes). BerriAI/litellm#9986 is the same.
//!
//! **Rule.** The first `role` of a choice stays, and the later ones are removed.
//!
//! **Cost.** One bit per choice. The file `known` does the same to most events without a parser.

use super::chunk::Choice;
use crate::compat::json::{Edits, Object};

pub(super) fn cure(delta: &Object<'_>, choice: &mut Choice, edits: &mut Edits) {
    if delta.get_some("role").is_none() {
        return;
    }
    if choice.role_sent {
        edits.remove(delta, "role");
    }
    choice.role_sent = true;
}
