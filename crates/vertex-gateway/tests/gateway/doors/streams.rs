//! Streams of the three protocols: their usage, and their interruption.

use super::*;

const PART: &str = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2,"thoughtsTokenCount":30,"totalTokenCount":39,"trafficType":"ON_DEMAND"}}"#;
const START: &str = r#"{"type":"message_start","message":{"type":"message","content":[],"usage":{"input_tokens":5,"cache_creation_input_tokens":11,"cache_read_input_tokens":100,"output_tokens":1}}}"#;
const DELTA: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":42}}"#;

/// The path and the parts of a stream, and the usage in its log line.
fn streams() -> Vec<(&'static str, &'static str, Vec<String>, &'static str)> {
    let event = |name: &str, data: &str| format!("event: {name}\ndata: {data}\n\n");
    vec![
        (
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            "text/event-stream",
            vec![format!("data: {PART}\r\n\r\n"), format!("data: {PART}\r\n\r\n")],
            "input_tokens=7 output_tokens=32 reasoning_output_tokens=30 traffic_type=\"ON_DEMAND\"",
        ),
        (
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            "application/json",
            vec![format!("[{PART}\n"), format!(",\r\n{PART}\n"), "]".to_owned()],
            "input_tokens=7 output_tokens=32 reasoning_output_tokens=30 traffic_type=\"ON_DEMAND\"",
        ),
        (
            "/v1/publishers/anthropic/models/claude-opus-4-5:streamRawPredict",
            "text/event-stream",
            vec![
                event("message_start", START),
                event("message_delta", DELTA),
                event("message_stop", "{}"),
            ],
            "input_tokens=116 cache_read_input_tokens=100 cache_creation_input_tokens=11 output_tokens=42",
        ),
        (
            "/v1/messages",
            "text/event-stream",
            vec![
                event("message_start", START),
                event("message_delta", DELTA),
                event("message_stop", "{}"),
            ],
            "input_tokens=116 cache_read_input_tokens=100 cache_creation_input_tokens=11 output_tokens=42",
        ),
    ]
}

/// The response, and the line of the log with `logged`.
async fn stream(place: &Place, path: &str, response: String, logged: &str) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = place.open(&url, &[]).await;
    let body = json!({ "model": CLAUDE, "stream": true, "messages": [] });
    let (answer, _) = tokio::join!(gateway.call(post(path, &body)), respond(&listener, &response));
    assert_eq!(answer.status(), 200);
    let body = http_body_util::BodyExt::collect(answer.into_body()).await;
    let body = String::from_utf8(body.expect("a clean end").to_bytes().to_vec()).unwrap();
    // The sidecar ends with this function.
    (body, place.logged(logged).await)
}

#[tokio::test]
async fn the_usage_of_each_protocol_is_logged() {
    let place = Place::new().await;
    for (path, kind, parts, usage) in streams() {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let response = chunked(kind, &parts, true);
        let (came, line) = stream(&place, path, response, "status=200").await;
        assert_eq!(came, parts.concat());
        assert!(line.contains(usage), "{path}: {line}");
    }
}

#[tokio::test]
async fn an_interrupted_stream_ends_with_an_error_that_its_client_reads() {
    let place = Place::new().await;
    for (path, kind, parts, _) in streams() {
        // The last part is incomplete.
        let begin = &parts[1][..parts[1].len() / 2];
        let response = chunked(kind, &[&parts[0], begin], false);
        let (came, line) = stream(&place, path, response, "end=\"upstream_reset\"").await;
        assert!(line.contains("status=200"), "{line}");
        let rest = came.strip_prefix(parts[0].as_str()).expect(&came);
        let is_array = kind == "application/json";
        if is_array {
            // The array stays open, so that no client takes the stream for complete.
            let elements: Vec<Value> = serde_json::from_str(&format!("{came}]")).expect(&came);
            assert_eq!(elements.len(), 2);
            assert_eq!(elements[1]["error"]["status"], "UNAVAILABLE");
            continue;
        }
        let (name, data) = rest.split_once("data: ").unwrap();
        let error: Value = serde_json::from_str(data.trim_end()).expect(rest);
        if Protocol::of(path.split('?').next().unwrap()) == Protocol::Anthropic {
            assert_eq!((name, &error["type"]), ("event: error\n", &json!("error")));
            assert_eq!(error["error"]["details"]["error_code"], "stream_interrupted");
        } else {
            assert_eq!((name, &error["error"]["code"]), ("", &json!(503)));
            assert_eq!(error["error"]["details"][0]["reason"], "STREAM_INTERRUPTED");
            assert!(data.starts_with("{\"error\":"), "google-genai looks for this beginning");
        }
    }
}
