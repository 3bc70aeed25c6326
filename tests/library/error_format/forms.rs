//! Errors and streams for the clients of Gemini and of Anthropic.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_vertex::{
    Error,
    error::RouteError,
    error_format::{ErrorBody, VertexErrorLayer, refusal},
    route::Protocol,
};

use super::script::{Script, Step, call_layer, data, form, frames, response};

const GEMINI: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
const ANTHROPIC: &str = "/v1/messages";
const GOOGLE: &str = r#"{ "error": {"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED",
    "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3s"}]}}"#;

async fn at<B>(path: &str, answer: Response<B>) -> Response<ErrorBody<B>>
where
    B: http_body::Body<Data = Bytes, Error: Into<tower_vertex::BoxError>>,
{
    let request = Request::post(path).body(()).unwrap();
    call_layer(VertexErrorLayer::new(), request, answer).await
}

fn full(status: u16, kind: &'static str, body: &str) -> Response<Full<Bytes>> {
    response(status, &[("content-type", kind)], Full::from(body.to_owned()))
}

async fn text<B>(answer: Response<ErrorBody<B>>) -> String
where
    B: http_body::Body<Data = Bytes, Error: Into<tower_vertex::BoxError>>,
{
    let (data, _, end) = frames(answer.into_body()).await;
    assert!(end.is_ok());
    String::from_utf8(data.concat()).unwrap()
}

#[tokio::test]
async fn an_error_of_google_stays_googles_for_a_gemini_client_and_loses_its_array() {
    for path in [GEMINI, "/v1/projects/p/locations/l/endpoints/7:predict"] {
        let object = at(path, full(429, "application/json", GOOGLE)).await;
        assert_eq!((form(&object), object.headers()["retry-after"].as_bytes()), (None, &b"3"[..]));
        assert_eq!(text(object).await, GOOGLE);
        let array = at(path, full(429, "application/json", &format!("[{GOOGLE}]"))).await;
        assert_eq!(form(&array), Some("array"));
        assert_eq!(array.headers()["retry-after"], "3");
        let (array, object): (Value, Value) =
            (serde_json::from_str(&text(array).await).unwrap(), GOOGLE.parse().unwrap());
        assert_eq!(array, object);
    }
}

#[tokio::test]
async fn an_error_of_google_gets_anthropics_form_for_its_clients() {
    for path in [ANTHROPIC, "/v1/publishers/anthropic/models/claude-opus-4:rawPredict"] {
        for body in [GOOGLE.to_owned(), format!("[{GOOGLE}]")] {
            let answer = at(path, full(429, "application/json", &body)).await;
            assert_eq!(answer.headers()["retry-after"], "3");
            let error: Value = text(answer).await.parse().unwrap();
            assert_eq!(error["type"], "error");
            assert_eq!(error["error"]["type"], "rate_limit_error");
            assert_eq!(error["error"]["message"], "Slow down.");
            assert_eq!(error["error"]["google"]["status"], "RESOURCE_EXHAUSTED");
            assert_eq!(error["request_id"], Value::Null);
        }
    }
    let own = r#"{"type":"error", "error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let answer = at(ANTHROPIC, full(529, "application/json", own)).await;
    assert_eq!(form(&answer), None);
    assert_eq!(text(answer).await, own);
}

#[tokio::test]
async fn a_web_page_becomes_a_sentence_in_the_form_of_each_protocol() {
    let page = || full(404, "text/html", "<!DOCTYPE html>");
    let google: Value = text(at(GEMINI, page()).await).await.parse().unwrap();
    assert_eq!(google["error"]["code"], 404);
    assert_eq!(google["error"]["status"], "NOT_FOUND");
    let anthropic: Value = text(at(ANTHROPIC, page()).await).await.parse().unwrap();
    assert_eq!(anthropic["error"]["type"], "not_found_error");
    for error in [google, anthropic] {
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains("web page") && message.contains("host and location"), "{message}");
    }
}

#[tokio::test]
async fn an_interrupted_stream_of_events_ends_with_an_error_in_the_form_of_its_protocol() {
    for (path, last) in [
        (GEMINI, "data: {\"error\":{\"code\":503,"),
        (ANTHROPIC, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\","),
        ("/v1/publishers/anthropic/models/c:streamRawPredict", "event: error\n"),
        ("/v1/chat/completions", "data: {\"error\":{\"message\":"),
    ] {
        let steps = [data("event: a\ndata: 1\n\nevent: b\ndata: "), Step::Break];
        let events = [("content-type", "text/event-stream")];
        let answer = at(path, response(200, &events, Script::new(steps))).await;
        let text = text(answer).await;
        let rest = text.strip_prefix("event: a\ndata: 1\n\n").unwrap();
        assert!(rest.starts_with(last) && rest.ends_with("}\n\n"), "{path}: {rest}");
        let event = rest.split_once("data: ").unwrap().1;
        assert!(serde_json::from_str::<Value>(event).is_ok(), "{event}");
    }
}

#[tokio::test]
async fn a_failure_after_anthropics_last_event_is_a_clean_end() {
    let end = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    for (path, is_clean) in [(ANTHROPIC, true), ("/v1/chat/completions", false), (GEMINI, false)] {
        let events = [("content-type", "text/event-stream")];
        let steps = [data(end), Step::Break];
        let answer = at(path, response(200, &events, Script::new(steps))).await;
        assert_eq!(text(answer).await == end, is_clean, "{path}");
    }
}

#[tokio::test]
async fn an_interrupted_array_ends_with_an_error_as_its_last_element() {
    let json = [("content-type", "application/json; charset=UTF-8")];
    let whole = "[{\"text\":\"]}\"}\n,\r\n{\"text\":\"b\"}]";
    for at_byte in 0..whole.len() {
        for frame in [1, 3, 100] {
            let steps = whole.as_bytes()[..at_byte].chunks(frame).map(data).chain([Step::Break]);
            let answer = at(GEMINI, response(200, &json, Script::new(steps))).await;
            // The array stays open.
            let closed = text(answer).await + "]";
            let elements: Vec<Value> = serde_json::from_str(&closed).unwrap();
            let (last, before) = elements.split_last().unwrap();
            assert_eq!(last["error"]["code"], 503);
            let expected = [json!({ "text": "]}" }), json!({ "text": "b" })];
            assert_eq!(before, &expected[..before.len()]);
            assert_eq!(before.len(), usize::from(at_byte >= 14) + usize::from(at_byte >= 30));
        }
        // A clean end changes nothing.
        let answer = at(GEMINI, response(200, &json, Script::of(&[&whole[..at_byte]]))).await;
        assert_eq!(text(answer).await, whole[..at_byte]);
    }
}

#[tokio::test]
async fn other_responses_of_json_are_not_read() {
    let json = [("content-type", "application/json")];
    let with_length = [json[0], ("content-length", "100")];
    for (path, headers) in [
        ("/v1beta/models/m:generateContent", &json[..]),
        (ANTHROPIC, &json),
        ("/v1/chat/completions", &json),
        (GEMINI, &with_length),
    ] {
        let steps = [data("[{\"a\":1},{"), Step::Break];
        let answer = at(path, response(200, headers, Script::new(steps))).await;
        let (data, _, end) = frames(answer.into_body()).await;
        assert_eq!((data.concat(), end.is_err()), (b"[{\"a\":1},{".to_vec(), true), "{path}");
    }
}

#[test]
fn an_error_of_the_crate_has_each_form() {
    let error = Error::from(RouteError::MethodNotAllowed { method: "PUT".into(), allowed: "POST" });
    for (protocol, pointer, value) in [
        (Protocol::OpenAi, "/error/code", json!("method_not_allowed")),
        (Protocol::Gemini, "/error/details/0/reason", json!("METHOD_NOT_ALLOWED")),
        (Protocol::Gemini, "/error/code", json!(405)),
        (Protocol::Anthropic, "/error/details/error_code", json!("method_not_allowed")),
        (Protocol::Anthropic, "/error/type", json!("invalid_request_error")),
        (Protocol::Anthropic, "/type", json!("error")),
    ] {
        let response = error.to_response_for(protocol);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"POST".parse().unwrap())
        );
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body.pointer(pointer), Some(&value), "{body}");
        assert_eq!(body.pointer("/error/message"), Some(&error.to_string().into()));
        let same = refusal(protocol, error.status(), error.code(), &error.to_string());
        assert_eq!(same.body(), response.body());
    }
}
