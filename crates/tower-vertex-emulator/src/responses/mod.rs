//! The Responses API.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    chat::content::echo,
    head::Head,
    pieces::Pieces,
    sse::Script,
    usage::{Cost, Tally, tokens},
};

/// The content of a response, before it is formatted.
pub(crate) struct Answer {
    head: Head,
    text: String,
    tally: Tally,
}

impl Answer {
    pub(crate) fn new(model: &str, said: &str, cost: &Cost) -> Self {
        let text = echo(said);
        let tally = cost.tally(said, tokens(&text), None);
        Self { head: Head::new(model), text, tally }
    }

    /// The id of this response in the Responses API.
    pub(crate) fn response_id(&self) -> String {
        format!("resp_{}", self.head.id)
    }

    /// A `response`, finished or just started.
    pub(crate) fn response(&self, asked: &Map<String, Value>, finished: bool) -> Value {
        let given = |name: &str, default: Value| asked.get(name).cloned().unwrap_or(default);
        let mut response = json!({
            "id": self.response_id(),
            "object": "response",
            "created_at": self.head.created,
            "status": if finished { "completed" } else { "in_progress" },
            "model": self.head.model,
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
            response["usage"] = self.tally.response();
        }
        response
    }

    fn output_item(&self, finished: bool) -> Value {
        json!({
            "id": format!("msg_{}", self.head.id),
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
        let pieces = Pieces::new(self.text.as_str(), chunks);
        let item = format!("msg_{}", self.head.id);
        let deltas = pieces.count();
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
                        let piece = pieces.get(delta);
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
