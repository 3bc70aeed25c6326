//! Thoughts as `reasoning_content`.
//!
//! **Evidence.** With `thinking_config.include_thoughts` and without a `thought_tag_marker`, Google's
//! documentation says, there are no tags around the thoughts. A delta may be marked with
//! `"extra_content":{"google":{"thought":true}}`. NousResearch/hermes-agent#64035 is about thoughts
//! that a client shows as the response.
//!
//! **Rule.** In a delta or message with this mark, the member `content` gets the name
//! `reasoning_content`. A text with a marker stays, because the marker may be divided between two
//! chunks, and the client that set it knows it.
//!
//! **Cost.** Only chunks that contain `"thought"` are parsed for this cure.

use crate::compat::json::{Edits, Object};

/// `said` is a `delta` or a `message`. Returns whether it has no `content` any more.
pub(super) fn cure(said: &Object<'_>, edits: &mut Edits) -> bool {
    let google = said.get("extra_content").and_then(|content| content.get("google"));
    let is_thought = google.and_then(|google| google.get("thought"));
    if is_thought.is_none_or(|thought| thought.text() != "true") {
        return false;
    }
    let content = said.position("content").and_then(|index| said.members.get(index));
    let Some(content) = content.filter(|content| content.value.string().is_some()) else {
        return false;
    };
    if said.get("reasoning_content").is_some() {
        return false;
    }
    edits.rename(content, "reasoning_content");
    true
}
