//! Models and endpoints by name.

use super::*;

#[tokio::test]
async fn a_bare_model_gets_its_publisher_and_nothing_else_changes() {
    let vertex = Emulator::builder().models(["google/gemini-2.5-flash"]).start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    for model in ["gemini-2.5-flash", "google/gemini-2.5-flash", "gemini-2\\u002e5-flash"] {
        let body = format!(
            r#"{{ "n":1.0,"messages":[{{"role":"user","content":"x"}}], "model" : "{model}"}}"#
        );
        let request = Request::post("/v1/chat/completions").body(Full::from(body)).unwrap();
        let answer = gateway.call(request).await;
        assert_eq!(answer.status(), StatusCode::OK, "{model}");
    }
    let twice = r#"{"model":"gemini-2.5-flash","messages":[],"model":"google/other"}"#;
    let request = Request::post("/v1/chat/completions").body(Full::from(twice)).unwrap();
    let before = vertex.requests().len();
    let (status, _, message) = openai_error(gateway.call(request).await).await;
    assert_eq!(status, 400);
    assert!(message.contains("model"), "{message}");
    assert_eq!(vertex.requests().len(), before, "the request was forwarded");
}

const MODELS: &str = r#"
location = "europe-west4"

[[model]]
name = "fast"
model = "gemini-2.5-flash"
headers = { X-Vertex-AI-LLM-Request-Type = "dedicated" }

[[model]]
name = "llama-*"
location = "us-east1"
endpoint = "1234567890"
"#;

#[tokio::test]
async fn the_configuration_file_routes_models_and_lists_them() {
    let vertex = Emulator::start().await.unwrap();
    vertex.set_endpoints([EndpointInfo::shared("1234567890", "llama").location("us-east1")]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(MODELS.as_bytes()).unwrap();
    let config = ["--config", file.path().to_str().unwrap(), "--list-models", "off"];
    // The location is an option of `before`, which takes precedence over the file's.
    let gateway = Gateway::before(&vertex, &config).await;
    for (model, path) in [
        ("fast", "/v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions"),
        ("llama-3", "/v1/projects/p1/locations/us-east1/endpoints/1234567890/chat/completions"),
        (
            "gemini-2.5-pro",
            "/v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions",
        ),
    ] {
        let body = serde_json::json!({
            "model": model, "messages": [{ "role": "user", "content": "x" }],
        });
        let request =
            Request::post("/v1/chat/completions").body(Full::from(body.to_string())).unwrap();
        assert_eq!(gateway.call(request).await.status(), StatusCode::OK, "{model}");
        let record = vertex.requests().pop().unwrap();
        assert_eq!(record.path, path, "{model}");
        let headed = record.header_names.iter().any(|name| name == "x-vertex-ai-llm-request-type");
        assert_eq!(headed, model == "fast", "{model}");
    }

    let get = async |path: &str| {
        let request = Request::get(path).body(Full::default()).unwrap();
        let answer = gateway.call(request).await;
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<serde_json::Value>(&text(answer).await).unwrap())
    };
    let before = vertex.stats().api_requests;
    for path in ["/v1/models", "/models", "/v1/models?limit=5"] {
        let (status, list) = get(path).await;
        assert_eq!((status, list["object"].as_str()), (200, Some("list")));
        let models = list["data"].as_array().unwrap();
        assert_eq!(models.len(), 1, "a pattern is no model: {list}");
        assert_eq!(models[0]["id"], "fast");
        assert_eq!(models[0]["object"], "model");
        assert!(models[0]["created"].as_u64().unwrap() > 1_700_000_000);
        assert_eq!(models[0]["owned_by"], "google");
    }
    assert_eq!(get("/v1/models/llama-3").await.1["id"], "llama-3");
    assert_eq!(get("/v1/models/f%61st").await.1["id"], "fast");
    let (status, error) = get("/v1/models/other").await;
    assert_eq!((status, error["error"]["code"].as_str()), (404, Some("model_not_found")));
    assert_eq!(vertex.stats().api_requests, before, "no request went to Vertex AI");
}

/// The path at Vertex AI of a chat with this model.
async fn path_of(gateway: &Gateway, vertex: &Emulator, model: &str) -> String {
    let (status, path) = status_and_path_of(gateway, vertex, model).await;
    assert_eq!(status, StatusCode::OK, "{model}");
    path
}

async fn status_and_path_of(
    gateway: &Gateway,
    vertex: &Emulator,
    model: &str,
) -> (StatusCode, String) {
    let body =
        serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "x" }] });
    let request = Request::post("/v1/chat/completions").body(Full::from(body.to_string())).unwrap();
    let status = gateway.call(request).await.status();
    let requests = vertex.requests();
    let sent = requests.iter().rfind(|request| request.method == "POST").unwrap();
    (status, sent.path.clone())
}

async fn model_ids(gateway: &Gateway) -> Vec<String> {
    let request = Request::get("/v1/models").body(Full::default()).unwrap();
    let list: serde_json::Value =
        serde_json::from_str(&text(gateway.call(request).await).await).unwrap();
    let ids = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn an_endpoint_is_found_by_its_name_and_found_again_after_it_was_recreated() {
    let mine = |id: &str| {
        let dns = format!("{id}.europe-west4-123456789012.prediction.vertexai.goog");
        EndpointInfo::dedicated(id, "my-llama", dns).location("europe-west4")
    };
    let vertex = Emulator::builder().endpoint(mine("7")).start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let entry = r#"
        [[model]]
        name = "llama"
        location = "europe-west4"
        endpoint = "display-name:my-llama"
    "#;
    file.write_all(entry.as_bytes()).unwrap();
    let config = file.path().to_str().unwrap();
    let gateway =
        Gateway::before(&vertex, &["--config", config, "--discovery-interval", "1"]).await;
    let path =
        |id| format!("/v1/projects/p1/locations/europe-west4/endpoints/{id}/chat/completions");
    assert_eq!(path_of(&gateway, &vertex, "llama").await, path("7"));
    assert_eq!(vertex.stats().token_mints, 1);

    vertex.set_endpoints([mine("8")]);
    let listed = || vertex.requests().iter().filter(|seen| seen.method == "GET").count();
    let lookups = async |more: usize| {
        let before = listed();
        eventually("the endpoint is looked up again", || listed() >= before + more).await;
    };
    // The first lookup may have begun before the change, and the last may still be in flight.
    lookups(3).await;
    assert_eq!(path_of(&gateway, &vertex, "llama").await, path("8"));
    // If an endpoint is not found any more, its previous address is kept.
    vertex.set_endpoints([]);
    lookups(6).await;
    let found = status_and_path_of(&gateway, &vertex, "llama").await;
    assert_eq!(found, (StatusCode::NOT_FOUND, path("8")));
}

#[tokio::test]
async fn all_deployed_endpoints_are_available_by_name() {
    let builder = Emulator::builder()
        .endpoint(EndpointInfo::shared("1", "twin"))
        .endpoint(EndpointInfo::shared("2", "twin"))
        .endpoint(EndpointInfo::shared("3", ""))
        .endpoint(EndpointInfo::shared("4", "fast"))
        .endpoint(EndpointInfo::shared("5", "far").location("us-east1"))
        .endpoint(EndpointInfo::shared("6", "elsewhere").location("asia-east1"));
    let vertex = builder.start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(MODELS.as_bytes()).unwrap();
    let config = file.path().to_str().unwrap();
    let listed = ["--discover-endpoints", "--list-models", "off"];
    let gateway = Gateway::before(&vertex, &[&["--config", config], &listed[..]].concat()).await;
    // The models of the file take precedence. The locations of these models are searched, too.
    let ids = model_ids(&gateway).await;
    assert_eq!(ids, ["fast", "emulated-shared", "emulated-dedicated", "1", "2", "3", "far"]);
    let path = |location: &str, id: &str| {
        format!("/v1/projects/p1/locations/{location}/endpoints/{id}/chat/completions")
    };
    assert_eq!(path_of(&gateway, &vertex, "fast").await, path("us-central1", "openapi"));
    assert_eq!(path_of(&gateway, &vertex, "far").await, path("us-east1", "5"));
    assert_eq!(path_of(&gateway, &vertex, "2").await, path("us-central1", "2"));
}

#[tokio::test]
async fn a_name_that_is_not_found_is_an_error_at_the_start() {
    let vertex = Emulator::start().await.unwrap();
    let (url, mut key) = (vertex.url(), tempfile::NamedTempFile::new().unwrap());
    key.write_all(vertex.service_account_key().as_bytes()).unwrap();
    let named = "[[model]]\nname = \"llama\"\nendpoint = \"display-name:mine\"";
    for (content, location, code, why) in [
        (named, "us-central1", 1, r#"model "llama": us-central1: no endpoint"#),
        ("discover_endpoints = true", "global", 2, "no region for --discover-endpoints"),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let config = file.path().to_str().unwrap();
        let args = ["--project", "p1", "--location", location, "--upstream", &url];
        let args = [&args[..], &["--config", config, "--credentials"]].concat();
        let args = [&args[..], &[key.path().to_str().unwrap()]].concat();
        let output = in_time("the end of the process", command(&args).output()).await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(why), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn an_unusable_configuration_is_an_error_at_the_start() {
    for (text, why) in [
        ("projct = \"p\"", "unknown key `projct`: did you mean `project`?"),
        ("[[model]]\nname = \"a\"\nendpoint = \"1/2\"", "endpoint"),
        ("\nsend_timeout = \"soon\"", "line 2: `send_timeout`: give a time"),
        (
            "[[model]]\nname = \"a\"\n[[model]]\nname = \"a\"",
            "line 4: a [[model]] with the name \"a\" is in line 2 already: leave one of the two out",
        ),
        (
            "[[model]]\nname = \"a\"\nendpoint = \"1\"\ndedicated_host = \"evil.example\"",
            "not one of Vertex AI's hosts",
        ),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        for first in [&[][..], &["check"][..]] {
            let args = [first, &["--config", &path, "--project", "p", "--location", "us-central1"]];
            let output =
                in_time("the end of the process", command(&args.concat()).output()).await.unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}
