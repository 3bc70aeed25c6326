//! A limit of tokens that is not positive is left out.
//!
//! Clients send `-1` or `0` for "no limit", as some servers define it. Gemini refuses it:
//! `maxOutputTokens value of -1 but the supported range is from 1 (inclusive) to 65537 (exclusive)`.
//! Without the member there is no limit but the model's own.

use super::chat::Chat;
use crate::compat::json::Edits;

/// Returns whether a limit was left out.
pub(super) fn cure(chat: &Chat<'_>, edits: &mut Edits) -> bool {
    let mut found = false;
    for key in ["max_tokens", "max_completion_tokens"] {
        let number = chat.root.get(key).and_then(|value| value.text().parse::<f64>().ok());
        if number.is_some_and(|number| number <= 0.0) {
            edits.remove(&chat.root, key);
            found = true;
        }
    }
    found
}
