//! `countTokens`, `computeTokens`, `embedContent`, and `predict`.

use super::*;

const LOCATION: &str = "/v1/projects/p1/locations/us-central1";
const ENDPOINT: &str = "endpoints/1234567890123456789";

fn google(model: &str, method: &str) -> String {
    format!("{LOCATION}/publishers/google/models/{model}:{method}")
}

#[tokio::test]
async fn tokens_are_counted_as_the_usage_counts_them() {
    let bench = Bench::new().await;
    let contents = json!({ "contents": [
        { "role": "user", "parts": [{ "text": "hello, model" }] },
    ]});
    let count = bench.post(&google("gemini-2.5-flash", "countTokens"), &contents).await.json();
    assert_eq!(count["totalTokens"], 3);
    assert_eq!(count["promptTokensDetails"], json!([{ "modality": "TEXT", "tokenCount": 3 }]));
    let body = bench.post(&google("gemini-2.5-flash", "generateContent"), &contents).await.json();
    assert_eq!(body["usageMetadata"]["promptTokenCount"], 3);
    let computed = bench.post(&google("gemini-2.5-flash", "computeTokens"), &contents).await.json();
    let info = &computed["tokensInfo"][0];
    assert_eq!(info["role"], "user");
    assert_eq!(info["tokens"], json!(["aGVsbA==", "bywgbQ==", "b2RlbA=="]));
    assert_eq!(info["tokenIds"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn texts_are_embedded_by_predict() {
    let bench = Bench::new().await;
    let predict = google("text-embedding-005", "predict");
    let body = json!({
        "instances": [
            { "content": "hello", "task_type": "RETRIEVAL_QUERY" }, { "content": "a b" },
        ],
        "parameters": { "outputDimensionality": 8 },
    });
    let answer = bench.post(&predict, &body).await.json();
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 2);
    for (prediction, count) in predictions.iter().zip([2, 1]) {
        let embeddings = &prediction["embeddings"];
        assert_eq!(embeddings["statistics"], json!({ "token_count": count, "truncated": false }));
        let values: Vec<f64> = serde_json::from_value(embeddings["values"].clone()).unwrap();
        assert_eq!(values.len(), 8);
        let length = values.iter().map(|value| value * value).sum::<f64>();
        assert!((length - 1.0).abs() < 1e-3);
    }
    assert_eq!(answer["metadata"]["billableCharacterCount"], 7);
    assert_eq!(bench.post(&predict, &body).await.json(), answer, "a text has one vector");
    let raw = bench.post(&google("text-embedding-005", "rawPredict"), &body).await;
    assert_eq!(raw.json(), answer);
    let long = json!({ "instances": [{ "content": "x".repeat(9000) }] });
    let answer = bench.post(&predict, &long).await.json();
    assert_eq!(
        answer["predictions"][0]["embeddings"]["statistics"],
        json!({ "token_count": 2048, "truncated": true })
    );
    for (instances, parameters, message) in [
        (json!([{ "content": "" }]), json!({}), "The text content is empty."),
        (json!([]), json!({}), "Request contains an invalid argument."),
        (
            vec![json!({ "content": "a" }); 251].into(),
            json!({}),
            "250 instance(s) is allowed per prediction. Actual: 251",
        ),
        (
            json!([{ "content": "a" }]),
            json!({ "outputDimensionality": 769 }),
            "Unable to submit request because it has an outputDimensionality value of 769",
        ),
        (
            json!([{ "content": "x".repeat(9000) }]),
            json!({ "autoTruncate": false }),
            "The input token count is 2250 but the model supports up to 2048.",
        ),
    ] {
        let body = json!({ "instances": instances, "parameters": parameters });
        let error = bench.post(&predict, body).await.error(false);
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
    }
}

#[tokio::test]
async fn a_content_is_embedded_by_embed_content() {
    let bench = Bench::new().await;
    let embed = google("gemini-embedding-2", "embedContent");
    let body = json!({
        "content": { "parts": [{ "text": "hello" }] },
        "embedContentConfig": { "outputDimensionality": 16, "taskType": "CLUSTERING" },
    });
    let answer = bench.post(&embed, &body).await.json();
    assert_eq!(answer["embedding"]["values"].as_array().unwrap().len(), 16);
    assert_eq!(answer["usageMetadata"]["promptTokenCount"], 2);
    let answer = bench.post(&embed, json!({ "content": { "parts": { "text": "hello" } } })).await;
    assert_eq!(answer.json()["embedding"]["values"].as_array().unwrap().len(), 3072);
    let batch = google("gemini-embedding-001", "batchEmbedContents");
    let text = |text: &str| json!({ "content": { "parts": [{ "text": text }] } });
    let body = json!({ "requests": [text("hello"), text("a")] });
    let answer = bench.post(&batch, &body).await.json();
    let embeddings = answer["embeddings"].as_array().unwrap();
    assert_eq!(embeddings.len(), 2);
    let alone = bench.post(&google("gemini-embedding-001", "embedContent"), text("hello")).await;
    assert_eq!(embeddings[0], alone.json()["embedding"]);
    assert_eq!(answer["usageMetadata"]["totalTokenCount"], 3);
    assert_eq!(bench.post(&batch, json!({ "requests": [] })).await.status, StatusCode::BAD_REQUEST);
    let wrong = json!({ "content": {}, "requests": [] });
    let error = bench.post(&embed, wrong).await.error(false);
    assert!(error["message"].as_str().unwrap().contains("Unknown name \"requests\""));
}

#[tokio::test]
async fn a_deployed_endpoint_has_the_methods_of_its_model() {
    let bench = Bench::new().await;
    let path = |method: &str| format!("{LOCATION}/{ENDPOINT}:{method}");
    let instances = json!({ "instances": [{ "x": 1 }, { "x": 2 }] });
    let answer = bench.post(&path("predict"), &instances).await.json();
    assert_eq!(answer["predictions"], instances["instances"]);
    assert_eq!(answer["deployedModelId"], "1");
    assert!(answer["model"].as_str().unwrap().starts_with("projects/123456789012/locations/"));
    let texts = json!({ "instances": [{ "content": "hello" }] });
    let answer = bench.post(&path("predict"), &texts).await.json();
    assert!(answer["predictions"][0]["embeddings"]["values"].is_array());
    let own = json!({ "anything": { "at": ["all"] } });
    for method in ["rawPredict", "streamRawPredict"] {
        assert_eq!(bench.post(&path(method), &own).await.json(), own);
    }
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hello" }] }] });
    let body = bench.post(&path("generateContent"), &contents).await.json();
    assert_eq!(body["candidates"][0]["content"]["parts"][0]["text"], ECHO);
    let stream = bench.post(&path("streamGenerateContent"), &contents).await.json();
    assert_eq!(stream.as_array().unwrap().len(), 5);
    for (unknown, array) in [("predict", false), ("streamGenerateContent", true)] {
        let path = path(unknown).replace("1234567890123456789", "999");
        let error = bench.post(&path, "{}").await.error(array);
        assert_eq!(error["status"], "NOT_FOUND", "{unknown}");
    }
    let error = bench.post(&path("predict").replace("1234567890123456789", "openapi"), "{}").await;
    assert_eq!(error.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_path_without_a_project_is_served() {
    let bench = Bench::new().await;
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hello" }] }] });
    let path = "/v1/publishers/google/models/gemini-2.5-flash:generateContent";
    assert_eq!(bench.post(path, &contents).await.status, StatusCode::OK);
    let answer = bench.post(&format!("{path}?key=k"), &contents).await;
    assert_eq!(answer.error(false)["details"][0]["reason"], "API_KEY_INVALID");
    // With a project the service refuses keys.
    let answer = bench.post(&(google("gemini-2.5-flash", "generateContent") + "?key=k"), "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}
