use super::*;

#[tokio::test]
async fn a_record_holds_everything_but_the_credential() {
    let bench = Bench::new().await;
    let secrets = [bench.token.as_str(), "secret-key", "secret-access", "secret-oauth"];
    let query = "a=b%20c&key=secret-key&%61ccess_token=secret-access&oauth_token=secret-oauth&x";
    let body = hello().to_string();
    let request = bench.request(Method::POST, &format!("{CHAT}?{query}"));
    let request = request.header("x-twice", "1").header("x-twice", "2");
    let answer = bench.send(request.body(full(body.clone())).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bench.chat().await.status, StatusCode::OK);
    let read = || bench.emulator.requests().iter().all(|record| record.body_length.is_some());
    until("both bodies are read", read).await;

    let records = bench.control("GET", "requests", Value::Null).await;
    for secret in secrets {
        assert!(!records.text().contains(secret));
        assert!(!format!("{:?}", bench.emulator.requests()).contains(secret));
    }
    let records = records.json();
    assert_eq!(records.as_array().unwrap().len(), 2);
    let first = &records[0];
    let redacted = "a=b%20c&key=REDACTED&%61ccess_token=REDACTED&oauth_token=REDACTED&x";
    assert_eq!(first["query"], redacted);
    assert_eq!(first["method"], "POST");
    assert_eq!(first["path"], CHAT);
    assert_eq!(first["host"], bench.emulator.addr().to_string());
    assert_eq!(first["status"], 401);
    assert_eq!(first["token_generation"], Value::Null);
    assert_eq!(first["body_length"], body.len());
    assert_eq!(first["body_sha256"], sha256(body.as_bytes()));
    assert_eq!(first["http_version"], "HTTP/1.1");
    let names = first["header_names"].as_array().unwrap();
    assert_eq!(names.iter().filter(|name| *name == "x-twice").count(), 2);
    assert!(names.contains(&"authorization".into()));
    assert_eq!(records[1]["token_generation"], 1);
    assert_eq!(records[1]["query"], Value::Null);
    assert_eq!(serde_json::to_value(bench.emulator.requests()).unwrap(), records);
}

#[tokio::test]
async fn stats_count_requests_connections_and_mints() {
    let bench = Bench::new().await;
    bench.control("GET", "stats", Value::Null).await;
    assert_eq!(bench.emulator.stats().connections, 0);
    bench.chat().await;
    bench.get("/nowhere").await;
    let stats = bench.control("GET", "stats", Value::Null).await.json();
    let connections = bench.emulator.stats().connections;
    assert!(connections >= 1);
    assert_eq!(
        stats,
        json!({
            "token_mints": 1, "token_requests": 0, "api_requests": 2,
            "by_status": { "200": 1, "404": 1 },
            "connections": connections, "connections_total": connections,
            "streams": { "open": 0, "completed": 0, "aborted": 0 },
        })
    );
    let reset = bench.control("DELETE", "stats", Value::Null).await.json();
    assert_eq!(reset["connections"], connections);
    assert_eq!(reset["connections_total"], 0);
    assert_eq!(bench.control("GET", "requests", Value::Null).await.json(), json!([]));
    let Bench { emulator, client, .. } = bench;
    drop(client);
    until("the connections close", || emulator.stats().connections == 0).await;
}

#[tokio::test]
async fn only_the_last_ten_thousand_requests_are_kept() {
    let emulator = Emulator::start().await.unwrap();
    let mut socket = TcpStream::connect(emulator.addr()).await.unwrap();
    let (mut read, mut write) = socket.split();
    let send = async {
        for number in 0..10_001 {
            let head = format!("GET /n{number} HTTP/1.1\r\nhost: x\r\n\r\n");
            write.write_all(head.as_bytes()).await.unwrap();
        }
        let answered = || emulator.stats().by_status.get(&404) == Some(&10_001);
        until("all requests are served", answered).await;
    };
    let mut sink = tokio::io::sink();
    tokio::select! {
        () = send => {}
        _ = tokio::io::copy(&mut read, &mut sink) => panic!("closed"),
    }
    let requests = emulator.requests();
    assert_eq!(requests.len(), 10_000);
    assert_eq!((&*requests[0].path, &*requests[9_999].path), ("/n1", "/n10000"));
}

#[tokio::test]
async fn a_bad_setting_is_explained_and_changes_nothing() {
    let bench = Bench::new().await;
    let token = json!({ "delay_ms": 1, "same_until_expiry": true });
    let token = bench.control("PUT", "token", token).await.json();
    let faults = json!({ "stream": { "chunks": 7 } });
    let faults = bench.control("PUT", "faults", faults).await.json();
    for (what, body, word) in [
        ("token", json!({ "expiry": 1 }), "expiry"),
        ("token", json!({ "delay_ms": -1 }), "-1"),
        ("token", json!({ "fail": { "status": 200 } }), "fail.status"),
        ("token", json!({ "fail": { "times": 1 } }), "status"),
        ("token", json!({ "respond": { "status": 99 } }), "respond.status"),
        ("token", json!({ "respond": { "headers": { "a": "b\nc" } } }), "header"),
        ("faults", json!({ "api": { "status": 42 } }), "api.status"),
        ("faults", json!({ "api": { "status": 429, "shape": "round" } }), "round"),
        ("faults", json!({ "api": { "status": 429, "retry_delay": "soon" } }), "retry_delay"),
        ("faults", json!({ "stream": { "chunks": 0 } }), "chunks"),
        ("faults", json!({ "stream": { "pace": 1 } }), "pace"),
        ("faults", json!([1]), ""),
        ("faults", Value::Null, ""),
    ] {
        let answer = bench.control("PUT", what, body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word) && !error.is_empty(), "{body}: {error}");
    }
    assert_eq!(bench.control("GET", "token", Value::Null).await.json(), token);
    assert_eq!(bench.control("GET", "faults", Value::Null).await.json(), faults);
}

#[tokio::test]
async fn an_unknown_control_path_or_verb_is_json_too() {
    let bench = Bench::new().await;
    for (method, what, status) in
        [("GET", "nothing", 404), ("GET", "", 404), ("PATCH", "token", 405), ("GET", "revoke", 405)]
    {
        let answer = bench.control(method, what, Value::Null).await;
        assert_eq!(answer.status, status);
        assert!(answer.json()["error"].is_string());
    }
}

#[tokio::test]
async fn the_control_api_returns_credential_files() {
    let bench = Bench::new().await;
    let key = bench.control("GET", "service_account_key", Value::Null).await.json();
    assert_eq!(key.to_string(), bench.emulator.service_account_key());
    assert_eq!(key["token_uri"], format!("{}/token", bench.emulator.url()));
    assert!(key["private_key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let user = bench.control("GET", "authorized_user", Value::Null).await.json();
    assert_eq!(user.to_string(), bench.emulator.authorized_user());
}

#[tokio::test]
async fn dropping_an_emulator_closes_its_port_and_connections() {
    let bench = Bench::new().await;
    assert_eq!(bench.chat().await.status, StatusCode::OK);
    let Bench { emulator, client, .. } = bench;
    let url = emulator.url();
    let mut open = TcpStream::connect(emulator.addr()).await.unwrap();
    // A response proves that the connection was accepted.
    open.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_ne!(open.read(&mut [0; 64]).await.unwrap(), 0);
    drop(emulator);
    let _ = soon("the connection ends", open.read_to_end(&mut Vec::new())).await;
    let request = Request::get(url).body(full("")).unwrap();
    assert!(client.request(request).await.is_err());
}

#[tokio::test]
async fn a_web_page_has_no_control_over_the_emulator() {
    let bench = Bench::new().await;
    let local = bench.emulator.addr().to_string();
    for (name, value, host) in [
        ("origin", "http://evil.example", local.as_str()),
        ("origin", "null", &local),
        ("sec-fetch-site", "cross-site", &local),
        ("x-page", "rebound", "evil.example"),
    ] {
        for (method, what) in
            [("POST", "revoke"), ("GET", "service_account_key"), ("PUT", "faults")]
        {
            let request = Request::builder()
                .method(method)
                .uri(format!("{}/__emulator/{what}", bench.emulator.url()));
            let request = request.header(name, value).header("host", host);
            let answer = bench.send(request.body(full("{}")).unwrap()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {what} {name}: {value}");
        }
    }
    assert_eq!(bench.chat().await.status, StatusCode::OK);
    let request = Request::get(format!("{}/__emulator/stats", bench.emulator.url()))
        .header("host", "localhost:1");
    assert_eq!(bench.send(request.body(full("")).unwrap()).await.status, StatusCode::OK);
}
