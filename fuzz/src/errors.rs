//! Bodies of errors: for any body that Vertex AI sends, the client gets JSON in the form of its protocol.

use http::{Request, Response, header};
use serde_json::Value;
use tower::Layer as _;
use tower_vertex::{
    error_format::VertexErrorLayer,
    route::{Endpoint, Upstream},
};

use crate::{
    body::{End, Pieces, call, collect, inner},
    input::Input,
    json,
};

const PATHS: [&str; 3] =
    ["/v1/chat/completions", "/v1beta/models/m:generateContent", "/v1/messages"];
const STATUSES: [u16; 16] =
    [400, 401, 403, 404, 405, 408, 409, 413, 429, 499, 500, 502, 503, 529, 302, 999];
const TYPES: [Option<&str>; 6] = [
    None,
    Some("application/json; charset=UTF-8"),
    Some("text/html; charset=UTF-8"),
    Some("text/plain"),
    Some("TEXT/HTML"),
    Some("\u{fc}"),
];
/// The longest body that the layer reads.
const LIMIT: usize = 2048;

/// Controls: the protocol, the status, the type, the upstream, the end, and the pieces. Text: the body.
pub fn run(data: &[u8]) {
    let Some(mut input) = Input::of(data) else { return };
    let protocol = input.choose(PATHS.len());
    let status = STATUSES[input.choose(STATUSES.len())];
    let content_type = TYPES[input.choose(TYPES.len())];
    let upstream = upstream(input.choose(4));
    let end = if input.choose(8) == 7 { End::Broken } else { End::Complete };
    let is_encoded = input.choose(16) == 15;

    let answer = |pieces: &[&[u8]]| {
        let body = std::rc::Rc::new(std::cell::RefCell::new(Some(Pieces::new(pieces, end))));
        let upstream = upstream.clone();
        let layer = VertexErrorLayer::new().body_limit(LIMIT).accept_compressed(true);
        let mut service = layer.layer(inner(move |_: Request<Vec<u8>>| {
            let mut response = Response::builder().status(status);
            if let Some(content_type) = content_type {
                response = response.header("content-type", content_type.as_bytes());
            }
            if is_encoded {
                response = response.header("content-encoding", "gzip");
            }
            let mut response = response.body(body.borrow_mut().take().unwrap()).unwrap();
            if let Some(upstream) = upstream.clone() {
                response.extensions_mut().insert(upstream);
            }
            response
        }));
        let request = Request::post(PATHS[protocol]).body(Pieces::new(&[], End::Complete)).unwrap();
        let (head, body) = call(&mut service, request).unwrap().into_parts();
        let (body, failed) = collect(body);
        (head, body, failed)
    };
    let (head, body, failed) = answer(&input.pieces());
    assert_eq!(head.status, status);
    let (_, whole, _) = answer(&[input.text]);
    // Over the limit, the message names it; how much was read before depends on the pieces.
    assert_eq!(body, whole, "the pieces change the error");

    let Some(form) = head.headers.get("x-vertex-error-type") else {
        if is_encoded {
            return;
        }
        // The bytes of OpenAI's, Anthropic's and other JSON, and of Google's for Gemini's clients.
        assert!(!failed && body == input.text, "the body was changed");
        assert!(std::str::from_utf8(&body).is_ok_and(json::is_json), "not JSON: {body:?}");
        return;
    };
    assert!(!failed && !is_encoded);
    assert!(["array", "object", "html", "other"].iter().any(|known| form == known));
    assert!(body.len() <= 6 * LIMIT + 4096, "an error of {} bytes", body.len());
    assert_eq!(head.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(head.headers[header::CONTENT_LENGTH], body.len().to_string());
    if let Some(seconds) = head.headers.get(header::RETRY_AFTER) {
        assert!(seconds.to_str().unwrap().parse::<u64>().unwrap() > 0);
    }
    let value: Value = serde_json::from_slice(&body).expect("the error is JSON");
    let error = &value["error"];
    assert!(error["message"].as_str().is_some_and(|message| !message.trim().is_empty()), "{value}");
    // The code is the status, or one that the body has.
    let text = String::from_utf8_lossy(input.text);
    let is_known = |code: &str| code == status.to_string() || text.contains(code);
    match protocol {
        0 => {
            assert!(error["code"].as_str().is_some_and(is_known), "{value}");
            assert!(error["type"].is_string() && error["code"].is_string(), "{value}");
            assert!(error["param"].is_null() || error["param"].is_string(), "{value}");
        }
        1 => {
            let code = error["code"].as_i64().map(|code| code.to_string());
            assert!(code.as_deref().is_some_and(is_known), "{value}");
            assert!(error["status"].is_string(), "{value}");
        }
        _ => {
            assert!(value["type"] == "error" && error["type"].is_string(), "{value}");
            assert!(value.get("request_id").is_some(), "{value}");
        }
    }
}

fn upstream(choice: usize) -> Option<Upstream> {
    let builder = Upstream::builder().project("p").location("us-central1");
    match choice {
        0 => None,
        1 => builder.build().ok(),
        2 => builder.origin("https://eu-aiplatform.googleapis.com").build().ok(),
        _ => {
            let url = "http://127.0.0.1:9/x".to_owned();
            Upstream::builder().endpoint(Endpoint::BaseUrl { url }).build().ok()
        }
    }
}
