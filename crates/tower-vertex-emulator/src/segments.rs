//! The named events of a stream, in segments that are made as they are sent.

use serde_json::{Value, json};

use super::pieces::Pieces;

/// Some events in succession.
pub(crate) struct Segment {
    count: usize,
    event: Box<dyn Fn(usize) -> (&'static str, Value) + Send>,
}

impl Segment {
    pub(crate) fn one(kind: &'static str, event: Value) -> Self {
        Self { count: 1, event: Box::new(move |_| (kind, event.clone())) }
    }

    /// An event for each piece of a text.
    pub(crate) fn deltas(
        kind: &'static str,
        pieces: Pieces,
        event: impl Fn(&str) -> Value + Send + 'static,
    ) -> Self {
        let count = pieces.count();
        Self { count, event: Box::new(move |piece| (kind, event(pieces.get(piece)))) }
    }

    /// The number of events in all segments.
    pub(crate) fn total(segments: &[Self]) -> usize {
        segments.iter().map(|segment| segment.count).sum()
    }

    /// The name and the data of the event with this number, which is below [`total`](Self::total).
    pub(crate) fn event(segments: &[Self], mut number: usize) -> (&'static str, Value) {
        for segment in segments {
            if number < segment.count {
                let (kind, mut event) = (segment.event)(number);
                event["type"] = kind.into();
                return (kind, event);
            }
            number -= segment.count;
        }
        ("ping", json!({ "type": "ping" }))
    }
}
