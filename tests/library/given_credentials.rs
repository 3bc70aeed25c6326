//! Credentials that a program built with `google-cloud-auth`, as a source of tokens.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use google_cloud_auth::{
    credentials::{
        CacheableResource, Credentials, CredentialsProvider, EntityTag, anonymous,
        api_key_credentials, user_account,
    },
    errors::CredentialsError,
};
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, ServiceExt as _};
use tower_test::mock;
use tower_vertex::{
    auth::{RefreshOutcome, VertexAuthLayer},
    replay::ReplayBody,
    token::{FetchReason, GoogleCloudAuth, TokenSource},
};
use tower_vertex_emulator::Emulator;

use crate::common::{Http, chat, stack, text};

const URL: &str = "https://aiplatform.googleapis.com/v1/x";

/// Credentials whose headers a test sets. They note the tag of each call.
#[derive(Clone, Debug, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    number: u32,
    tag: EntityTag,
    calls: Vec<Option<EntityTag>>,
    fails: bool,
}

impl Scripted {
    fn new() -> Self {
        let scripted = Self::default();
        scripted.rotate();
        scripted
    }

    fn rotate(&self) {
        let mut script = self.0.lock().unwrap();
        script.number += 1;
        script.tag = EntityTag::new();
    }

    fn source(&self) -> GoogleCloudAuth {
        Credentials::from(self.clone()).into()
    }

    /// Whether each call so far had the tag of headers that were returned before.
    fn tagged(&self) -> Vec<bool> {
        self.0.lock().unwrap().calls.iter().map(Option::is_some).collect()
    }
}

impl CredentialsProvider for Scripted {
    fn headers(
        &self,
        extensions: Extensions,
    ) -> impl Future<Output = Result<CacheableResource<HeaderMap>, CredentialsError>> + Send {
        let mut script = self.0.lock().unwrap();
        let known = extensions.get::<EntityTag>().cloned();
        let is_known = known.as_ref() == Some(&script.tag);
        script.calls.push(known);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", format!("Bearer t{}", script.number)),
            ("x-goog-user-project", "project-of-credentials".to_owned()),
            ("x-allowed-locations", format!("0x{}", script.number)),
            ("content-length", "99".to_owned()),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        std::future::ready(match (script.fails, is_known) {
            (true, _) => Err(CredentialsError::from_msg(false, "SECRET")),
            (_, true) => Ok(CacheableResource::NotModified),
            _ => Ok(CacheableResource::New { entity_tag: script.tag.clone(), data: headers }),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

type Mocked = mock::Handle<Request<ReplayBody<Full<Bytes>>>, Response<Full<Bytes>>>;

/// The headers of the next request, after a response with this status.
async fn respond(handle: &mut Mocked, status: u16) -> HeaderMap {
    let (request, reply) = handle.next_request().await.unwrap();
    let (head, body) = request.into_parts();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    reply.send_response(Response::builder().status(status).body(Full::default()).unwrap());
    head.headers
}

fn call(layer: &VertexAuthLayer) -> (tokio::task::JoinHandle<Response<Full<Bytes>>>, Mocked) {
    let (inner, handle) = mock::pair();
    let service = layer.layer(inner);
    let request = Request::post(URL)
        .header("x-goog-user-project", "project-of-the-request")
        .body(Full::from("hello"))
        .unwrap();
    let call = tokio::spawn(async move { service.oneshot(request).await.unwrap() });
    (call, handle)
}

fn shown(headers: &HeaderMap) -> [&str; 3] {
    assert!(!headers.contains_key("content-length"));
    assert_eq!(headers.get_all("x-goog-user-project").iter().count(), 1);
    ["authorization", "x-goog-user-project", "x-allowed-locations"]
        .map(|name| headers[name].to_str().unwrap())
}

#[tokio::test]
async fn all_headers_of_credentials_travel_and_newer_ones_heal_a_401() {
    let scripted = Scripted::new();
    let layer = VertexAuthLayer::new(scripted.source());
    for _ in 0..2 {
        let (call, mut handle) = call(&layer);
        let headers = respond(&mut handle, 200).await;
        assert_eq!(shown(&headers), ["Bearer t1", "project-of-credentials", "0x1"]);
        assert_eq!(call.await.unwrap().status(), StatusCode::OK);
    }
    let (call, mut handle) = call(&layer);
    scripted.rotate();
    respond(&mut handle, 401).await;
    let headers = respond(&mut handle, 200).await;
    assert_eq!(shown(&headers), ["Bearer t2", "project-of-credentials", "0x2"]);
    let response = call.await.unwrap();
    assert!(matches!(response.extensions().get(), Some(RefreshOutcome::Replayed)));
    assert_eq!(scripted.tagged(), [false, true]);
}

#[tokio::test]
async fn the_layers_own_quota_project_takes_precedence_in_a_replay_too() {
    let scripted = Scripted::new();
    let layer = VertexAuthLayer::new(scripted.source()).quota_project("project-of-layer").unwrap();
    let (call, mut handle) = call(&layer);
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(shown(request.headers()), ["Bearer t1", "project-of-layer", "0x1"]);
    scripted.rotate();
    reply.send_response(Response::builder().status(401).body(Full::default()).unwrap());
    let headers = respond(&mut handle, 200).await;
    assert_eq!(shown(&headers), ["Bearer t2", "project-of-layer", "0x2"]);
    assert_eq!(call.await.unwrap().status(), StatusCode::OK);

    let mut headers = HeaderMap::new();
    layer.authorize(&URL.parse().unwrap(), &mut headers).await.unwrap();
    assert_eq!(shown(&headers), ["Bearer t2", "project-of-layer", "0x2"]);
}

#[tokio::test]
async fn headers_that_are_not_modified_are_the_same_token() {
    let scripted = Scripted::new();
    let source = scripted.source();
    for reason in [
        FetchReason::Cold,
        FetchReason::Proactive,
        FetchReason::Expired,
        FetchReason::Rejected,
        FetchReason::Cold,
    ] {
        let token = source.fetch(reason).await.unwrap();
        assert_eq!(token.authorization(), "Bearer t1");
        assert_eq!(token.headers().unwrap()["x-allowed-locations"], "0x1");
    }
    assert_eq!(scripted.tagged(), [false, true, true, true, false]);
    scripted.rotate();
    for reason in [FetchReason::Proactive, FetchReason::Rejected] {
        assert_eq!(source.fetch(reason).await.unwrap().authorization(), "Bearer t2");
    }

    let layer = VertexAuthLayer::new(source);
    let (call, mut handle) = call(&layer);
    respond(&mut handle, 401).await;
    let response = call.await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(matches!(response.extensions().get(), Some(RefreshOutcome::SameToken)));
}

#[tokio::test]
async fn credentials_without_a_token_fail_with_the_reason() {
    let failing = Scripted::new();
    failing.0.lock().unwrap().fails = true;
    let key = api_key_credentials::Builder::new("AIza-SECRET").build();
    for (credentials, words) in [
        (key, "are an API key"),
        (anonymous::Builder::new().build(), "headers without a token"),
        (Credentials::from(failing), "have no headers for a request"),
    ] {
        let source = GoogleCloudAuth::from(credentials);
        let error = source.fetch(FetchReason::Cold).await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("SECRET"), "{error}");
        assert!(!format!("{source:?}").contains("SECRET"));
    }
}

#[tokio::test]
async fn the_crates_own_credentials_reach_the_service_with_their_quota_project() {
    let vertex = Emulator::start().await.unwrap();
    let login = serde_json::from_str(&vertex.authorized_user()).unwrap();
    let credentials = user_account::Builder::new(login)
        .with_token_uri(format!("{}/token", vertex.url()))
        .with_quota_project_id("project-of-credentials")
        .build()
        .unwrap();
    let source = GoogleCloudAuth::from(credentials);
    assert_eq!(source.quota_project(), None);
    let service = stack(&vertex, source, Http::One);
    let response = service.oneshot(chat("hello")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text(response).await.contains("You said: hello"));
    let names = &vertex.requests()[0].header_names;
    assert!(names.iter().any(|name| name == "x-goog-user-project"), "{names:?}");
    assert_eq!(vertex.stats().token_mints, 1);
}
