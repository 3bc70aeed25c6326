//! One choice of a response, before it becomes a message or deltas.

use serde_json::{Value, json};

use super::calls::Call;

/// An image of one pixel, as PNG in base64.
pub(crate) const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// One choice.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) body: Body,
    pub(crate) finish_reason: Option<String>,
    /// Whether a filter removes the text of a complete response. A stream has sent it before.
    pub(crate) is_withheld: bool,
}

/// The message of a choice.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Text {
        parts: Vec<Part>,
        signature: Option<String>,
    },
    Calls {
        calls: Vec<NamedCall>,
        signature: Option<String>,
        is_legacy: bool,
    },
    Image {
        signature: Option<String>,
    },
    OnlyRole,
    /// A call that a filter removed.
    FilteredCall,
    /// The choice has no message.
    Nothing,
}

/// A part of a text.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    pub(crate) text: String,
}

/// The kind of a part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// The response.
    Text,
    /// Thoughts in `content`. In a stream they have a mark of their own if the flag says so.
    Thought { flag: bool },
    /// Thoughts in `reasoning_content`.
    Reasoning,
}

/// A call with its id.
#[derive(Clone, Debug)]
pub(crate) struct NamedCall {
    pub(crate) id: String,
    pub(crate) call: Call,
}

impl NamedCall {
    /// The call with all its members, except its index.
    pub(crate) fn whole(&self, signature: Option<&str>) -> Value {
        self.piece(&self.call.arguments, signature)
    }

    /// The same with a piece of the arguments.
    pub(crate) fn piece(&self, arguments: &str, signature: Option<&str>) -> Value {
        let mut call = json!({
            "id": self.id,
            "type": "function",
            "function": { "name": self.call.name, "arguments": arguments },
        });
        if let Some(signature) = signature {
            call["extra_content"] = signed(signature);
        }
        call
    }
}

/// The `extra_content` with a signature.
pub(crate) fn signed(signature: &str) -> Value {
    json!({ "google": { "thought_signature": signature } })
}

/// The message of an image, as in Google's sample: the picture is in `audio`.
pub(crate) fn image(signature: Option<&str>) -> Value {
    let mut message = json!({
        "content": null,
        "audio": {
            "data": IMAGE,
            "extra_content": { "google": { "mime_type": "image/png" } },
        },
    });
    if let Some(signature) = signature {
        message["extra_content"] = signed(signature);
    }
    message
}

impl Choice {
    /// The choice of a complete response.
    pub(crate) fn whole(&self, index: usize, is_google: bool) -> Value {
        let mut choice = json!({ "index": index });
        if let Some(reason) = &self.finish_reason {
            choice["finish_reason"] = reason.as_str().into();
        }
        if let Some(message) = self.message(is_google) {
            choice["message"] = message;
            choice["logprobs"] = Value::Null;
        }
        choice
    }

    fn message(&self, is_google: bool) -> Option<Value> {
        let mut message = match &self.body {
            Body::Nothing => return None,
            Body::OnlyRole => json!({}),
            Body::FilteredCall => json!({ "extra_content": { "google": {} } }),
            _ if self.is_withheld => json!({}),
            Body::Image { signature } => image(signature.as_deref()),
            Body::Text { parts, signature } => {
                let text = |wanted: fn(PartKind) -> bool| -> String {
                    let parts = parts.iter().filter(|part| wanted(part.kind));
                    parts.map(|part| part.text.as_str()).collect()
                };
                let mut message = json!({ "content": text(|kind| kind != PartKind::Reasoning) });
                if parts.iter().any(|part| part.kind == PartKind::Reasoning) {
                    message["reasoning_content"] = text(|kind| kind == PartKind::Reasoning).into();
                }
                if let Some(signature) = signature {
                    message["extra_content"] = signed(signature);
                }
                message
            }
            Body::Calls { calls, signature, is_legacy } => {
                // Google's tool calls have no `content` beside them.
                let mut message = if is_google { json!({}) } else { json!({ "content": null }) };
                if *is_legacy {
                    message["function_call"] = function_call(calls);
                } else {
                    let signature_of = |nth: usize| signature.as_deref().filter(|_| nth == 0);
                    let calls = calls.iter().enumerate();
                    message["tool_calls"] =
                        calls.map(|(nth, call)| call.whole(signature_of(nth))).collect();
                }
                message
            }
        };
        message["role"] = "assistant".into();
        Some(message)
    }
}

/// The call of the field that `tool_calls` has replaced. It holds one call.
pub(crate) fn function_call(calls: &[NamedCall]) -> Value {
    let call = calls.first().map(|named| &named.call);
    json!({
        "name": call.map(|call| call.name.as_str()),
        "arguments": call.map(|call| call.arguments.as_str()),
    })
}
