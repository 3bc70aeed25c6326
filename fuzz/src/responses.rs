//! The cures of responses: the same result for any division into pieces, JSON stays JSON, and no member
//! changes but those that a cure is about.

use std::{cell::RefCell, rc::Rc};

use http::{Request, Response};
use serde_json::Value;
use tower::Layer as _;
use tower_vertex::compat::{Cure, Cures, VertexCompatLayer};

use crate::{
    body::{End, Pieces, call, each_frame, inner},
    cures,
    input::Input,
    json, sse,
};

/// The path, the body and the type of the response.
const KINDS: [(&str, &str, &str); 4] = [
    (
        "/v1/chat/completions",
        r#"{"model":"google/gemini-2.5-flash","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
        "text/event-stream",
    ),
    (
        "/v1/chat/completions",
        r#"{"model":"google/gemini-3-pro","messages":[],"stream":true}"#,
        "text/event-stream",
    ),
    (
        "/v1/chat/completions",
        r#"{"model":"google/gemini-2.5-flash","messages":[]}"#,
        "application/json",
    ),
    (
        "/v1/embeddings",
        r#"{"model":"google/gemini-embedding-001","input":"x","encoding_format":"base64"}"#,
        "application/json",
    ),
];

/// The layer's limit for an incomplete event, in a build for fuzzing.
const HOLD_LIMIT: usize = 2 << 10;

/// Controls: the kind, the cures, and the pieces. Text: the response.
pub fn run(data: &[u8]) {
    let Some(mut input) = Input::of(data) else { return };
    let kind = input.choose(KINDS.len());
    let (cures, only) = cures::choose(&mut input);
    let out = answer(kind, cures, &input.pieces());
    // A longer event is cured only if it arrives in one piece.
    let is_stream = kind < 2;
    if !is_stream || input.text.len() <= HOLD_LIMIT {
        assert_eq!(show(&out), show(&answer(kind, cures, &[input.text])), "the pieces change it");
        let bytes: Vec<&[u8]> = input.text.chunks(1).collect();
        assert_eq!(show(&out), show(&answer(kind, cures, &bytes)), "the pieces change it");
    }
    match is_stream {
        true => check_stream(cures, only, input.text, &out),
        false => check_body(only, input.text, &out),
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The response that the client gets.
fn answer(kind: usize, cures: Cures, pieces: &[&[u8]]) -> Vec<u8> {
    // Ids that are missing are made up.
    fastrand::seed(1);
    let (path, request, content_type) = KINDS[kind];
    let text = pieces.concat();
    let body = Pieces::new(pieces, End::Complete).waiting();
    let given = body.given();
    let body = Rc::new(RefCell::new(Some(body)));
    let mut service = VertexCompatLayer::new(cures).layer(inner(move |_: Request<Vec<u8>>| {
        let response = Response::builder().header("content-type", content_type);
        response.body(body.borrow_mut().take().unwrap()).unwrap()
    }));
    let body = Pieces::new(&[request.as_bytes()], End::Complete);
    let response = call(&mut service, Request::post(path).body(body).unwrap()).unwrap();
    let (mut out, mut held) = (Vec::new(), 0);
    let failed = each_frame(response.into_body(), |data| match data {
        Some(data) => out.extend_from_slice(&data),
        None => held = held.max(given.get().saturating_sub(out.len())),
    });
    assert!(!failed);
    if out == text && kind < 2 {
        let longest = pieces.iter().map(|piece| piece.len()).max().unwrap_or_default();
        assert!(held <= HOLD_LIMIT.max(longest), "{held} bytes are held back");
    }
    out
}

/// The members that a cure of responses may change, anywhere.
fn changed_by(cure: Cure) -> &'static [&'static str] {
    match cure {
        Cure::Role => &["role"],
        Cure::FinishReason => &["finish_reason", "native_finish_reason"],
        Cure::StopAfterCalls => &["finish_reason"],
        Cure::MissingMembers => {
            &["delta", "choices", "usage", "message", "content", "role", "finish_reason"]
        }
        Cure::ToolCalls => &["index", "id", "type", "name", "tool_calls"],
        Cure::ReasoningTokens => &["completion_tokens"],
        Cure::Thoughts => &["content", "reasoning_content"],
        Cure::UsageChunk => &["usage"],
        Cure::Events => &["error"],
        Cure::Embeddings => &["data", "usage"],
        _ => &[],
    }
}

fn without(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(map) => {
            keys.iter().for_each(|key| drop(map.remove(*key)));
            map.values_mut().for_each(|value| without(value, keys));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| without(value, keys)),
        _ => {}
    }
}

fn parsed(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// Asserts that a text differs only in what this cure may change.
fn compare(only: Option<Cure>, before: &[u8], after: &[u8]) {
    let Some(mut before) = parsed(before) else { return };
    let after = parsed(after);
    let mut after = after.unwrap_or_else(|| panic!("{before} is no JSON any more"));
    if let Some(cure) = only {
        without(&mut before, changed_by(cure));
        without(&mut after, changed_by(cure));
        assert_eq!(before, after, "{cure:?} changes another member");
    }
}

fn check_body(only: Option<Cure>, before: &[u8], after: &[u8]) {
    if std::str::from_utf8(before).is_ok_and(json::is_json) {
        assert!(std::str::from_utf8(after).is_ok_and(json::is_json), "{}", show(after));
        compare(only, before, after);
    } else {
        assert_eq!(show(before), show(after), "a body that is not JSON was changed");
    }
}

fn check_stream(cures: Cures, only: Option<Cure>, before: &[u8], after: &[u8]) {
    // These two add events, and divide those that have several texts.
    if cures.is_on(Cure::Events) || cures.is_on(Cure::UsageChunk) {
        let count =
            |text: &[u8]| sse::events(text).iter().filter(|event| is_text(&event.data)).count();
        assert!(count(after) >= count(before), "an event is lost: {}", show(after));
        return;
    }
    let (events, cured) = (sse::events(before), sse::events(after));
    assert_eq!(events.len(), cured.len(), "the number of events differs");
    for (before, after) in events.iter().zip(&cured) {
        assert_eq!(before.name, after.name);
        match is_text(&before.data) {
            true => compare(only, &before.data, &after.data),
            false => assert_eq!(show(&before.data), show(&after.data)),
        }
    }
}

fn is_text(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(json::is_json)
}
