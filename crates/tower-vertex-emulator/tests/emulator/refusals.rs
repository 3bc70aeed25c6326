use super::*;

#[tokio::test]
async fn an_unknown_path_or_verb_gets_an_html_page() {
    let bench = Bench::new().await;
    let endpoint = "/v1/projects/p1/locations/us-central1/endpoints/123";
    for (method, path) in [
        ("GET", CHAT.to_owned()),
        ("PUT", format!("{OPENAPI}/embeddings")),
        ("GET", format!("{OPENAPI}/models")),
        ("POST", format!("{CHAT}/")),
        ("POST", format!("{OPENAPI}/invoke/v1/chat/completions")),
        ("POST", format!("{endpoint}/embeddings")),
        ("POST", format!("{endpoint}/responses")),
        ("POST", CHAT.replace("v1", "v2")),
        ("POST", CHAT.replace("p1", "p%2F1")),
        ("POST", CHAT.replace("us-central1", "US")),
        ("POST", "/v1/chat/completions".into()),
        ("POST", "/".into()),
        ("GET", "/token".into()),
    ] {
        let request = bench.request(method.parse().unwrap(), &path).body(full("{}")).unwrap();
        let answer = bench.send(request).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert!(answer.is_front_end_page(), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn each_wrong_credential_gets_its_own_401() {
    const MISSING: &str = "Request is missing required authentication credential.";
    const KEY: &str = "API keys are not supported by this API.";
    const INVALID: &str = "Request had invalid authentication credentials.";
    let bench = Bench::new().await;
    let good = format!("Bearer {}", bench.token);
    let brief = TokenBehavior { expires_in: json!(0.001), ..TokenBehavior::default() };
    bench.emulator.set_token_behavior(brief);
    let expired = format!("Bearer {}", bench.emulator.mint());
    let dead = Instant::now() + Duration::from_millis(2);
    until("the token expires", || Instant::now() > dead).await;

    let (good, expired) = (("authorization", good.as_str()), ("authorization", expired.as_str()));
    let auth = |value| ("authorization", value);
    let key = ("x-goog-api-key", "AIza-secret");
    for (query, headers, message) in [
        ("", vec![], MISSING),
        ("?access_token=secret", vec![], MISSING),
        ("", vec![key], KEY),
        ("?key=secret", vec![], KEY),
        ("", vec![key, good], KEY),
        ("?%6bey=secret", vec![good], KEY),
        ("", vec![auth("Bearer sk-openai")], INVALID),
        ("", vec![auth("Basic dTpw")], INVALID),
        ("", vec![auth("Bearer ")], INVALID),
        ("", vec![expired], INVALID),
        ("", vec![good, auth("Bearer sk-openai")], INVALID),
    ] {
        let mut request = Request::post(format!("{}{CHAT}{query}", bench.emulator.url()));
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let answer = bench.send(request.body(full("not even JSON")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{query} {headers:?}");
        let error = answer.error(false);
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
        assert_eq!(error["status"], "UNAUTHENTICATED");
        let invalid = message == INVALID;
        let reason = if invalid { "ACCESS_TOKEN_TYPE_UNSUPPORTED" } else { "CREDENTIALS_MISSING" };
        assert_eq!(error["details"][0]["reason"], reason);
        let method = "google.cloud.aiplatform.v1.PredictionService.ChatCompletions";
        assert_eq!(error["details"][0]["metadata"]["method"], method);
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with(r#"Bearer realm="https://accounts.google.com/""#));
        assert_eq!(challenge.ends_with(r#", error="invalid_token""#), invalid);
    }
    let listing = bench.emulator.url() + "/v1beta1/projects/p/locations/l/endpoints";
    let answer = bench.send(Request::get(listing).body(full("")).unwrap()).await;
    let method = "google.cloud.aiplatform.v1beta1.EndpointService.ListEndpoints";
    assert_eq!(answer.error(false)["details"][0]["metadata"]["method"], method);
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_the_next_is_accepted() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.chat().await.status, StatusCode::OK);
    bench.emulator.revoke_tokens();
    assert_eq!(bench.chat().await.status, StatusCode::UNAUTHORIZED);
    bench.token = bench.emulator.mint();
    assert_eq!(bench.chat().await.status, StatusCode::OK);
    let requests = bench.emulator.requests();
    let generations: Vec<_> = requests.iter().map(|record| record.token_generation).collect();
    assert_eq!(generations, [Some(1), Some(1), Some(2)]);
    assert_eq!(bench.control("POST", "revoke", Value::Null).await.json()["revoked"], 1);
    assert_eq!(bench.chat().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bench.emulator.stats().token_mints, 2);
}

#[tokio::test]
async fn an_invalid_body_is_an_invalid_argument() {
    let bench = Bench::new().await;
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "{",
        "hello",
        "[]",
        "\"secret-word\"",
        &deep,
        r#"{"model":"google/gemini-2.5-flash"}"#,
        r#"{"model":"google/gemini-2.5-flash","messages":[]}"#,
        r#"{"model":"google/gemini-2.5-flash","messages":[{}],"stream":"secret-word"}"#,
    ] {
        let error = bench.post(CHAT, body).await.error(true);
        assert_eq!(error["status"], "INVALID_ARGUMENT", "{body:.40}");
        assert!(!error["message"].as_str().unwrap().contains("secret-word"));
    }
}

#[tokio::test]
async fn a_body_of_20_mib_is_accepted_and_one_more_byte_is_refused() {
    let bench = Bench::new().await;
    let frame = hello().to_string();
    let limit = 20 * MIB;
    for (length, status) in [(limit, 200), (limit + 1, 400)] {
        let filling = "x".repeat(length - frame.len() + "hello".len());
        let body = Bytes::from(frame.replace("hello", &filling));
        assert_eq!(body.len(), length);
        let request = bench.request(Method::POST, CHAT).body(full(body.clone())).unwrap();
        let answer = bench.send(request).await;
        assert_eq!(answer.status, status);
        if status == 400 {
            let message = "Request payload size exceeds the limit: 20971520 bytes.";
            assert_eq!(answer.error(true)["message"], message);
        }
        let read = || bench.emulator.requests().last().and_then(|last| last.body_length);
        until("the body is read", || read() == Some(length as u64)).await;
        let hash = bench.emulator.requests().last().unwrap().body_sha256.clone();
        assert_eq!(hash.unwrap(), sha256(&body));
    }
    // Without a `Content-Length`, the limit is found while the body is read.
    let (mut sender, channel): (Sender<Bytes>, _) = Channel::new(1);
    let request = bench.request(Method::POST, CHAT).body(channel.boxed_unsync()).unwrap();
    let upload = tokio::spawn(async move {
        for _ in 0..21 {
            sender.send_data(vec![b' '; MIB].into()).await.unwrap();
        }
    });
    assert_eq!(bench.send(request).await.status, StatusCode::BAD_REQUEST);
    upload.await.unwrap();
    assert_eq!(bench.chat().await.status, StatusCode::OK);
}

#[tokio::test]
async fn two_names_for_one_host_are_refused() {
    let bench = Bench::over(Emulator::start().await.unwrap(), Version::HTTP_2);
    let named = async |host: &str| {
        let request = bench.request(Method::POST, CHAT).header("host", host);
        bench.send(request.body(full(hello().to_string())).unwrap()).await
    };
    let own = bench.emulator.addr().to_string();
    assert_eq!(named(&own).await.status, StatusCode::OK);
    assert_eq!(named("gateway.internal:8080").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(bench.emulator.requests()[1].host, Some(own));
}

#[tokio::test]
async fn an_unknown_endpoint_or_project_is_refused() {
    const ENDPOINTS: &str = "/v1/projects/p1/locations/us-central1/endpoints";
    let bench = Bench::new().await;
    for path in ["999/chat/completions", "999/invoke/v1/chat/completions", "999/responses/r1"] {
        let method = if path.contains("responses") { Method::GET } else { Method::POST };
        let request = bench.request(method, &format!("{ENDPOINTS}/{path}"));
        let error = bench.send(request.body(full(hello().to_string())).unwrap()).await.error(false);
        assert_eq!(
            error["message"],
            "Endpoint `projects/123456789012/locations/us-central1/endpoints/999` not found."
        );
        assert_eq!(error["status"], "NOT_FOUND");
    }
    let elsewhere = format!("{}/1234567890123456789/chat/completions", ENDPOINTS);
    assert_eq!(bench.post(&elsewhere, hello()).await.status, StatusCode::OK);
    let elsewhere = elsewhere.replace("us-central1", "us-east1");
    assert_eq!(bench.post(&elsewhere, hello()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.get(&format!("{ENDPOINTS}/999")).await.error(false)["status"], "NOT_FOUND");

    let emulator = Emulator::builder().project("p1").project("p2").start().await.unwrap();
    let bench = Bench::over(emulator, Version::HTTP_11);
    for (project, status) in [("p1", 200), ("p2", 200), ("p3", 403)] {
        let answer = bench.post(&CHAT.replace("p1", project), hello()).await;
        assert_eq!(answer.status, status, "{project}");
    }
    let error = bench.post(&CHAT.replace("p1", "p3"), hello()).await.error(true);
    assert_eq!(
        error["message"],
        "Permission 'aiplatform.endpoints.predict' denied on resource \
         '//aiplatform.googleapis.com/projects/p3/locations/us-central1/endpoints/openapi' (or it \
         may not exist)."
    );
}

#[tokio::test]
async fn a_method_that_only_the_service_has_is_not_implemented() {
    const LOCATION: &str = "/v1/projects/p1/locations/us-central1";
    let bench = Bench::new().await;
    for (method, path, name) in [
        ("POST", "publishers/google/models/veo-3.0:predictLongRunning", "PredictLongRunning"),
        ("POST", "publishers/mistralai/models/codestral-2:rawPredict", "RawPredict"),
        ("POST", "endpoints/1234567890123456789:explain", "Explain"),
        ("POST", "endpoints/1234567890123456789/invoke/score", "Invoke"),
        ("POST", "endpoints", "CreateEndpoint"),
        ("GET", "models", "models"),
    ] {
        let path = format!("{LOCATION}/{path}");
        let request = bench.request(method.parse().unwrap(), &path).body(full("{}")).unwrap();
        let error = bench.send(request).await.error(false);
        assert_eq!((&error["code"], &error["status"]), (&json!(501), &json!("UNIMPLEMENTED")));
        let message = format!("The emulator of Vertex AI does not have {name}. ");
        assert!(error["message"].as_str().unwrap().starts_with(&message), "{error}");

        let request = Request::builder().method(method);
        let without = request.uri(bench.emulator.url() + &path).body(full("{}")).unwrap();
        assert_eq!(bench.send(without).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    // The express mode of Google's own library has an API key and no project.
    let path = "/v1beta1/publishers/google/models/gemini-2.5-flash:generateContent?key=k";
    let request = Request::post(bench.emulator.url() + path).body(full("{}")).unwrap();
    let error = bench.send(request).await.error(false);
    assert_eq!(error["message"], "API key not valid. Please pass a valid API key.");
    assert_eq!(error["details"][0]["reason"], "API_KEY_INVALID");
}

#[tokio::test]
async fn a_grpc_client_gets_its_status_in_trailers() {
    let bench = Bench::over(Emulator::start().await.unwrap(), Version::HTTP_2);
    for (path, token, status) in [
        ("/google.cloud.aiplatform.v1.PredictionService/Predict", bench.token.as_str(), "12"),
        ("/google.cloud.aiplatform.v1beta1.EndpointService/ListEndpoints", "wrong", "16"),
    ] {
        let request = Request::post(bench.emulator.url() + path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/grpc+proto");
        let answer = bench.send(request.body(full("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert_eq!(answer.headers["grpc-status"], status, "{path}");
    }
}
