//! The publishers and the locations whose models are listed, and the clients that see them.

use std::io::Write as _;

use super::*;

fn file(content: &str) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.into_temp_path()
}

#[tokio::test]
async fn the_option_names_the_publishers() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &["--list-models", "qwen,xai"]).await;
    let ids = openai_ids(&gateway).await;
    assert!(ids.contains(&"xai/grok-4.6".into()), "{ids:?}");
    assert!(ids.iter().all(|id| id.starts_with("qwen/") || id.starts_with("xai/")), "{ids:?}");
    for id in &ids {
        assert_eq!(post(&gateway, "/v1/chat/completions", &chat(id)).await.0, 200, "{id}");
    }
    assert_eq!(anthropic_ids(&gateway).await, [""; 0]);

    let off = Gateway::before(&vertex, &["--list-models", "off"]).await;
    let before = lists(&vertex).len();
    assert_eq!(openai_ids(&off).await, [""; 0]);
    assert_eq!(lists(&vertex).len(), before);
    // An endpoint of one's own serves no publisher's models.
    let own = Gateway::before(&vertex, &["--endpoint", "1234567890123456789"]).await;
    assert_eq!(openai_ids(&own).await, [""; 0]);
    assert_eq!(lists(&vertex).len(), before);
}

#[tokio::test]
async fn the_table_decides_where_a_listed_model_is_requested() {
    let vertex = Emulator::start().await.unwrap();
    let config = file(
        r#"
        [[model]]
        name = "fast"
        model = "gemini-2.5-flash"

        [[model]]
        name = "opus"
        model = "anthropic/claude-opus-5"

        [[model]]
        name = "glm"
        model = "zai-org/glm-5-maas"

        [[model]]
        name = "google/gemini-3*"
        location = "global"

        [[model]]
        name = "google/gemini-2.5-pro*"
        model = "gemini-3.5-flash"

        [[model]]
        name = "gemini-2.5-flash-lite*"
        endpoint = "1234567890123456789"
        "#,
    );
    let gateway = Gateway::before(&vertex, &["--config", config.to_str().unwrap()]).await;
    let ids = openai_ids(&gateway).await;
    let has = |id: &str| ids.contains(&id.to_owned());
    // The operator's own names come first. Claude does not respond to a chat.
    assert_eq!(ids[..2], ["fast", "glm"], "{ids:?}");
    assert!(!has("opus"), "{ids:?}");
    // The publisher of an entry is listed, too.
    assert!(has("zai-org/glm-5-maas") && has("google/gemini-2.5-flash"), "{ids:?}");
    assert!(has("google/gemini-3.5-flash"), "{ids:?}");
    // The table replaces this model by another one.
    assert!(!has("google/gemini-2.5-pro"), "{ids:?}");
    assert_eq!(ids.iter().filter(|id| id.as_str() == "google/gemini-3.5-flash").count(), 1);
    for id in &ids {
        assert_eq!(post(&gateway, "/v1/chat/completions", &chat(id)).await.0, 200, "{id}");
    }
    let seen = vertex.requests();
    let sent = |location: &str| {
        seen.iter().any(|seen| seen.method == "POST" && seen.path.contains(location))
    };
    assert!(sent("/locations/global/") && sent("/locations/us-central1/"));
    let ids = anthropic_ids(&gateway).await;
    assert_eq!(ids[0], "opus", "{ids:?}");
    let (_, gemini) = get(&gateway, "/v1beta/models", &[]).await;
    let names = names(&gemini, "models", "name");
    assert_eq!(names[0], "models/fast", "{names:?}");
    assert!(!names.contains(&"models/gemini-2.5-flash-lite".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_client_sees_the_models_that_its_key_may_request() {
    let vertex = Emulator::start().await.unwrap();
    let config = file(
        r#"
        [[client]]
        name = "alice"
        models = ["gemini-2.5-flash", "claude-opus-*"]

        [[client]]
        name = "bob"
        models = ["google/gemini-3*", "anthropic/claude-sonnet-5"]
        "#,
    );
    const ALICE: &str = "sk-alice-0123456789";
    const BOB: &str = "sk-bob-0123456789";
    let keys = file(&format!("alice:{ALICE}\nbob:{BOB}\n"));
    let options = ["--config", config.to_str().unwrap(), "--client-key-file"];
    let gateway =
        Gateway::before(&vertex, &[&options[..], &[keys.to_str().unwrap()]].concat()).await;
    let ids = async |key: &str, headers: &[(&str, &str)]| {
        let bearer = format!("Bearer {key}");
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        let (status, list) = get(&gateway, "/v1/models?limit=1000", &headers).await;
        assert_eq!(status, 200);
        names(&list, "data", "id")
    };
    // The key may not request `google/gemini-2.5-flash`, but the same model by its bare name.
    assert_eq!(ids(ALICE, &[]).await, ["gemini-2.5-flash"]);
    let claude = ids(ALICE, ANTHROPIC).await;
    assert!(claude.iter().all(|id| id.starts_with("claude-opus-")) && claude.len() > 1);
    let gemini = ids(BOB, &[]).await;
    assert!(gemini.iter().all(|id| id.starts_with("google/gemini-3")) && gemini.len() > 1);
    assert_eq!(ids(BOB, ANTHROPIC).await, ["claude-sonnet-5"]);

    let key = [("x-goog-api-key", ALICE)];
    let (_, list) = get(&gateway, "/v1beta/models", &key).await;
    assert_eq!(names(&list, "models", "name"), ["models/gemini-2.5-flash"]);
    let (status, _) = get(&gateway, "/v1beta/models/gemini-3.5-flash", &key).await;
    assert_eq!(status, 404);
    let before = lists(&vertex).len();
    for (path, headers) in [("/v1/models", ANTHROPIC), ("/v1beta/models", &[]), ("/v1/models", &[])]
    {
        let (status, error) = get(&gateway, path, headers).await;
        assert_eq!(status, 401, "{path}: {error}");
        assert_eq!(error["type"] == "error", headers == ANTHROPIC, "{error}");
    }
    assert_eq!(lists(&vertex).len(), before);
}
