//! Streams that the error layer forwards: complete events at once, the rest held back within a bound, and
//! an error after the last complete event if the stream breaks.

use http::{Request, Response};
use serde_json::Value;
use tower::Layer as _;
use tower_vertex::error_format::VertexErrorLayer;

use crate::{
    body::{End, Pieces, call, each_frame, inner},
    input::Input,
    json, sse,
};

/// The paths of the protocols, and the type of the response.
const KINDS: [(&str, &str); 4] = [
    ("/v1/chat/completions", "text/event-stream"),
    ("/v1beta/models/m:streamGenerateContent", "text/event-stream; charset=utf-8"),
    ("/v1/messages", "text/event-stream"),
    ("/v1beta/models/m:streamGenerateContent", "application/json"),
];

/// An event of at most this length is held back whole, for each division into pieces. The layer's own limit counts the
/// memory, which is up to twice as much and a chunk more.
const SURELY_HELD: usize = 512;
/// The layer's limit in a build for fuzzing, with the largest piece.
const MOST_HELD: usize = (2 << 10) + 256;

/// Controls: the kind, whether the stream breaks, and the pieces. Text: the stream.
pub fn run(data: &[u8]) {
    let Some(mut input) = Input::of(data) else { return };
    let kind = input.choose(KINDS.len());
    let end = if input.choose(2) == 0 { End::Complete } else { End::Broken };
    let pieces = input.pieces();
    let (out, failed) = forward(kind, &pieces, end);
    match kind {
        3 => check_array(&input, end, &out, failed),
        _ => check_events(kind, &input, end, &out, failed),
    }
}

/// The bytes that the layer forwards, and whether its body fails.
fn forward(kind: usize, pieces: &[&[u8]], end: End) -> (Vec<u8>, bool) {
    let (path, content_type) = KINDS[kind];
    let text = pieces.concat();
    let complete = if kind == 3 { Vec::new() } else { sse::complete(&text) };
    let body = Pieces::new(pieces, end).waiting();
    let given = body.given();
    let body = std::cell::RefCell::new(Some(body));
    let body = std::rc::Rc::new(body);
    let mut service = VertexErrorLayer::new().layer(inner(move |_: Request<Vec<u8>>| {
        let body = body.borrow_mut().take().unwrap();
        Response::builder().header("content-type", content_type).body(body).unwrap()
    }));
    let request = Request::post(path).body(Pieces::new(&[], End::Complete)).unwrap();
    let response = call(&mut service, request).unwrap();
    assert_eq!(response.status(), 200);
    let mut out = Vec::new();
    let failed = each_frame(response.into_body(), |data| match data {
        Some(data) => out.extend_from_slice(&data),
        None => {
            let given = &text[..given.get()];
            let complete = complete.get(given.len());
            assert!(given.starts_with(&out), "a byte was changed, or came too early");
            let held = given.len() - out.len();
            assert!(held <= MOST_HELD, "{held} bytes are held back");
            if let Some(&complete) = complete {
                assert!(out.len() >= complete, "a complete event was held back");
                if given.len() - complete <= SURELY_HELD {
                    assert_eq!(out.len(), complete, "a part of an event was forwarded");
                }
            }
        }
    });
    (out, failed)
}

fn check_events(kind: usize, input: &Input<'_>, end: End, out: &[u8], failed: bool) {
    let text = input.text;
    if end == End::Complete {
        assert!(!failed && out == text, "a stream that ended was changed");
        return;
    }
    let complete = *sse::complete(text).last().expect("the first is that of no bytes");
    let events = sse::events(&text[..complete]);
    let is_done = match kind {
        0 => events
            .iter()
            .any(|event| is_line(text, complete, b"data:", b"[DONE]") && !event.data.is_empty()),
        2 => is_line(text, complete, b"event:", b"message_stop"),
        _ => false,
    };
    if failed {
        assert!(text.len() - complete > SURELY_HELD, "the failure was not reported as an event");
        return;
    }
    if is_done {
        // The failure is taken for the end. A half event behind the last one is dropped.
        assert!(text.starts_with(out) && out.len() >= complete);
        return;
    }
    let forwarded = text.iter().zip(out).take_while(|(came, went)| came == went).count();
    assert!(forwarded >= complete);
    let mut expected = events;
    let all = sse::events(out);
    let last = all.last().expect("the failure was reported");
    let error: Value = serde_json::from_slice(&last.data).expect("the error is JSON");
    assert!(error["error"]["message"].is_string());
    assert_eq!(last.name == b"error", kind == 2);
    expected.push(last.clone());
    assert_eq!(all, expected, "the client reads other events");
    let (again, _) = forward(kind, &[text], end);
    if text.len() - complete <= SURELY_HELD {
        assert_eq!(again, out);
    }
}

/// Whether a complete event has this line, with any number of spaces before its value.
fn is_line(text: &[u8], complete: usize, field: &[u8], value: &[u8]) -> bool {
    let mut lines = sse::lines(&text[..complete]).into_iter();
    lines.any(|line| {
        let rest = line.content.strip_prefix(field).unwrap_or_default();
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        &rest[spaces..] == value
    })
}

fn check_array(input: &Input<'_>, end: End, out: &[u8], failed: bool) {
    let text = input.text;
    if end == End::Complete {
        assert!(!failed && out == text, "an array that ended was changed");
        return;
    }
    if text.len() <= SURELY_HELD {
        assert_eq!(forward(3, &[text], end), (out.to_vec(), failed));
    }
    // The text is the beginning of an array of objects if some brackets complete it.
    let Ok(text) = std::str::from_utf8(text) else { return };
    let whole = ["]", "}]", "\"}]", ""].iter().find_map(|rest| {
        let whole = format!("{text}{rest}");
        let elements = json::elements(&whole)?;
        let are_objects = elements.iter().all(|element| element.starts_with('{'));
        are_objects.then(|| elements.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    let Some(whole) = whole.filter(|_| !failed && json::depth(text.as_bytes()) < 100) else {
        return;
    };
    if out == text.as_bytes() {
        // Complete, or nothing to report.
        return;
    }
    let out = String::from_utf8_lossy(out) + "]";
    let elements = json::elements(&out).unwrap_or_else(|| panic!("{out:?} is no open array"));
    let (last, before) = elements.split_last().unwrap();
    assert!(last.contains("STREAM_INTERRUPTED"), "{out}");
    assert!(before.iter().zip(&whole).all(|(a, b)| a == b) && before.len() <= whole.len(), "{out}");
}
