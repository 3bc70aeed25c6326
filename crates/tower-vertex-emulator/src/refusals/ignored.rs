//! The parameters that Vertex AI ignores.
//!
//! Google's page on the OpenAI library lists the parameters of its own models, and says: "If you
//! pass any unsupported parameter, it is ignored."

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::models::Model;

/// The listed parameters of a chat.
const LISTED: [&str; 21] = [
    "extra_body",
    "frequency_penalty",
    "function_call",
    "functions",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "modalities",
    "model",
    "n",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "web_search_options",
];
/// The listed fields of `extra_body.google`.
const LISTED_OF_GOOGLE: [&str; 7] = [
    "cached_content",
    "media_resolution",
    "safety_settings",
    "stream_function_call_arguments",
    "thinking_config",
    "thought_tag_marker",
    "tools",
];
/// The largest number of names, because the client chooses them.
const MOST: usize = 50;
/// The longest name.
const MOST_CHARACTERS: usize = 64;

/// The names of the parameters in a chat with a Gemini model that the service ignores, sorted.
/// There are no values among them. A name that could be a secret is left out: it has another
/// character than a parameter's, or is too long.
pub(crate) fn ignored(model: &Model, asked: &Map<String, Value>) -> Vec<String> {
    if model.generation.is_none() {
        return Vec::new();
    }
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let mut names = BTreeSet::new();
    let mut unlisted = |prefix: &str, of: &Map<String, Value>, listed: &[&str]| {
        let others = of.keys().filter(|name| !listed.contains(&name.as_str()) && is_name(name));
        names.extend(others.map(|name| format!("{prefix}{name}")));
    };
    unlisted("", asked, &LISTED);
    if let Some(extra) = object(asked.get("extra_body")) {
        unlisted("extra_body.", &extra, &["google"]);
        if let Some(google) = object(extra.get("google")) {
            unlisted("extra_body.google.", &google, &LISTED_OF_GOOGLE);
        }
    }
    // The page lists the parameter, but none of its fields.
    if let Some(search) = object(asked.get("web_search_options")) {
        unlisted("web_search_options.", &search, &[]);
    }
    let tools = asked.get("tools").and_then(Value::as_array).into_iter().flatten();
    if tools.filter_map(|tool| tool.pointer("/function/strict")).any(|strict| !strict.is_null()) {
        names.insert("tools.function.strict".into());
    }
    let strict = asked.get("response_format").and_then(|of| of.pointer("/json_schema/strict"));
    if strict.is_some_and(|strict| !strict.is_null()) {
        names.insert("response_format.json_schema.strict".into());
    }
    names.into_iter().take(MOST).collect()
}

fn is_name(name: &str) -> bool {
    let is_permitted = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    name.len() <= MOST_CHARACTERS && name.bytes().all(is_permitted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_unlisted_parameters_are_ignored() {
        let asked = json!({
            "model": "google/gemini-2.5-flash", "messages": [], "temperature": 1, "n": 1,
            "store": true, "parallel_tool_calls": false, "google": {}, "SECRET": 1,
            "web_search_options": { "search_context_size": "low" },
            "extra_body": {
                "google": { "thinking_config": {}, "labels": {} },
                "extra_body": { "google": {} },
            },
            "tools": [{ "function": { "name": "f", "strict": true } }],
            "response_format": { "json_schema": { "strict": null } },
        });
        let asked = asked.as_object().unwrap();
        let gemini = Model::from("google/gemini-2.5-flash");
        assert_eq!(
            ignored(&gemini, asked),
            [
                "extra_body.extra_body",
                "extra_body.google.labels",
                "google",
                "parallel_tool_calls",
                "store",
                "tools.function.strict",
                "web_search_options.search_context_size",
            ]
        );
        assert!(ignored(&Model::from("meta/llama-3.3-70b-instruct-maas"), asked).is_empty());
    }
}
