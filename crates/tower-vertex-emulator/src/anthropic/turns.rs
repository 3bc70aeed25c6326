//! The roles and the content of messages.
//!
//! Messages of one role in succession are one turn, and the first one may be the assistant's. The
//! rules of empty texts were measured by experientiallabs/experiential (pull request 804).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::family::Family;

/// The blocks that a message may have.
const BLOCKS: [&str; 18] = [
    "bash_code_execution_tool_result",
    "code_execution_tool_result",
    "container_upload",
    "document",
    "image",
    "mcp_tool_result",
    "mcp_tool_use",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "text",
    "text_editor_code_execution_tool_result",
    "thinking",
    "tool_result",
    "tool_search_tool_result",
    "tool_use",
    "web_fetch_tool_result",
    "web_search_tool_result",
];
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
const NON_EMPTY: &str = "text content blocks must be non-empty";
const NO_WHITESPACE: &str = "text content blocks must contain non-whitespace text";

/// Checks the messages and the system prompt of a request, and returns the messages.
pub(super) fn check(asked: &Map<String, Value>, family: Family) -> Result<&[Value], String> {
    let messages = match asked.get("messages") {
        None => return Err("messages: Field required".into()),
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err("messages: Input should be a valid list".into()),
    };
    if messages.is_empty() {
        return Err("messages: at least one message is required".into());
    }
    for (index, message) in messages.iter().enumerate() {
        check_message(message, index, family)?;
    }
    check_end(asked, messages, family)?;
    check_system(asked.get("system"))?;
    Ok(messages)
}

/// The type of a block.
pub(super) fn kind(block: &Value) -> Option<&str> {
    block.get("type").and_then(Value::as_str)
}

/// The role of a message.
pub(super) fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// The blocks of a message, if its content is no string.
pub(super) fn blocks(message: &Value) -> &[Value] {
    message.get("content").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn check_message(message: &Value, index: usize, family: Family) -> Result<(), String> {
    let role = match message.get("role") {
        None => return Err(format!("messages.{index}.role: Field required")),
        Some(role) => role.as_str().unwrap_or_default(),
    };
    match role {
        "user" | "assistant" => {}
        "system" if family.takes_system_messages() => {}
        "system" => {
            return Err("messages: Unexpected role \"system\". The Messages API accepts a \
                 top-level `system` parameter, not \"system\" as an input message role."
                .into());
        }
        other => {
            let other: String = other.chars().take(64).collect();
            return Err(format!(
                "messages: Unexpected role \"{other}\". Allowed roles are \"user\" or \
                 \"assistant\""
            ));
        }
    }
    match message.get("content") {
        None | Some(Value::Null) => Err(format!("messages.{index}.content: Field required")),
        // An empty turn of the assistant has no effect.
        Some(Value::String(text)) if text.is_empty() && role == "assistant" => Ok(()),
        Some(Value::Array(blocks)) if blocks.is_empty() && role == "assistant" => Ok(()),
        Some(Value::String(text)) if text.is_empty() => Err(empty(index, role)),
        Some(Value::Array(blocks)) if blocks.is_empty() => Err(empty(index, role)),
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(format!("messages: {NO_WHITESPACE}"))
        }
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => {
            for (number, block) in blocks.iter().enumerate() {
                check_block(block, role, &format!("messages.{index}.content.{number}"))?;
            }
            check_texts(blocks, "messages")
        }
        Some(_) => Err(format!("messages.{index}.content: Input should be a valid list")),
    }
}

fn empty(index: usize, role: &str) -> String {
    format!("messages.{index}: {role} messages must have non-empty content")
}

fn check_block(block: &Value, role: &str, place: &str) -> Result<(), String> {
    let kind = kind(block).ok_or_else(|| format!("{place}.type: Field required"))?;
    let text = |name: &str| {
        let place = || format!("{place}.{kind}.{name}");
        match block.get(name) {
            None => Err(format!("{}: Field required", place())),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("{}: Input should be a valid string", place())),
        }
    };
    match (kind, role) {
        ("text", _) => text("text").map(drop),
        ("image", _) => check_image(block, place),
        ("tool_use", "assistant") => {
            text("id")?;
            text("name")?;
            match block.get("input") {
                Some(Value::Object(_)) => Ok(()),
                None => Err(format!("{place}.tool_use.input: Field required")),
                Some(_) => {
                    Err(format!("{place}.tool_use.input: Input should be a valid dictionary"))
                }
            }
        }
        ("tool_result", "user") => text("tool_use_id").map(drop),
        ("tool_use" | "thinking" | "redacted_thinking", "user") | ("tool_result", "assistant") => {
            let roles = if role == "user" { "assistant" } else { "user" };
            Err(format!(
                "{}: `{kind}` blocks can only be in `{roles}` messages",
                place.split(".content").next().unwrap_or(place)
            ))
        }
        ("thinking", _) => {
            text("thinking")?;
            text("signature").map(drop)
        }
        (kind, _) if BLOCKS.contains(&kind) => Ok(()),
        (kind, _) => {
            let kind: String = kind.chars().take(64).collect();
            let tags = BLOCKS.map(|tag| format!("'{tag}'")).join(", ");
            Err(format!(
                "{place}: Input tag '{kind}' found using 'type' does not match any of the \
                 expected tags: {tags}"
            ))
        }
    }
}

fn check_image(block: &Value, place: &str) -> Result<(), String> {
    let source =
        block.get("source").ok_or_else(|| format!("{place}.image.source: Field required"))?;
    if kind(source) != Some("base64") {
        return Ok(());
    }
    let place = format!("{place}.image.source.base64");
    let member = |name: &str| {
        let text = source.get(name).and_then(Value::as_str);
        text.ok_or_else(|| format!("{place}.{name}: Field required"))
    };
    if !IMAGES.contains(&member("media_type")?) {
        return Err(format!(
            "{place}.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or \
             'image/webp'"
        ));
    }
    let data = STANDARD.decode(member("data")?);
    data.map(drop).map_err(|_| format!("{place}: invalid base64 data"))
}

/// Checks the texts among the blocks of one content.
fn check_texts(blocks: &[Value], place: &str) -> Result<(), String> {
    let texts = || blocks.iter().filter(|block| kind(block) == Some("text"));
    let text =
        |block: &Value| block.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    if texts().any(|block| text(block).is_empty()) {
        return Err(format!("{place}: {NON_EMPTY}"));
    }
    let has_only_space =
        texts().count() == blocks.len() && texts().all(|block| text(block).trim().is_empty());
    if has_only_space && !blocks.is_empty() {
        return Err(format!("{place}: {NO_WHITESPACE}"));
    }
    Ok(())
}

fn check_end(asked: &Map<String, Value>, messages: &[Value], family: Family) -> Result<(), String> {
    let Some((index, last)) = messages.iter().enumerate().next_back() else { return Ok(()) };
    if role(last) != "assistant" {
        return Ok(());
    }
    if !family.takes_a_prefill() {
        return Err(
            "This model does not support assistant message prefill. The conversation must \
             end with a user message."
                .into(),
        );
    }
    let text = match last.get("content") {
        Some(Value::String(text)) => Some(text.as_str()),
        Some(Value::Array(blocks)) => {
            blocks.last().and_then(|block| block.get("text")).and_then(Value::as_str)
        }
        _ => None,
    };
    if text.is_some_and(|text| text.ends_with(char::is_whitespace)) {
        return Err("messages: final assistant content cannot end with trailing whitespace".into());
    }
    let is_disabled = super::options::Thinking::of(asked) == super::options::Thinking::Disabled;
    let thought = blocks(last).iter().position(|block| kind(block) == Some("thinking"));
    match thought {
        Some(number) if is_disabled => Err(format!(
            "messages.{index}.content.{number}: When thinking is disabled, an `assistant` message \
             in the final position cannot contain `thinking`. To use thinking blocks, enable \
             `thinking` in your request."
        )),
        _ => Ok(()),
    }
}

fn check_system(system: Option<&Value>) -> Result<(), String> {
    match system {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if text.is_empty() => Ok(()),
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(format!("system: {NO_WHITESPACE}"))
        }
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => {
            for (number, block) in blocks.iter().enumerate() {
                if kind(block) != Some("text") {
                    return Err(format!("system.{number}.type: Input should be 'text'"));
                }
            }
            check_texts(blocks, "system")
        }
        Some(_) => Err("system: Input should be a valid list".into()),
    }
}
