//! The destination and the headers of a request, and requests that are refused.

use tower_vertex_emulator::{TokenBehavior, TokenFault};

use super::{Asked, BODY, CHAT, OPENAPI, Place, Verdict};

const ALICE: &str = "sk-alice-SECRET-0123456789";
const BOB: &str = "sk-bob-SECRET-0123456789";

#[tokio::test]
async fn a_request_gets_the_token_the_host_and_the_path() {
    let place = Place::new().await;
    let envoy = place.start(&["--quota-project", "payer"]).await;
    for (path, sub) in [
        (CHAT, "/chat/completions"),
        ("/chat/completions", "/chat/completions"),
        ("/v1/embeddings", "/embeddings"),
        ("/v1/completions", "/completions"),
        ("/v1/responses", "/responses"),
        ("/v1/chat/completions?alt=sse", "/chat/completions?alt=sse"),
        ("/v1/chat/completions?key=S&alt=sse&Access_Token=S", "/chat/completions?alt=sse"),
        ("/v1/chat/completions?%6Bey=S", "/chat/completions"),
    ] {
        let asked = Asked::new("POST", path).body(BODY).key("of-the-client");
        let asked = asked.with("x-goog-api-key", "S").with("x-goog-user-project", "S");
        let (mut set, removed) = envoy.pass(asked.with("openai-beta", "S")).await;
        assert_eq!(set.remove(":path").unwrap(), format!("{OPENAPI}{sub}"), "{path}");
        assert_eq!(set.remove(":authority").unwrap(), place.host());
        let token = set.remove("authorization").unwrap();
        assert!(token.starts_with("Bearer ") && !token.contains("client"), "{path}");
        assert_eq!(set.remove("x-goog-user-project").unwrap(), "payer");
        assert!(set.is_empty(), "{set:?}");
        // The list has the headers that were seen, and headers that an Envoy might not have shown.
        for name in ["openai-beta", "x-goog-api-key", "cookie", "x-forwarded-for", "api-key"] {
            assert_eq!(removed.iter().filter(|removed| *removed == name).count(), 1, "{removed:?}");
        }
        for name in ["content-type", "content-length", "authorization", "host", "x-request-id"] {
            assert!(!removed.iter().any(|removed| removed == name), "{removed:?}");
        }
        assert!(!removed.iter().any(|name| name.starts_with(':') || name.starts_with("x-envoy-")));
    }
    let (set, _) = envoy.pass(Asked::new("GET", "/v1/responses/r1")).await;
    assert_eq!(set[":path"], format!("{OPENAPI}/responses/r1"));
    // The client's quota project is removed even if the sidecar has none.
    let (set, removed) = place.start(&[]).await.pass(Asked::chat()).await;
    assert!(!set.contains_key("x-goog-user-project"));
    assert!(removed.contains(&"x-goog-user-project".to_owned()));
    assert_eq!(place.vertex.stats().token_mints, 2, "one for each process");
    assert_eq!(place.vertex.stats().api_requests, 0);
}

#[tokio::test]
async fn only_listed_headers_of_a_client_are_forwarded() {
    let place = Place::new().await;
    let config = place.write(
        "gateway.toml",
        "forward_header = [\"x-mine\"]\n[[model]]\nname = \"mine\"\nlocation = \"us-east4\"\n\
         endpoint = \"1\"\nheaders = { x-vertex-ai-llm-request-type = \"shared\", x-entry = \"1\" }\n",
    );
    let envoy = place.start(&["--config", &config]).await;
    let stays = ["accept", "user-agent", "x-mine", "traceparent", "x-vertex-ai-labels"];
    let goes = [
        "x-nobody-has-thought-of",
        "x-forwarded-client-cert",
        "x-forwarded-proto",
        "x-goog-fieldmask",
        "x-http-method-override",
        "x-stainless-os",
        "referer",
    ];
    let asked = stays
        .iter()
        .chain(&goes)
        .fold(Asked::of_model("mine"), |asked, name| asked.with(name, "1"));
    let asked = asked.with("connection", "x-vertex-ai-llm-request-type, x-entry");
    let (set, removed) = envoy.pass(asked.with("x-vertex-ai-llm-request-type", "dedicated")).await;
    for name in goes {
        assert!(removed.iter().any(|removed| removed == name), "{name}: {removed:?}");
    }
    for name in stays {
        assert!(!removed.iter().any(|removed| removed == name), "{name}: {removed:?}");
    }
    assert_eq!(set["x-vertex-ai-llm-request-type"], "shared");
    assert_eq!(set["x-entry"], "1");
    assert!(!removed.contains(&"x-entry".to_owned()));
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_405_and_an_upgrade_426() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    for (method, path, allowed) in [
        ("GET", CHAT, "POST"),
        ("TRACE", "/v1/responses/r", "GET, HEAD, DELETE"),
        ("POST", "/v1/responses/r", "GET, HEAD, DELETE"),
        ("post", CHAT, "POST"),
        ("PUT", "/v1/embeddings", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
    ] {
        match envoy.ask(Asked::new(method, path)).await {
            Verdict::Answer { status: 405, headers, body } => {
                assert_eq!(headers["allow"], allowed, "{method} {path}");
                assert_eq!(body["error"]["code"], "method_not_allowed");
            }
            other => panic!("{method} {path}: {other:?}"),
        }
    }
    let websocket = Asked::new("GET", "/v1/responses").with("connection", "Upgrade");
    for asked in [
        websocket.with("upgrade", "websocket"),
        Asked::new("CONNECT", "/v1/responses").with(":protocol", "websocket"),
    ] {
        match envoy.ask(asked).await {
            Verdict::Answer { status: 426, headers, body } => {
                assert_eq!(headers["upgrade"], "HTTP/1.1");
                assert_eq!(body["error"]["code"], "upgrade_required");
            }
            other => panic!("{other:?}"),
        }
    }
    envoy.pass(Asked::chat().with("upgrade", "h2c")).await;
}

#[tokio::test]
async fn the_full_path_of_an_endpoint_is_served_if_requests_can_go_there() {
    let place = Place::new().await;
    let config = "[[model]]\nname = \"mine\"\nlocation = \"us-east4\"\nendpoint = \"123\"\n";
    let config = place.write("gateway.toml", config);
    let envoy = place.start(&["--config", &config]).await;
    let mine = "/v1/projects/p1/locations/us-east4/endpoints/123";
    for (path, model, goes) in [
        (format!("{OPENAPI}/chat/completions"), "google/m", OPENAPI),
        (format!("{OPENAPI}/chat/completions/"), "mine", mine),
        (format!("{mine}/chat/completions"), "google/m", mine),
    ] {
        let body = format!(r#"{{"model":"{model}","messages":[]}}"#);
        let (set, _) = envoy.pass(Asked::new("POST", &path).body(&body)).await;
        assert_eq!(set[":path"], format!("{goes}/chat/completions"), "{path}");
    }
    let other = mine.replace("123", "124") + "/chat/completions";
    let (status, code, message) = envoy.refused(Asked::new("POST", &other).body(BODY)).await;
    assert_eq!((status, &*code), (404, "resource_not_served"));
    assert!(message.contains("endpoints/123") && message.contains("openapi"), "{message}");
}

#[tokio::test]
async fn more_headers_than_there_is_room_for_are_refused_with_431() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    let mut asked = Asked::chat();
    for number in 0..24_576 {
        asked = asked.with(&format!("x-{number}"), "x");
    }
    let (status, code, _) = envoy.refused(asked).await;
    assert_eq!((status, &*code), (431, "request_headers_too_large"));
    envoy.pass(Asked::chat()).await;
}

#[tokio::test]
async fn a_path_that_could_be_another_one_is_refused() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    let long = format!("/v1/responses/{}", "x".repeat(70_000));
    for (path, status, code) in [
        ("/v1/../secrets", 400, "invalid_path"),
        ("/v1/%2e%2e/secrets", 400, "invalid_path"),
        ("/v1/responses/%2fchat", 400, "invalid_path"),
        ("/v1/responses/a%5cb", 400, "invalid_path"),
        ("//evil.com/v1/chat/completions", 400, "invalid_path"),
        ("/v1//chat/completions", 400, "invalid_path"),
        ("/v1/responses/%00", 400, "invalid_path"),
        ("/v1/files", 404, "unsupported_path"),
        ("/", 404, "unsupported_path"),
        ("/v1/chat/completions//", 400, "invalid_path"),
        ("http://evil.com/v1/chat/completions", 400, "forward_proxy_request"),
        ("evil.com:443", 400, "forward_proxy_request"),
        ("*", 400, "forward_proxy_request"),
        ("", 400, "forward_proxy_request"),
        (&long, 414, "uri_too_long"),
    ] {
        let (was, as_code, message) = envoy.refused(Asked::new("POST", path).body(BODY)).await;
        assert_eq!((was, as_code.as_str()), (status, code), "{path:.99}: {message:.99}");
    }
    let (status, code, _) = envoy.refused(Asked::new("CONNECT", CHAT)).await;
    assert_eq!((status, code.as_str()), (400, "forward_proxy_request"));
    // The authority that the client names does not affect the destination.
    let asked = Asked::chat().with(":authority", "evil.com").with("host", "evil.com");
    assert_eq!(envoy.pass(asked).await.0[":authority"], place.host());
}

#[tokio::test]
async fn a_client_without_a_required_key_gets_no_token() {
    let place = Place::new().await;
    let keys = place.write("keys", &format!("alice:{ALICE}\nbob:{BOB}\n"));
    let rules = "[[client]]\nname = \"bob\"\nmodels = [\"google/gemini-2.5-flash\"]\n\
         requests_per_minute = 4\n";
    let config = place.write("gateway.toml", rules);
    let envoy = place.start(&["--client-key-file", &keys, "--config", &config]).await;
    for asked in [Asked::chat(), Asked::chat().key("wrong"), Asked::chat().key(&ALICE[..20])] {
        match envoy.ask(asked.clone()).await {
            Verdict::Answer { status, headers, .. } => {
                assert_eq!((status, headers["www-authenticate"].as_str()), (401, "Bearer"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(envoy.refused(asked).await.1, "invalid_api_key");
    }
    let two = format!("Bearer {ALICE},Bearer {ALICE}");
    assert_eq!(envoy.refused(Asked::chat().with("authorization", &two)).await.0, 401);

    let (set, _) = envoy.pass(Asked::chat().key(ALICE)).await;
    assert!(!set["authorization"].contains("SECRET"));
    envoy.pass(Asked::of_model("meta/llama").key(ALICE)).await;

    envoy.pass(Asked::chat().key(BOB)).await;
    let (status, code, message) = envoy.refused(Asked::of_model("meta/llama").key(BOB)).await;
    assert_eq!((status, code.as_str()), (403, "model_not_allowed"), "{message}");
    // A body that cannot be read may be for any model.
    let (status, code, message) = envoy.refused(Asked::chat().unread().key(BOB)).await;
    assert_eq!((status, code.as_str()), (403, "model_not_allowed"), "{message}");
    let (status, code, _) = envoy.refused(Asked::new("POST", CHAT).body("{").key(BOB)).await;
    assert_eq!((status, code.as_str()), (403, "model_not_allowed"));
    match envoy.ask(Asked::chat().key(BOB)).await {
        Verdict::Answer { status: 429, headers, .. } => {
            assert!(headers["retry-after"].parse::<u64>().unwrap() > 0);
        }
        other => panic!("{other:?}"),
    }

    // After a reload, a removed key is refused.
    place.write("keys", &format!("alice:{ALICE}\n"));
    place.write("gateway.toml", "");
    let mut tries = 0;
    while envoy.refused(Asked::chat().key(BOB)).await.0 != 401 {
        tries += 1;
        assert!(tries < 600, "still good");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    envoy.pass(Asked::chat().key(ALICE)).await;
}

#[tokio::test]
async fn the_model_selects_the_destination_and_is_not_renamed() {
    let place = Place::new().await;
    let config = r#"
[[model]]
name = "meta/llama-*"
location = "us-east1"

[[model]]
name = "mine"
location = "us-east4"
endpoint = "123"
headers = { "x-vertex-ai-llm-request-type" = "dedicated" }

[[model]]
name = "gpt-4o"
model = "gemini-2.5-pro"
"#;
    let config = &format!("default_model = \"google/gemini-2.5-flash\"\n{config}");
    let config = place.write("gateway.toml", config);
    let envoy = place.start(&["--config", &config]).await;
    for (model, way) in [
        ("google/gemini-2.5-flash", "us-central1/endpoints/openapi"),
        ("meta/llama-3", "us-east1/endpoints/openapi"),
        ("mine", "us-east4/endpoints/123"),
    ] {
        let (set, _) = envoy.pass(Asked::of_model(model)).await;
        let path = format!("/v1/projects/p1/locations/{way}/chat/completions");
        assert_eq!(set[":path"], path, "{model}");
        let dedicated = set.get("x-vertex-ai-llm-request-type").map(String::as_str);
        assert_eq!(dedicated, (model == "mine").then_some("dedicated"));
    }
    for (model, full) in [
        ("gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gpt-4o", "google/gemini-2.5-pro"),
        (r"gemini\u002d2.5-flash", "google/gemini-2.5-flash"),
        // The default model.
        ("gpt-4o-mini", "google/gemini-2.5-flash"),
        ("", "google/gemini-2.5-flash"),
    ] {
        let (status, code, message) = envoy.refused(Asked::of_model(model)).await;
        assert_eq!((status, code.as_str()), (400, "model_alias_not_supported"));
        assert!(message.ends_with(&format!("use \"{full}\"")), "{message}");
    }
    let none = envoy.refused(Asked::new("POST", CHAT).body("{}")).await;
    assert_eq!((none.0, none.1.as_str()), (400, "model_alias_not_supported"));
    let two = r#"{"model":"mine","model":"meta/llama-3"}"#;
    let (status, code, _) = envoy.refused(Asked::new("POST", CHAT).body(two)).await;
    assert_eq!((status, code.as_str()), (400, "ambiguous_model"));

    // Without a body no model is known, and a name that was not read is not checked.
    let (set, _) = envoy.pass(Asked::of_model("mine").unread()).await;
    assert_eq!(set[":path"], format!("{OPENAPI}/chat/completions"));
    let names: Vec<String> = match envoy.ask(Asked::new("GET", "/v1/models")).await {
        Verdict::Answer { status: 200, headers, body } => {
            assert_eq!(headers["content-type"], "application/json");
            let data = body["data"].as_array().unwrap();
            data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
        }
        other => panic!("{other:?}"),
    };
    // The default model comes first, and then the names of the table.
    assert_eq!(names[..3], ["google/gemini-2.5-flash", "mine", "gpt-4o"]);
}

#[tokio::test]
async fn a_part_of_a_body_is_not_taken_for_the_whole() {
    let place = Place::new().await;
    let envoy = place.start(&["--max-request-bytes", "1000"]).await;
    // This part could be of a request for another model than the whole is for.
    let whole = r#"{"messages":[],"model":"google/gemini-2.5-flash"}"#;
    let part = Asked::new("POST", CHAT).body(&whole[..20]);
    let length = whole.len().to_string();
    for asked in [
        part.clone().with("x-envoy-auth-partial-body", "true"),
        part.clone().with("content-length", &length),
        part.clone().without("content-length").with("x-envoy-auth-partial-body", "true"),
        part.clone().without("content-length").without("x-envoy-auth-partial-body"),
    ] {
        let (status, code, message) = envoy.refused(asked).await;
        assert_eq!((status, code.as_str()), (413, "request_too_large"), "{message}");
        assert!(message.contains("20 bytes") && message.contains("max_request_bytes"), "{message}");
    }
    envoy.pass(Asked::new("POST", CHAT).body(whole).without("content-length")).await;
    let long =
        format!(r#"{{"model":"google/gemini-2.5-flash","messages":"{}"}}"#, "x".repeat(1000));
    let (status, code, _) = envoy.refused(Asked::new("POST", CHAT).body(&long)).await;
    assert_eq!((status, code.as_str()), (413, "request_too_large"));
}

#[tokio::test]
async fn without_a_token_a_request_is_refused() {
    let place = Place::new().await;
    let fail = Some(TokenFault { status: 503, times: None });
    place.vertex.set_token_behavior(TokenBehavior { fail, ..TokenBehavior::default() });
    let envoy = place.start(&[]).await;
    let (status, code, message) = envoy.refused(Asked::chat()).await;
    assert_eq!((status, code.as_str()), (503, "token_unavailable"), "{message}");
    let error = envoy.check.clone().check(super::CheckRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_page_gets_a_token_from_envoy_only_if_its_origin_is_allowed() {
    let place = Place::new().await;
    let envoy = place.start(&["--cors-origin", "https://app.example"]).await;
    let page =
        |origin: &str| Asked::chat().with("origin", origin).with("sec-fetch-site", "cross-site");
    for asked in [
        page("http://evil.example"),
        page("null"),
        Asked::chat().with("sec-fetch-site", "same-site"),
        Asked::new("GET", "/v1/models").with("origin", "http://evil.example"),
        Asked::new("OPTIONS", CHAT)
            .with("origin", "http://evil.example")
            .with("access-control-request-method", "POST"),
    ] {
        let (status, code, message) = envoy.refused(asked).await;
        assert_eq!((status, code.as_str()), (403, "origin_not_allowed"), "{message}");
    }
    match envoy.ask(page("https://app.example")).await {
        Verdict::Pass { told, .. } => {
            assert_eq!(told["access-control-allow-origin"], "https://app.example");
            assert!(told["access-control-expose-headers"].contains("retry-after"));
            assert_eq!(told["vary"], "origin");
        }
        other => panic!("{other:?}"),
    }
    let preflight = Asked::new("OPTIONS", CHAT)
        .with("origin", "https://app.example")
        .with("access-control-request-method", "POST")
        .with("access-control-request-headers", "authorization");
    match envoy.ask(preflight).await {
        Verdict::Answer { status, headers, .. } => {
            assert_eq!(status, 204);
            assert_eq!(headers["access-control-allow-origin"], "https://app.example");
            assert_eq!(headers["access-control-allow-headers"], "authorization");
        }
        other => panic!("{other:?}"),
    }
    assert!(place.vertex.requests().is_empty());
}

#[tokio::test]
async fn a_foreign_name_at_envoys_loopback_address_gets_no_token() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    for host in ["evil.example", "evil.example:8080", "gateway:8080"] {
        let (status, code, message) = envoy.refused(Asked::chat().at("127.0.0.1", host)).await;
        assert_eq!((status, code.as_str()), (403, "host_not_allowed"), "{message}");
    }
    envoy.pass(Asked::chat().at("127.0.0.1", "localhost:8080")).await;
    // At other addresses Envoy decides on the names, unless names are listed.
    envoy.pass(Asked::chat().at("10.0.0.7", "evil.example")).await;
    let envoy = place.start(&["--allowed-host", "gateway.example"]).await;
    envoy.pass(Asked::chat().at("10.0.0.7", "gateway.example")).await;
    let (status, code, _) = envoy.refused(Asked::chat().at("10.0.0.7", "evil.example")).await;
    assert_eq!((status, code.as_str()), (403, "host_not_allowed"));
}

#[tokio::test]
async fn a_key_that_shares_no_responses_gets_no_token_for_stored_ones() {
    let place = Place::new().await;
    let keys = place.write("keys", &format!("alice:{ALICE}\nbob:{BOB}\n"));
    let config =
        place.write("gateway.toml", "[[client]]\nname = \"alice\"\nshared_responses = true\n");
    let envoy = place.start(&["--client-key-file", &keys, "--config", &config]).await;
    let new = |field: &str| {
        let body = format!(r#"{{"model":"google/gemini-2.5-flash","input":"x"{field}}}"#);
        Asked::new("POST", "/v1/responses").body(&body)
    };
    let stored = r#","previous_response_id":"r""#;
    envoy.pass(new("").key(BOB)).await;
    for asked in [
        new(stored),
        new("").unread(),
        Asked::new("GET", "/v1/responses/r"),
        Asked::new("DELETE", "/v1/responses/r"),
    ] {
        let (status, code, message) = envoy.refused(asked.clone().key(BOB)).await;
        assert_eq!((status, code.as_str()), (403, "stored_response_not_allowed"), "{message}");
        envoy.pass(asked.key(ALICE)).await;
    }
}
