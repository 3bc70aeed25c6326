use super::*;

#[tokio::test]
async fn a_chat_completion_echoes_the_last_user_message() {
    let bench = Bench::new().await;
    for content in [json!("hello"), json!([{ "text": "hello" }, { "type": "refusal" }])] {
        let body = json!({ "model": MODEL, "messages": [
            { "role": "user", "content": "earlier" },
            { "role": "assistant", "content": "yes?" },
            { "role": "user", "content": content },
        ]});
        for path in [CHAT, &CHAT.replace("v1", "v1beta1")] {
            let answer = bench.post(path, &body).await;
            assert_eq!(answer.status, StatusCode::OK);
            let answer = answer.json();
            let choice = &answer["choices"][0];
            assert_eq!(choice["message"], json!({ "role": "assistant", "content": ECHO }));
            assert_eq!(choice["finish_reason"], "stop");
            assert_eq!(answer["object"], "chat.completion");
            assert_eq!(answer["model"], MODEL);
            assert!(answer["id"].is_string() && answer["created"].is_u64());
            let count = |name: &str| answer["usage"][name].as_u64().unwrap();
            let reasoning = &answer["usage"]["completion_tokens_details"]["reasoning_tokens"];
            let parts = count("prompt_tokens") + count("completion_tokens");
            assert_eq!(count("total_tokens"), parts + reasoning.as_u64().unwrap());
        }
    }
}

/// Tests Chat, Completions and Responses, each complete and streamed.
#[tokio::test]
async fn a_reasoning_model_counts_its_reasoning_tokens_beside_its_completion() {
    let everywhere = [Surface::Chat, Surface::Completions, Surface::Responses];
    let models = [MODEL, "google/gemini-2.0-flash"];
    let models = models.map(|name| Model::from(name).surfaces(everywhere));
    let emulator = Emulator::builder().models(models).start().await.unwrap();
    let bench = Bench::over(emulator, Version::HTTP_11);
    for (path, words) in [
        ("chat/completions", ("prompt", "completion")),
        ("completions", ("prompt", "completion")),
        ("responses", ("input", "output")),
    ] {
        let path = CHAT.replace("chat/completions", path);
        let with = |more: Value| {
            let mut body = hello();
            body["prompt"] = "hello".into();
            body["input"] = "hello".into();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let usage_with =
            async |more: Value| bench.post(&path, &with(more)).await.json()["usage"].clone();
        let usage = usage_with(json!({})).await;
        let count = |usage: &Value, name: &str| usage[name].as_u64().unwrap();
        let reasoning = |usage: &Value| {
            usage[format!("{}_tokens_details", words.1)]["reasoning_tokens"].as_u64()
        };
        let thoughts = reasoning(&usage).unwrap();
        assert!(thoughts > 0, "{usage}");
        let total = count(&usage, "total_tokens");
        let [input, output] =
            [words.0, words.1].map(|word| count(&usage, &format!("{word}_tokens")));
        // In the Responses API they are part of the output.
        let beside = if words.1 == "output" { 0 } else { thoughts };
        assert_eq!(total, input + output + beside, "{usage}");
        assert_eq!(usage["extra_properties"]["google"]["traffic_type"], "ON_DEMAND");
        assert_eq!(usage_with(json!({})).await, usage, "the same for the same request");

        let streamed = bench.post(&path, &with(json!({ "stream": true }))).await;
        let events: Vec<Value> = events(streamed.text())
            .into_iter()
            .filter_map(|event| serde_json::from_str(event).ok())
            .collect();
        let of = |event: &Value| match &event["usage"] {
            Value::Null => event["response"]["usage"].clone(),
            usage => usage.clone(),
        };
        let (last, others) = events.split_last().unwrap();
        assert_eq!(of(last), usage);
        assert!(others.iter().all(|event| of(event).is_null()));

        let none = usage_with(json!({ "reasoning_effort": "none" })).await;
        assert_eq!(reasoning(&none).unwrap_or(0), 0);
        assert_eq!(count(&none, "total_tokens"), total - thoughts);
        let other = usage_with(json!({ "model": "google/gemini-2.0-flash" })).await;
        assert_eq!(other, none);

        let cached =
            json!({ "extra_body": { "google": { "cached_content": "cachedContents/1" } } });
        let cached = usage_with(cached).await;
        let details = &cached[format!("{}_tokens_details", words.0)];
        assert_eq!(details["cached_tokens"], 1024);
        assert_eq!(count(&cached, &format!("{}_tokens", words.0)), input + 1024);
    }
}

#[tokio::test]
async fn the_traffic_type_follows_the_headers_of_the_request() {
    let bench = Bench::new().await;
    for (name, value, expected) in [
        ("x-vertex-ai-llm-request-type", "shared", "ON_DEMAND"),
        ("x-vertex-ai-llm-request-type", "dedicated", "PROVISIONED_THROUGHPUT"),
        ("x-vertex-ai-llm-shared-request-type", "priority", "ON_DEMAND_PRIORITY"),
        ("x-vertex-ai-llm-shared-request-type", "flex", "ON_DEMAND_FLEX"),
    ] {
        let request = bench.request(Method::POST, CHAT).header(name, value);
        let answer = bench.send(request.body(full(hello().to_string())).unwrap()).await.json();
        let traffic_type = &answer["usage"]["extra_properties"]["google"]["traffic_type"];
        assert_eq!(traffic_type, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_stream_adds_up_and_ends_with_usage_and_done() {
    let bench = Bench::new().await;
    let mut body = hello();
    body["stream"] = true.into();
    for chunks in [None, Some(1), Some(20), Some(500)] {
        bench.set_stream(StreamBehavior { chunks, ..StreamBehavior::default() });
        bench.emulator.reset_stats();
        let answer = bench.post(CHAT, &body).await;
        assert_eq!(answer.headers["content-type"], "text/event-stream");
        assert_eq!(events(answer.text()).last(), Some(&"[DONE]"));
        let events = json_events(answer.text());
        assert_eq!(events.len(), chunks.unwrap_or(5));
        let text: String = events
            .iter()
            .map(|event| event["choices"][0]["delta"]["content"].as_str().unwrap())
            .collect();
        assert_eq!(text, ECHO);
        let (last, others) = events.split_last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        assert!(last["usage"]["total_tokens"].is_u64());
        for event in others {
            assert_eq!(event["object"], "chat.completion.chunk");
            assert!(event.get("usage").is_none());
            assert!(event["choices"][0].get("finish_reason").is_none());
        }
        until("the stream is counted", || bench.emulator.stats().streams.completed == 1).await;
        assert_eq!(bench.emulator.requests()[0].chunks_sent, events.len() as u64);
    }
}

#[tokio::test]
async fn completions_are_served_whole_and_streamed() {
    let bench = Bench::new().await;
    let path = format!("{OPENAPI}/completions");
    let mut body = json!({ "model": MODEL, "prompt": "hello" });
    let whole = bench.post(&path, &body).await.json();
    assert_eq!(whole["choices"][0]["text"], ECHO);
    assert_eq!(whole["object"], "text_completion");
    body["stream"] = true.into();
    let streamed = bench.post(&path, &body).await;
    let pieces: String = json_events(streamed.text())
        .iter()
        .map(|event| event["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(pieces, ECHO);
}

#[tokio::test]
async fn embeddings_come_as_numbers_and_as_base64() {
    let bench = Bench::new().await;
    let path = format!("{OPENAPI}/embeddings");
    let model = "google/text-embedding-005";
    let body = json!({ "model": model, "input": ["a", "b"], "dimensions": 3 });
    let floats = bench.post(&path, &body).await.json();
    assert_eq!(floats["data"].as_array().unwrap().len(), 2);
    assert_eq!(floats["data"][1]["index"], 1);
    let vector = floats["data"][1]["embedding"].clone();
    let vector: Vec<f32> = serde_json::from_value(vector).unwrap();
    assert_eq!(vector.len(), 3);
    assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);

    let body =
        json!({ "model": model, "input": "b", "dimensions": 3, "encoding_format": "base64" });
    let encoded = bench.post(&path, &body).await.json();
    let bytes = STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let decoded = bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    assert_eq!(decoded.collect::<Vec<f32>>(), vector);

    for (name, value) in
        [("input", json!([])), ("dimensions", json!(0)), ("encoding_format", json!("hex"))]
    {
        let mut bad = body.clone();
        bad[name] = value;
        assert_eq!(bench.post(&path, &bad).await.error(true)["status"], "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn a_deployed_endpoint_serves_any_model_name() {
    let emulator = ["123", "mg-endpoint-1"].into_iter().fold(Emulator::builder(), |builder, id| {
        builder.endpoint(EndpointInfo::shared(id, id).location("x1"))
    });
    let bench = Bench::over(emulator.start().await.unwrap(), Version::HTTP_11);
    for endpoint in ["123/", "mg-endpoint-1/", "123/invoke/v1/", "123/deployedModels/1/invoke/v1/"]
    {
        let path =
            format!("/v1/projects/example.com:p/locations/x1/endpoints/{endpoint}chat/completions");
        for model in ["", "anything", "google/nothing"] {
            let mut body = hello();
            body["model"] = model.into();
            let answer = bench.post(&path, &body).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert_eq!(answer.json()["model"], model);
        }
    }
}

#[tokio::test]
async fn endpoints_are_listed_page_by_page_and_found_by_name() {
    let emulator = Emulator::builder()
        .endpoint(EndpointInfo::shared("77", "mine"))
        .endpoint(EndpointInfo::shared("88", "far").location("europe-west4"))
        .start()
        .await
        .unwrap();
    let bench = Bench::over(emulator, Version::HTTP_11);
    let path = "/v1/projects/p1/locations/us-central1/endpoints";
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = bench.get(&format!("{path}?pageSize=2&pageToken={token}")).await.json();
        for endpoint in page["endpoints"].as_array().unwrap() {
            names.push(endpoint["displayName"].as_str().unwrap().to_owned());
        }
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["emulated-shared", "emulated-dedicated", "mine"]);
    for filter in [
        "display_name=mine",
        "display_name%3D%22mine%22",
        "endpoint=77",
        "display_name=mine%20AND%20endpoint=77",
    ] {
        let found = bench.get(&format!("{path}?filter={filter}")).await.json();
        assert_eq!(found["endpoints"].as_array().unwrap().len(), 1);
        assert_eq!(found["endpoints"][0]["displayName"], "mine");
    }
    let none = bench.get(&format!("{path}?filter=display_name=mine+AND+endpoint=88")).await;
    assert_eq!(none.json(), json!({}));
    let dedicated = bench.get(&format!("{path}?filter=display_name=emulated-dedicated")).await;
    let dns = dedicated.json()["endpoints"][0]["dedicatedEndpointDns"].clone();
    assert!(dns.as_str().unwrap().ends_with(".prediction.vertexai.goog"));
    for bad in ["pageToken=x", "filter=labels.a=b", "pageSize=-1"] {
        let answer = bench.get(&format!("{path}?{bad}")).await;
        assert_eq!(answer.error(false)["status"], "INVALID_ARGUMENT");
    }
    assert_eq!(bench.get(&format!("{path}/77")).await.json()["displayName"], "mine");
    let mine = bench.get(&format!("{path}/77")).await.json();
    for field in ["etag", "createTime", "updateTime"] {
        assert!(mine[field].is_string(), "{mine}");
    }
    assert_eq!(bench.get(&path.replace("us-central1", "global")).await.json(), json!({}));
}
