//! The events of a streamed response.

use serde_json::{Value, json};

use super::{
    super::{
        pieces::Pieces,
        segments::Segment,
        sse::{self, Script},
    },
    Item, Response,
};

fn deltas(kind: &'static str, pieces: Pieces, place: Value) -> Segment {
    Segment::deltas(kind, pieces, move |piece| with(place.clone(), "delta", piece.into()))
}

/// The events of a response. All of them count as chunks; `chunks` sets those of a text or of the
/// arguments of a call.
pub(super) fn script(response: &Response, chunks: Option<usize>) -> Script {
    let started = json!({ "response": response.body(false) });
    let mut segments = vec![
        Segment::one("response.created", started.clone()),
        Segment::one("response.in_progress", started),
    ];
    for (index, item) in response.items.iter().enumerate() {
        segments.extend(item_segments(item, index, chunks));
    }
    let end = if response.is_incomplete { "response.incomplete" } else { "response.completed" };
    segments.push(Segment::one(end, json!({ "response": response.body(true) })));
    let count = Segment::total(&segments);
    let chunk = move |number: usize| {
        let (kind, mut event) = Segment::event(&segments, number);
        event["sequence_number"] = number.into();
        sse::event(kind, &event)
    };
    Script { chunks: count, chunk: Box::new(chunk), end: None }
}

fn item_segments(item: &Item, output_index: usize, chunks: Option<usize>) -> Vec<Segment> {
    let place = json!({ "item_id": item.id(), "output_index": output_index });
    let added = json!({ "output_index": output_index, "item": item.body(false) });
    let done = json!({ "output_index": output_index, "item": item.body(true) });
    let mut segments = vec![Segment::one("response.output_item.added", added)];
    match item {
        Item::Message { text, .. } => {
            let place = with(place, "content_index", 0.into());
            let part = |text: &str| with(place.clone(), "part", super::output_text(text));
            let logged = with(place.clone(), "logprobs", json!([]));
            let whole = with(logged.clone(), "text", text.as_str().into());
            let pieces = Pieces::new(text.as_str(), chunks);
            segments.extend([
                Segment::one("response.content_part.added", part("")),
                deltas("response.output_text.delta", pieces, logged),
                Segment::one("response.output_text.done", whole),
                Segment::one("response.content_part.done", part(text)),
            ]);
        }
        Item::Call { call, .. } => {
            let mut whole = with(place.clone(), "arguments", call.arguments.as_str().into());
            whole["name"] = call.name.as_str().into();
            let pieces = Pieces::new(call.arguments.as_str(), chunks);
            segments.extend([
                deltas("response.function_call_arguments.delta", pieces, place),
                Segment::one("response.function_call_arguments.done", whole),
            ]);
        }
    }
    segments.push(Segment::one("response.output_item.done", done));
    segments
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}
