//! What a chat is answered with: an echo, an object as the request wants it, or a call of a tool.

use serde_json::{Map, Value, json};

use super::{
    answers::Answer,
    said::{self, role},
    schema,
};

/// The answer, or what is wrong with the request.
///
/// A tool is called if one must be, or if one is offered and its answer is not there yet; the first
/// of them, unless one is named.
pub(crate) fn answer(
    model: &str,
    messages: &[Value],
    asked: &Map<String, Value>,
) -> Result<Answer, String> {
    let mut said = said::by_user(messages)?;
    let answered = messages.last().is_some_and(|message| role(message) == Some("tool"));
    if let Some(function) = function(asked, answered)? {
        let name = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or("`tools` has a function without a name")?;
        let none = json!({ "type": "object" });
        let arguments = schema::example(function.get("parameters").unwrap_or(&none), &said)?;
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
fn function(asked: &Map<String, Value>, answered: bool) -> Result<Option<&Value>, String> {
    let tools: &[Value] = match asked.get("tools") {
        None | Some(Value::Null) => &[],
        Some(tools) => tools.as_array().ok_or("`tools` must be an array")?,
    };
    let mut functions = tools.iter().filter_map(|tool| tool.get("function"));
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
        None if answered => Ok(None),
        None => Ok(functions.next()),
    }
}

fn no_tool() -> String {
    "`tool_choice` asks for a function that is not in `tools`".into()
}
