//! The message of a response, and its usage.

use serde_json::{Map, Value, json};

use super::{
    super::{
        chat::{calls::Call, limits::Limits},
        usage::tokens,
    },
    cache::Tokens,
    thinking::Thoughts,
};

/// The letters of ids, which are base58.
const LETTERS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The response of the model, before the limits of the request.
pub(super) struct Outcome {
    pub(super) text: Option<String>,
    pub(super) calls: Vec<Call>,
}

/// A block of a response.
pub(super) enum Block {
    Thinking { text: String, signature: String },
    Text(String),
    ToolUse { id: String, call: Call },
}

impl Block {
    pub(super) fn whole(&self) -> Value {
        match self {
            Self::Thinking { text, signature } => {
                json!({ "type": "thinking", "thinking": text, "signature": signature })
            }
            Self::Text(text) => json!({ "type": "text", "text": text }),
            Self::ToolUse { id, call } => {
                let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
                json!({ "type": "tool_use", "id": id, "name": call.name, "input": input })
            }
        }
    }
}

/// A message.
pub(super) struct Message {
    id: String,
    model: String,
    pub(super) blocks: Vec<Block>,
    pub(super) stop_reason: String,
    pub(super) stop_sequence: Option<String>,
    pub(super) tokens: Tokens,
    /// The tokens of the response, with those of its thoughts.
    pub(super) output: u64,
}

impl Message {
    pub(super) fn new(
        model: String,
        asked: &Map<String, Value>,
        outcome: Outcome,
        thoughts: Option<Thoughts>,
        tokens: Tokens,
    ) -> Self {
        let most = asked.get("max_tokens").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let mut message = Self {
            id: id("msg"),
            model,
            blocks: Vec::new(),
            stop_reason: "end_turn".into(),
            stop_sequence: None,
            tokens,
            output: 0,
        };
        let is_cut = message.fill(asked, outcome, thoughts, most);
        if is_cut {
            message.stop_reason = "max_tokens".into();
            message.stop_sequence = None;
        }
        message
    }

    /// Adds the blocks that fit, and returns whether one did not.
    fn fill(
        &mut self,
        asked: &Map<String, Value>,
        outcome: Outcome,
        thoughts: Option<Thoughts>,
        most: u64,
    ) -> bool {
        if most == 0 {
            return true;
        }
        if let Some(Thoughts { shown: text, signature, tokens }) = thoughts {
            self.output = tokens.min(most);
            self.blocks.push(Block::Thinking { text, signature });
        }
        let mut calls = outcome.calls;
        if let Some(mut text) = outcome.text {
            if let Some((at, stop)) = first_stop(asked, &text) {
                text.truncate(at);
                self.stop_reason = "stop_sequence".into();
                self.stop_sequence = Some(stop.to_owned());
                calls.clear();
            }
            let (length, left) = (tokens(&text), most - self.output);
            Limits::shorten(&mut text, left);
            self.output += length.min(left);
            if !text.is_empty() {
                self.blocks.push(Block::Text(text));
            }
            if length > left {
                return true;
            }
        }
        for call in calls {
            let length = tokens(&call.arguments);
            // It is assumed that a call which does not fit vanishes.
            if length > most - self.output {
                return true;
            }
            self.output += length;
            self.blocks.push(Block::ToolUse { id: id("toolu"), call });
            self.stop_reason = "tool_use".into();
        }
        false
    }

    pub(super) fn whole(&self) -> Value {
        let mut message = self.start(self.output);
        message["content"] = self.blocks.iter().map(Block::whole).collect();
        message["stop_reason"] = self.stop_reason.as_str().into();
        message["stop_sequence"] = self.stop_sequence.clone().into();
        message
    }

    /// The message before its content, with this many tokens of output.
    pub(super) fn start(&self, output: u64) -> Value {
        json!({
            "model": self.model,
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.tokens.usage(output),
        })
    }
}

/// The first stop sequence in a text, and where it begins.
fn first_stop<'a>(asked: &'a Map<String, Value>, text: &str) -> Option<(usize, &'a str)> {
    let stops = asked.get("stop_sequences").and_then(Value::as_array)?;
    let found = stops.iter().filter_map(Value::as_str);
    found.filter_map(|stop| Some((text.find(stop)?, stop))).min_by_key(|(at, _)| *at)
}

/// An id as Vertex AI gives it to messages, calls and requests: `msg_vrtx_01…`, `toolu_vrtx_01…`
/// and `req_vrtx_01…`, with 24 letters at the end.
pub(super) fn id(of: &str) -> String {
    let letter = || char::from(LETTERS[fastrand::usize(..LETTERS.len())]);
    let letters: String = std::iter::repeat_with(letter).take(22).collect();
    format!("{of}_vrtx_01{letters}")
}
