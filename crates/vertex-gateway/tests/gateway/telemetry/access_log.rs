//! The line of the log for each request.

use super::*;

#[tokio::test]
async fn each_request_has_a_line_without_its_content() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start_with(&vertex, &["--log-format", "json"], |command| {
        command.env("VERTEX_GATEWAY_LOG", "warn,tower_vertex=trace,vertex_gateway=trace");
    })
    .await;
    let mut log = watched.log();
    let path = "/v1/chat/completions";
    let at_vertex = |status: u16, end: &str| {
        json!({
            "method": "POST", "path": path, "model": MODEL, "location": "us-central1",
            "status": status, "end": end, "attempts": 1,
        })
    };
    let with = |mut line: Value, more: Value| {
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let usage_of = |answer: &str| {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let usage = &answer["usage"];
        assert!(usage["prompt_tokens"].as_u64().unwrap() > 0, "{usage}");
        json!({
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": billed(usage),
            "reasoning_output_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
            "traffic_type": "ON_DEMAND",
        })
    };

    // A complete response.
    let answer = text(watched.call(chat(CONTENT)).await).await;
    let usage = usage_of(&answer);
    let expected = with(at_vertex(200, "complete"), usage.clone());
    let expected = with(expected, json!({ "bytes_sent": answer.len() }));
    assert_eq!(log.steady().await, expected);

    // A stream.
    let answer = text(watched.call(chat_stream(CONTENT)).await).await;
    let expected = with(at_vertex(200, "complete"), usage);
    let expected = with(expected, json!({ "bytes_sent": answer.len() }));
    assert_eq!(log.steady().await, expected);

    // An error of Vertex AI.
    vertex.set_faults(Faults { api: Some(ApiFault::new(403)), ..Faults::default() });
    let answer = text(watched.call(chat(CONTENT)).await).await;
    let expected = with(at_vertex(403, "complete"), json!({ "bytes_sent": answer.len() }));
    assert_eq!(log.steady().await, expected);
    vertex.clear_faults();

    // A token that was revoked.
    vertex.revoke_tokens();
    let answer = text(watched.call(chat(CONTENT)).await).await;
    let expected = with(at_vertex(200, "complete"), usage_of(&answer));
    let expected =
        with(expected, json!({ "bytes_sent": answer.len(), "token_replay": "replayed" }));
    assert_eq!(log.steady().await, expected);

    // A refusal, for a path with a key in its query.
    let request = Request::post("/v1/images/generations?key=SECRET-IN-A-QUERY");
    let answer = watched.call(request.body(Full::from(CONTENT)).unwrap()).await;
    let answer = text(answer).await;
    let line = log.steady().await;
    let expected = json!({
        "method": "POST", "path": "/v1/images/generations", "status": 404,
        "error_code": "unsupported_path", "end": "complete", "bytes_sent": answer.len(),
    });
    assert_eq!(line, expected);

    // A response of the gateway itself that is no error, and one without a body.
    for (method, sent) in [("GET", true), ("HEAD", false)] {
        let request = Request::builder().method(method).uri("/v1/models").body(Full::default());
        let answer = text(watched.call(request.unwrap()).await).await;
        assert_eq!(answer.is_empty(), !sent);
        let line = log.steady().await;
        let expected = json!({
            "method": method, "path": "/v1/models", "status": 200, "end": "complete",
            "bytes_sent": answer.len(),
        });
        assert_eq!(line, expected);
    }

    // A client that leaves in the middle of a stream.
    let slow = StreamBehavior {
        chunk_delay: Duration::from_secs(600),
        chunks: Some(3),
        ..StreamBehavior::default()
    };
    pace(&vertex, slow);
    let mut answer = watched.call(chat_stream(CONTENT)).await;
    let first =
        in_time("a chunk", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
    drop(answer);
    let expected = with(at_vertex(200, "client_closed"), json!({ "bytes_sent": first.len() }));
    assert_eq!(log.steady().await, expected);

    // A client that leaves before there is a response.
    vertex.reset_stats();
    let silent =
        StreamBehavior { first_byte_delay: Duration::from_secs(600), ..StreamBehavior::default() };
    pace(&vertex, silent);
    let seen = vertex.requests().len();
    let mut socket = TcpStream::connect(watched.gateway.addr).await.unwrap();
    socket.write_all(&bytes(chat(CONTENT)).await).await.unwrap();
    eventually("the request arrives", || vertex.requests().len() > seen).await;
    drop(socket);
    let expected = with(at_vertex(499, "client_closed"), json!({ "bytes_sent": 0 }));
    assert_eq!(log.steady().await, expected);

    // A client that leaves in the middle of its own request, which is not forwarded at all.
    vertex.set_faults(Faults::default());
    let mut socket = TcpStream::connect(watched.gateway.addr).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 99\r\n\r\n{{"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    drop(socket);
    let line = log.steady().await;
    assert_eq!((&line["status"], &line["error_code"]), (&json!(499), &json!("incomplete_request")));
    assert_eq!((&line["end"], &line["attempts"]), (&json!("client_closed"), &Value::Null));
    assert!(!log.all.contains("no response from upstream"), "{}", log.all);

    // A stream that is closed early.
    let cut = StreamBehavior { cut_after: Some(2), ..StreamBehavior::default() };
    pace(&vertex, cut);
    let answer = watched.call(chat_stream(CONTENT)).await.into_body();
    let _ = in_time("the break", answer.collect()).await;
    let line = log.steady().await;
    assert!(line["bytes_sent"].as_u64().unwrap() > 0, "{line}");
    let expected =
        with(at_vertex(200, "upstream_reset"), json!({ "bytes_sent": line["bytes_sent"].clone() }));
    assert_eq!(line, expected);

    watched.gateway.terminate();
    assert!(watched.gateway.ended().await.success());
    while let Some(line) = log.lines.line().await {
        log.all += &line;
    }
    assert!(log.all.contains("access token fetched"), "the log was not verbose: {}", log.all);
    for secret in [CONTENT, "SECRET-IN-A-QUERY", "sk-placeholder", "ya29.", "PRIVATE KEY", "Bearer"]
    {
        assert!(!log.all.contains(secret), "{secret:?} in {}", log.all);
    }
}

#[tokio::test]
async fn the_name_of_a_key_is_logged_and_never_the_key() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"team-a:the-key-of-team-a-0123456789\n").unwrap();
    let keys = ["--client-key-file", file.path().to_str().unwrap(), "--log-format", "json"];
    let mut watched = Watched::start(&vertex, &keys).await;
    let mut log = watched.log();
    let with_key = |key: &str| {
        let mut request = ask(MODEL);
        let value = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        request
    };
    let answer = watched.call(with_key("the-key-of-team-a-0123456789")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    text(answer).await;
    assert_eq!(log.request().await["client"], "team-a");
    text(watched.call(with_key("a-key-that-is-not-known")).await).await;
    let line = log.request().await;
    assert_eq!((&line["status"], &line["error_code"]), (&json!(401), &json!("invalid_api_key")));
    assert_eq!(line["client"], Value::Null);

    let metrics = watched.metrics_after(2.0).await;
    let team = [("client", "team-a"), ("status", "200")];
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &team), 1.0);
    assert!(metrics.sum("vertex_gateway_output_tokens_total", &[("client", "team-a")]) > 0.0);
    let unknown = [("error_code", "invalid_api_key")];
    assert_eq!(metrics.sum("vertex_gateway_local_replies_total", &unknown), 1.0);
    for key in ["the-key-of-team-a", "a-key-that-is-not-known"] {
        assert!(!log.all.contains(key), "{}", log.all);
    }
}

#[tokio::test]
async fn the_text_log_has_the_same_fields() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &[]).await;
    let mut log = watched.log();
    text(watched.call(ask("hostile\n\u{1b}[31mmodel")).await).await;
    let line = log.lines.until("vertex_gateway::access_log").await;
    assert!(line.contains(" INFO ") && line.contains(r#"method="POST""#), "{line}");
    assert!(line.contains(r#"model="hostile\n\u{1b}[31mmodel""#), "{line}");
    assert!(line.contains("status=") && line.contains("duration_seconds="), "{line}");
}

#[tokio::test]
async fn only_log_peer_address_adds_the_peer_to_each_line() {
    let vertex = Emulator::start().await.unwrap();
    let pair = Authority::new().server();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (put(folder.path(), "cert", &pair.0), put(folder.path(), "key", &pair.1));
    for asked in [true, false] {
        let mut options = vec!["--log-format", "json"];
        options.extend(asked.then_some("--log-peer-address"));
        let mut watched = Watched::start(&vertex, &options).await;
        let mut log = watched.log();
        let mut peers = Vec::new();
        let big = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
        for (sent, message) in [
            ("GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n", "request"),
            ("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n", "request"),
            ("GET / \u{1} HTTP/1.1\r\nhost: x\r\n\r\n", "request rejected: the request"),
            (&big, "request rejected: the request"),
            ("GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", "request rejected: ambiguous framing"),
            ("GET / HTTP/1.1\r\nhost: x\r\nhalf", "in the middle of a request head"),
        ] {
            let mut socket = TcpStream::connect(watched.gateway.addr).await.unwrap();
            let _ = socket.write_all(sent.as_bytes()).await;
            if sent.ends_with("half") {
                socket.shutdown().await.unwrap();
            }
            peers.push((socket.local_addr().unwrap().to_string(), message));
            let (peer, earlier) = peers.split_last().unwrap();
            let line = loop {
                let line = log.lines.until(message).await;
                let line: Value = serde_json::from_str(&line).unwrap();
                // The request head that was too long may be refused only now.
                if !earlier.iter().any(|(earlier, _)| line["peer_address"] == *earlier) {
                    break line;
                }
            };
            let peer = asked.then(|| json!(peer.0));
            assert_eq!(line["peer_address"], peer.unwrap_or_default(), "{line}");
        }
        // Over HTTP/2, where the test does not know the port of the client.
        text(watched.gateway.call_over(Http::Two, &mut chat("x")).await).await;
        let line = log.lines.until("/v1/chat/completions").await;
        assert_eq!(line.contains(r#""peer_address":"127.0.0.1:"#), asked, "{line}");

        let tls = ["--tls-cert", &cert, "--tls-key", &key, "--log-format", "json"];
        let tls = [&tls[..], if asked { &["--log-peer-address"] } else { &[] }].concat();
        let mut watched = Watched::start(&vertex, &tls).await;
        let mut log = watched.log();
        let mut socket = TcpStream::connect(watched.gateway.addr).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let line = log.lines.until("TLS handshake failed").await;
        let peer = format!(r#""peer_address":"{}""#, socket.local_addr().unwrap());
        assert_eq!(line.contains(&peer), asked, "{line}");
        assert_eq!(line.contains("peer"), asked, "{line}");
    }
}

#[tokio::test]
async fn the_line_of_an_error_has_its_reason_and_nothing_of_the_conversation() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "short"]).await;
    let mut log = watched.log();
    text(watched.call(ask("google/nosuch\u{2028}model")).await).await;
    let line = log.lines.until("Z 404 ").await;
    assert!(line.contains(r"Z 404 google/nosuch\u{2028}model ") && line.contains(" ms"), "{line}");
    assert!(line.contains(": Publisher Model "), "{line}");
    text(watched.call(Request::get("/v1/what").body(Full::default()).unwrap()).await).await;
    let line = log.lines.until("Z 404 GET /v1/what ").await;
    assert!(line.contains(" unsupported_path: "), "{line}");
    text(watched.call(ask(MODEL)).await).await;
    let line = log.lines.until("Z 200 ").await;
    assert!(line.contains(MODEL) && line.ends_with(" out"), "{line}");
    assert!(line.len() < 100 && !line.contains("e-"), "{line}");
}

#[tokio::test]
async fn a_request_keeps_a_valid_id_of_its_client_or_gets_a_new_one() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let mut log = watched.log();
    let longest = "x".repeat(128);
    let mut made = BTreeSet::new();
    for (sent, kept) in [
        (Some(&b"b9a7-42_x.y"[..]), true),
        (Some(longest.as_bytes()), true),
        (Some("x".repeat(129).as_bytes()), false),
        (Some(b"two words"), false),
        (Some(b""), false),
        (Some("Ω".as_bytes()), false),
        (Some(b"tab\there"), false),
        (None, false),
    ] {
        let mut request = ask(MODEL);
        if let Some(id) = sent {
            request
                .headers_mut()
                .insert("x-request-id", http::HeaderValue::from_bytes(id).unwrap());
        }
        let answer = watched.call(request).await;
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        text(answer).await;
        assert_eq!(log.request().await["request_id"], json!(id));
        match sent.filter(|_| kept) {
            Some(sent) => assert_eq!(id.as_bytes(), sent),
            None => assert!(id.starts_with("req_") && made.insert(id.clone()), "{id}"),
        }
    }
}

#[tokio::test]
async fn long_values_of_a_client_are_shortened_in_the_log() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let mut log = watched.log();
    let long = "X".repeat(5000);
    let mut method = ask(MODEL);
    *method.method_mut() = long.parse().unwrap();
    let mut path = ask(MODEL);
    *path.uri_mut() = format!("/v1/{long}").parse().unwrap();
    for request in [method, path, ask(&long)] {
        text(watched.call(request).await).await;
        let line = log.request().await.to_string();
        assert!(line.len() < 2000, "{} bytes: {}", line.len(), &line[..200]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_a_reader_stalls_no_request() {
    // A pipe holds 64 KiB, and so does the buffer in front of it.
    const REQUESTS: usize = 600;
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let path = format!("/v1/{}", "x".repeat(200));
    let client = client(Http::One);
    let uri: http::Uri = format!("http://{}{path}", watched.gateway.addr).parse().unwrap();
    for _ in 0..REQUESTS {
        let body = ReplayBody::plain(Full::<Bytes>::default());
        let answer = client.request(Request::get(&uri).body(body).unwrap());
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        text(answer).await;
    }
    let metrics = watched.metrics_after(REQUESTS as f64).await;
    assert_eq!(metrics.sum("vertex_gateway_log_lines_dropped_total", &[]), 0.0);
    let mut log = watched.log();
    for _ in 0..REQUESTS {
        assert_eq!(log.request().await["status"], 404);
    }
    assert!(log.all.len() > 2 * (64 << 10), "the lines fit into the buffers: {}", log.all.len());
}

#[tokio::test]
async fn a_closed_standard_error_fails_no_request() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &[]).await;
    drop(watched.log());
    for _ in 0..10 {
        assert_eq!(watched.call(chat("x")).await.status(), StatusCode::OK);
    }
    watched.gateway.terminate();
    assert_eq!(watched.gateway.ended().await.code(), Some(0));

    let mut command = command(&["--listen", "nowhere", "--project", "p", "--location", "global"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(in_time("the end of the process", child.wait()).await.unwrap().code(), Some(2));
}
