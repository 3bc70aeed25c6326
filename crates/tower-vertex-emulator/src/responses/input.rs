//! A request of the Responses API in the form of Chat Completions.

use serde_json::{Map, Value, json};

use super::Item;

/// The messages of a request: those of the earlier responses, then the input.
pub(super) fn messages(
    asked: &Map<String, Value>,
    earlier: Vec<Value>,
) -> Result<Vec<Value>, String> {
    let mut messages = earlier;
    match asked.get("input") {
        Some(Value::String(text)) => messages.push(json!({ "role": "user", "content": text })),
        Some(Value::Array(items)) => {
            // Texts and parts may lack a message around them.
            let parts: Vec<&Value> = items.iter().filter(|item| is_part(item)).collect();
            let others = items.iter().filter(|item| !is_part(item));
            others.for_each(|item| push(&mut messages, item));
            if !parts.is_empty() {
                messages.push(json!({ "role": "user", "content": parts }));
            }
        }
        _ => return Err("`input` is required".into()),
    }
    Ok(messages)
}

/// Adds the output of a response to its messages.
pub(super) fn extend(messages: &mut Vec<Value>, items: &[Item]) {
    items.iter().for_each(|item| push(messages, &item.body(true)));
}

/// The messages with the instructions before them. Instructions are not kept with a response.
pub(super) fn instructed(asked: &Map<String, Value>, messages: &[Value]) -> Vec<Value> {
    let instructions = asked.get("instructions").filter(|instructions| instructions.is_string());
    let system = instructions.map(|text| json!({ "role": "system", "content": text }));
    system.into_iter().chain(messages.iter().cloned()).collect()
}

fn is_part(item: &Value) -> bool {
    let kind = item.get("type").and_then(Value::as_str);
    let has_content = item.get("text").is_some() || item.get("image_url").is_some();
    let is_named = matches!(kind, Some("input_text" | "input_image"));
    item.get("role").is_none() && (item.is_string() || is_named || has_content)
}

fn push(messages: &mut Vec<Value>, item: &Value) {
    let kind = item.get("type").and_then(Value::as_str);
    match kind {
        Some("function_call") => {
            let member = |name: &str| item.get(name).cloned().unwrap_or_default();
            let call = json!({
                "id": member("call_id"),
                "type": "function",
                "function": { "name": member("name"), "arguments": member("arguments") },
            });
            // Calls in succession are the parallel calls of one step.
            let last = messages.last_mut().and_then(|last| last.get_mut("tool_calls"));
            match last.and_then(Value::as_array_mut) {
                Some(calls) => calls.push(call),
                None => messages.push(json!({ "role": "assistant", "tool_calls": [call] })),
            }
        }
        Some("function_call_output") => {
            let id = item.get("call_id").cloned().unwrap_or_default();
            let output = item.get("output").cloned().unwrap_or_default();
            messages.push(json!({ "role": "tool", "tool_call_id": id, "content": output }));
        }
        _ if item.get("role").is_some() => messages.push(item.clone()),
        _ => {}
    }
}

/// The fields that choose the content, in the form of Chat Completions.
pub(super) fn options(asked: &Map<String, Value>) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            options.insert(name.into(), value);
        }
    };
    set(
        "tools",
        asked.get("tools").map(|tools| {
            tools.as_array().map_or(tools.clone(), |all| {
                all.iter().filter(|tool| tool["type"] == "function").map(tool).collect()
            })
        }),
    );
    set(
        "tool_choice",
        asked.get("tool_choice").map(|choice| match choice {
            Value::Object(choice) => {
                json!({ "type": "function", "function": { "name": choice.get("name") } })
            }
            word => word.clone(),
        }),
    );
    let format = asked.get("text").and_then(|text| text.get("format"));
    set(
        "response_format",
        format
            .filter(|format| !format.is_null())
            .map(|format| json!({ "type": format.get("type"), "json_schema": format })),
    );
    set("max_tokens", asked.get("max_output_tokens").cloned());
    options
}

fn tool(tool: &Value) -> Value {
    json!({ "type": "function", "function": tool })
}
