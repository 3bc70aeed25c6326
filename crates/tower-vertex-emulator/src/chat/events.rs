//! The framing of a stream's events, and its deviations.

use serde_json::{Value, json};

use super::behavior::{ChatBehavior, StreamEvent};

/// A chunk, with the events that precede it. `is_edge` marks the first and the last chunk.
pub(crate) fn chunk(chunk: &Value, is_edge: bool, behavior: &ChatBehavior) -> String {
    let mut text = String::new();
    if is_edge && behavior.has(StreamEvent::KeepAlive) {
        text += &frame(": keepalive", behavior);
    }
    if is_edge && behavior.has(StreamEvent::EmptyData) {
        text += &frame("", behavior);
    }
    let data = if behavior.has(StreamEvent::MultiLineData) {
        format!("{chunk:#}")
    } else {
        chunk.to_string()
    };
    text + &frame(&data, behavior)
}

/// One event.
pub(crate) fn frame(data: &str, behavior: &ChatBehavior) -> String {
    let lines: Vec<String> = data.split('\n').map(|line| format!("data: {line}\n")).collect();
    let end = if behavior.has(StreamEvent::SingleNewlines) { "" } else { "\n" };
    lines.concat() + end
}

/// The error that ends a stream.
///
/// No source shows its bytes: users report an object like that of an error response. One reports
/// that a 499 CANCELLED came outside `data:`.
pub(crate) fn error(behavior: &ChatBehavior) -> String {
    let error = |code: u16, message: &str, status: &str| json!({ "error": { "code": code, "message": message, "status": status } });
    if behavior.has(StreamEvent::BareError) {
        return format!("{}\n\n", error(499, "The operation was cancelled.", "CANCELLED"));
    }
    let error = error(503, "The service is currently unavailable.", "UNAVAILABLE");
    frame(&error.to_string(), behavior)
}
