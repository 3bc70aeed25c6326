//! The publisher models of Model Garden.

use super::*;

const ANTHROPIC: &str = "/v1beta1/publishers/anthropic/models";

async fn list(bench: &Bench, path: &str) -> Value {
    let answer = bench.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

fn names(list: &Value) -> Vec<String> {
    let models = list["publisherModels"].as_array().unwrap().iter();
    models
        .map(|model| {
            let name = model["name"].as_str().unwrap().rsplit('/').next().unwrap();
            format!("{name}@{}", model["versionId"].as_str().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_model_has_the_members_of_googles_type() {
    let bench = Bench::new().await;
    let models = list(&bench, "/v1beta1/publishers/google/models").await;
    let models = models["publisherModels"].as_array().unwrap();
    let find = |name: &str| {
        let name = format!("publishers/google/models/{name}");
        models.iter().find(|model| model["name"] == name).unwrap().clone()
    };
    let flash = find("gemini-2.5-flash");
    assert_eq!(flash["versionId"], "default");
    assert_eq!(flash["launchStage"], "GA");
    assert_eq!(flash["openSourceCategory"], "PROPRIETARY");
    assert!(
        flash["supportedActions"]["openGenerationAiStudio"]["references"]["global"].is_object()
    );
    assert_eq!(
        flash["publisherModelTemplate"],
        "projects/{project}/locations/{location}/publishers/google/models/gemini-2.5-flash@default"
    );
    assert_eq!(find("gemini-3.1-pro-preview")["launchStage"], "PUBLIC_PREVIEW");

    let path = "/v1beta1/publishers/google/models/gemini-2.5-flash";
    assert_eq!(list(&bench, path).await, flash);
    assert_eq!(list(&bench, &path.replace("v1beta1", "v1")).await, flash);
    let view = format!("{path}?view=PUBLISHER_MODEL_VERSION_VIEW_BASIC");
    let members: Vec<String> =
        list(&bench, &view).await.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["name", "supportedActions", "versionId"]);
}

#[tokio::test]
async fn a_dated_name_is_a_version_of_its_model() {
    let bench = Bench::new().await;
    let found = names(&list(&bench, ANTHROPIC).await);
    assert!(found.contains(&"claude-haiku-4-5@20251001".into()), "{found:?}");
    assert!(found.contains(&"claude-opus-4-8@default".into()), "{found:?}");
    assert!(!found.contains(&"claude-haiku-4-5@default".into()), "{found:?}");

    let models = ["x-1", "x-1@20250101", "x-1@20260101"];
    let models = models.map(|name| Model::new("anthropic", name));
    let emulator = Emulator::builder().models(models).start().await.unwrap();
    let bench = Bench::over(emulator, Version::HTTP_11);
    assert_eq!(names(&list(&bench, ANTHROPIC).await), ["x-1@20260101"]);
    let all = format!("{ANTHROPIC}?listAllVersions=true");
    assert_eq!(names(&list(&bench, &all).await), ["x-1@20250101", "x-1@20260101"]);
    for (name, version) in
        [("x-1", "20260101"), ("x-1@20250101", "20250101"), ("x-1%4020250101", "20250101")]
    {
        let model = list(&bench, &format!("{ANTHROPIC}/{name}")).await;
        assert_eq!(model["versionId"], version, "{name}");
    }
    for name in ["x-2", "x-1@2024"] {
        let error = bench.get(&format!("{ANTHROPIC}/{name}")).await.error(false);
        assert_eq!(error["status"], "NOT_FOUND", "{name}");
    }
}

#[tokio::test]
async fn a_list_has_pages_and_filters() {
    let bench = Bench::new().await;
    let all = names(&list(&bench, "/v1beta1/publishers/*/models?pageSize=1000").await);
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1beta1/publishers/*/models?pageSize=7&pageToken={token}");
        let page = list(&bench, &path).await;
        assert!(names(&page).len() <= 7);
        found.extend(names(&page));
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, all);
    assert!(all.len() > 50);

    for (filter, count) in [
        ("is_hf_wildcard(false)", all.len()),
        ("is_hf_wildcard(true)", 0),
        (
            "is_hf_wildcard(false) AND (model_user_id=~\"(?i).*Fable.*\" OR \
          display_name=~\"(?i).*Fable.*\")",
            1,
        ),
    ] {
        let query = form_urlencoded(&[("filter", filter), ("pageSize", "1000")]);
        let page = list(&bench, &format!("/v1beta1/publishers/*/models?{query}")).await;
        let found = page["publisherModels"].as_array().map_or(0, Vec::len);
        assert_eq!(found, count, "{filter}");
    }
    // A publisher without models is no error.
    assert_eq!(list(&bench, "/v1beta1/publishers/nobody/models").await, json!({}));
    for query in ["pageSize=x", "pageToken=x", "view=ALL", "filter=color%3Dred"] {
        let error = bench.get(&format!("{ANTHROPIC}?{query}")).await.error(false);
        assert_eq!(error["status"], "INVALID_ARGUMENT", "{query}");
    }
}

/// A query of these parameters.
fn form_urlencoded(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[tokio::test]
async fn the_list_is_at_v1beta1_without_a_project() {
    let bench = Bench::new().await;
    for path in [
        "/v1/publishers/anthropic/models",
        "/v1/projects/p1/locations/global/publishers/anthropic/models",
        "/v1beta1/projects/p1/locations/global/publishers/anthropic/models",
        "/v1beta1/projects/p1/locations/global/publishers/anthropic/models/claude-opus-5",
    ] {
        assert!(bench.get(path).await.is_front_end_page(), "{path}");
    }
    let request = Request::get(format!("{}{ANTHROPIC}", bench.emulator.url()));
    let request = request.header("x-goog-api-key", "AIza-secret");
    let answer = bench.send(request.body(full("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_person_needs_a_quota_project() {
    let emulator = Emulator::builder().project("p1").start().await.unwrap();
    let mut bench = Bench::over(emulator, Version::HTTP_11);
    assert_eq!(bench.get(ANTHROPIC).await.status, StatusCode::OK);

    let mut fields: Value = serde_json::from_str(&bench.emulator.authorized_user()).unwrap();
    fields["grant_type"] = "refresh_token".into();
    let token = bench.ask_for_token(fields.to_string()).await.json();
    bench.token = token["access_token"].as_str().unwrap().to_owned();
    let error = bench.get(ANTHROPIC).await.error(false);
    assert_eq!(error["code"], 403);
    assert_eq!(error["details"][0]["reason"], "SERVICE_DISABLED");
    assert!(error["message"].as_str().unwrap().contains("requires a quota project"));

    for (project, status) in [("p1", StatusCode::OK), ("p2", StatusCode::FORBIDDEN)] {
        let request = bench.request(Method::GET, ANTHROPIC).header("x-goog-user-project", project);
        assert_eq!(bench.send(request.body(full("")).unwrap()).await.status, status);
    }
}
