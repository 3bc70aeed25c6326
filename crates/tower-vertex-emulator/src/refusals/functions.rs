//! The functions that a chat offers: their names, and the schemas of their parameters.
//!
//! Vertex AI's texts name the function and the path of the schema (gemini-cli issue 2282, LiteLLM
//! issue 11164). The texts of Google AI Studio have the path of the request.

use serde_json::Value;

use super::Chat;

/// The longest name of a function.
const MOST_CHARACTERS: usize = 64;

/// The functions of `tools`, and those of the legacy `functions`.
fn functions<'a>(chat: &Chat<'a>) -> impl Iterator<Item = &'a Value> {
    let list = |name| chat.field(name).and_then(Value::as_array).into_iter().flatten();
    list("tools").filter_map(|tool| tool.get("function")).chain(list("functions"))
}

/// gemini-cli issue 2966. Dots and dashes are permitted, a digit at the start is not.
pub(super) fn name(chat: &Chat<'_>) -> Option<String> {
    let is_valid = |name: &str| {
        let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        starts && name.len() <= MOST_CHARACTERS && name.bytes().all(is_permitted)
    };
    let mut names = functions(chat).filter_map(|function| function.get("name")?.as_str());
    names.any(|name| !is_valid(name)).then(|| {
        "Invalid function name. Must start with a letter or an underscore. Must be alphameric \
         (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum \
         length of 64."
            .into()
    })
}

/// A schema within the parameters of a function, with its path, such as `parameters.user.name`.
struct Found<'a> {
    path: String,
    schema: &'a Value,
}

/// The first schema in the parameters of a function that `matches`, with the name of the function.
fn find<'a>(
    chat: &Chat<'a>,
    matches: impl Fn(&Found<'_>) -> bool + Copy,
) -> Option<(&'a str, String)> {
    functions(chat).find_map(|function| {
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        let schema = function.get("parameters").filter(|schema| schema.is_object())?;
        walk(Found { path: "parameters".into(), schema }, matches).map(|path| (name, path))
    })
}

/// The path of the first schema in a tree that `matches`.
fn walk(found: Found<'_>, matches: impl Fn(&Found<'_>) -> bool + Copy) -> Option<String> {
    if matches(&found) {
        return Some(found.path);
    }
    let Found { path, schema } = found;
    let properties = schema.get("properties").and_then(Value::as_object);
    let properties = properties.into_iter().flatten();
    let properties =
        properties.map(|(name, schema)| Found { path: format!("{path}.{name}"), schema });
    let items = schema.get("items").filter(|items| items.is_object());
    let items = items.map(|schema| Found { path: format!("{path}.items"), schema });
    let any_of = any_of(schema).and_then(Value::as_array).into_iter().flatten();
    let any_of = any_of
        .enumerate()
        .map(|(index, schema)| Found { path: format!("{path}.any_of[{index}]"), schema });
    properties.chain(items).chain(any_of).find_map(|found| walk(found, matches))
}

fn any_of(schema: &Value) -> Option<&Value> {
    schema.get("anyOf").or_else(|| schema.get("any_of"))
}

fn type_of(schema: &Value) -> Option<String> {
    Some(schema.get("type")?.as_str()?.to_ascii_lowercase())
}

fn message(of: Option<(&str, String)>, fault: &str) -> Option<String> {
    of.map(|(name, path)| {
        format!(
            "Unable to submit request because `{name}` functionDeclaration `{path}` schema \
             {fault} Learn more: \
             https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling"
        )
    })
}

/// gemini-cli issue 2282, awslabs/mcp issues 922 and 3328. No report names a schema with a
/// reference or a combination of others, so these are accepted.
pub(super) fn schema_type(chat: &Chat<'_>) -> Option<String> {
    const INSTEAD: [&str; 6] = ["type", "anyOf", "any_of", "oneOf", "allOf", "$ref"];
    let is_untyped = |found: &Found<'_>| {
        found.schema.is_object() && !INSTEAD.iter().any(|name| found.schema.get(name).is_some())
    };
    message(find(chat, is_untyped), "didn't specify the schema type field.")
}

/// LiteLLM issue 11164, opencode issue 15795, at Vertex AI.
pub(super) fn schema_any_of(chat: &Chat<'_>) -> Option<String> {
    let has_siblings = |found: &Found<'_>| {
        any_of(found.schema).is_some() && found.schema.as_object().is_some_and(|all| all.len() > 1)
    };
    message(
        find(chat, has_siblings),
        "specified other fields alongside any_of. When using any_of, it must be the only field set.",
    )
}

/// opencode issue 9233.
pub(super) fn schema_object(chat: &Chat<'_>) -> Option<String> {
    let parameters = functions(chat).find(|function| {
        let schema = function.get("parameters").filter(|schema| !schema.is_null());
        schema.is_some_and(|schema| type_of(schema).as_deref() != Some("object"))
    })?;
    let name = parameters.get("name").and_then(Value::as_str).unwrap_or_default();
    Some(format!(
        "Unable to submit request because `{name}` functionDeclaration parameters schema should be \
         of type OBJECT."
    ))
}

pub(super) fn schema_properties(chat: &Chat<'_>) -> Option<String> {
    let is_empty = |found: &Found<'_>| {
        let properties = found.schema.get("properties").and_then(Value::as_object);
        type_of(found.schema).as_deref() == Some("object")
            && properties.is_none_or(serde_json::Map::is_empty)
    };
    let (_, path) = find(chat, is_empty)?;
    Some(format!("{path}.properties: should be non-empty for OBJECT type"))
}

pub(super) fn schema_items(chat: &Chat<'_>) -> Option<String> {
    let lacks = |found: &Found<'_>| {
        type_of(found.schema).as_deref() == Some("array") && found.schema.get("items").is_none()
    };
    let (_, path) = find(chat, lacks)?;
    Some(format!("{path}.items: missing field."))
}

pub(super) fn schema_enum(chat: &Chat<'_>) -> Option<String> {
    let is_misplaced = |found: &Found<'_>| {
        found.schema.get("enum").is_some() && type_of(found.schema).as_deref() != Some("string")
    };
    let (_, path) = find(chat, is_misplaced)?;
    Some(format!("{path}.enum: only allowed for STRING type"))
}
