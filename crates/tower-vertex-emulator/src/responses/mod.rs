//! The Responses API.
//!
//! Google documents it on `openapi` for xAI's Grok alone, with `store` and `previous_response_id`
//! unsupported and `store` false by default (its page "Grok models"). The members of the responses
//! are those of that page's sample.

mod calls;
mod input;
mod stream;

use serde_json::{Map, Value, json};

pub(crate) use self::calls::{compact, create, delete, get};
use super::{
    chat::{
        calls::{Call, Offer},
        content::{self, Content},
        limits::Limits,
    },
    head::{Head, now, uuid},
    sse::Script,
    usage::{Cost, Tally},
};

/// A response.
pub(crate) struct Response {
    head: Head,
    items: Vec<Item>,
    is_incomplete: bool,
    tally: Tally,
    asked: Map<String, Value>,
    is_stored: bool,
    /// The messages of the conversation up to this response, with it.
    messages: Vec<Value>,
}

/// An item of the output.
enum Item {
    Message { id: String, text: String },
    Call { id: String, call_id: String, call: Call },
}

/// A response that can be fetched, and continued by `previous_response_id`.
#[derive(Clone, Debug)]
pub(crate) struct StoredResponse {
    pub(crate) body: Value,
    pub(crate) messages: Vec<Value>,
}

/// The rules for stored responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Nothing is stored, as Google documents for Grok.
    Refused,
    /// Responses are stored unless `store` is false, as OpenAI's are.
    Kept,
}

impl Storage {
    /// Returns whether the request stores its response, or the error in it.
    ///
    /// No source knows the words of these errors.
    pub(crate) fn check(self, asked: &Map<String, Value>) -> Result<bool, String> {
        let store = asked.get("store").and_then(Value::as_bool);
        if asked.get("background") == Some(&Value::Bool(true)) {
            return Err("`background` is not supported".into());
        }
        match self {
            Self::Kept => Ok(store != Some(false)),
            Self::Refused if store == Some(true) => {
                Err("`store` is not supported for this model; it must be false".into())
            }
            Self::Refused if previous_id(asked).is_some() => {
                Err("`previous_response_id` is not supported for this model".into())
            }
            Self::Refused => Ok(false),
        }
    }
}

/// The id of the response that a request continues.
pub(crate) fn previous_id(asked: &Map<String, Value>) -> Option<&str> {
    asked.get("previous_response_id").and_then(Value::as_str)
}

impl Response {
    /// The response to a request, or the error in it. `earlier` has the messages of the response
    /// that the request continues.
    pub(crate) fn of(
        model: &str,
        asked: Map<String, Value>,
        cost: &Cost,
        earlier: Vec<Value>,
        is_stored: bool,
    ) -> Result<Self, String> {
        let mut messages = input::messages(&asked, earlier)?;
        let options = input::options(&asked);
        let offer = Offer::of(&options)?;
        let (said, content) =
            content::choose(&input::instructed(&asked, &messages), &options, &offer, false)?;
        let length = content.tokens();
        let tally = cost.tally(&said, length, Limits::of(&options)?.most_tokens);
        let is_incomplete = tally.completion < length;
        let items: Vec<Item> = match content {
            Content::Calls(_) if is_incomplete => Vec::new(),
            Content::Calls(calls) => {
                calls.into_iter().enumerate().map(|(nth, call)| Item::call(nth, call)).collect()
            }
            // The thoughts took all tokens.
            Content::Text(_) if is_incomplete && tally.completion == 0 => Vec::new(),
            Content::Text(mut text) => {
                Limits::shorten(&mut text, tally.completion);
                vec![Item::Message { id: format!("msg_{}", uuid()), text }]
            }
        };
        input::extend(&mut messages, &items);
        let head = Head { id: uuid(), created: now(), model: model.to_owned() };
        Ok(Self { head, items, is_incomplete, tally, asked, is_stored, messages })
    }

    pub(crate) fn id(&self) -> &str {
        &self.head.id
    }

    /// The response as it is stored, if it is.
    pub(crate) fn stored(&self) -> Option<StoredResponse> {
        let stored = || StoredResponse { body: self.body(true), messages: self.messages.clone() };
        self.is_stored.then(stored)
    }

    /// The body, finished or just started.
    pub(crate) fn body(&self, is_finished: bool) -> Value {
        let given = |name: &str, default: Value| {
            let value = self.asked.get(name).filter(|value| !value.is_null());
            value.cloned().unwrap_or(default)
        };
        let reasoning = self.asked.get("reasoning");
        let reasoning = |name: &str, default: &str| {
            let value = reasoning.and_then(|reasoning| reasoning.get(name)).cloned();
            value.filter(|value| !value.is_null()).unwrap_or_else(|| default.into())
        };
        let format = self.asked.get("text").and_then(|text| text.get("format")).cloned();
        let mut metadata = given("metadata", json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("system_fingerprint".into(), "".into());
        }
        let mut body = json!({
            "id": self.head.id,
            "object": "response",
            "created_at": self.head.created,
            "completed_at": null,
            "status": "in_progress",
            "model": self.head.model,
            "output": [],
            "error": null,
            "incomplete_details": null,
            "background": false,
            "frequency_penalty": given("frequency_penalty", 0.0.into()),
            "instructions": given("instructions", Value::Null),
            "max_output_tokens": given("max_output_tokens", Value::Null),
            "max_tool_calls": given("max_tool_calls", Value::Null),
            "metadata": metadata,
            "parallel_tool_calls": given("parallel_tool_calls", true.into()),
            "presence_penalty": given("presence_penalty", 0.0.into()),
            "previous_response_id": given("previous_response_id", Value::Null),
            "prompt_cache_key": given("prompt_cache_key", Value::Null),
            "reasoning": {
                "effort": reasoning("effort", "medium"),
                "summary": reasoning("summary", "detailed"),
            },
            "safety_identifier": given("safety_identifier", Value::Null),
            "service_tier": given("service_tier", "default".into()),
            "store": self.is_stored,
            "temperature": given("temperature", 1.0.into()),
            "text": { "format": format.unwrap_or_else(|| json!({ "type": "text" })) },
            "tool_choice": given("tool_choice", "auto".into()),
            "tools": given("tools", json!([])),
            "top_logprobs": given("top_logprobs", 0.into()),
            "top_p": given("top_p", 1.0.into()),
            "truncation": given("truncation", "disabled".into()),
            "usage": null,
            "user": given("user", Value::Null),
        });
        if is_finished {
            // The response is complete when it begins, so that all copies of it are the same.
            body["completed_at"] = self.head.created.into();
            body["output"] = self.items.iter().map(|item| item.body(true)).collect();
            body["usage"] = self.tally.response();
            body["status"] = "completed".into();
            if self.is_incomplete {
                body["status"] = "incomplete".into();
                body["incomplete_details"] = json!({ "reason": "max_output_tokens" });
            }
        }
        body
    }

    pub(crate) fn stream(&self, chunks: Option<usize>) -> Script {
        stream::script(self, chunks)
    }
}

impl Item {
    fn call(nth: usize, call: Call) -> Self {
        let call_id = format!("call-{}-{nth}", uuid());
        Self::Call { id: format!("fc_{}_{nth}", uuid()), call_id, call }
    }

    fn id(&self) -> &str {
        match self {
            Self::Message { id, .. } | Self::Call { id, .. } => id,
        }
    }

    /// The item, finished or just started.
    fn body(&self, is_finished: bool) -> Value {
        let status = if is_finished { "completed" } else { "in_progress" };
        match self {
            Self::Message { id, text } => json!({
                "id": id,
                "type": "message",
                "role": "assistant",
                "status": status,
                "content": if is_finished { json!([output_text(text)]) } else { json!([]) },
            }),
            Self::Call { id, call_id, call } => json!({
                "id": id,
                "type": "function_call",
                "call_id": call_id,
                "name": call.name,
                "arguments": if is_finished { call.arguments.as_str() } else { "" },
                "status": status,
            }),
        }
    }
}

fn output_text(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}
