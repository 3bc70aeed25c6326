//! Requests that are sent once more after a refusal.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tower_vertex::compat::{AppliedCures, Cures, SignatureScope, Signatures, VertexCompatLayer};

use super::script::{MISSING, MODEL, Script, chat, conversation, outcome, signed};

const PLACEHOLDER: &str = "skip_thought_signature_validator";
const BARE: &str = r#"{"error":{"message":"Request contains an invalid argument."}}"#;

#[tokio::test]
async fn a_refusal_of_a_missing_signature_is_healed_by_one_resend_with_the_placeholder() {
    let (script, layer) = (Script::default(), VertexCompatLayer::default());
    script.respond(&[(400, MISSING), (200, "{}")]);
    let body = conversation(MODEL, "call-1");
    let mut request = chat(body.clone());
    request.headers_mut().insert("x-mine", "1".parse().unwrap());
    let response = script.send(&layer, request).await;
    assert_eq!(outcome(&response), (StatusCode::OK, Some("placeholder_signature")));
    let applied = response.extensions().get::<AppliedCures>().unwrap();
    assert_eq!(applied.placeholder_signatures(), 1);
    let seen = script.seen();
    let bodies: Vec<_> = seen.iter().map(|seen| &*seen.body).collect();
    assert_eq!(bodies, [&*body, &*signed(&body, PLACEHOLDER)]);
    for seen in &seen {
        assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
        assert_eq!(seen.headers["x-mine"], "1");
    }
    assert_eq!((layer.stats().placeholders, layer.stats().missing), (1, 1));
}

#[tokio::test]
async fn a_second_refusal_goes_to_the_caller() {
    let (script, layer) = (Script::default(), VertexCompatLayer::default());
    let again = MISSING.replace("2.", "4.");
    script.respond(&[(400, MISSING), (400, &again), (200, "{}")]);
    let response = script.send(&layer, chat(conversation(MODEL, "call-1"))).await;
    assert_eq!(outcome(&response), (StatusCode::BAD_REQUEST, Some("placeholder_signature")));
    assert_eq!(response.body(), &again);
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test]
async fn any_other_response_goes_to_the_caller_unchanged_and_nothing_is_sent_again() {
    let script = Script::default();
    let layer = VertexCompatLayer::default();
    let body = conversation(MODEL, "call-1");
    for (status, error) in [(400, BARE), (500, MISSING), (429, MISSING), (400, ""), (200, MISSING)]
    {
        script.respond(&[(status, error)]);
        let response = script.send(&layer, chat(body.clone())).await;
        assert_eq!((response.status().as_u16(), &response.body()[..]), (status, error.as_bytes()));
        assert_eq!(script.bodies(), [&*body]);
    }
    // Nothing is missing, or the cure is off, or the request calls no tool.
    let off = VertexCompatLayer::new(Cures::default().placeholder_signature(false));
    for (layer, body) in [
        (&layer, signed(&body, "CLIENT")),
        (&off, body.clone()),
        (&layer, format!(r#"{{"model":"{MODEL}","messages":[]}}"#)),
    ] {
        script.respond(&[(400, MISSING)]);
        let response = script.send(layer, chat(body.clone())).await;
        assert_eq!(outcome(&response), (StatusCode::BAD_REQUEST, None));
        assert_eq!(response.body(), MISSING);
        assert_eq!(script.bodies(), [body]);
    }
}

#[tokio::test]
async fn a_restored_signature_that_is_refused_gives_way_to_the_placeholder() {
    let (script, signatures) = (Script::default(), Signatures::new());
    signatures.remember(signatures.owner("a", "", MODEL), "call-1", "OLD");
    let layer = VertexCompatLayer::default().signatures(signatures);
    let invalid = r#"{"error":{"message":"Unable to submit request because Thought signature is not valid."}}"#;
    let body = conversation(MODEL, "call-1").replace("\"user\"", "\"user\", \"x\": 1");
    script.respond(&[(400, invalid)]);
    let mut request = chat(body.clone());
    request.extensions_mut().insert(SignatureScope::new("a"));
    let response = script.send(&layer, request).await;
    assert_eq!(outcome(&response), (StatusCode::OK, Some("placeholder_signature")));
    assert_eq!(script.bodies(), [signed(&body, "OLD"), signed(&body, PLACEHOLDER)]);

    // A signature of the client's own is never replaced.
    script.respond(&[(400, invalid)]);
    let response = script.send(&layer, chat(signed(&body, "CLIENT"))).await;
    assert_eq!(outcome(&response), (StatusCode::BAD_REQUEST, None));
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test]
async fn blank_content_is_sent_only_if_the_cure_is_on() {
    let body = conversation(MODEL, "call-1");
    let body = body.replace("\"tool_calls\"", "\"content\": \"I look.\", \"tool_calls\"");
    for (cures, sent) in [(Cures::default(), 1), (Cures::default().blank_content(true), 2)] {
        let (script, layer) = (Script::default(), VertexCompatLayer::new(cures));
        script.respond(&[(400, BARE)]);
        let response = script.send(&layer, chat(body.clone())).await;
        let bodies = script.bodies();
        assert_eq!(bodies.len(), sent);
        if let Some(second) = bodies.get(1) {
            assert_eq!(outcome(&response), (StatusCode::OK, Some("blank_content")));
            assert_eq!(*second, body.replace("I look.", ""));
        }
    }
}

#[tokio::test]
async fn an_error_that_is_too_long_or_compressed_is_forwarded_whole() {
    let (script, layer) = (Script::default(), VertexCompatLayer::default());
    let long = MISSING.repeat(2 << 10);
    script.respond(&[(400, &long)]);
    let response = script.send(&layer, chat(conversation(MODEL, "call-1"))).await;
    assert_eq!((response.status(), response.body() == &long), (StatusCode::BAD_REQUEST, true));
    let compressed = Response::builder().status(400).header("content-encoding", "gzip");
    script.respond_with(compressed.body(Full::<Bytes>::from(MISSING)).unwrap());
    let response = script.send(&layer, chat(conversation(MODEL, "call-1"))).await;
    assert_eq!((response.status(), response.body() == MISSING), (StatusCode::BAD_REQUEST, true));
    assert_eq!(script.seen().len(), 2);
}
