//! `reasoning_effort` is left out or changed where Gemini would refuse it.
//!
//! "Only one of `reasoning_effort` or `extra_body.google.thinking_config` may be specified", says
//! Google's page. If a request has both, the more exact one stays.
//!
//! Google's page lists the efforts `low`, `medium` and `high`, and a notebook of Google's lists `none`.
//! AI Studio refuses `none` for Gemini 3 and for Gemini 2.5 Pro, which always think
//! (HKUDS/DeepTutor 809). No source says what Vertex AI does with `minimal` and `xhigh`. A change of the
//! effort changes the cost, so this cure is off by default.

use super::{chat::Chat, extra_body::Parameters};
use crate::compat::json::Edits;

/// Leaves `reasoning_effort` out if the request also has a `thinking_config`. Returns whether it did.
pub(super) fn drop_effort(chat: &Chat<'_>, google: &Parameters<'_>, edits: &mut Edits) -> bool {
    let both = chat.root.get_some("reasoning_effort").is_some() && google.has("thinking_config");
    if both {
        edits.remove(&chat.root, "reasoning_effort");
    }
    both
}

/// Replaces an effort that is not listed by the nearest one that is. Returns whether it did.
pub(super) fn remap_effort(chat: &Chat<'_>, model: &str, edits: &mut Edits) -> bool {
    let Some(effort) = chat.root.get("reasoning_effort") else { return false };
    let Some(asked) = effort.string() else { return false };
    let new = match &*asked {
        "none" if always_thinks(model) => "low",
        "minimal" => "low",
        "xhigh" => "high",
        _ => return false,
    };
    edits.replace(effort, format!("\"{new}\""));
    true
}

/// Whether the model cannot respond without thinking.
fn always_thinks(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.starts_with("gemini-2.5-pro") || super::generation(model).is_some_and(|major| major >= 3)
}
