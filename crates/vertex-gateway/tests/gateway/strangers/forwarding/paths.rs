//! The method and the path of a request.

use super::*;

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_405_and_is_not_forwarded() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &["--endpoint", "123"]).await;
    for (path, allowed) in [
        ("/v1/chat/completions", "POST"),
        ("/v1/embeddings/?x=1", "POST"),
        ("/v1/responses", "POST"),
        ("/v1/responses/r", "GET, HEAD, DELETE"),
        ("/v1/invoke/x", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("/v1/models", "GET, HEAD"),
        ("/v1/models/m", "GET, HEAD"),
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PRI", "LOCK", "PROPFIND",
            "FOO", "post", "get",
        ] {
            if allowed.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 X-HTTP-Method-Override: DELETE\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            let answer = gateway.raw(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            assert!(answer.contains(&format!("\r\nallow: {allowed}\r\n")), "{method}: {answer}");
            if method != "HEAD" {
                assert!(answer.contains(r#""code":"method_not_allowed""#), "{method}: {answer}");
            }
        }
    }
    for http in [Http::One, Http::Two] {
        let trace = Request::builder().method("TRACE").uri("/v1/responses/r");
        let mut trace = trace.body(Full::<Bytes>::default()).unwrap();
        let answer = gateway.call_over(http, &mut trace).await;
        assert_eq!(answer.headers()["allow"], "GET, HEAD, DELETE");
        let (status, code, message) = openai_error(answer).await;
        assert_eq!((status, code.as_str()), (405, "method_not_allowed"));
        assert!(message.contains("TRACE") && message.contains("GET, HEAD, DELETE"), "{message}");
    }
    assert_eq!(vertex.stats().api_requests, 0, "{:?}", vertex.requests());
    files.told(2, "code=\"method_not_allowed\"").await;
}

#[tokio::test]
async fn a_handshake_for_another_protocol_is_426_and_is_not_forwarded() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let options = ["--client-key-file", &files.path("keys"), "--list-models", "off"];
    let gateway = files.start(&vertex, &options).await;
    let key = crate::strangers::ALICE;
    for (path, upgrade) in [
        ("/v1/responses", "websocket"),
        ("/v1/responses", "WebSocket"),
        ("/responses?model=m", "websocket"),
        ("/v1/realtime", "websocket"),
        ("/v1/chat/completions", "h2c, websocket"),
        ("/v1/responses", "HTTP/3.0"),
        ("/v1/responses", "TLS/1.3"),
        ("/v1/responses", "connect-udp"),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\
             Authorization: Bearer {key}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
             GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{upgrade}: {answer}");
        let answer_lower = answer.to_lowercase();
        assert!(answer_lower.contains("\r\nupgrade: http/1.1\r\n"), "{upgrade}: {answer}");
        assert!(answer_lower.contains("\r\nconnection: upgrade\r\n"), "{upgrade}: {answer}");
        assert!(answer.contains(r#""code":"upgrade_required""#), "{upgrade}: {answer}");
        assert!(answer.contains("HTTP/1.1 200 OK"), "the connection stays open: {answer}");
    }
    let stranger = "GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n\
                    Upgrade: websocket\r\n\r\n";
    let answer = gateway.raw(stranger.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(vertex.stats().api_requests, 0, "{:?}", vertex.requests());
    files.told(1, "code=\"upgrade_required\"").await;

    // Java's client offers this upgrade with each first request in clear text.
    let body = r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"x"}]}"#;
    let offer = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
         Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = gateway.raw(offer.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let came = &vertex.requests()[0].header_names;
    assert!(!came.iter().any(|name| name == "upgrade" || name == "http2-settings"), "{came:?}");
}

const ENTRIES: &str = r#"
[[model]]
name = "mine"
location = "us-east4"
endpoint = "123"

[[model]]
name = "twice"
model = "gemini-2.5-flash"
locations = ["us-east1", "us-west1"]
"#;

#[tokio::test]
async fn the_full_path_of_a_configured_endpoint_is_served() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    vertex.set_endpoints([EndpointInfo::shared("123", "mine").location("us-east4")]);
    let config = files.write("gateway.toml", ENTRIES);
    let options = ["--config", &config, "--max-attempts", "2"];
    let gateway = files.start(&vertex, &options).await;
    let of = |location: &str, id: &str| format!("projects/p1/locations/{location}/endpoints/{id}");
    let chat_with = |path: &str, model: &str| {
        let body = serde_json::json!({
            "model": model, "messages": [{ "role": "user", "content": "x" }],
        });
        Request::post(path).body(Full::<Bytes>::from(body.to_string())).unwrap()
    };
    let (base, mine) = (of("us-central1", "openapi"), of("us-east4", "123"));
    for (path, model, goes) in [
        (format!("/v1/{base}/chat/completions"), "google/gemini-2.5-flash", &base),
        (format!("/v1beta1/{base}/chat/completions"), "gemini-2.5-flash", &base),
        (format!("/v1/{base}/chat/completions/"), "gemini-2.5-flash", &base),
        // With the base path of all requests, the model selects the destination.
        (format!("/v1/{base}/chat/completions"), "mine", &mine),
        (format!("/v1/{mine}/chat/completions"), "mine", &mine),
        (format!("/v1/{mine}/chat/completions"), "", &mine),
        (format!("/v1/{mine}/chat/completions"), "whatever", &mine),
        (
            format!("/v1/{}/chat/completions", of("us-west1", "openapi")),
            "twice",
            &of("us-east1", "openapi"),
        ),
    ] {
        let answer = gateway.call(chat_with(&path, model)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path} {model}");
        let went = vertex.requests().pop().unwrap().path;
        assert_eq!(went, format!("/v1/{goes}/chat/completions"), "{path} {model}");
    }
    let request = Request::get(format!("/v1/{base}/models")).body(Full::default()).unwrap();
    assert!(text(gateway.call(request).await).await.contains(r#""id":"mine""#));
    let request =
        Request::get(format!("/v1/{base}/chat/completions")).body(Full::default()).unwrap();
    assert_eq!(openai_error(gateway.call(request).await).await.0, 405);

    let before = vertex.stats().api_requests;
    for (path, model, said) in [
        (
            format!("/v1/{}/chat/completions", of("europe-west4", "openapi")),
            "m",
            vec!["europe-west4", &base, &mine],
        ),
        (
            format!("/v1/{}/chat/completions", base.replace("p1", "other")),
            "m",
            vec!["projects/other/", &base],
        ),
        (
            format!("/v1/{}/chat/completions", of("us-central1", "77")),
            "m",
            vec!["endpoints/77", &base],
        ),
        // The model has another destination than the path.
        (format!("/v1/{mine}/chat/completions"), "twice", vec![&*mine, "twice"]),
    ] {
        let (status, code, message) =
            openai_error(gateway.call(chat_with(&path, model)).await).await;
        assert_eq!((status, code.as_str()), (404, "resource_not_served"), "{path}: {message}");
        for said in said {
            assert!(message.contains(said), "{path}: {message}");
        }
    }
    for path in
        [format!("/v1/{base}/../x"), format!("/v1/{base}/%2e%2e/x"), format!("/v1/{base}//x")]
    {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(answer.contains(r#""code":"invalid_path""#), "{path}: {answer}");
    }
    assert_eq!(vertex.stats().api_requests, before, "{:?}", vertex.requests());
}

#[tokio::test]
async fn an_extra_slash_is_accepted_at_the_end_and_explained_elsewhere() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &[]).await;
    for path in ["/v1/chat/completions/", "/chat/completions/"] {
        let mut request = chat("x");
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(gateway.call(request).await.status(), StatusCode::OK, "{path}");
        let went = vertex.requests().pop().unwrap().path;
        assert_eq!(went, format!("{OPENAPI}/chat/completions"));
    }
    let mut request = chat("x");
    *request.uri_mut() = "/v1//chat/completions".parse().unwrap();
    let (status, code, message) = openai_error(gateway.call(request).await).await;
    assert_eq!((status, code.as_str()), (400, "invalid_path"));
    assert!(message.contains("does the client's base URL end with a slash?"), "{message}");
    assert_eq!(vertex.stats().api_requests, 2);
}

#[tokio::test]
async fn a_404_for_an_unknown_model_has_a_remedy() {
    let models = ["google/gemini-2.5-flash"];
    let vertex = Emulator::builder().models(models).start().await.unwrap();
    let files = Files::new();
    let gateway = files.start(&vertex, &[]).await;
    let ask = |gateway, model: &str| {
        let body = serde_json::json!({
            "model": model, "messages": [{ "role": "user", "content": "x" }],
        });
        let request = Request::post("/v1/chat/completions");
        let request = request.body(Full::<Bytes>::from(body.to_string())).unwrap();
        async move { Gateway::call(gateway, request).await }
    };
    let remedy = "[[model]]\nname = \"gpt-4o-mini\"\nmodel = \"google/gemini-2.5-flash\"\n";
    let listed = Request::get("/v1/models/gpt-4o-mini").body(Full::default()).unwrap();
    for answer in [ask(&gateway, "gpt-4o-mini").await, gateway.call(listed).await] {
        let (status, _, message) = openai_error(answer).await;
        assert_eq!(status, 404);
        assert!(message.contains(remedy), "{message}");
    }
    let config = files.write("gateway.toml", remedy);
    let gateway = files.start(&vertex, &["--config", &config]).await;
    assert_eq!(ask(&gateway, "gpt-4o-mini").await.status(), StatusCode::OK);
}
