//! What a chat is answered with: an echo, an object as the request wants it, or a call of a tool.

use serde_json::{Map, Value, json};

use super::{
    answers::Answer,
    said::{self, role},
    schema,
};

/// Where any text may stand in the arguments of a tool: a tool may be a shell.
const TEXT: &str = "example";
/// What a prompt has to say for a tool to be called, with the name of the tool behind it.
const PHRASE: &str = "call the tool ";
/// As often as it is looked for in a prompt: each time, all tools are.
const MOST_PHRASES: usize = 100;

/// The answer, or what is wrong with the request.
///
/// A tool is called if `tool_choice` asks for one, the first unless it is named; or if the user's last
/// message says [`PHRASE`] and the name of one that is offered, and no tool has answered since.
pub(crate) fn answer(
    model: &str,
    messages: &[Value],
    asked: &Map<String, Value>,
) -> Result<Answer, String> {
    let mut said = said::by_user(messages)?;
    let answered = messages.last().is_some_and(|message| role(message) == Some("tool"));
    // Since the user spoke: nothing is called twice for one prompt.
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

/// The function to call, if one is to be called.
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

/// The first function that a prompt says is to be called.
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
    "`tool_choice` asks for a function that is not in `tools`".into()
}
