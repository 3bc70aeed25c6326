//! The response to a chat: an echo, an object in the requested format, or a call of a tool.

use serde_json::{Map, Value, json};

use super::{
    answers::Answer,
    said::{self, role},
    schema,
};

/// The value of arguments that may be any text. It is harmless, because a tool may be a shell.
const TEXT: &str = "example";
/// The phrase in a prompt that calls a tool; the name of the tool follows it.
const PHRASE: &str = "call the tool ";
/// The largest number of occurrences of the phrase that are checked. Each one is compared with all
/// tools.
const MOST_PHRASES: usize = 100;

/// Returns the response, or the error in the request.
///
/// A tool is called if `tool_choice` requires it: the named tool, or the first one. A tool is also
/// called if the user's last message contains [`PHRASE`] and the name of an offered tool, and no
/// tool has returned a result since.
pub(crate) fn answer(
    model: &str,
    messages: &[Value],
    asked: &Map<String, Value>,
) -> Result<Answer, String> {
    let mut said = said::by_user(messages)?;
    let answered = messages.last().is_some_and(|message| role(message) == Some("tool"));
    // Only messages after the user's last one count, so that no tool is called twice for one
    // prompt.
    let mut since = messages.iter().rev().take_while(|message| role(message) != Some("user"));
    let is_told = since.any(|message| role(message) == Some("tool"));
    let prompt = if is_told { "" } else { &said };
    if let Some(function) = function(asked, prompt)? {
        let name = name(function).ok_or_else(nameless)?;
        let none = json!({ "type": "object" });
        let parameters = function.get("parameters").filter(|schema| !schema.is_null());
        let arguments = schema::example(parameters.unwrap_or(&none), TEXT)?;
        return Ok(Answer::call(model, &said, name.to_owned(), &arguments));
    }
    if answered && let Some(content) = messages.last().and_then(|message| message.get("content")) {
        said = format!("{said} The tool said: {}", said::text_of(content)?);
    }
    let Some(format) = asked.get("response_format").filter(|format| !format.is_null()) else {
        return Ok(Answer::new(model, &said));
    };
    let object = match format.get("type").and_then(Value::as_str) {
        Some("text") => return Ok(Answer::new(model, &said)),
        Some("json_object") => json!({ "said": said }),
        Some("json_schema") => {
            let schema = format.pointer("/json_schema/schema");
            schema::example(schema.ok_or("`response_format` has no schema")?, &said)?
        }
        _ => {
            return Err("`response_format.type` must be text, json_object or json_schema".into());
        }
    };
    Ok(Answer::of(model, &said, object.to_string()))
}

/// The function to call, if any.
fn function<'a>(asked: &'a Map<String, Value>, prompt: &str) -> Result<Option<&'a Value>, String> {
    let tools: &[Value] = match asked.get("tools") {
        None | Some(Value::Null) => &[],
        Some(tools) => tools.as_array().ok_or("`tools` must be an array")?,
    };
    let mut functions = tools.iter().filter_map(|tool| tool.get("function"));
    if functions.clone().any(|function| name(function).is_none()) {
        return Err(nameless());
    }
    let named = match asked.get("tool_choice") {
        None | Some(Value::Null) => None,
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => return Ok(None),
            "auto" => None,
            "required" => return functions.next().ok_or_else(no_tool).map(Some),
            _ => return Err("`tool_choice` must be none, auto, required or a function".into()),
        },
        Some(choice) => {
            Some(choice.pointer("/function/name").ok_or("`tool_choice` must name a function")?)
        }
    };
    match named {
        Some(name) => functions
            .find(|function| function.get("name") == Some(name))
            .ok_or_else(no_tool)
            .map(Some),
        None => Ok(called(functions, prompt)),
    }
}

/// The first function that the prompt names after [`PHRASE`].
fn called<'a>(functions: impl Iterator<Item = &'a Value>, prompt: &str) -> Option<&'a Value> {
    let functions: Vec<&Value> = functions.collect();
    if functions.is_empty() {
        return None;
    }
    prompt.to_ascii_lowercase().match_indices(PHRASE).take(MOST_PHRASES).find_map(|(at, phrase)| {
        let rest = &prompt[at + phrase.len()..];
        let is_end = |rest: &str| {
            let rest = rest.strip_prefix('.').unwrap_or(rest);
            !rest.starts_with(|c: char| c.is_alphanumeric() || "_-.:".contains(c))
        };
        let is_named = |function: &&&Value| {
            name(function).is_some_and(|name| rest.strip_prefix(name).is_some_and(is_end))
        };
        functions.iter().find(is_named).copied()
    })
}

fn name(function: &Value) -> Option<&str> {
    function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty())
}

fn nameless() -> String {
    "`tools` has a function without a name".into()
}

fn no_tool() -> String {
    "`tool_choice` requires a function that is not in `tools`".into()
}
