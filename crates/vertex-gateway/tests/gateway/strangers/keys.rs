//! Client keys: clients with and without one, the models of a key, and changes of keys.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower_vertex_emulator::{ChatBehavior, Emulator, EndpointInfo, ResponsesModels};

use super::{ALICE, BOB, Files, bearer, chat_of, chat_with, error_of, until_status};
use crate::common::{Http, chat, gateway::openai_error, in_time, text};

#[tokio::test]
async fn a_client_without_a_valid_key_gets_a_401_and_nothing_goes_upstream() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let gateway = files.start(&vertex, &["--client-key-file", &files.path("keys")]).await;
    let (wrong, part) = (format!("{ALICE}x"), &ALICE[..20]);
    for (values, why) in [
        (vec![], "no API key"),
        (vec![HeaderValue::from_static("Basic dTpw")], "is not `Bearer KEY`"),
        (vec![HeaderValue::try_from(ALICE).unwrap()], "is not `Bearer KEY`"),
        (vec![bearer("")], "not a key of this gateway"),
        (vec![bearer(&wrong)], "not a key of this gateway"),
        (vec![bearer(part)], "not a key of this gateway"),
        (vec![bearer(ALICE), bearer(ALICE)], "more than one"),
        (vec![bearer(ALICE), bearer("x")], "more than one"),
    ] {
        for (method, path) in [
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
            ("GET", "/v1/responses/1"),
            ("GET", "/"),
        ] {
            let mut request = chat("x");
            *request.method_mut() = method.parse().unwrap();
            *request.uri_mut() = path.parse().unwrap();
            request.headers_mut().remove("authorization");
            for value in &values {
                request.headers_mut().append("authorization", value.clone());
            }
            for http in [Http::One, Http::Two] {
                let answer = gateway.call_over(http, &mut request).await;
                assert_eq!(answer.headers()["www-authenticate"], "Bearer");
                let (status, code, message) = openai_error(answer).await;
                assert_eq!((status, code.as_str()), (401, "invalid_api_key"), "{path}: {message}");
                assert!(message.contains(why) && !message.contains("SECRET"), "{message}");
            }
        }
    }
    assert_eq!(vertex.stats().api_requests, 0);
    files.told(64, "status=401").await;

    for key in [ALICE, BOB] {
        assert_eq!(gateway.call(chat_of(key)).await.status(), StatusCode::OK);
        assert!(vertex.requests().last().unwrap().token_generation.is_some());
    }
    assert!(!files.log().contains("SECRET"), "{}", files.log());
}

#[tokio::test]
async fn keys_in_a_variable_are_accepted_like_keys_in_a_file() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let (mut command, _key) = super::before(&vertex, &vertex.url(), &[]);
    command.env("VERTEX_GATEWAY_CLIENT_KEYS", format!("alice:{ALICE}, carol:sk-carol-0123456789"));
    let gateway = super::Gateway::start(command).await;
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), StatusCode::OK);
    assert_eq!(gateway.call(chat_of("sk-carol-0123456789")).await.status(), StatusCode::OK);
    assert_eq!(error_of(&gateway, chat_of(BOB)).await.0, 401);
    drop(files);
}

/// Responds to the first request of a connection, and returns the bytes of the request.
async fn one_request(listener: &TcpListener) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"}]}") {
        assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "{read:?}");
    }
    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    socket.write_all(answer).await.unwrap();
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_client_sets_neither_the_quota_project_nor_the_destination_of_the_token() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let options = ["--client-key-file", &files.path("keys")];
    let gateway = files.start_to(&vertex, &format!("http://{upstream}"), &options).await;
    let query = "?key=SECRET&alt=sse&access_token=SECRET&oauth_token=SECRET&k%65y=SECRET";
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let request = format!(
        "POST /v1/chat/completions{query} HTTP/1.1\r\nHost: evil.example\r\n\
         Authorization: Bearer {ALICE}\r\nx-goog-user-project: SECRET-project\r\n\
         X-Goog-Api-Key: SECRET\r\nProxy-Authorization: Bearer SECRET\r\n\
         OpenAI-Organization: SECRET\r\nOpenAI-Project: SECRET\r\n\
         Connection: close, authorization, x-mine\r\nX-Mine: SECRET\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (answer, sent) = tokio::join!(gateway.raw(request.as_bytes()), one_request(&listener));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!sent.contains("SECRET") && !sent.contains("evil"), "{sent}");
    let lines: Vec<String> = sent.lines().map(str::to_lowercase).collect();
    let path =
        "post /v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions?alt=sse ";
    assert!(lines[0].starts_with(path), "{sent}");
    assert!(lines.contains(&format!("host: {upstream}")), "{sent}");
    let authorizations: Vec<_> =
        lines.iter().filter(|line| line.starts_with("authorization")).collect();
    assert_eq!(authorizations.len(), 1, "{sent}");
    assert!(!sent.contains("x-goog-user-project"), "{sent}");

    // A whole URI names another host, and so does a path that begins with two slashes.
    for target in ["http://evil.example/v1/chat/completions", "//evil.example/v1/chat/completions"]
    {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\n\
             Connection: close\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{target}: {answer}");
    }
    let nobody = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(nobody.is_err(), "nothing else went upstream");
    assert!(!files.log().contains("SECRET"), "{}", files.log());
}

const RULES: &str = r#"
[[model]]
name = "fast"
model = "gemini-2.5-flash"

[[model]]
name = "slow"
model = "gemini-2.5-pro"

[[model]]
name = "llama-*"
endpoint = "1234567890"

[[client]]
name = "alice"
models = ["fast", "llama-*"]
shared_responses = true
"#;

#[tokio::test]
async fn a_key_may_use_only_its_own_models() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    vertex.set_endpoints([EndpointInfo::shared("1234567890", "llama")]);
    let (keys, config) = (files.path("keys"), files.write("config", RULES));
    let options = ["--client-key-file", &keys, "--config", &config, "--list-models", "off"];
    let gateway = files.start(&vertex, &options).await;
    let models = ["slow", "gemini-2.5-flash", "google/gemini-2.5-flash", "Fast", "fast ", "llama"];
    // Names that a server would read as another model if it made a path of them.
    let paths =
        ["llama-3/../../google/models/slow", "llama-3/.", "llama-3\\..", "llama-3/%2e%2e/slow"];
    let models = [&models[..], &paths].concat();
    for model in &models {
        let (status, code, message) =
            openai_error(gateway.call(chat_with(ALICE, model)).await).await;
        assert_eq!((status, code.as_str()), (403, "model_not_allowed"), "{model}");
        assert!(message.contains(&format!("{model:?}")), "{message}");
        assert!(message.ends_with("it is allowed to use fast, llama-*"), "{message}");
    }
    // In these requests no model can be read.
    let post = |name: &'static str, value: &'static str, body: &'static str| {
        let request = Request::post("/v1/chat/completions").header("authorization", bearer(ALICE));
        request.header(name, value).body(Full::from(body)).unwrap()
    };
    let get = |key: &str, path: &str| {
        let request = Request::get(path).header("authorization", bearer(key));
        request.body(Full::<Bytes>::default()).unwrap()
    };
    let requests = [
        post("content-type", "text/plain", r#"{"model":"fast"}"#),
        post("content-type", "multipart/form-data; boundary=x", r#"{"model":"fast"}"#),
        post("content-type", "application/x-www-form-urlencoded", "model=fast"),
        post("content-type", "application/x-www-form-urlencoded", r#"{"model":"slow"}"#),
        post("x-no-type", "", r#"{"model":"slow"}"#),
        post("content-type", "application/json", "{}"),
        post("content-type", "application/json", ""),
        get(ALICE, "/v1/responses/1"),
    ];
    let unread = requests.len();
    for request in requests {
        let shown = format!("{request:?}");
        let found = error_of(&gateway, request).await;
        assert_eq!(found, (403, "model_not_allowed".to_owned()), "{shown}");
    }
    files.told(models.len() + unread, "code=\"model_not_allowed\"").await;
    // If a body has two models, Vertex AI might use the other one.
    let twice = post("content-type", "application/json", r#"{"model":"fast","model":"slow"}"#);
    assert_eq!(error_of(&gateway, twice).await.0, 400);
    assert_eq!(vertex.stats().api_requests, 0);

    for (key, model) in [(ALICE, "fast"), (ALICE, "llama-3"), (BOB, "slow"), (BOB, "fast")] {
        assert_eq!(gateway.call(chat_with(key, model)).await.status(), 200, "{model}");
    }
    for (key, there) in [(ALICE, &["fast"][..]), (BOB, &["fast", "slow"])] {
        let list = text(gateway.call(get(key, "/v1/models")).await).await;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
        assert_eq!(ids, there, "{list}");
    }
    assert_eq!(error_of(&gateway, get(ALICE, "/v1/models/slow")).await.0, 404);
    assert_eq!(gateway.call(get(BOB, "/v1/models/slow")).await.status(), 200);
}

#[tokio::test]
async fn a_body_checked_against_a_list_is_forwarded_as_the_json_that_was_read() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (keys, config) = (files.path("keys"), files.write("config", RULES));
    let options = ["--client-key-file", &keys, "--config", &config];
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let gateway = files.start_to(&vertex, &upstream, &options).await;
    // As a form, or in another charset, these would be for another model.
    let body = r#"{"model":"fast","messages":[{"x":"&model=slow&y="}]}"#;
    for content_type in [
        "",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: application/json; charset=utf-7\r\n",
        "content-type: application/json\r\ncontent-type: text/json\r\n",
    ] {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ALICE}\r\n\
             connection: close\r\n{content_type}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (answer, sent) = tokio::join!(gateway.raw(request.as_bytes()), one_request(&listener));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let sent = sent.to_lowercase();
        let types: Vec<_> = sent.lines().filter(|line| line.starts_with("content-type:")).collect();
        assert_eq!(types, ["content-type: application/json"], "{sent}");
        assert!(sent.contains(r#""model":"google/gemini-2.5-flash""#), "{sent}");
    }
}

#[tokio::test]
async fn a_gateway_to_one_endpoint_reads_the_model_if_the_key_has_a_list() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    vertex.set_endpoints([EndpointInfo::shared("1", "mine")]);
    let config = files.write("config", "[[client]]\nname = \"alice\"\nmodels = [\"mine\"]");
    let keys = files.path("keys");
    let options = ["--client-key-file", &keys, "--config", &config, "--endpoint", "1"];
    let gateway = files.start(&vertex, &options).await;
    assert_eq!(gateway.call(chat_with(ALICE, "mine")).await.status(), 200);
    assert_eq!(gateway.call(chat_with(BOB, "other")).await.status(), 200);
    assert_eq!(error_of(&gateway, chat_with(ALICE, "other")).await.0, 403);
}

#[tokio::test]
async fn requests_per_minute_are_counted_by_key_and_across_a_reload() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let rules = |limit: &str, more: &str| {
        format!("[[client]]\nname = \"alice\"\nrequests_per_minute = {limit}\n{more}")
    };
    let (keys, config) = (files.path("keys"), files.write("config", &rules("2", "")));
    let gateway = files.start(&vertex, &["--client-key-file", &keys, "--config", &config]).await;
    for _ in 0..2 {
        assert_eq!(gateway.call(chat_of(ALICE)).await.status(), 200);
    }
    let answer = gateway.call(chat_of(ALICE)).await;
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let (status, code, message) = openai_error(answer).await;
    assert_eq!((status, code.as_str()), (429, "rate_limit_exceeded"));
    assert!(message.contains("\"alice\"") && message.contains("2 requests a minute"), "{message}");
    assert_eq!(
        gateway.call(chat_of(BOB)).await.status(),
        200,
        "the other key has a limit of its own"
    );
    assert_eq!(vertex.stats().api_requests, 3);
    // A new list of models applies after the reload, but the bucket stays empty.
    files.write("config", &rules("2", "models = []\n[[client]]\nname = \"bob\"\nmodels = []"));
    until_status(&gateway, 403, || chat_of(BOB)).await;
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), 429);
    files.write("config", &rules("6000", ""));
    until_status(&gateway, 200, || chat_of(ALICE)).await;
}

#[tokio::test]
async fn keys_change_at_run_time_and_a_broken_file_changes_nothing() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let gateway = files.start(&vertex, &["--client-key-file", &keys]).await;
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), 200);

    let carol = "sk-carol-SECRET-0123456789";
    files.write("keys", &format!("bob:{BOB}\ncarol:{carol}"));
    until_status(&gateway, 200, || chat_of(carol)).await;
    assert_eq!(error_of(&gateway, chat_of(ALICE)).await.0, 401);
    assert_eq!(gateway.call(chat_of(BOB)).await.status(), 200);

    // A file without keys would admit all clients, so it is refused. A file with one broken line is
    // refused, too.
    for broken in ["", "# all gone\n", "bob:SECRET\n", "SECRET"] {
        let before = files.log().matches("reload of client keys failed").count();
        files.write("keys", broken);
        files.told(before + 1, "reload of client keys failed").await;
        assert_eq!(gateway.call(chat_of(BOB)).await.status(), 200);
        assert_eq!(error_of(&gateway, chat("x")).await.0, 401);
    }
    std::fs::remove_file(&keys).unwrap();
    // The log says the same of the credentials file, which is gone as well.
    files.told(5, "reload of client keys failed").await;
    files.told(1, "keys: there is no such file").await;
    assert_eq!(gateway.call(chat_of(carol)).await.status(), 200);
    // Each failure is logged once, although the file is checked again and again.
    assert_eq!(files.log().matches("reload of client keys failed").count(), 5, "{}", files.log());
    files.write("keys", &format!("alice:{ALICE}"));
    until_status(&gateway, 200, || chat_of(ALICE)).await;
    assert!(!files.log().contains("SECRET"), "{}", files.log());
}

#[tokio::test]
async fn the_body_of_a_stranger_is_not_read() {
    const LENGTH: usize = 30 << 20;
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let gateway = files.start(&vertex, &["--client-key-file", &files.path("keys")]).await;
    for (key, length, status) in [
        ("sk-nobody-0123456789", LENGTH, "401 Unauthorized"),
        // A client without a key does not learn that its body is too long, too.
        ("sk-nobody-0123456789", LENGTH * 10, "401 Unauthorized"),
        (ALICE, LENGTH * 10, "413 Payload Too Large"),
    ] {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = in_time("a response", socket.read(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        let (mut sent, piece) = (0, [b' '; 64 << 10]);
        while sent < LENGTH {
            match socket.write(&piece).await {
                Ok(written) => sent += written,
                Err(_) => break,
            }
        }
        // A part of the body lies in the buffers of the kernel.
        assert_eq!(sent < 16 << 20, key != ALICE, "{sent} bytes of {length} taken");
    }
    assert_eq!(vertex.stats().api_requests, 0);
}

#[tokio::test]
async fn stored_responses_are_only_for_keys_with_shared_responses() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    vertex.set_chat(ChatBehavior { responses: ResponsesModels::Any, ..ChatBehavior::default() });
    let rules = "[[client]]\nname = \"alice\"\nshared_responses = true\n";
    let config = files.write("gateway.toml", rules);
    let options = ["--client-key-file", &files.path("keys"), "--config", &config];
    let gateway = files.start(&vertex, &options).await;
    let ask = |key: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let request = Request::builder().method(method).uri(path);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.header("authorization", bearer(key)).body(Full::from(body.to_owned())).unwrap()
    };
    let json = &[("content-type", "application/json")][..];
    let new = |field: &str| format!(r#"{{"model":"google/gemini-2.5-flash","input":"x"{field}}}"#);

    // A key without a rule creates responses.
    let answer = gateway.call(ask(BOB, "POST", "/v1/responses", json, &new(""))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    let stored = format!("/v1/responses/{}", answer["id"].as_str().unwrap());
    let null = new(r#","previous_response_id":null,"conversation":null"#);
    assert_eq!(
        gateway.call(ask(BOB, "POST", "/v1/responses", json, &null)).await.status(),
        StatusCode::OK
    );

    let before = vertex.stats().api_requests;
    let references = [
        r#","previous_response_id":"r""#,
        r#","previous\u005fresponse_id":"r""#,
        r#","previousResponseId":"r""#,
        r#","previous_response_id":null,"previous_response_id":"r""#,
        r#","conversation":{"id":"c"}"#,
        r#","input":[{"type":"item_reference","id":"i"}]"#,
    ];
    let mut refused: Vec<_> = references
        .iter()
        .map(|field| ask(BOB, "POST", "/v1/responses", json, &new(field)))
        .collect();
    for method in ["GET", "DELETE"] {
        refused.push(ask(BOB, method, &stored, json, &new("")));
    }
    // Other forms of the path are refused, too.
    let whole = "/v1/projects/p1/locations/us-central1/endpoints/openapi";
    for path in [format!("{stored}/"), format!("{whole}/{}", &stored["/v1/".len()..])] {
        refused.push(ask(BOB, "GET", &path, json, ""));
    }
    let unreadable: &[(&[(&str, &str)], &str)] = &[
        (&[("content-type", "text/plain")], r#"{"previous_response_id":"r"}"#),
        (json, r#"{"previous_response_id":"r",}"#),
        (json, r#"{"previous_response_id":"r"} x"#),
        (json, ""),
    ];
    for (headers, body) in unreadable {
        refused.push(ask(BOB, "POST", "/v1/responses", headers, body));
    }
    for request in refused {
        for http in [Http::One, Http::Two] {
            let answer = gateway.call_over(http, &mut request.clone()).await;
            let (status, code, message) = openai_error(answer).await;
            assert_eq!(
                (status, code.as_str()),
                (403, "stored_response_not_allowed"),
                "{request:?}"
            );
            assert!(
                message.contains("shared_responses = true") && message.contains("bob"),
                "{message}"
            );
        }
    }
    let post = ask(BOB, "POST", &stored, json, &new(""));
    assert_eq!(error_of(&gateway, post).await, (405, "method_not_allowed".to_owned()));
    assert_eq!(vertex.stats().api_requests, before);
    files.told(28, "stored_response_not_allowed").await;
    // A header or a parameter does not change the method.
    let overridden = [("x-http-method-override", "GET")];
    let request = ask(BOB, "POST", &format!("{stored}?$httpMethod=GET"), &overridden, &new(""));
    assert_eq!(error_of(&gateway, request).await, (405, "method_not_allowed".to_owned()));
    assert_eq!(vertex.stats().api_requests, before);

    // A key that shares gets responses that others have stored.
    assert_eq!(gateway.call(ask(ALICE, "GET", &stored, &[], "")).await.status(), StatusCode::OK);
    let id = stored.strip_prefix("/v1/responses/").unwrap();
    let body = new(&format!(r#","previous_response_id":"{id}""#));
    assert_eq!(
        gateway.call(ask(ALICE, "POST", "/v1/responses", json, &body)).await.status(),
        StatusCode::OK
    );

    // Without keys there are no clients to separate.
    let gateway = files.start(&vertex, &[]).await;
    assert_eq!(gateway.call(ask("any", "GET", &stored, &[], "")).await.status(), StatusCode::OK);
}
