//! The form of each protocol. A name on a list is one that the protocol's clients can request.

use super::*;

#[tokio::test]
async fn every_model_on_openais_list_responds_to_a_chat() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    assert_eq!(lists(&vertex), [""; 0], "a start needs no list");
    let ids = openai_ids(&gateway).await;
    assert!(ids.contains(&"google/gemini-2.5-flash".into()), "{ids:?}");
    assert!(ids.contains(&"google/gemma-4-26b-a4b-it-maas".into()), "{ids:?}");
    for other in ["claude", "embedding", "-tts", "gemini-2.0", "qwen"] {
        assert!(ids.iter().all(|id| !id.contains(other)), "{other}: {ids:?}");
    }
    for id in &ids {
        let (status, answer) = post(&gateway, "/v1/chat/completions", &chat(id)).await;
        assert_eq!(status, 200, "{id}: {answer}");
    }
    // The list is known now.
    openai_ids(&gateway).await;
    let mut all = lists(&vertex);
    all.sort();
    let of = |publisher: &str| format!("/v1beta1/publishers/{publisher}/models");
    assert_eq!(all, [of("anthropic"), of("google")]);

    let (_, list) = get(&gateway, "/v1/models", &[]).await;
    let model = &list["data"][0];
    assert_eq!((list["object"].as_str(), model["object"].as_str()), (Some("list"), Some("model")));
    assert_eq!(model["owned_by"], "google");
    for name in ["google/gemini-2.5-flash", "gemini-2.5-flash", "google%2Fgemini-2.5-flash"] {
        let (status, model) = get(&gateway, &format!("/v1/models/{name}"), &[]).await;
        assert_eq!((status, model["object"].as_str()), (200, Some("model")), "{model}");
        assert_eq!(model["id"], name.replace("%2F", "/"));
    }
    for absent in ["google/gemini-9", "google/gemini-2.0-flash", "anthropic/claude-opus-5"] {
        let (status, error) = get(&gateway, &format!("/v1/models/{absent}"), &[]).await;
        assert_eq!((status, &error["error"]["code"]), (404, &json!("model_not_found")), "{error}");
    }
}

#[tokio::test]
async fn every_model_on_anthropics_list_responds_to_a_message() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let ids = anthropic_ids(&gateway).await;
    assert!(ids.contains(&"claude-opus-5".into()), "{ids:?}");
    assert!(ids.contains(&"claude-haiku-4-5@20251001".into()), "{ids:?}");
    assert!(ids.iter().all(|id| id.starts_with("claude-")), "{ids:?}");
    for id in &ids {
        let mut body = chat(id);
        body["max_tokens"] = json!(1);
        let (status, answer) = post(&gateway, "/v1/messages", &body).await;
        assert_eq!((status, answer["type"].as_str()), (200, Some("message")), "{id}: {answer}");
    }

    let (_, haiku) = get(&gateway, "/v1/models/claude-haiku-4-5-20251001", ANTHROPIC).await;
    let expected = json!({
        "type": "model",
        "id": "claude-haiku-4-5-20251001",
        "display_name": "Claude Haiku 4.5",
        "created_at": "2025-10-01T00:00:00Z",
    });
    assert_eq!(haiku, expected);
    let (_, opus) = get(&gateway, "/v1/models/claude-opus-5", ANTHROPIC).await;
    assert_eq!(opus["created_at"], "1970-01-01T00:00:00Z");
    let (status, error) = get(&gateway, "/v1/models/gemini-2.5-flash", ANTHROPIC).await;
    assert_eq!((status, &error["type"]), (404, &json!("error")), "{error}");
    assert_eq!(error["error"]["type"], "not_found_error", "{error}");
}

#[tokio::test]
async fn anthropics_list_has_pages_in_both_directions() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let all = anthropic_ids(&gateway).await;
    assert!(all.len() > 4);
    let page = async |query: &str| {
        let (_, list) = get(&gateway, &format!("/v1/models?{query}"), ANTHROPIC).await;
        let ids = names(&list, "data", "id");
        assert_eq!(list["first_id"].as_str(), ids.first().map(String::as_str));
        assert_eq!(list["last_id"].as_str(), ids.last().map(String::as_str));
        (ids, list["has_more"].as_bool().unwrap())
    };
    let (mut forward, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let (ids, has_more) = page(&query).await;
        assert!(ids.len() == 3 || !has_more);
        query = format!("limit=3&after_id={}", ids.last().unwrap().replace('@', "%40"));
        forward.extend(ids);
        if !has_more {
            break;
        }
    }
    assert_eq!(forward, all);
    let before = |at: usize| format!("limit=2&before_id={}", all[at]);
    assert_eq!(page(&before(4)).await, (all[2..4].to_vec(), true));
    assert_eq!(page(&before(2)).await, (all[..2].to_vec(), false));
    assert_eq!(page("after_id=gone").await, (vec![], false));
}

#[tokio::test]
async fn geminis_clients_get_the_forms_of_both_google_apis() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let (_, list) = get(&gateway, "/v1beta/models?pageSize=1000", &[]).await;
    let all = names(&list, "models", "name");
    assert!(
        all.iter().all(|name| name.starts_with("models/gemini-") || name.contains("embedding"))
    );
    let find = |name: &str| {
        let models = list["models"].as_array().unwrap();
        models
            .iter()
            .find(|model| model["name"] == name)
            .unwrap_or_else(|| panic!("{list}"))
            .clone()
    };
    let flash = json!({
        "name": "models/gemini-2.5-flash",
        "version": "default",
        "displayName": "Gemini 2.5 Flash",
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    });
    assert_eq!(find("models/gemini-2.5-flash"), flash);
    let methods = |name: &str| find(name)["supportedGenerationMethods"].clone();
    assert_eq!(methods("models/gemini-embedding-001"), json!(["predict"]));
    assert_eq!(methods("models/gemini-embedding-2"), json!(["embedContent"]));
    assert_eq!(get(&gateway, "/v1beta/models/gemini-2.5-flash", &[]).await, (200, flash.clone()));
    // Their key is in a header of its own, and `v1` is a version of that API, too.
    let key = [("x-goog-api-key", "any")];
    assert_eq!(get(&gateway, "/v1/models/gemini-2.5-flash", &key).await, (200, flash));

    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1beta/models?pageSize=7&pageToken={token}");
        let (_, list) = get(&gateway, &path, &[]).await;
        paged.extend(names(&list, "models", "name"));
        match list["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, all);
    let (status, error) = get(&gateway, "/v1beta/models/claude-opus-5", &[]).await;
    assert_eq!((status, &error["error"]["status"]), (404, &json!("NOT_FOUND")), "{error}");

    let path = "/v1beta1/publishers/google/models";
    let (_, list) = get(&gateway, path, &[]).await;
    let listed = names(&list, "publisherModels", "name");
    assert!(listed.contains(&"publishers/google/models/gemini-2.5-flash".into()), "{listed:?}");
    assert!(listed.iter().all(|name| !name.contains("-tts")), "{listed:?}");
    let (_, model) = get(&gateway, &format!("{path}/gemini-2.5-flash"), &[]).await;
    assert_eq!((&model["versionId"], &model["launchStage"]), (&json!("default"), &json!("GA")));
    assert!(model["supportedActions"]["openGenerationAiStudio"].is_object(), "{model}");
    let in_project = "/v1beta1/projects/other/locations/eu/publishers/anthropic/models";
    let (_, list) = get(&gateway, in_project, &[]).await;
    let listed = names(&list, "publisherModels", "name");
    assert!(listed.contains(&"publishers/anthropic/models/claude-opus-5".into()), "{listed:?}");
    // A publisher that is not listed has no models here.
    let (_, list) = get(&gateway, "/v1beta1/publishers/qwen/models", &[]).await;
    assert_eq!(list, json!({ "publisherModels": [] }));
}

#[tokio::test]
async fn only_a_get_lists_models() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    for path in ["/v1/models", "/v1beta/models", "/v1beta1/publishers/google/models"] {
        for method in ["POST", "DELETE", "PUT"] {
            let request =
                Request::builder().method(method).uri(path).body(Full::default()).unwrap();
            let response = gateway.call(request).await;
            assert_eq!(response.status(), 405, "{method} {path}");
            assert_eq!(response.headers()["allow"], "GET, HEAD");
        }
        let request = Request::head(path).body(Full::default()).unwrap();
        let response = gateway.call(request).await;
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.headers()["content-length"].to_str().unwrap().len() > 2);
    }
    assert!(vertex.requests().iter().all(|seen| seen.method == "GET"));
}
