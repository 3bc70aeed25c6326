//! Thoughts in a response.
//!
//! Google's page about the OpenAI libraries says of `extra_body.google`: with
//! `thinking_config.include_thoughts` the thoughts come in `content`, without tags; with
//! `thought_tag_marker` they are in tags of this name, and the tags in later requests are stripped.

use serde_json::{Map, Value};

use super::{
    super::usage::{Cost, google_options},
    behavior::{ChatBehavior, ThoughtMark},
    choice::{Part, PartKind},
};

/// The thoughts of every response.
pub(crate) const THOUGHTS: &str = "The user wants a response. I will choose one. ";

/// The parts of a text, with the thoughts before it.
pub(crate) fn parts(
    model: &str,
    is_google: bool,
    asked: &Map<String, Value>,
    cost: &Cost,
    behavior: &ChatBehavior,
    text: String,
) -> Vec<Part> {
    let part = |kind, text: String| Part { kind, text };
    let mut parts = Vec::new();
    if is_google {
        if includes_thoughts(asked) && cost.thinks() {
            let (kind, thoughts) = match marker(asked) {
                Some(marker) => {
                    (PartKind::Thought { flag: false }, format!("<{marker}>{THOUGHTS}</{marker}>"))
                }
                None => {
                    let flag = behavior.thoughts == ThoughtMark::Flag;
                    (PartKind::Thought { flag }, THOUGHTS.to_owned())
                }
            };
            parts.push(part(kind, thoughts));
        }
    } else if model.contains("deepseek-r1") {
        // Google's notebook about open models shows these two formats.
        let kind = PartKind::Thought { flag: false };
        parts.push(part(kind, format!("<think>\n{THOUGHTS}\n</think>\n\n")));
    } else if model.contains("gpt-oss") {
        parts.push(part(PartKind::Reasoning, THOUGHTS.to_owned()));
    }
    parts.push(part(PartKind::Text, text));
    parts
}

fn includes_thoughts(asked: &Map<String, Value>) -> bool {
    let config = google_options(asked).and_then(|google| google.get("thinking_config"));
    config.and_then(|config| config.get("include_thoughts")) == Some(&Value::Bool(true))
}

fn marker(asked: &Map<String, Value>) -> Option<&str> {
    let marker = google_options(asked)?.get("thought_tag_marker")?.as_str()?;
    Some(marker).filter(|marker| !marker.is_empty())
}

/// The messages without the tags of thoughts, if the request names their marker.
pub(crate) fn strip(asked: &Map<String, Value>, messages: &[Value]) -> Option<Vec<Value>> {
    let marker = marker(asked)?;
    let (open, close) = (format!("<{marker}>"), format!("</{marker}>"));
    let mut messages = messages.to_vec();
    for message in &mut messages {
        if message.get("role").and_then(Value::as_str) != Some("assistant") {
            continue;
        }
        if let Some(Value::String(text)) = message.get_mut("content") {
            *text = without(text, &open, &close);
        }
    }
    Some(messages)
}

/// The text without the parts between these tags.
fn without(text: &str, open: &str, close: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once(open) {
        let Some((_, after)) = after.split_once(close) else { break };
        kept += before;
        rest = after;
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_tags_are_removed() {
        for (text, rest) in [
            ("<t>a</t>b<t>c</t>d", "bd"),
            ("a<t>b", "a<t>b"),
            ("a</t>b", "a</t>b"),
            ("<t></t>", ""),
        ] {
            assert_eq!(without(text, "<t>", "</t>"), rest, "{text}");
        }
    }
}
