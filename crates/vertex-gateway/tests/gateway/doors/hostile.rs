//! Spellings of paths, methods and models by which a client could reach more than its key allows.

use super::*;

/// Requests of a key that may use `gemini-2.5-flash` alone: the method, the path and the body. None may
/// reach Vertex AI.
fn cases() -> Vec<(&'static str, String, String)> {
    const HERE: &str = "/v1/projects/p1/locations/us-central1";
    let contents = r#"{"contents":[]}"#;
    let mut cases = Vec::new();
    for path in [
        // Other methods.
        "/v1beta/models/{M}:tuneModel",
        "/v1beta/models/{M}:batchGenerateContent",
        "/v1beta/models/{M}:asyncBatchEmbedContent",
        "/v1beta/models/{M}:predictLongRunning",
        "/v1beta/models/{M}:fetchPredictOperation",
        "/v1beta/models/{M}:serverStreamingPredict",
        "/v1beta/models/{M}:GenerateContent",
        "/v1beta/models/{M}:generateContent:tuneModel",
        "/v1beta/models/{M}:generateContent%20",
        "/v1beta/models/{M}:generate%43ontentx",
        "/v1beta/models/{M}:",
        "/v1beta/models/{M}",
        // A colon that another parser would see.
        "/v1beta/models/{M}%3AtuneModel",
        "/v1beta/models/{M}%3agenerateContent",
        "/v1beta/models/{M}%253AtuneModel:generateContent",
        "/v1beta/models/{M}%3AtuneModel:generateContent",
        // Other models.
        "/v1beta/models/gemini-2.5-pro:generateContent",
        "/v1beta/models/%67emini-2.5-pro:generateContent",
        "/v1beta/models/GEMINI-2.5-FLASH:generateContent",
        "/v1beta/models/{M}@001:generateContent",
        "/v1beta/models/{M}%40001:generateContent",
        "/v1beta/models/{M}%20:generateContent",
        "/v1beta/models/{M}%00:generateContent",
        "/v1beta/models/{M}%0d%0ax:generateContent",
        "/v1beta/models/{M}%E2%80%8B:generateContent",
        "/v1beta/models/{M}%FF:generateContent",
        "/v1beta/models/{M};x=gemini-2.5-pro:generateContent",
        "/v1beta/models/gemini-2.5-pro%23{M}:generateContent",
        "/v1beta/models/gemini-2.5-pro%3F{M}:generateContent",
        "/v1beta/models/:generateContent",
        "/v1beta/models/*:generateContent",
        "/v1beta/models/meta/{M}:generateContent",
        "/v1beta/models/models/gemini-2.5-pro:generateContent",
        // Segments that another parser would remove or split.
        "/v1beta/models/gemini-2.5-pro/../{M}:generateContent",
        "/v1beta/models/{M}/../gemini-2.5-pro:generateContent",
        "/v1beta/models/..%2fgemini-2.5-pro:generateContent",
        "/v1beta/models/{M}%2F..%2Fgemini-2.5-pro:generateContent",
        "/v1beta/models/{M}%5C..%5Cgemini-2.5-pro:generateContent",
        "/v1beta/models/%2e%2e:generateContent",
        "/v1beta//models/{M}:generateContent",
        "/v1beta/models//{M}:generateContent",
        "/v1beta/models/{M}:generateContent/",
        "/v1beta/models/{M}:generateContent/x",
        "/v1beta/./models/{M}:generateContent",
        "/v1beta/v1beta/models/{M}:generateContent",
        "/v2/models/{M}:generateContent",
        // Other resources.
        "/v1beta/tunedModels/{M}:generateContent",
        "/v1beta/cachedContents",
        "/v1beta/files",
        "/upload/v1beta/files",
        "/v1beta/corpora/x:query",
        "{P}/publishers/google/models/gemini-2.5-pro:generateContent",
        "{P}/publishers/meta/models/{M}:generateContent",
        "{P}/publishers/%67oogle/models/gemini-2.5-pro:generateContent",
        "{P}/publishers/google%2Fmodels%2Fgemini-2.5-pro/models/{M}:generateContent",
        "{P}/publishers/../publishers/google/models/{M}:generateContent",
        "{P}/publishers//models/{M}:generateContent",
        "{P}/publishers/google/models/{M}/invoke/x",
        "{P}/publishers/google/models/{M}",
        "{P}/models/{M}:generateContent",
        "{P}/endpoints/1:predict",
        "{P}/endpoints/openapi:generateContent",
        "{P}/endpoints/{M}:generateContent",
        "{P}/endpoints/1/deployedModels/2/invoke/x",
        "{P}/tuningJobs",
        "{P}/batchPredictionJobs",
        "{P}/reasoningEngines/1:query",
        "{P}/cachedContents",
        "{P}/publishers/openai/v1/files",
        "{P}/publishers/openai/v1/chat/completions",
        "{P}/publishers/openai/responses",
        "{P}/publishers/openai/v1/responses/../files",
        "/v1/projects/p1/locations/..%2Fus-central1/publishers/google/models/gemini-2.5-pro:predict",
        "/v1/messages/batches",
        "/v1/messages/x",
        "/v1/messages%2Fcount_tokens",
        "/v1/v1/messages",
        "/v1/complete",
    ] {
        let path = path.replace("{P}", HERE).replace("{M}", GEMINI);
        cases.push(("POST", path, contents.to_owned()));
    }
    // Other methods of HTTP.
    for method in ["GET", "PUT", "PATCH", "DELETE", "TRACE", "post"] {
        for path in [
            format!("/v1beta/publishers/google/models/{GEMINI}:generateContent"),
            format!("{HERE}/publishers/google/models/{GEMINI}:generateContent"),
            "/v1/messages".to_owned(),
        ] {
            cases.push((method, path, "{}".to_owned()));
        }
    }
    // Models in bodies.
    for body in [
        r#"{"model":"claude-opus-4-5","max_tokens":1,"messages":[]}"#,
        r#"{"model":"gemini-2.5-flash","model":"claude-opus-4-5"}"#,
        r#"{"model":"claude-opus-4-5","model":"gemini-2.5-flash"}"#,
        r#"{"model":"gemini-2.5-flash","mod\u0065l":"claude-opus-4-5"}"#,
        r#"{"Model":"gemini-2.5-flash"}"#,
        r#"{"model":"gemini-2.5-flash\u0000"}"#,
        r#"{"model":"gemini-2.5-flash:rawPredict"}"#,
        r#"{"model":"gemini-2.5-flash/../claude-opus-4-5"}"#,
        r#"{"model":["gemini-2.5-flash"]}"#,
        r#"{"model":null}"#,
        r#"{"model":""}"#,
        r#"{"messages":[{"model":"gemini-2.5-flash"}]}"#,
        r#"{"model":"gemini-2.5-flash""#,
        r#"["gemini-2.5-flash"]"#,
        "{}",
        "",
    ] {
        for path in [
            "/v1/messages",
            "/v1/messages/count_tokens",
            "/v1/publishers/anthropic/models/count-tokens:rawPredict",
            "/v1/publishers/openai/v1/responses",
        ] {
            cases.push(("POST", path.to_owned(), body.to_owned()));
        }
    }
    cases
}

#[tokio::test]
async fn no_spelling_of_a_request_reaches_more_than_its_key_allows() {
    let place = Place::new().await;
    let rules = format!("[[client]]\nname = \"alice\"\nmodels = [{GEMINI:?}]\n");
    let gateway = place.start(&rules, &[]).await;
    let cases = cases();
    assert!(cases.len() > 100);
    for (method, path, body) in cases {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \
             application/json\r\nX-HTTP-Method-Override: POST\r\nX-Api-Key: {ALICE}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let response = gateway.raw(request.as_bytes()).await;
        let shown = format!("{method} {path} {body}: {response}");
        let status = response.get(9..12).unwrap_or_default();
        assert!(["400", "403", "404", "405", "415"].contains(&status), "{shown}");
        assert_eq!(place.vertex.stats().api_requests, 0, "{shown}");
        // The refusal is in the form of the path's protocol.
        let body = response.split_once("\r\n\r\n").unwrap().1;
        let body: Value = serde_json::from_str(body).expect(&shown);
        match Protocol::of(&path) {
            Protocol::Gemini => assert!(body["error"]["status"].is_string(), "{shown}"),
            Protocol::Anthropic => assert_eq!(body["type"], "error", "{shown}"),
            _ => assert!(body["error"]["type"].is_string(), "{shown}"),
        }
    }
    // The model itself may be used, with escapes too.
    for path in
        ["/v1beta/models/{M}:generateContent", "/v1beta/models/%67emini-2.5-flash:generateContent"]
    {
        let before = place.vertex.stats().api_requests;
        let body = json!({ "contents": [] });
        gateway.call(of_key(post(&path.replace("{M}", GEMINI), &body), ALICE)).await;
        assert_eq!(place.vertex.stats().api_requests, before + 1, "{path}");
    }
}
