//! The cures of requests: JSON stays JSON, and no byte changes but those of the members that a cure is about.

use std::{cell::RefCell, rc::Rc};

use http::{Request, Response};
use tower::Layer as _;
use tower_vertex::compat::{Cures, Signatures, VertexCompatLayer};

use crate::{
    body::{End, Pieces, call, collect, inner},
    cures,
    input::Input,
    json,
};

/// The members of a request that cures change.
const CHANGED: [&str; 7] = [
    "messages",
    "google",
    "extra_body",
    "reasoning_effort",
    "tool_choice",
    "max_tokens",
    "max_completion_tokens",
];

/// Texts that a message must have to be changed.
const TRIGGERS: [&str; 4] = ["developer", "system", "tool_calls", "\"\""];

/// A response with a signature for the call `call_a`, which later requests have lost.
const SIGNED: &str = r#"{"id":"r","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"SIGNED"}}}]}}]}"#;

const REFUSALS: [&str; 2] = [
    r#"[{"error":{"code":400,"message":"function call `f` in the 2. content block is missing a `thought_signature`.","status":"INVALID_ARGUMENT"}}]"#,
    r#"{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT"}}"#,
];

thread_local! {
    static SIGNATURES: Signatures = {
        let signatures = Signatures::default();
        let layer = VertexCompatLayer::new(Cures::default()).signatures(signatures.clone());
        let body = r#"{"model":"google/gemini-3-pro","messages":[]}"#;
        let mut service = layer.layer(inner(|_: Request<Vec<u8>>| {
            let response = Response::builder().header("content-type", "application/json");
            response.body(Pieces::new(&[SIGNED.as_bytes()], End::Complete)).unwrap()
        }));
        let body = Pieces::new(&[body.as_bytes()], End::Complete);
        let request = Request::post("/v1/chat/completions").body(body).unwrap();
        collect(call(&mut service, request).unwrap().into_body());
        signatures
    };
}

/// Controls: the path, the cures, whether the first request is refused, and the pieces. Text: the body.
pub fn run(data: &[u8]) {
    let Some(mut input) = Input::of(data) else { return };
    let path = ["/v1/chat/completions", "/v1/embeddings"][input.choose(2)];
    let (cures, _) = cures::choose(&mut input);
    let refusal = input.choose(3).checked_sub(1);
    let sent = send(path, cures, refusal, &input.pieces());
    assert_eq!(sent, send(path, cures, refusal, &[input.text]), "the pieces change the request");

    let (bodies, has_header) = sent;
    let before = std::str::from_utf8(input.text).ok().filter(|text| json::is_json(text));
    for body in &bodies {
        let Some(before) = before else {
            assert_eq!(body, input.text, "a body that is not JSON was changed");
            continue;
        };
        let after = std::str::from_utf8(body).expect("the cured body is UTF-8");
        assert!(json::is_json(after), "not JSON: {after}");
        check(before, after);
    }
    let Some(last) = bodies.last() else { return };
    assert_eq!(has_header, last != input.text, "the header does not say whether it was changed");
    if refusal.is_none() {
        let (again, _) = send(path, cures, None, &[last]);
        assert_eq!(again, bodies, "a cured request is not cured");
    }
}

/// The bodies that the layer sends, and whether the response names cures.
fn send(
    path: &str,
    cures: Cures,
    refusal: Option<usize>,
    pieces: &[&[u8]],
) -> (Vec<Vec<u8>>, bool) {
    let bodies: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
    let sent = Rc::clone(&bodies);
    let layer = VertexCompatLayer::new(cures).signatures(SIGNATURES.with(Clone::clone));
    let mut service = layer.layer(inner(move |request: Request<Vec<u8>>| {
        sent.borrow_mut().push(request.into_body());
        let response = Response::builder().header("content-type", "application/json");
        match refusal.filter(|_| sent.borrow().len() == 1).and_then(|at| REFUSALS.get(at)) {
            None => response.body(Pieces::new(&[b"{}"], End::Complete)).unwrap(),
            Some(body) => {
                response.status(400).body(Pieces::new(&[body.as_bytes()], End::Complete)).unwrap()
            }
        }
    }));
    let body = Pieces::new(pieces, End::Complete).waiting();
    let request = Request::post(path).body(body).unwrap();
    let response = call(&mut service, request).unwrap();
    let has_header = response.headers().contains_key("x-vertex-compat");
    collect(response.into_body());
    drop(service);
    (bodies.take(), has_header)
}

fn check(before: &str, after: &str) {
    let (Some(before), Some(after)) = (json::members(before), json::members(after)) else {
        assert_eq!(before, after, "a text that is no object was changed");
        return;
    };
    let others = |members: &[(&str, String, &str)]| -> Vec<(String, String)> {
        let members = members.iter().filter(|(_, key, _)| !CHANGED.contains(&key.as_str()));
        members.map(|(key, _, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(others(&before), others(&after));
    let messages = |members: &[(&str, String, &str)]| -> Vec<String> {
        let messages = members.iter().filter(|(_, key, _)| key == "messages");
        let messages = messages.filter_map(|(_, _, value)| json::elements(value));
        messages.flatten().map(str::to_owned).collect()
    };
    let after = messages(&after);
    let mut rest = after.iter();
    for message in messages(&before) {
        let may_change = TRIGGERS.iter().any(|trigger| message.contains(trigger));
        if !may_change && !message.contains('\\') {
            assert!(rest.any(|after| *after == message), "{message} is not in {after:?}");
        }
    }
}
