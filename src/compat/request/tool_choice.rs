//! A `tool_choice` that names the only tool becomes `required`.
//!
//! Google's page lists `none`, `auto`, `required` and `validated`. It does not list OpenAI's object
//! that names a function, and says that unsupported parameters are ignored. If the named function is
//! the only tool, `required` has the same meaning.

use super::chat::Chat;
use crate::compat::json::{Edits, Object, Value};

/// Returns whether the choice was replaced.
pub(super) fn cure(chat: &Chat<'_>, edits: &mut Edits) -> bool {
    let Some(choice) = chat.root.get("tool_choice") else { return false };
    let tools = chat.root.get("tools").and_then(Value::array);
    let only = match tools.as_ref().map(|tools| tools.elements.as_slice()) {
        Some([only]) => only.object(),
        _ => None,
    };
    let named = choice.object().as_ref().and_then(function);
    if named.is_none() || only.as_ref().and_then(function) != named {
        return false;
    }
    edits.replace(choice, r#""required""#);
    true
}

/// The name of the function in a tool or in a choice.
fn function(object: &Object<'_>) -> Option<String> {
    object.get("type").filter(|kind| kind.is_string("function"))?;
    Some(object.get("function")?.get("name")?.string()?.into_owned())
}
