//! The content of a response: an echo, an object in the requested format, or calls of tools.

use serde_json::{Map, Value, json};

use super::{
    super::{
        said::{self, role},
        schema,
        usage::tokens,
    },
    calls::{Call, Offer},
};

/// Number of bytes of the last message that are echoed, because a message can be 20 MiB long.
const ECHO: usize = 64 * 1024;
/// The phrases in a prompt that show what the model was sent.
const REPEAT_SYSTEM: &str = "repeat the system message";
const REPEAT_OWN: &str = "repeat your last message";

/// The content of a response.
pub(crate) enum Content {
    Text(String),
    Calls(Vec<Call>),
}

impl Content {
    /// The number of tokens.
    pub(crate) fn tokens(&self) -> u64 {
        match self {
            Self::Text(text) => tokens(text),
            Self::Calls(calls) => calls.iter().map(|call| tokens(&call.arguments)).sum(),
        }
    }
}

/// Chooses the content. `messages`, `tools`, `tool_choice` and `response_format` have the form of
/// Chat Completions. Returns the prompt, too.
pub(crate) fn choose(
    messages: &[Value],
    asked: &Map<String, Value>,
    offer: &Offer<'_>,
    is_google: bool,
) -> Result<(String, Content), String> {
    let mut said = said::by_user(messages)?;
    let calls = offer.calls(messages, &said)?;
    if !calls.is_empty() {
        return Ok((said, Content::Calls(calls)));
    }
    let lower = start_of(&said).to_ascii_lowercase();
    if lower.contains(REPEAT_SYSTEM) {
        return Ok((said, Content::Text(system(messages, is_google)?)));
    }
    if lower.contains(REPEAT_OWN) {
        let own = messages.iter().rev().find(|message| role(message) == Some("assistant"));
        let own = own.and_then(|message| message.get("content")).unwrap_or(&Value::Null);
        return Ok((said, Content::Text(said::text_of(own)?)));
    }
    let last = messages.last().filter(|message| matches!(role(message), Some("tool" | "function")));
    if let Some(content) = last.and_then(|message| message.get("content")) {
        said = format!("{said} The tool said: {}", said::text_of(content)?);
    }
    let format = asked.get("response_format").filter(|format| !format.is_null());
    let Some(format) = format else {
        let text = echo(&said);
        return Ok((said, Content::Text(text)));
    };
    let text = match format.get("type").and_then(Value::as_str) {
        Some("json_object" | "application/json") => json!({ "said": said }).to_string(),
        Some("json_schema") => {
            let schema = format.pointer("/json_schema/schema");
            let schema = schema.ok_or("`response_format` has no schema")?;
            match schema::example(schema, &said)? {
                // Gemini's format for one value of an enumeration.
                Value::String(text) if format.get("is_bare") == Some(&Value::Bool(true)) => text,
                value => value.to_string(),
            }
        }
        // Google's models take a MIME type, too.
        Some(kind) if kind == "text" || kind.contains('/') => echo(&said),
        _ => {
            return Err("`response_format.type` must be text, json_object, json_schema or a MIME \
                 type"
                .into());
        }
    };
    Ok((said, Content::Text(text)))
}

/// The echo of a prompt.
pub(crate) fn echo(said: &str) -> String {
    let echo = start_of(said);
    let more = if echo.len() < said.len() { "…" } else { "" };
    format!("This is the Vertex AI emulator. You said: {echo}{more}")
}

/// The part of a prompt that is read and echoed.
fn start_of(said: &str) -> &str {
    let mut end = said.len().min(ECHO);
    while !said.is_char_boundary(end) {
        end -= 1;
    }
    &said[..end]
}

/// The system message that the model follows.
///
/// Gemini has one system instruction, and users report that its OpenAI-compatible API keeps only
/// the last message (microsoft/autogen#6117, olimorris/codecompanion.nvim#2522). Google lists no
/// role `developer`; that it has no effect here is assumed. Other models read all of both roles.
fn system(messages: &[Value], is_google: bool) -> Result<String, String> {
    let is_system = |message: &&Value| match role(message) {
        Some("system") => true,
        Some("developer") => !is_google,
        _ => false,
    };
    let content = |message: &Value| said::text_of(message.get("content").unwrap_or(&Value::Null));
    let mut all = messages.iter().filter(is_system);
    if is_google {
        return all.next_back().map_or_else(|| Ok(String::new()), content);
    }
    let all: Result<Vec<String>, String> = all.map(content).collect();
    Ok(all?.join("\n\n"))
}
