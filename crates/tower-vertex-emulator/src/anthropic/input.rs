//! A request in the form of Chat Completions, by which the content of its response is chosen.

use serde_json::{Map, Value, json};

use super::{
    options::is_own,
    turns::{blocks, kind, role},
};

/// The options that choose the content.
pub(super) fn options(asked: &Map<String, Value>) -> Map<String, Value> {
    let mut options = Map::new();
    if let Some(tools) = asked.get("tools").and_then(Value::as_array) {
        options
            .insert("tools".into(), tools.iter().filter(|tool| is_own(tool)).map(tool).collect());
    }
    if let Some(choice) = asked.get("tool_choice").and_then(choice) {
        options.insert("tool_choice".into(), choice);
    }
    let format = asked.get("output_config").and_then(|config| config.get("format"));
    if let Some(schema) = format.and_then(|format| format.get("schema")) {
        let format = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
        options.insert("response_format".into(), format);
    }
    options
}

fn tool(tool: &Value) -> Value {
    let parameters = tool.get("input_schema").cloned().unwrap_or_default();
    json!({ "type": "function", "function": { "name": tool.get("name"), "parameters": parameters } })
}

fn choice(choice: &Value) -> Option<Value> {
    Some(match kind(choice)? {
        "any" => "required".into(),
        "tool" => json!({ "type": "function", "function": { "name": choice.get("name") } }),
        other => other.into(),
    })
}

/// The messages, with the system prompt before them.
pub(super) fn messages(asked: &Map<String, Value>, messages: &[Value]) -> Vec<Value> {
    let mut chat: Vec<Value> = match asked.get("system") {
        Some(Value::String(text)) => vec![json!({ "role": "system", "content": text })],
        Some(Value::Array(blocks)) => blocks
            .iter()
            .map(|block| json!({ "role": "system", "content": block.get("text") }))
            .collect(),
        _ => Vec::new(),
    };
    for message in messages {
        match role(message) {
            "assistant" => chat.push(assistant(message)),
            "system" => chat.push(json!({ "role": "system", "content": content(message) })),
            _ => user(message, &mut chat),
        }
    }
    chat
}

fn assistant(message: &Value) -> Value {
    let calls: Vec<Value> = blocks(message)
        .iter()
        .filter(|block| kind(block) == Some("tool_use"))
        .map(|block| {
            let arguments = block.get("input").map(Value::to_string).unwrap_or_default();
            let function = json!({ "name": block.get("name"), "arguments": arguments });
            json!({ "id": block.get("id"), "type": "function", "function": function })
        })
        .collect();
    let mut assistant = json!({ "role": "assistant", "content": content(message) });
    if !calls.is_empty() {
        assistant["tool_calls"] = calls.into();
    }
    assistant
}

/// Adds a message of the user. Results become messages of the tools, and a text after them, which
/// clients add as a reminder, is no prompt. Messages in succession are one prompt.
fn user(message: &Value, chat: &mut Vec<Value>) {
    let results = blocks(message).iter().filter(|block| kind(block) == Some("tool_result"));
    let results: Vec<Value> = results
        .map(|block| {
            let content = content(block);
            json!({ "role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content })
        })
        .collect();
    if !results.is_empty() {
        chat.extend(results);
        return;
    }
    let mut parts = content(message);
    let last = chat.last_mut().filter(|last| role(last) == "user");
    match last.and_then(|last| last.get_mut("content")).and_then(Value::as_array_mut) {
        Some(last) => last.append(parts.as_array_mut().unwrap_or(&mut Vec::new())),
        None => chat.push(json!({ "role": "user", "content": parts })),
    }
}

/// The content of a message or of a result, as parts.
fn content(of: &Value) -> Value {
    match of.get("content") {
        Some(Value::String(text)) => json!([{ "type": "text", "text": text }]),
        Some(Value::Array(blocks)) => blocks.iter().filter_map(part).collect(),
        _ => json!([]),
    }
}

fn part(block: &Value) -> Option<Value> {
    match kind(block)? {
        "text" => Some(json!({ "type": "text", "text": block.get("text") })),
        "image" | "document" => {
            let source = block.get("source")?;
            let member = |name: &str| source.get(name).and_then(Value::as_str);
            match kind(source)? {
                "base64" => {
                    let (kind, data) = (member("media_type")?, member("data")?);
                    let url = format!("data:{kind};base64,{data}");
                    Some(json!({ "type": "image_url", "image_url": { "url": url } }))
                }
                "text" => Some(json!({ "type": "text", "text": member("data")? })),
                "url" => {
                    Some(json!({ "type": "image_url", "image_url": { "url": member("url")? } }))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
