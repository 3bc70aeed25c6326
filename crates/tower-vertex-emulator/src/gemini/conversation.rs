//! A request for content in the form of a chat.
//!
//! The emulator has one model for all protocols: it reads messages, `tools`, `tool_choice`,
//! `response_format` and the limits in the form of Chat Completions. Google's own fields are in
//! `extra_body.google`, as they are on `openapi`.

use serde_json::{Map, Value, json};

use super::super::refusals::learn_more;

/// A request in the form of a chat.
pub(super) struct Conversation {
    pub(super) messages: Vec<Value>,
    pub(super) asked: Map<String, Value>,
}

impl Conversation {
    /// The chat of a request, or the message of the 400.
    pub(super) fn of(request: &Map<String, Value>) -> Result<Self, String> {
        let mut messages = Vec::new();
        if let Some(system) = request.get("systemInstruction") {
            let content = parts(system).map(text_part).collect::<Result<Vec<_>, _>>()?;
            messages.push(json!({ "role": "system", "content": content }));
        }
        let contents = request.get("contents").and_then(Value::as_array).into_iter().flatten();
        for content in contents {
            match content.get("role").and_then(Value::as_str) {
                Some("model") => {
                    let message = model_message(content)?;
                    match messages.last_mut().filter(|last| is_of_model(last)) {
                        Some(last) => join(last, message),
                        None => messages.push(message),
                    }
                }
                // The service takes the role `function`, too (langchain-google issue 1059).
                Some("user" | "function") => user_messages(content, &mut messages)?,
                // BerriAI/litellm issue 32731, gethnet/litellm-connector-copilot issue 64.
                _ => {
                    return Err(learn_more(
                        "Unable to submit request because Please use a valid role: user, model..",
                    ));
                }
            }
        }
        Ok(Self { messages, asked: options(request)? })
    }
}

fn is_of_model(message: &Value) -> bool {
    message.get("role").is_some_and(|role| role == "assistant")
}

/// Contents of one role in succession are one turn. google-genai 3.6 keeps each chunk of a stream as
/// a content of its own.
fn join(message: &mut Value, next: Value) {
    let Value::Object(next) = next else { return };
    for (name, value) in next {
        match (message.get_mut(&name), value) {
            (Some(Value::Array(items)), Value::Array(more)) => {
                let mut more = more.into_iter();
                if let (Some(Value::String(text)), Some(Value::String(rest))) = (
                    items.last_mut().and_then(|item| item.get_mut("text")),
                    more.as_slice().first().and_then(|item| item.get("text")),
                ) {
                    text.push_str(rest);
                    more.next();
                }
                items.extend(more);
            }
            (_, value) => message[name] = value,
        }
    }
}

fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    content.get("parts").and_then(Value::as_array).into_iter().flatten()
}

fn is_thought(part: &Value) -> bool {
    part.get("thought") == Some(&Value::Bool(true))
}

fn text_of<'a>(part: &'a Value, pointer: &str) -> &'a str {
    part.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A part that is neither a call nor a result, as a text. A file is described by its type.
fn text_part(part: &Value) -> Result<Value, String> {
    let text = if let Some(text) = part.get("text") {
        text.clone()
    } else if part.get("inlineData").is_some() {
        let data = text_of(part, "/inlineData/data").trim_end_matches('=');
        let kind = mime_type(part, "inlineData")?;
        format!("[{kind}, {} bytes]", data.len() * 3 / 4).into()
    } else if part.get("fileData").is_some() {
        let kind = mime_type(part, "fileData")?;
        format!("[{kind}, {}]", text_of(part, "/fileData/fileUri")).into()
    } else if part.get("executableCode").is_some() {
        text_of(part, "/executableCode/code").into()
    } else if part.get("codeExecutionResult").is_some() {
        text_of(part, "/codeExecutionResult/output").into()
    } else {
        // The text is recorded for a content without parts (genkit issue 3690).
        return Err(learn_more(
            "Unable to submit request because it must include at least one parts field, which \
             describes the prompt input.",
        ));
    };
    Ok(json!({ "type": "text", "text": text }))
}

/// GoogleCloudPlatform/generative-ai issue 1390 has the text for `fileData`.
fn mime_type<'a>(part: &'a Value, member: &str) -> Result<&'a str, String> {
    match text_of(part, &format!("/{member}/mimeType")) {
        "" => Err(learn_more(&format!(
            "Unable to submit request because it has an empty mimeType parameter in {member}. Add a \
             value to the parameter and try again."
        ))),
        kind => Ok(kind),
    }
}

/// The results of functions in a content, and its other parts as a message of the user.
fn user_messages(content: &Value, messages: &mut Vec<Value>) -> Result<(), String> {
    let mut others = Vec::new();
    let mut has_results = false;
    for part in parts(content) {
        match part.get("functionResponse") {
            Some(result) => {
                has_results = true;
                messages.push(json!({ "role": "tool", "content": result_text(result) }));
            }
            None => others.push(text_part(part)?),
        }
    }
    if !others.is_empty() || !has_results {
        messages.push(json!({ "role": "user", "content": others }));
    }
    Ok(())
}

/// The text of a result. Google's libraries put a text into an object with one member.
fn result_text(result: &Value) -> Value {
    let response = result.get("response").and_then(Value::as_object);
    let Some(response) = response else { return "".into() };
    match response.values().next() {
        Some(Value::String(text)) if response.len() == 1 => text.as_str().into(),
        _ => Value::Object(response.clone()).to_string().into(),
    }
}

fn model_message(content: &Value) -> Result<Value, String> {
    let (mut texts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    let mut message = json!({ "role": "assistant" });
    for part in parts(content) {
        let signed = part.get("thoughtSignature").map(signed);
        if let Some(call) = part.get("functionCall") {
            let arguments = call.get("args").cloned().unwrap_or_else(|| json!({}));
            let mut tool_call = json!({
                "id": call.get("id"),
                "type": "function",
                "function": { "name": call.get("name"), "arguments": arguments.to_string() },
            });
            if let Some(signed) = signed {
                tool_call["extra_content"] = signed;
            }
            calls.push(tool_call);
            continue;
        }
        if let Some(signed) = signed {
            message["extra_content"] = signed;
            // A stream may send the signature in a part with an empty text.
            if part.get("text").is_none_or(|text| text == "") && part.get("inlineData").is_none() {
                continue;
            }
        }
        let into = if is_thought(part) { &mut thoughts } else { &mut texts };
        into.push(text_part(part)?);
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    // The model does not read its earlier thoughts, but they are a content.
    let texts = if texts.is_empty() { thoughts } else { texts };
    if !texts.is_empty() {
        message["content"] = texts.into();
    }
    Ok(message)
}

fn signed(signature: &Value) -> Value {
    json!({ "google": { "thought_signature": signature } })
}

/// The other members of the request, as those of a chat.
fn options(request: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let empty = Map::new();
    let config = request.get("generationConfig").and_then(Value::as_object).unwrap_or(&empty);
    let mut asked = Map::new();
    for (name, of_chat) in [
        ("maxOutputTokens", "max_tokens"),
        ("stopSequences", "stop"),
        ("temperature", "temperature"),
    ] {
        if let Some(value) = config.get(name) {
            asked.insert(of_chat.into(), value.clone());
        }
    }
    if let Some(count) = config.get("candidateCount").and_then(Value::as_i64) {
        // The text has the form of that for `maxOutputTokens`.
        if !(1..9).contains(&count) {
            return Err(format!(
                "Unable to submit request because it has a candidateCount value of {count} but the \
                 supported range is from 1 (inclusive) to 9 (exclusive). Update the value and try \
                 again."
            ));
        }
        asked.insert("n".into(), count.into());
    }
    if let Some(format) = response_format(config) {
        asked.insert("response_format".into(), format);
    }
    if let Some(Value::Array(modalities)) = config.get("responseModalities") {
        let lower = modalities.iter().filter_map(Value::as_str).map(str::to_ascii_lowercase);
        asked.insert("modalities".into(), lower.collect());
    }
    tools(request, &mut asked)?;
    let mut google = Map::new();
    if let Some(cached) = request.get("cachedContent") {
        google.insert("cached_content".into(), cached.clone());
    }
    if let Some(thinking) = config.get("thinkingConfig") {
        let level = thinking.get("thinkingLevel");
        let budget = thinking.get("thinkingBudget");
        let is_set = level.is_some_and(|level| *level != "THINKING_LEVEL_UNSPECIFIED");
        // sterlp/eclipse-peon-ai issue 115, at Google AI Studio.
        if is_set && budget.is_some() {
            return Err("You can only set only one of thinking budget and thinking level.".into());
        }
        google.insert(
            "thinking_config".into(),
            json!({
                "include_thoughts": thinking.get("includeThoughts"),
                "thinking_budget": budget,
                "thinking_level": level,
            }),
        );
    }
    asked.insert("extra_body".into(), json!({ "google": google }));
    Ok(asked)
}

fn response_format(config: &Map<String, Value>) -> Option<Value> {
    let schema = config.get("responseJsonSchema").or_else(|| config.get("responseSchema"));
    match (config.get("responseMimeType").and_then(Value::as_str), schema) {
        (Some(kind @ ("application/json" | "text/x.enum")), Some(schema)) => Some(json!({
            "type": "json_schema",
            "json_schema": { "schema": schema },
            "is_bare": kind == "text/x.enum",
        })),
        (Some("application/json"), None) => Some(json!({ "type": "json_object" })),
        _ => None,
    }
}

/// The functions and the choice of them.
fn tools(request: &Map<String, Value>, asked: &mut Map<String, Value>) -> Result<(), String> {
    let tools = request.get("tools").and_then(Value::as_array).into_iter().flatten();
    let functions = tools.filter_map(|tool| tool.get("functionDeclarations")?.as_array()).flatten();
    let mut functions: Vec<&Value> = functions.collect();
    let config = request.get("toolConfig").and_then(|config| config.get("functionCallingConfig"));
    let allowed = config.and_then(|config| config.get("allowedFunctionNames"));
    let allowed = allowed.and_then(Value::as_array).filter(|names| !names.is_empty());
    let choice = match config.and_then(|config| config.get("mode")).and_then(Value::as_str) {
        Some("ANY") => {
            if functions.is_empty() {
                return Err("Function calling config is set without function_declarations.".into());
            }
            "required"
        }
        Some("NONE") => "none",
        Some("VALIDATED") => "validated",
        _ => "auto",
    };
    if let (Some(allowed), "required" | "validated") = (allowed, choice) {
        functions
            .retain(|function| function.get("name").is_some_and(|name| allowed.contains(name)));
    }
    if functions.is_empty() {
        return Ok(());
    }
    let tools =
        functions.into_iter().map(|function| json!({ "type": "function", "function": function }));
    asked.insert("tools".into(), tools.collect());
    asked.insert("tool_choice".into(), choice.into());
    Ok(())
}

/// Whether the arguments of calls are streamed in pieces.
pub(super) fn streams_arguments(request: &Map<String, Value>) -> bool {
    let config = request.get("toolConfig").and_then(|config| config.get("functionCallingConfig"));
    let streams = config.and_then(|config| config.get("streamFunctionCallArguments"));
    streams == Some(&Value::Bool(true))
}
