//! Paths that are refused, and errors in OpenAI's form.

use super::*;

#[tokio::test]
async fn no_path_leads_out_of_the_endpoint() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let long = format!("/v1/{}", "a".repeat(64 << 10));
    let long_known = format!("/v1/chat/completions?alt={}", "a".repeat(65_500));
    for path in [
        "/v1/../..",
        "/v1/../../v1/chat/completions",
        "/../chat/completions",
        "/v1/%2e%2e/chat/completions",
        "/v1/.%2E/chat",
        "/v1/chat%2Fcompletions",
        "/v1/chat%5Ccompletions",
        "/v1/chat\\completions",
        "//chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions//",
        "/v1/chat/completions%00",
        "/v1/chat/completions%0d%0aHost:%20evil.com",
        "/v1/chat/completions\u{7}",
        "/v1/chatter/completions",
        "/v1/models",
        "/",
        "*",
        "http://evil.com/v1/chat/completions",
        "https://evil.com:443/v1/chat/completions",
        &long,
        &long_known,
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = gateway.raw(request.as_bytes()).await;
        let shown: String = path.chars().take(60).collect();
        assert!(answer.starts_with("HTTP/1.1 4"), "{shown}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).expect(&answer);
        assert!(body["error"]["message"].is_string() && body["error"]["code"].is_string());
    }
    // More headers than allowed, and a second request on a connection that served a first one.
    let headers =
        format!("GET /v1/x HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(200));
    let answer = gateway.raw(headers.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") && answer.contains("request_headers_too_large"),
        "{answer}"
    );
    let two = b"GET /v1/files HTTP/1.1\r\nhost: localhost\r\n\r\nGET /\x07 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = gateway.raw(two).await;
    assert!(
        answer.contains("unsupported_path") && answer.contains("malformed_request"),
        "{answer}"
    );
    assert_eq!(vertex.stats().api_requests, 0, "{:?}", vertex.requests());
    // The gateway still serves.
    assert_eq!(gateway.call(chat("x")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn credentials_in_a_query_are_not_forwarded() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let mut request = chat("x");
    *request.uri_mut() =
        "/v1/chat/completions?alt=sse&key=SECRET&b=%20&access_token=SECRET".parse().unwrap();
    request.headers_mut().insert("x-goog-api-key", "SECRET".parse().unwrap());
    assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
    assert_eq!(vertex.requests()[0].query.as_deref(), Some("alt=sse"));
}

#[tokio::test]
async fn errors_of_the_gateway_have_openais_form() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(
        &vertex,
        &["--max-request-bytes", "1000", "--response-header-timeout", "1"],
    )
    .await;

    let (status, code, message) = openai_error(gateway.call(chat(&"x".repeat(2000))).await).await;
    assert_eq!((status, code.as_str()), (413, "request_too_large"));
    assert!(message.contains("1000 bytes"), "{message}");
    let chunked = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
        "x".repeat(2000)
    );
    let answer = gateway.raw(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let slow = StreamBehavior { first_byte_delay: Duration::from_secs(600), ..Default::default() };
    vertex.set_faults(Faults { stream: slow, ..Faults::default() });
    let (status, code, _) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, code.as_str()), (504, "upstream_timeout"));

    let (status, code, message) = openai_error({
        let mut request = chat("x");
        *request.uri_mut() = "/v1/files".parse().unwrap();
        gateway.call(request).await
    })
    .await;
    assert_eq!((status, code.as_str()), (404, "unsupported_path"));
    assert!(message.contains("/v1/files") && message.contains("/chat/completions"), "{message}");
}

#[tokio::test]
async fn an_unreachable_upstream_is_a_502_and_a_missing_token_a_503() {
    let vertex = Emulator::start().await.unwrap();
    let unused = ClosedPort::new();
    let nowhere = format!("http://{unused}");
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(vertex.service_account_key().as_bytes()).unwrap();
    let gateway = Gateway::start(command(&[
        "--listen",
        "127.0.0.1:0",
        "--project",
        "p1",
        "--location",
        "us-central1",
        "--upstream",
        &nowhere,
        "--credentials",
        key.path().to_str().unwrap(),
    ]))
    .await;
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, code.as_str()), (502, "upstream_unreachable"));
    assert!(message.contains(&nowhere), "{message}");

    let fail = TokenFault { status: 503, times: None };
    vertex.set_token_behavior(TokenBehavior { fail: Some(fail), ..TokenBehavior::default() });
    let gateway = Gateway::before(&vertex, &[]).await;
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, code.as_str()), (503, "token_unavailable"));
    assert!(message.contains("the token endpoint returned 503"), "{message}");
}

#[tokio::test]
async fn errors_of_vertex_ai_have_openais_form() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    for status in [400, 403, 404, 429, 500, 503] {
        for shape in [None, Some(ErrorShape::Array), Some(ErrorShape::Object)] {
            let fault = ApiFault { shape, ..ApiFault::new(status) };
            vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
            let (told, code, message) = openai_error(gateway.call(chat("x")).await).await;
            assert_eq!((told, code), (status, status.to_string()));
            assert!(!message.is_empty() && !message.contains('{'), "{message}");
        }
    }
    let fault = ApiFault { retry_delay: Some("1.5s".into()), ..ApiFault::new(429) };
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
    let answer = gateway.call(chat("x")).await;
    assert_eq!(answer.headers()["retry-after"], "2");
    let body: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(body["error"]["google"]["status"], "RESOURCE_EXHAUSTED");

    let page = ApiFault { shape: Some(ErrorShape::Html), ..ApiFault::new(404) };
    vertex.set_faults(Faults { api: Some(page), ..Faults::default() });
    let (status, _, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!(status, 404);
    assert!(message.contains("us-central1"), "the message names the location: {message}");
}

#[tokio::test]
async fn a_stream_that_is_closed_early_ends_with_an_error_event() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let stream = StreamBehavior { cut_after: Some(2), ..StreamBehavior::default() };
    vertex.set_faults(Faults { stream, ..Faults::default() });
    let stream = text(gateway.call(crate::common::chat_stream("x")).await).await;
    let last = stream.trim_end().lines().last().unwrap();
    assert!(last.contains(r#""code":"stream_interrupted""#), "{stream}");
    assert_eq!(stream.matches("data: ").count(), 3, "{stream}");
}
