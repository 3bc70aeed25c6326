//! The list of a publisher's models, against servers with responses in the form of Vertex AI's.

use std::time::Duration;

use http::{Request, Response};
use serde_json::json;
use tower::{Layer as _, service_fn};
use tower_vertex::{
    BoxError,
    auth::VertexAuthLayer,
    discover::{DiscoverError, PublisherModels},
    error::Error,
    replay::ReplayBody,
    route::{Endpoint, Upstream},
    token::StaticToken,
};

use super::{decoded, http, server, service};
use crate::common::door::ClosedPort;

/// The models at a server of the test.
fn at(url: &str) -> PublisherModels {
    let upstream = Upstream::builder().project("p1").location("us-central1").origin(url);
    PublisherModels::from_upstream(service(url), &upstream.build().unwrap()).unwrap()
}

/// A page in the form of Vertex AI's responses.
fn page(ids: &[String], next: &str) -> (u16, String) {
    let model = |id: &String| {
        json!({
            "name": format!("publishers/google/models/{id}"),
            "versionId": "default",
            "openSourceCategory": "PROPRIETARY",
            "supportedActions": { "openGenerationAiStudio": { "references": {} } },
            "launchStage": "GA",
        })
    };
    let models: Vec<_> = ids.iter().map(model).collect();
    (200, json!({ "publisherModels": models, "nextPageToken": next }).to_string())
}

#[tokio::test]
async fn all_pages_are_read_in_order() {
    let (url, targets) = server(|number, _| {
        let ids = [format!("gemini-3.{number}-flash"), format!("gemini-3.{number}-pro")];
        page(&ids, ["a b", "/../?x=1&y#\u{fc}", ""][number])
    })
    .await;
    let all = at(&url).list("google").await.unwrap();
    let ids: Vec<_> = all.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "gemini-3.0-flash",
            "gemini-3.0-pro",
            "gemini-3.1-flash",
            "gemini-3.1-pro",
            "gemini-3.2-flash",
            "gemini-3.2-pro"
        ]
    );
    assert_eq!(all[0].supported_actions, ["openGenerationAiStudio"]);
    let targets = targets.lock().unwrap().clone();
    // The project and the location of the upstream are not in the path.
    assert!(targets.iter().all(|target| target.starts_with("/v1beta1/publishers/google/models?")));
    let queries: Vec<_> =
        targets.iter().map(|target| decoded(target.split_once('?').unwrap().1)).collect();
    let size = ("pageSize".to_owned(), "100".to_owned());
    let token = |token: &str| ("pageToken".to_owned(), token.to_owned());
    assert_eq!(queries[0], [size.clone()]);
    assert_eq!(queries[1], [size.clone(), token("a b")]);
    assert_eq!(queries[2], [size, token("/../?x=1&y#\u{fc}")]);
}

#[tokio::test]
async fn an_endless_list_of_models_is_aborted() {
    let (url, targets) = server(|number, _| page(&[], ["a", "b", "a"][number % 3])).await;
    let error = at(&url).list("google").await.unwrap_err();
    assert!(matches!(error, DiscoverError::PaginationLoop { pages: 3 }), "{error}");
    assert_eq!(targets.lock().unwrap().len(), 3);
    let (url, _) = server(|_, _| page(&[], &"x".repeat(8193))).await;
    let error = at(&url).list("google").await.unwrap_err();
    assert!(matches!(error, DiscoverError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn entries_without_a_usable_name_are_left_out() {
    let mixed = json!({ "publisherModels": [
        null, 1, {}, { "name": "publishers/google/models/../x" },
        { "name": "publishers/google/models/imagen-4.0-generate-001" },
        { "name": "publishers/google/models/gemini-3.5-flash", "supportedActions": 7 },
    ]});
    let (url, _) = server(move |_, _| (200, mixed.to_string())).await;
    let all = at(&url).list("google").await.unwrap();
    let ids: Vec<_> = all.iter().map(|model| (model.id.as_str(), model.methods().len())).collect();
    assert_eq!(ids, [("imagen-4.0-generate-001", 0), ("gemini-3.5-flash", 2)]);
    for nothing in ["{}", r#"{"publisherModels": []}"#] {
        let (url, _) = server(move |_, _| (200, nothing.to_owned())).await;
        assert_eq!(at(&url).list("unknown").await.unwrap(), []);
    }
    for (answer, words) in [
        ("<html>", "it is not JSON"),
        ("[]", "it is not an object"),
        (r#"{"publisherModels": {}}"#, "`publisherModels` is no array"),
    ] {
        let (url, _) = server(move |_, _| (200, answer.to_owned())).await;
        let error = at(&url).list("google").await.unwrap_err().to_string();
        assert!(error.ends_with(words), "{error}");
    }
}

#[tokio::test]
async fn a_publisher_is_one_segment_of_the_path() {
    let (url, targets) = server(|_, _| page(&[], "")).await;
    let models = at(&url);
    let long = "x".repeat(201);
    for wrong in
        ["", ".", "..", "a/b", "google/models", "a?b", "a#b", "a b", "a%2Fb", "\u{fc}", &long]
    {
        let error = models.list(wrong).await.unwrap_err();
        assert!(matches!(error, DiscoverError::Config(_)), "{wrong}: {error}");
    }
    assert_eq!(targets.lock().unwrap().len(), 0);
    models.list("zai-org").await.unwrap();
    assert_eq!(targets.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_has_its_limits() {
    let long = page(&["x".repeat(150)], "");
    let length = long.1.len();
    let (url, targets) = server(move |_, _| long.clone()).await;
    let models = at(&url).page_size(0).body_limit(length);
    assert_eq!(models.clone().list("google").await.unwrap().len(), 1);
    assert!(targets.lock().unwrap()[0].ends_with("?pageSize=1"));
    let error = models.body_limit(length - 1).page_size(u16::MAX).list("google").await.unwrap_err();
    assert!(matches!(error, DiscoverError::TooLarge { .. }), "{error}");
    assert!(targets.lock().unwrap()[1].ends_with("?pageSize=1000"));

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = at(&format!("http://{}", silent.local_addr().unwrap()));
    let error = silent.timeout(Duration::from_millis(20)).list("google").await.unwrap_err();
    assert!(matches!(error, DiscoverError::TimedOut(_)), "{error}");
}

#[tokio::test]
async fn a_refusal_has_its_remedy() {
    const NO_QUOTA_PROJECT: &str = "Your application is authenticating by using local Application \
         Default Credentials. The aiplatform.googleapis.com API requires a quota project, which is \
         not set by default.";
    for (status, word, message, advice) in [
        (403, "PERMISSION_DENIED", NO_QUOTA_PROJECT, "set-quota-project"),
        (403, "PERMISSION_DENIED", "Permission denied.", "permissions"),
        (404, "NOT_FOUND", "Not found.", "check the project and the location"),
        (503, "UNAVAILABLE", "Later.", "try again later"),
    ] {
        let body = json!({ "error": { "code": status, "status": word, "message": message } });
        let (url, _) = server(move |_, _| (status, body.to_string())).await;
        let error = at(&url).list("google").await.unwrap_err();
        assert_eq!(error.status_code().unwrap().as_u16(), status);
        let text = error.to_string();
        assert!(text.starts_with(&format!("{status} {word}: {message}")), "{text}");
        assert!(text.contains(advice), "{text}");
    }
    let nobody = ClosedPort::new();
    let error = at(&format!("http://{nobody}")).list("google").await.unwrap_err();
    assert!(matches!(error, DiscoverError::Transport(_)), "{error}");
}

#[tokio::test]
async fn each_location_and_cloud_has_its_host_and_the_quota_project_travels() {
    let host = |upstream: &Upstream| {
        let client = service_fn(|request: Request<ReplayBody<String>>| async move {
            let project = request.headers().get("x-goog-user-project").unwrap().to_str().unwrap();
            let name = request.uri().host().unwrap().replace('.', "_");
            let name = format!("publishers/{project}/models/{name}");
            let body = json!({ "publisherModels": [{ "name": name }] });
            Ok::<_, BoxError>(Response::new(body.to_string()))
        });
        let auth = VertexAuthLayer::new(StaticToken::new("t").unwrap());
        let auth = auth.trust_origin(upstream.origin()).unwrap().quota_project("payer").unwrap();
        let models = PublisherModels::from_upstream(auth.layer(client), upstream).unwrap();
        async move { models.list("google").await.unwrap().remove(0) }
    };
    for (location, expected) in [
        ("us-central1", "us-central1-aiplatform_googleapis_com"),
        ("global", "aiplatform_googleapis_com"),
        ("eu", "aiplatform_eu_rep_googleapis_com"),
    ] {
        let upstream = Upstream::new("p", location).unwrap();
        let found = host(&upstream).await;
        assert_eq!((found.publisher.as_str(), found.id.as_str()), ("payer", expected));
        // The endpoint does not matter.
        let dns = "1.us-central1-2.prediction.vertexai.goog".to_owned();
        let endpoint = Endpoint::Dedicated { id: "1".into(), dns };
        let dedicated = upstream.to_builder().endpoint(endpoint).build().unwrap();
        assert_eq!(host(&dedicated).await.id, expected);
    }
    let elsewhere = Upstream::builder().project("p").location("u-france-east1");
    let elsewhere = elsewhere.universe_domain("s3nsapis.fr").build().unwrap();
    assert_eq!(host(&elsewhere).await.id, "u-france-east1-aiplatform_s3nsapis_fr");
    let base = Endpoint::BaseUrl { url: "http://h/v1".into() };
    let base = Upstream::builder().endpoint(base).build().unwrap();
    assert!(PublisherModels::from_upstream(service("http://h"), &base).unwrap_err().is_missing());
    let untrusted = VertexAuthLayer::new(StaticToken::new("t").unwrap()).layer(http());
    let models = PublisherModels::from_upstream(untrusted, &elsewhere).unwrap();
    let error = models.list("google").await.unwrap_err();
    assert!(matches!(error, DiscoverError::Layer(Error::UntrustedHost(_))), "{error}");
}
