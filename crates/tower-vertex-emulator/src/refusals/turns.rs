//! The order and the content of messages.
//!
//! The texts are those of the native API: pydantic-ai issue 580, gemini-cli issues 11814 and 17208,
//! langchain issue 27799, LiteLLM issue 9733, agno issues 5843 and 9630,
//! deprecated-generative-ai-python issue 697.

use serde_json::Value;

use super::{BARE, Chat, learn_more};
use crate::said::role;

/// The part of a conversation that becomes one message of Gemini's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    User,
    Model,
    /// A message with this number of calls.
    Calls(usize),
    /// This number of results. The service joins adjacent results.
    Results(usize),
}

/// The turns of a conversation. The messages of the system are not among them.
fn turns(messages: &[Value]) -> Vec<Turn> {
    let mut turns = Vec::new();
    for message in messages {
        let turn = match role(message) {
            Some("system" | "developer") => continue,
            Some("assistant") => match calls(message) {
                0 => Turn::Model,
                calls => Turn::Calls(calls),
            },
            Some("tool" | "function") => match turns.last_mut() {
                Some(Turn::Results(number)) => {
                    *number += 1;
                    continue;
                }
                _ => Turn::Results(1),
            },
            _ => Turn::User,
        };
        turns.push(turn);
    }
    turns
}

/// The number of calls in a message of the assistant.
fn calls(message: &Value) -> usize {
    let calls = message.get("tool_calls").and_then(Value::as_array).map_or(0, Vec::len);
    let legacy = message.get("function_call").is_some_and(Value::is_object);
    calls + usize::from(legacy)
}

pub(super) fn no_contents(chat: &Chat<'_>) -> Option<String> {
    turns(chat.messages).is_empty().then(|| {
        learn_more("Unable to submit request because at least one contents field is required.")
    })
}

pub(super) fn call_order(chat: &Chat<'_>) -> Option<String> {
    let turns = turns(chat.messages);
    let before = |at: usize| at.checked_sub(1).map(|before| turns[before]);
    let is_misplaced = |(at, turn): (usize, &Turn)| {
        let fits = matches!(before(at), Some(Turn::User | Turn::Results(_)));
        matches!(turn, Turn::Calls(_)) && !fits
    };
    turns.iter().enumerate().any(is_misplaced).then(|| {
        "Please ensure that function call turn comes immediately after a user turn or after a \
         function response turn."
            .into()
    })
}

pub(super) fn tool_results(chat: &Chat<'_>) -> Option<String> {
    let turns = turns(chat.messages);
    for (at, turn) in turns.iter().enumerate() {
        let (calls, results) = match (*turn, turns.get(at + 1)) {
            (Turn::Results(_), _)
                if !matches!(at.checked_sub(1).map(|at| turns[at]), Some(Turn::Calls(_))) =>
            {
                return Some(
                    "Please ensure that function response turn comes immediately after a \
                     function call turn."
                        .into(),
                );
            }
            (Turn::Calls(calls), Some(Turn::Results(results))) => (calls, *results),
            (Turn::Calls(calls), Some(_)) => (calls, 0),
            _ => continue,
        };
        if calls != results {
            return Some(
                "Please ensure that the number of function response parts is equal to the number \
                 of function call parts of the function call turn."
                    .into(),
            );
        }
    }
    None
}

pub(super) fn empty_content(chat: &Chat<'_>) -> Option<String> {
    chat.messages.iter().find_map(|message| {
        let is_checked = match role(message) {
            Some("system" | "developer" | "tool" | "function") => false,
            _ => calls(message) == 0,
        };
        if !is_checked {
            return None;
        }
        let is_empty_text =
            |part: &Value| part.get("text").is_some_and(|text| text.as_str() == Some(""));
        match message.get("content") {
            Some(Value::Array(parts)) if parts.iter().any(is_empty_text) => Some(learn_more(
                "Unable to submit request because it has an empty text parameter. Add a value to \
                 the parameter and try again.",
            )),
            // The OpenAI-compatible translators make no part of an empty string (QuantumNous/new-api
            // pull request 1260).
            Some(Value::String(text)) if !text.is_empty() => None,
            Some(Value::Array(parts)) if !parts.is_empty() => None,
            _ if message.get("audio").is_some() || message.get("extra_content").is_some() => None,
            _ => Some(learn_more(
                "Unable to submit request because it must include at least one parts field, which \
                 describes the prompt input.",
            )),
        }
    })
}

/// Reported for Gemini 3.7 alone (agno issue 9630).
pub(super) fn model_turn_last(chat: &Chat<'_>) -> Option<String> {
    let ends = matches!(turns(chat.messages).last(), Some(Turn::Model | Turn::Calls(_)));
    (ends && chat.model.generation == Some((3, 7)))
        .then(|| "Requests ending with a model turn are not supported.".into())
}

/// Reported for these two models on `openapi` (NousResearch/hermes-agent issue 69231: the same body
/// succeeds with an empty `content`). Gemini 3.1 accepts both.
pub(super) fn text_beside_calls(chat: &Chat<'_>) -> Option<String> {
    let is_strict = ["gemini-3.6-flash", "gemini-3.5-flash-lite"].contains(&&*chat.model.name);
    let has_text = |message: &Value| match message.get("content") {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(parts)) => !parts.is_empty(),
        _ => false,
    };
    let refused =
        is_strict && chat.messages.iter().any(|message| calls(message) > 0 && has_text(message));
    refused.then(|| BARE.into())
}
