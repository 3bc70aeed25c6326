//! Names that Vertex AI does not have: the error for them, and the default model.

use std::{fs, process::Stdio};

use tempfile::TempDir;

use super::*;
use crate::common::{eventually, gateway::before, put};

const CHAT: &str = "/v1/chat/completions";
const FLASH: &str = "google/gemini-2.5-flash";

/// Files of a sidecar, and the emulator behind it.
struct Place {
    files: TempDir,
    vertex: Emulator,
}

impl Place {
    async fn new() -> Self {
        Self { files: tempfile::tempdir().unwrap(), vertex: Emulator::start().await.unwrap() }
    }

    async fn start(&self, config: &str, options: &[&str]) -> Gateway {
        let config = put(self.files.path(), "gateway.toml", config);
        let options = [&["--config", &config], options].concat();
        let (mut command, _key) = before(&self.vertex, &self.vertex.url(), &options);
        command.stderr(Stdio::from(fs::File::create(self.files.path().join("log")).unwrap()));
        Gateway::start(command).await
    }

    /// The newest line of the log about a request for this model.
    async fn logged(&self, model: &str) -> Value {
        let log = || fs::read_to_string(self.files.path().join("log")).unwrap();
        let about = |line: &&str| line.contains(&format!("\"model\":\"{model}\""));
        eventually("the line of a request", || log().lines().any(|line| about(&line))).await;
        serde_json::from_str(log().lines().rfind(about).unwrap()).unwrap()
    }
}

/// The smallest request of a kind for a model.
fn small(path: &str, model: &str) -> Value {
    match path {
        "/v1/completions" => json!({ "model": model, "prompt": "x" }),
        "/v1/embeddings" => json!({ "model": model, "input": "x" }),
        "/v1/responses" => json!({ "model": model, "input": "x", "store": false }),
        _ => chat(model),
    }
}

fn said(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn the_error_for_a_clients_own_name_has_an_entry_that_serves_it() {
    let place = Place::new().await;
    let gateway = place.start("", &[]).await;
    let mut entries = String::new();
    let mut asked = Vec::new();
    for (path, model) in [
        (CHAT, "gpt-4o"),
        (CHAT, "gpt-4o-mini"),
        (CHAT, "o3"),
        (CHAT, "claude-sonnet-4-5"),
        (CHAT, "llama3.2:latest"),
        ("/v1/embeddings", "text-embedding-3-small"),
        ("/v1/responses", "gpt-5-codex"),
    ] {
        let (status, answer) = post(&gateway, path, &small(path, model)).await;
        let message = said(&answer);
        assert_eq!(status, 404, "{model}: {message}");
        assert!(message.contains("the client's setting for the model"), "{message}");
        let is_openais = path == CHAT && model != "llama3.2:latest";
        assert_eq!(message.contains("default_model = \""), is_openais, "{message}");
        // The entry ends with an empty line, or with the message.
        let entry = &message[message.find("[[model]]\n").unwrap()..];
        entries.push_str(entry.split("\n\n").next().unwrap());
        entries.push('\n');
        asked.push((path, model));
    }
    let gateway = place.start(&entries, &[]).await;
    for (path, model) in asked {
        let (status, answer) = post(&gateway, path, &small(path, model)).await;
        assert_eq!(status, 200, "{model}: {answer}");
    }
}

#[tokio::test]
async fn a_misspelt_name_gets_the_place_of_the_names_and_a_wrong_entry_its_own_name() {
    let place = Place::new().await;
    let entry = "[[model]]\nname = \"fast\"\nmodel = \"gemini-9\"\n";
    let gateway = place.start(entry, &["--default-model", FLASH]).await;
    for (model, part) in [
        ("gemini-2.5-flsh", "GET /v1/models lists the names"),
        ("google/gemini-2.5-flsh", "GET /v1/models lists the names"),
        ("fast", "The table of models maps fast to this model: correct its entry."),
    ] {
        let (status, answer) = post(&gateway, CHAT, &chat(model)).await;
        assert_eq!(status, 404, "{model}");
        assert!(said(&answer).contains(part), "{answer}");
        assert!(!said(&answer).contains("[[model]]"), "{answer}");
    }
    let gateway = place.start("default_model = \"google/gemini-9\"", &[]).await;
    let (status, answer) = post(&gateway, CHAT, &chat("gpt-4o")).await;
    assert_eq!(status, 404);
    let part = "gpt-4o is served by the gateway's default_model, and google/gemini-9 is none";
    assert!(said(&answer).contains(part), "{answer}");
    let (status, answer) = get(&gateway, "/v1/models/gpt-5-nano-x", &[]).await;
    assert_eq!((status, &answer["owned_by"]), (200, &"google".into()), "{answer}");
}

#[tokio::test]
async fn the_default_model_serves_names_of_openai_and_anthropic_and_requests_without_a_name() {
    let place = Place::new().await;
    let config = format!(
        "default_model = \"{FLASH}\"\n[[model]]\nname = \"gpt-4o\"\nmodel = \"gemini-2.5-pro\"\n"
    );
    let gateway = place.start(&config, &[]).await;
    for (path, body, served_by) in [
        (CHAT, chat("gpt-4o-mini"), FLASH),
        (CHAT, chat("o3"), FLASH),
        (CHAT, chat("claude-sonnet-4-5"), FLASH),
        (CHAT, chat(""), FLASH),
        (CHAT, json!({ "messages": chat("")["messages"] }), FLASH),
        (CHAT, json!({ "model": null, "messages": chat("")["messages"] }), FLASH),
        ("/chat/completions/", chat("gpt-5.1"), FLASH),
        ("/v1/completions", small("/v1/completions", "gpt-3.5-turbo-instruct"), FLASH),
        // An entry, and a name of Vertex AI's, take precedence.
        (CHAT, chat("gpt-4o"), "google/gemini-2.5-pro"),
        (CHAT, chat("gemini-2.5-flash-lite"), "google/gemini-2.5-flash-lite"),
    ] {
        let (status, answer) = post(&gateway, path, &body).await;
        assert_eq!((status, &answer["model"]), (200, &served_by.into()), "{body}: {answer}");
    }
    let before = place.vertex.stats().api_requests;
    for (path, model) in [
        ("/v1/embeddings", "text-embedding-3-small"),
        ("/v1/embeddings", "gpt-4o-mini"),
        ("/v1/responses", "gpt-5-codex"),
        (CHAT, "gemini-2.5-flsh"),
        (CHAT, "openai/gpt-4o-mini"),
        (CHAT, "gpt-oss-120b-maas"),
    ] {
        let (status, answer) = post(&gateway, path, &small(path, model)).await;
        assert_eq!(status, 404, "{model}: {answer}");
    }
    assert_eq!(place.vertex.stats().api_requests, before + 6);
    // Parsers differ in which of the two is the model.
    let body = json!({ "Model": "x", "messages": [] });
    assert_eq!(post(&gateway, CHAT, &body).await.0, 400);
}

#[tokio::test]
async fn without_a_default_model_a_request_is_sent_as_it_is() {
    let place = Place::new().await;
    let gateway = place.start("default_model = \"\"", &[]).await;
    assert_eq!(post(&gateway, CHAT, &json!({ "messages": [] })).await.0, 400);
    assert_eq!(post(&gateway, CHAT, &chat("gpt-4o")).await.0, 404);
    assert_eq!(get(&gateway, "/v1/models/gpt-4o", &[]).await.0, 404);
}

#[tokio::test]
async fn the_default_model_may_be_an_entry_and_changes_on_a_reload() {
    let place = Place::new().await;
    let entry =
        "[[model]]\nname = \"fast\"\nmodel = \"gemini-2.5-flash\"\nlocation = \"europe-west4\"\n";
    let gateway = place.start(&format!("default_model = \"fast\"\n{entry}"), &[]).await;
    let (status, answer) = post(&gateway, CHAT, &chat("gpt-4o")).await;
    assert_eq!((status, &answer["model"]), (200, &FLASH.into()));
    let sent = place.vertex.requests().pop().unwrap();
    assert!(sent.path.contains("/locations/europe-west4/"), "{}", sent.path);
    #[cfg(unix)]
    {
        put(place.files.path(), "gateway.toml", "default_model = \"google/gemini-2.5-pro\"");
        let id = gateway.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
        let log = place.files.path().join("log");
        eventually("the reload", || fs::read_to_string(&log).unwrap().contains("models reloaded"))
            .await;
        let (_, answer) = post(&gateway, CHAT, &chat("gpt-4o")).await;
        assert_eq!(answer["model"], "google/gemini-2.5-pro");
    }
}

#[tokio::test]
async fn a_key_needs_the_permission_for_the_default_model() {
    let place = Place::new().await;
    let config = format!(
        "default_model = \"{FLASH}\"\n\
         [[client]]\nname = \"alice\"\nmodels = [\"{FLASH}\"]\n\
         [[client]]\nname = \"bob\"\nmodels = [\"gpt-*\", \"google/gemini-2.5-pro\"]\n"
    );
    let keys =
        put(place.files.path(), "keys", "alice:sk-alice-0123456789\nbob:sk-bob-0123456789\n");
    let gateway = place.start(&config, &["--client-key-file", &keys]).await;
    let ask = async |key: &str, path: &str, body: Option<Value>| {
        let request = match &body {
            Some(_) => Request::post(path).header("content-type", "application/json"),
            None => Request::get(path),
        };
        let request = request.header("authorization", format!("Bearer sk-{key}-0123456789"));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        json_of(&gateway, request.body(Full::from(body)).unwrap()).await
    };
    let nameless = json!({ "messages": chat("")["messages"] });
    for body in [chat("gpt-4o"), nameless.clone(), chat("claude-sonnet-4-5")] {
        let (status, answer) = ask("alice", CHAT, Some(body.clone())).await;
        assert_eq!((status, &answer["model"]), (200, &FLASH.into()), "{body}: {answer}");
        let (status, answer) = ask("bob", CHAT, Some(body.clone())).await;
        assert_eq!(status, 403, "{body}: {answer}");
        assert_eq!(answer["error"]["code"], "model_not_allowed");
        assert!(said(&answer).contains(FLASH), "{answer}");
    }
    for (key, status, first) in [("alice", 200, Some(FLASH)), ("bob", 404, None)] {
        assert_eq!(ask(key, "/v1/models/gpt-4o", None).await.0, status, "{key}");
        let (_, list) = ask(key, "/v1/models", None).await;
        let ids = names(&list, "data", "id");
        assert_eq!(ids.iter().find(|id| *id == FLASH).map(String::as_str), first, "{key}: {ids:?}");
    }
}

#[tokio::test]
async fn the_default_model_is_the_first_on_openais_list() {
    let place = Place::new().await;
    let gateway = place.start("", &["--default-model", "google/gemini-2.5-pro"]).await;
    let ids = openai_ids(&gateway).await;
    assert_eq!(ids[0], "google/gemini-2.5-pro");
    assert_eq!(ids.iter().filter(|id| **id == ids[0]).count(), 1, "{ids:?}");
    assert!(!ids.iter().any(|id| id.starts_with("gpt-")), "{ids:?}");
    assert!(!anthropic_ids(&gateway).await.contains(&ids[0]));
    let (status, model) = get(&gateway, "/v1/models/gpt-4o", &[]).await;
    assert_eq!((status, &model["id"]), (200, &"gpt-4o".into()));
    let off = place.start("", &["--default-model", FLASH, "--list-models", "off"]).await;
    assert_eq!(openai_ids(&off).await, [FLASH]);
}

#[tokio::test]
async fn the_log_has_both_names() {
    let place = Place::new().await;
    let entry = "[[model]]\nname = \"fast\"\nmodel = \"gemini-2.5-pro\"\n";
    let options = ["--default-model", FLASH, "--log-format", "json"];
    let gateway = place.start(entry, &options).await;
    let nameless = json!({ "messages": chat("")["messages"] });
    for (body, model, sent) in [
        (chat("gpt-4o"), "gpt-4o", Some(FLASH)),
        (chat("fast"), "fast", Some("google/gemini-2.5-pro")),
        (chat("gemini-2.5-flash"), "gemini-2.5-flash", None),
        (nameless, FLASH, None),
    ] {
        assert_eq!(post(&gateway, CHAT, &body).await.0, 200, "{body}");
        let line = place.logged(model).await;
        let upstream = line.get("upstream_model").and_then(Value::as_str);
        assert_eq!(upstream, sent, "{line}");
    }
}

#[tokio::test]
async fn a_default_model_that_vertex_ai_does_not_have_stops_the_start() {
    let place = Place::new().await;
    let config = put(place.files.path(), "gateway.toml", "default_model = \"gpt-4o\"");
    for (options, origin) in [
        (["--config", &*config], "`default_model` of the configuration file"),
        (["--default-model", "claude-sonnet-5"], "--default-model"),
    ] {
        let (mut command, _key) = before(&place.vertex, &place.vertex.url(), &options);
        let output = command.stderr(Stdio::piped()).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(origin) && said.contains("a model that Vertex AI has"), "{said}");
    }
}
