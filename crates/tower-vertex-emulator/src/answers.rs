//! The responses: an echo of the request, in the formats that OpenAI's own libraries parse.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::{
    sse::Script,
    tokens::random_text,
    usage::{Cost, tokens},
};

/// Number of chunks in a streamed response, unless the request sets it.
const CHUNKS: usize = 5;
/// Number of bytes of the last message that are echoed, because a message can be 20 MiB long.
const ECHO: usize = 64 * 1024;
/// The length of an embedding, unless the request sets it, and the largest that it can set.
const DIMENSIONS: u64 = 768;
const MOST_DIMENSIONS: u64 = 3072;

/// The content of a response, before it is formatted.
pub(crate) struct Answer {
    id: String,
    created: u64,
    model: String,
    text: String,
    /// The function of a tool call; `text` then holds its arguments.
    function: Option<String>,
    cost: Cost,
}

impl Answer {
    /// An echo of `said`.
    pub(crate) fn new(model: &str, said: &str) -> Self {
        let mut end = said.len().min(ECHO);
        while !said.is_char_boundary(end) {
            end -= 1;
        }
        let more = if end < said.len() { "…" } else { "" };
        let echo = &said[..end];
        Self::of(model, said, format!("This is the Vertex AI emulator. You said: {echo}{more}"))
    }

    /// A response with this text, regardless of the prompt.
    pub(crate) fn of(model: &str, said: &str, text: String) -> Self {
        let id = random_text().replace(['-', '_'], "x");
        Self {
            id: id.get(..22).unwrap_or(&id).to_owned(),
            created: now(),
            model: model.to_owned(),
            text,
            function: None,
            cost: Cost::of(said),
        }
    }

    /// A call of `function`, instead of a text.
    pub(crate) fn call(model: &str, said: &str, function: String, arguments: &Value) -> Self {
        Self { function: Some(function), ..Self::of(model, said, arguments.to_string()) }
    }

    /// Sets the cost by the request; the prompt stays counted.
    pub(crate) fn at(self, cost: Cost) -> Self {
        Self { cost: cost.with_prompt_of(&self.cost), ..self }
    }

    fn usage(&self) -> Value {
        self.cost.chat(&self.text)
    }

    /// A `chat.completion`.
    pub(crate) fn chat(&self) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "",
            "choices": [{
                "index": 0,
                "message": self.message(&self.text, true),
                "logprobs": null,
                "finish_reason": self.finish_reason(),
            }],
            "usage": self.usage(),
        })
    }

    fn finish_reason(&self) -> &'static str {
        if self.function.is_some() { "tool_calls" } else { "stop" }
    }

    /// A message with this part of the text; `first` marks the first part.
    fn message(&self, text: &str, first: bool) -> Value {
        let Some(function) = &self.function else {
            return json!({ "role": "assistant", "content": text });
        };
        let mut call = json!({ "function": { "arguments": text } });
        if first {
            call["id"] = format!("call_{}", self.id).into();
            call["type"] = "function".into();
            call["function"]["name"] = function.as_str().into();
        }
        json!({ "role": "assistant", "content": null, "tool_calls": [call] })
    }

    /// The same as `chat.completion.chunk`s, with the usage in the last one.
    pub(crate) fn chat_stream(self, chunks: Option<usize>) -> Script {
        let mut first = true;
        self.stream(chunks, move |answer, piece, last| {
            let mut delta = answer.message(piece, std::mem::take(&mut first));
            if let Some(call) = delta.pointer_mut("/tool_calls/0") {
                call["index"] = 0.into();
            }
            let mut choice = json!({ "index": 0, "delta": delta, "logprobs": null });
            if last {
                choice["finish_reason"] = answer.finish_reason().into();
            }
            answer.chunk("chat.completion.chunk", choice, last)
        })
    }

    /// A `text_completion`.
    pub(crate) fn completion(&self) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0, "text": self.text, "logprobs": null, "finish_reason": "stop",
            }],
            "usage": self.usage(),
        })
    }

    pub(crate) fn completion_stream(self, chunks: Option<usize>) -> Script {
        self.stream(chunks, |answer, piece, last| {
            let finish_reason = if last { "stop".into() } else { Value::Null };
            let choice = json!({
                "index": 0, "text": piece, "logprobs": null, "finish_reason": finish_reason,
            });
            answer.chunk("text_completion", choice, last)
        })
    }

    fn chunk(&self, object: &str, choice: Value, last: bool) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "",
            "choices": [choice],
        });
        if last {
            chunk["usage"] = self.usage();
        }
        chunk
    }

    fn stream(
        self,
        chunks: Option<usize>,
        mut form: impl FnMut(&Self, &str, bool) -> Value + Send + 'static,
    ) -> Script {
        let pieces = Pieces::new(&self.text, chunks);
        let chunks = pieces.count;
        Script {
            chunks,
            chunk: Box::new(move |index| {
                let value = form(&self, pieces.get(&self.text, index), index + 1 == chunks);
                Bytes::from(format!("data: {value}\n\n"))
            }),
            end: Some(Bytes::from_static(b"data: [DONE]\n\n")),
        }
    }

    /// The id of this response in the Responses API.
    pub(crate) fn response_id(&self) -> String {
        format!("resp_{}", self.id)
    }

    /// A `response`, finished or just started.
    pub(crate) fn response(&self, asked: &Map<String, Value>, finished: bool) -> Value {
        let given = |name: &str, default: Value| asked.get(name).cloned().unwrap_or(default);
        let mut response = json!({
            "id": self.response_id(),
            "object": "response",
            "created_at": self.created,
            "status": if finished { "completed" } else { "in_progress" },
            "model": self.model,
            "output": [],
            "error": null,
            "incomplete_details": null,
            "instructions": given("instructions", Value::Null),
            "max_output_tokens": given("max_output_tokens", Value::Null),
            "metadata": given("metadata", json!({})),
            "parallel_tool_calls": given("parallel_tool_calls", true.into()),
            "previous_response_id": given("previous_response_id", Value::Null),
            "reasoning": { "effort": null, "summary": null },
            "store": given("store", true.into()),
            "temperature": given("temperature", 1.0.into()),
            "text": { "format": { "type": "text" } },
            "tool_choice": given("tool_choice", "auto".into()),
            "tools": given("tools", json!([])),
            "top_p": given("top_p", 1.0.into()),
            "truncation": given("truncation", "disabled".into()),
            "usage": null,
        });
        if finished {
            response["output"] = json!([self.output_item(true)]);
            response["usage"] = self.cost.response(&self.text);
        }
        response
    }

    fn output_item(&self, finished: bool) -> Value {
        json!({
            "id": format!("msg_{}", self.id),
            "type": "message",
            "role": "assistant",
            "status": if finished { "completed" } else { "in_progress" },
            "content": if finished { json!([output_text(&self.text)]) } else { json!([]) },
        })
    }

    /// The events of the Responses API. All of them count as chunks; `chunks` sets those of the
    /// text.
    pub(crate) fn response_stream(
        self,
        asked: Map<String, Value>,
        chunks: Option<usize>,
    ) -> Script {
        let pieces = Pieces::new(&self.text, chunks);
        let item = format!("msg_{}", self.id);
        let deltas = pieces.count;
        let chunk = move |index: usize| {
            let place = json!({ "item_id": item, "output_index": 0, "content_index": 0 });
            let (kind, mut event) = match index {
                0 => ("response.created", json!({ "response": self.response(&asked, false) })),
                1 => ("response.in_progress", json!({ "response": self.response(&asked, false) })),
                2 => (
                    "response.output_item.added",
                    json!({ "output_index": 0, "item": self.output_item(false) }),
                ),
                3 => ("response.content_part.added", with(place, "part", output_text(""))),
                _ => match index - 4 {
                    delta if delta < deltas => {
                        let piece = pieces.get(&self.text, delta);
                        let event = with(place, "delta", piece.into());
                        ("response.output_text.delta", with(event, "logprobs", json!([])))
                    }
                    after => match after - deltas {
                        0 => {
                            let event = with(place, "text", self.text.as_str().into());
                            ("response.output_text.done", with(event, "logprobs", json!([])))
                        }
                        1 => {
                            let part = output_text(&self.text);
                            ("response.content_part.done", with(place, "part", part))
                        }
                        2 => (
                            "response.output_item.done",
                            json!({ "output_index": 0, "item": self.output_item(true) }),
                        ),
                        _ => (
                            "response.completed",
                            json!({ "response": self.response(&asked, true) }),
                        ),
                    },
                },
            };
            event["type"] = kind.into();
            event["sequence_number"] = index.into();
            Bytes::from(format!("event: {kind}\ndata: {event}\n\n"))
        };
        Script { chunks: deltas + 8, chunk: Box::new(chunk), end: None }
    }
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn output_text(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

/// A text split into this many pieces of about the same length, between characters.
struct Pieces {
    ends: Vec<usize>,
    count: usize,
}

impl Pieces {
    fn new(text: &str, count: Option<usize>) -> Self {
        let mut ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        ends.push(text.len());
        Self { ends, count: count.unwrap_or(CHUNKS).max(1) }
    }

    fn get<'a>(&self, text: &'a str, index: usize) -> &'a str {
        let characters = self.ends.len() - 1;
        let end = |piece: usize| self.ends[characters * piece.min(self.count) / self.count];
        &text[end(index)..end(index + 1)]
    }
}

/// The list of embeddings for a request, or the error in it.
pub(crate) fn embeddings(model: &str, asked: &Map<String, Value>) -> Result<Value, String> {
    let inputs: Vec<String> = match asked.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        // One text as an array of token numbers.
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            vec![Value::Array(items.clone()).to_string()]
        }
        Some(Value::Array(items)) if !items.is_empty() => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect(),
        _ => return Err("Request contains an invalid argument: `input` is required.".into()),
    };
    let dimensions = match asked.get("dimensions") {
        None | Some(Value::Null) => DIMENSIONS,
        Some(value) => value
            .as_u64()
            .filter(|n| (1..=MOST_DIMENSIONS).contains(n))
            .ok_or("Request contains an invalid argument: `dimensions` must be 1 to 3072.")?,
    };
    let base64 = match asked.get("encoding_format").map(Value::as_str) {
        None | Some(Some("float")) => false,
        Some(Some("base64")) => true,
        _ => {
            return Err("Request contains an invalid argument: `encoding_format` must be float \
                 or base64."
                .into());
        }
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = embed(input, dimensions);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Value::from(STANDARD.encode(bytes))
            } else {
                Value::from(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let count: u64 = inputs.iter().map(|input| tokens(input)).sum();
    let usage = json!({ "prompt_tokens": count, "total_tokens": count });
    Ok(json!({ "object": "list", "data": data, "model": model, "usage": usage }))
}

/// A unit vector that depends only on the text.
fn embed(text: &str, dimensions: u64) -> Vec<f32> {
    let hash = digest(&SHA256, text.as_bytes());
    let seed = hash.as_ref().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let mut random = fastrand::Rng::with_seed(seed);
    let vector: Vec<f32> = (0..dimensions).map(|_| random.f32() - 0.5).collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter().map(|x| x / length).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_to_the_text() {
        for text in ["", "a", "Grüße 🦀 aus dem Emulator"] {
            for count in [None, Some(1), Some(3), Some(1000)] {
                let pieces = Pieces::new(text, count);
                let whole: String = (0..pieces.count).map(|i| pieces.get(text, i)).collect();
                assert_eq!(whole, text);
            }
        }
    }
}
