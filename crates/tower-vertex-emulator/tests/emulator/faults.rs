use super::*;

#[tokio::test]
async fn api_faults_have_googles_messages_and_count_down() {
    let bench = Bench::new().await;
    let denied = "Permission 'aiplatform.endpoints.predict' denied on resource \
         '//aiplatform.googleapis.com/projects/p1/locations/us-central1/endpoints/openapi'";
    for (status, word, message) in [
        (429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."),
        (503, "UNAVAILABLE", "The service is currently unavailable."),
        (500, "INTERNAL", "Internal error encountered."),
        (403, "PERMISSION_DENIED", denied),
    ] {
        let api = ApiFault { times: Some(2), ..ApiFault::new(status) };
        bench.emulator.set_faults(Faults { api: Some(api), ..Faults::default() });
        for _ in 0..2 {
            let answer = bench.chat().await;
            assert_eq!(answer.status, status);
            let error = answer.error(true);
            assert_eq!(error["status"], word);
            assert!(error["message"].as_str().unwrap().starts_with(message));
            assert!(error.get("details").is_none());
        }
        assert_eq!(bench.chat().await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_api_fault_has_the_configured_shape() {
    let bench = Bench::new().await;
    let set = async |api: Value| {
        let answer = bench.control("PUT", "faults", json!({ "api": api })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    set(json!({ "status": 429, "retry_delay": "1.5s", "shape": "object" })).await;
    let error = bench.chat().await.error(false);
    let info = "type.googleapis.com/google.rpc.RetryInfo";
    assert_eq!(error["details"], json!([{ "@type": info, "retryDelay": "1.5s" }]));
    set(json!({ "status": 401, "shape": "array" })).await;
    assert_eq!(bench.chat().await.error(true)["status"], "UNAUTHENTICATED");
    set(json!({ "status": 502, "shape": "html" })).await;
    let page = bench.chat().await;
    assert!(page.text().contains("<title>Error 502 (Bad Gateway)!!1</title>"));
    set(json!({ "status": 404 })).await;
    let endpoint = CHAT.replace("openapi", "123");
    assert_eq!(bench.post(&endpoint, hello()).await.error(false)["status"], "NOT_FOUND");
    let none = bench.control("DELETE", "faults", Value::Null).await.json();
    assert_eq!(none["api"], Value::Null);
    assert_eq!(bench.chat().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_401_ignores_the_token_and_other_faults_require_a_valid_one() {
    let mut bench = Bench::new().await;
    let api = |status| Faults { api: Some(ApiFault::new(status)), ..Faults::default() };
    bench.emulator.set_faults(api(401));
    let answer = bench.chat().await;
    assert_eq!(answer.error(false)["details"][0]["reason"], "ACCESS_TOKEN_TYPE_UNSUPPORTED");
    assert!(answer.headers.contains_key("www-authenticate"));
    bench.emulator.set_faults(api(429));
    assert_eq!(bench.chat().await.status, StatusCode::TOO_MANY_REQUESTS);
    bench.token = "unknown".into();
    assert_eq!(bench.chat().await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_stream_with_cut_after_delivers_its_chunks_and_is_then_reset() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let bench = Bench::over(Emulator::start().await.unwrap(), version);
        let (chunks, cut_after) = (Some(10), Some(3));
        bench.set_stream(StreamBehavior { chunks, cut_after, ..StreamBehavior::default() });
        let mut body = bench.open_stream().await;
        let mut text = Vec::new();
        let broken = loop {
            match body.frame().await {
                Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(events(&text).len(), 3);
        assert!(!text.contains("[DONE]"));
        until("the stream is counted", || bench.emulator.stats().streams.aborted == 1).await;
        assert_eq!(bench.emulator.requests()[0].chunks_sent, 3);
    }
}

#[tokio::test]
async fn the_first_chunk_arrives_before_the_second_is_sent_and_a_client_may_disconnect() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let bench = Bench::over(Emulator::start().await.unwrap(), version);
        let chunk_delay = Duration::from_secs(3600);
        bench.set_stream(StreamBehavior { chunk_delay, ..StreamBehavior::default() });
        let mut body = soon("the headers", bench.open_stream()).await;
        let frame = soon("the first chunk", body.frame()).await.unwrap().unwrap();
        assert!(frame.into_data().unwrap().starts_with(b"data: {"));
        assert_eq!(bench.emulator.requests()[0].chunks_sent, 1);
        assert_eq!(bench.emulator.stats().streams.open, 1);
        drop(body);
        until("the disconnect is noticed", || bench.emulator.stats().streams.aborted == 1).await;
        assert_eq!(bench.emulator.stats().streams.open, 0);
    }
}

#[tokio::test]
async fn the_first_byte_can_be_delayed_and_a_client_may_disconnect_before() {
    let bench = Bench::new().await;
    let late = |first_byte_delay| {
        bench.set_stream(StreamBehavior { first_byte_delay, ..StreamBehavior::default() });
    };
    late(Duration::from_millis(30));
    let start = Instant::now();
    assert_eq!(bench.chat().await.status, StatusCode::OK);
    assert!(start.elapsed() >= Duration::from_millis(30));
    late(Duration::from_secs(3600));
    tokio::select! {
        _ = bench.open_stream() => panic!("the emulator responded"),
        () = until("the stream is open", || bench.emulator.stats().streams.open == 1) => {}
    }
    until("the disconnect is noticed", || bench.emulator.stats().streams.aborted == 1).await;
}
