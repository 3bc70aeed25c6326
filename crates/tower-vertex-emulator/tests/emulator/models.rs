use super::*;

async fn ask(bench: &Bench, method: &str, model: impl Into<Value>) -> Answer {
    let mut body = hello();
    body["model"] = model.into();
    body["input"] = "hello".into();
    body["prompt"] = "hello".into();
    bench.post(&format!("{OPENAPI}/{method}"), &body).await
}

/// Whether this is Google's error for a model that does not exist.
fn is_unknown(error: &Value, model: &str) -> bool {
    let (publisher, name) = model.split_once('/').unwrap();
    let message = format!(
        "Publisher Model `projects/p1/locations/us-central1/publishers/{publisher}/models/{name}` \
         was not found or your project does not have access to it."
    );
    error["status"] == "NOT_FOUND" && error["message"].as_str().unwrap().starts_with(&message)
}

#[tokio::test]
async fn the_models_that_google_names_are_served() {
    let bench = Bench::new().await;
    for (method, model) in [
        ("chat/completions", MODEL),
        ("chat/completions", "google/gemini-3.1-pro-preview"),
        ("chat/completions", "google/gemma-4-26b-a4b-it-maas"),
        ("chat/completions", "meta/llama-3.3-70b-instruct-maas"),
        ("chat/completions", "openai/gpt-oss-120b-maas"),
        ("chat/completions", "xai/grok-4.1-fast-reasoning"),
        ("completions", MODEL),
        ("responses", "xai/grok-4.1-fast-reasoning"),
        ("embeddings", "google/text-embedding-005"),
        ("embeddings", "intfloat/multilingual-e5-small-maas"),
        ("embeddings", "e5/multilingual-e5-large-instruct-maas"),
    ] {
        assert_eq!(ask(&bench, method, model).await.status, StatusCode::OK, "{method} {model}");
    }
}

#[tokio::test]
async fn a_name_without_a_publisher_is_malformed() {
    let bench = Bench::new().await;
    for bare in [json!("gemini-2.5-flash"), json!(""), json!("/x"), json!("google/"), json!(1)] {
        let error = ask(&bench, "chat/completions", bare.clone()).await.error(true);
        let name = bare.as_str().unwrap_or_default();
        let message = format!(
            "Malformed publisher model (`model`: '{name}') for the 'openapi' request \
             endpoint ID; expected '<publisher>/<model>'."
        );
        assert_eq!(error["message"], message);
    }
}

#[tokio::test]
async fn an_unknown_model_or_publisher_is_not_found() {
    let bench = Bench::new().await;
    for model in [
        "google/gpt-4o",
        "google/gemini-9-ultra",
        "google/llama-3.3-70b-instruct-maas",
        "nvidia/nemotron",
        "google/gemini-2.5-flash/x",
    ] {
        for method in ["chat/completions", "completions", "responses", "embeddings"] {
            let error = ask(&bench, method, model).await.error(true);
            assert!(is_unknown(&error, model), "{method} {model}: {error}");
        }
    }
}

#[tokio::test]
async fn a_model_of_another_kind_or_protocol_is_a_failed_precondition() {
    let bench = Bench::new().await;
    for (method, rpc, model) in [
        ("chat/completions", "ChatCompletions", "anthropic/claude-sonnet-4-6"),
        ("chat/completions", "ChatCompletions", "anthropic/claude-of-tomorrow"),
        ("chat/completions", "ChatCompletions", "mistralai/mistral-medium-3"),
        ("chat/completions", "ChatCompletions", "google/text-embedding-005"),
        ("completions", "Completions", "google/gemini-embedding-001"),
        ("embeddings", "Embeddings", MODEL),
        ("responses", "Responses", MODEL),
        ("responses", "Responses", "openai/gpt-oss-120b-maas"),
    ] {
        let error = ask(&bench, method, model).await.error(true);
        assert_eq!(error["status"], "FAILED_PRECONDITION", "{method} {model}");
        let message = format!("The deployed model does not support {rpc}. endpoint_id: ");
        assert!(error["message"].as_str().unwrap().starts_with(&message), "{error}");
    }
}

#[tokio::test]
async fn a_list_of_models_replaces_those_that_google_names() {
    let mine = Model::from("acme/mine").kind(Kind::Embeddings);
    let emulator = Emulator::builder().models(["gemini-2.0-flash"]).model(mine).start().await;
    let bench = Bench::over(emulator.unwrap(), Version::HTTP_11);
    for (method, model, status) in [
        ("chat/completions", "google/gemini-2.0-flash", 200),
        ("embeddings", "acme/mine", 200),
        ("chat/completions", "acme/mine", 400),
        ("chat/completions", MODEL, 404),
    ] {
        assert_eq!(ask(&bench, method, model).await.status, status, "{method} {model}");
    }
    let listed = bench.control("GET", "models", Value::Null).await.json();
    assert_eq!(listed[1]["model"], "acme/mine");
    assert_eq!(listed[1]["surfaces"], json!(["embeddings", "predict"]));
}
