//! The sidecar's own errors, and Vertex AI's, in the form of each client.

use super::*;

const FORMS: [(Protocol, &str); 5] = [
    (Protocol::OpenAi, "/v1/chat/completions"),
    (Protocol::OpenAi, "/v1/publishers/openai/v1/responses"),
    (Protocol::Gemini, "/v1beta/models/gemini-2.5-flash:generateContent"),
    (Protocol::Anthropic, "/v1/messages"),
    (Protocol::Anthropic, "/v1/publishers/anthropic/models/claude-opus-4-5:rawPredict"),
];

fn request(path: &str) -> Request<Full<Bytes>> {
    post(path, &json!({ "model": CLAUDE, "messages": [] }))
}

#[tokio::test]
async fn each_error_of_the_sidecar_has_the_form_of_the_client() {
    let place = Place::new().await;
    // Nothing listens there.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let options = ["--max-request-bytes", "1KB"];
    let gateway = place.open(&format!("http://{closed}"), &options).await;
    for (protocol, path) in FORMS {
        let mut get = request(path);
        *get.method_mut() = http::Method::PUT;
        let long = post(path, &json!({ "model": CLAUDE, "x": "y".repeat(2000) }));
        let upgrade = with(with(request(path), "connection", "upgrade"), "upgrade", "websocket");
        let unread = with(request(path), "content-encoding", "compress");
        let pages = with(request(path), "origin", "https://evil.example");
        for (request, expected, code) in [
            (get, 405, "method_not_allowed"),
            (long, 413, "request_too_large"),
            (upgrade, 426, "upgrade_required"),
            (unread, 415, "unsupported_content_encoding"),
            (pages, 403, "origin_not_allowed"),
            (request(path), 502, "upstream_unreachable"),
        ] {
            let response = gateway.call(request).await;
            assert_eq!(response.headers().contains_key("allow"), expected == 405);
            let id = response.headers()["x-request-id"].clone();
            assert!(!id.is_empty());
            let of_anthropic = response.headers().get("request-id");
            let expected_id = (protocol == Protocol::Anthropic).then_some(&id);
            assert_eq!(of_anthropic, expected_id, "{path}");
            let (status, found, message) = refusal(protocol, response).await;
            assert_eq!((status, &*found), (expected, code), "{path}: {message}");
        }
    }
    for (protocol, path) in [
        (Protocol::OpenAi, "/v1/nothing"),
        (Protocol::Gemini, "/v1beta/nothing"),
        (Protocol::Gemini, "/v1beta/tunedModels/x:generateContent"),
        (Protocol::Anthropic, "/v1/messages/batches"),
    ] {
        let (status, code, _) = refusal(protocol, gateway.call(request(path)).await).await;
        assert_eq!((status, &*code), (404, "unsupported_path"), "{path}");
    }
}

#[tokio::test]
async fn an_error_of_vertex_ai_has_the_form_of_the_client() {
    const GOOGLE: &str =
        r#"{"error":{"code":429,"message":"Resource exhausted.","status":"RESOURCE_EXHAUSTED"}}"#;
    let place = Place::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = place.open(&url, &[]).await;
    for (protocol, path) in FORMS {
        for body in [GOOGLE.to_owned(), format!("[{GOOGLE}]")] {
            let response = format!(
                "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nconnection: \
                 close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let (response, _) =
                tokio::join!(gateway.call(request(path)), respond(&listener, &response));
            assert_eq!(response.status(), 429);
            let body: Value = serde_json::from_str(&text(response).await).unwrap();
            let error = &body["error"];
            assert_eq!(error["message"], "Resource exhausted.", "{body}");
            match protocol {
                Protocol::Gemini => assert_eq!(body, GOOGLE.parse::<Value>().unwrap()),
                Protocol::Anthropic => {
                    assert_eq!(
                        (&body["type"], &error["type"]),
                        (&json!("error"), &json!("rate_limit_error"))
                    );
                }
                _ => assert_eq!(
                    (&error["type"], &error["code"]),
                    (&json!("rate_limit_error"), &json!("429"))
                ),
            }
        }
        // Anthropic's own errors, and web pages.
        let own = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_vrtx_1"}"#;
        for (status, kind, body) in [(529, "application/json", own), (404, "text/html", "<html>")] {
            let response = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let (response, _) =
                tokio::join!(gateway.call(request(path)), respond(&listener, &response));
            assert_eq!(response.status(), status);
            let came = text(response).await;
            if status == 529 {
                assert_eq!(came, own);
                continue;
            }
            let came: Value = serde_json::from_str(&came).unwrap();
            let message = came["error"]["message"].as_str().unwrap();
            assert!(message.contains("web page") && message.contains("project p1"), "{message}");
            match protocol {
                Protocol::Gemini => assert_eq!(came["error"]["status"], "NOT_FOUND"),
                Protocol::Anthropic => assert_eq!(came["error"]["type"], "not_found_error"),
                _ => assert_eq!(came["error"]["code"], "404"),
            }
        }
    }
}
