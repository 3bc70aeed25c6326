//! The events of a streamed message.
//!
//! Their order and their names are those of recorded streams of Vertex AI (the test data of
//! charmbracelet/fantasy).

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::{
        chat::{ChatBehavior, StreamEvent},
        pieces::Pieces,
        segments::Segment,
        sse::{self, Script},
    },
    message::{Block, Message},
};

/// The deltas of a block: a text in pieces.
fn deltas(index: usize, kind: &'static str, name: &'static str, pieces: Pieces) -> Segment {
    Segment::deltas(
        "content_block_delta",
        pieces,
        move |piece| json!({ "index": index, "delta": { "type": kind, name: piece } }),
    )
}

/// The events of a message. All of them count as chunks; `chunks` sets those of a text, of thoughts
/// or of the input of a call.
pub(super) fn script(message: &Message, chunks: Option<usize>, behavior: &ChatBehavior) -> Script {
    let segments = segments(message, chunks, behavior);
    let mut count = Segment::total(&segments);
    let error_at = behavior.has(StreamEvent::Error).then_some(count / 2);
    if let Some(at) = error_at {
        count = at + 1;
    }
    let chunk = move |number: usize| {
        if error_at == Some(number) {
            return overloaded();
        }
        let (kind, event) = Segment::event(&segments, number);
        sse::event(kind, &event)
    };
    Script { chunks: count, chunk: Box::new(chunk), end: None }
}

/// The error that ends a stream (recorded at Vertex AI: anthropics/anthropic-sdk-typescript issue
/// 346).
fn overloaded() -> Bytes {
    let error = json!({ "details": null, "type": "overloaded_error", "message": "Overloaded" });
    sse::event("error", &json!({ "type": "error", "error": error }))
}

fn segments(message: &Message, chunks: Option<usize>, behavior: &ChatBehavior) -> Vec<Segment> {
    // A stream begins with the first token of its output.
    let first = message.output.min(1);
    let mut segments =
        vec![Segment::one("message_start", json!({ "message": message.start(first) }))];
    if behavior.has(StreamEvent::VertexEvent) {
        segments.push(Segment::one("vertex_event", vertex_event(message, first)));
    }
    segments.push(Segment::one("ping", json!({})));
    for (index, block) in message.blocks.iter().enumerate() {
        segments.extend(block_segments(block, index, chunks));
    }
    let mut delta = json!({
        "stop_reason": message.stop_reason,
        "stop_sequence": message.stop_sequence,
    });
    if behavior.has(StreamEvent::NoFinish) {
        delta["stop_reason"] = Value::Null;
    }
    let mut usage = message.tokens.usage(message.output);
    // The division by time is only at the start (anthropics/anthropic-sdk-typescript issue 793).
    if let Some(usage) = usage.as_object_mut() {
        usage.remove("cache_creation");
    }
    segments.push(Segment::one("message_delta", json!({ "delta": delta, "usage": usage })));
    if !behavior.has(StreamEvent::NoDone) {
        segments.push(Segment::one("message_stop", json!({})));
    }
    segments
}

fn block_segments(block: &Block, index: usize, chunks: Option<usize>) -> Vec<Segment> {
    let start = |block: Value| {
        Segment::one("content_block_start", json!({ "index": index, "content_block": block }))
    };
    let delta = |delta: Value| {
        Segment::one("content_block_delta", json!({ "index": index, "delta": delta }))
    };
    let mut segments = match block {
        Block::Thinking { text, signature } => {
            let mut segments =
                vec![start(json!({ "type": "thinking", "thinking": "", "signature": "" }))];
            if !text.is_empty() {
                let pieces = Pieces::new(text.as_str(), chunks);
                segments.push(deltas(index, "thinking_delta", "thinking", pieces));
            }
            segments.push(delta(json!({ "type": "signature_delta", "signature": signature })));
            segments
        }
        Block::Text(text) => {
            let pieces = Pieces::new(text.as_str(), chunks);
            let deltas = deltas(index, "text_delta", "text", pieces);
            vec![start(json!({ "type": "text", "text": "" })), deltas]
        }
        Block::ToolUse { id, call } => {
            let pieces = Pieces::new(call.arguments.as_str(), chunks);
            vec![
                start(json!({ "type": "tool_use", "id": id, "name": call.name, "input": {} })),
                delta(json!({ "type": "input_json_delta", "partial_json": "" })),
                deltas(index, "input_json_delta", "partial_json", pieces),
            ]
        }
    };
    segments.push(Segment::one("content_block_stop", json!({ "index": index })));
    segments
}

/// The event that Vertex AI adds for some projects, with the same counts twice (vercel/ai issue
/// 11309).
fn vertex_event(message: &Message, output: u64) -> Value {
    let mut usage = message.tokens.usage(output);
    usage["web_search_requests"] = Value::Null;
    usage["tiers"] = json!({ "0-to-200000": usage.clone() });
    json!({ "usage": usage })
}
