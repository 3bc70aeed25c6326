//! `Client` against the emulator, on real sockets.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::{Service, ServiceBuilder, ServiceExt as _};
use tower_vertex::{
    Client, Error,
    client::{Body, ResponseFuture},
    retry::VertexRetryLayer,
    route::Upstream,
    token::StaticToken,
};
use tower_vertex_emulator::{ApiFault, Emulator, Faults};

use crate::common::{chat as full_chat, echo, key_source, upstream};

fn client(vertex: &Emulator) -> Client {
    Client::new(upstream(vertex), key_source(vertex)).unwrap()
}

fn chat() -> Request<&'static str> {
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(
            r#"{"model": "google/gemini-2.5-flash",
                "messages": [{"role": "user", "content": "hello"}]}"#,
        )
        .unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn fail_once(vertex: &Emulator, status: u16) {
    let fault = ApiFault { times: Some(1), ..ApiFault::new(status) };
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
}

#[test]
fn a_client_and_its_futures_can_be_shared_and_sent() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    check::<Client>();
    fn send<T: Send + 'static>(_: Option<T>) {}
    send::<Body>(None);
    send::<ResponseFuture>(None);
    fn future(client: &'static Client) -> impl Send {
        client.send(chat())
    }
    let _ = future;
}

#[tokio::test]
async fn a_chat_with_a_body_of_each_simple_type_gets_its_response() {
    let vertex = Emulator::start().await.unwrap();
    let client = client(&vertex);
    let request = |body: Body| chat().map(|_| body);
    let text = chat().into_body();
    for body in [
        Body::from(text),
        text.to_owned().into(),
        text.as_bytes().to_vec().into(),
        Bytes::from(text).into(),
        Body::new(Full::new(Bytes::from(text))),
    ] {
        let response = client.send(request(body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = json(&response.into_body().text().await.unwrap());
        assert_eq!(body["choices"][0]["message"]["content"], echo("hello"));
    }
    let seen = vertex.requests();
    assert!(seen.iter().all(|request| request.path.ends_with("/openapi/chat/completions")));
    assert_eq!((vertex.stats().api_requests, vertex.stats().token_mints), (5, 1));
}

#[tokio::test]
async fn a_client_is_a_service_for_other_bodies_and_other_layers() {
    let vertex = Emulator::start().await.unwrap();
    let service = client(&vertex);
    let response = service.clone().oneshot(full_chat("hello")).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("You said: hello"));

    fail_once(&vertex, 503);
    let retried = ServiceBuilder::new().layer(VertexRetryLayer::new()).service(service);
    let response = retried.oneshot(full_chat("again")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(vertex.stats().by_status[&503], 1);
}

#[tokio::test]
async fn a_401_is_healed_by_one_refresh_and_one_replay() {
    let vertex = Emulator::start().await.unwrap();
    let client = client(&vertex);
    client.cache().warm_up().await.unwrap();
    vertex.revoke_tokens();
    let response = client.clone().send(chat()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let stats = vertex.stats();
    assert_eq!((stats.by_status[&401], stats.by_status[&200], stats.token_mints), (1, 1, 2));
}

#[tokio::test]
async fn an_error_of_vertex_ai_is_a_response_in_openais_form() {
    let vertex = Emulator::start().await.unwrap();
    fail_once(&vertex, 429);
    let response = client(&vertex).send(chat()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let body = json(&response.into_body().text().await.unwrap());
    assert_eq!(body["error"]["type"], "rate_limit_error", "{body}");
    assert_eq!(body["error"]["code"], "429", "{body}");
}

#[tokio::test]
async fn a_path_that_vertex_ai_does_not_have_is_an_error_and_nothing_is_sent() {
    let vertex = Emulator::start().await.unwrap();
    let request = Request::get("/v1/models").body(()).unwrap();
    let error = client(&vertex).send(request).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Error>().unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(vertex.stats().api_requests, 0);
}

#[tokio::test]
async fn a_stream_arrives_in_chunks() {
    let vertex = Emulator::start().await.unwrap();
    let request = chat().map(|text| text.replacen('{', r#"{"stream": true, "#, 1));
    let mut body = client(&vertex).send(request).await.unwrap().into_body();
    let mut events = Vec::new();
    while let Some(chunk) = body.chunk().await.unwrap() {
        events.extend_from_slice(&chunk);
    }
    let events = String::from_utf8(events).unwrap();
    assert_eq!(crate::common::said(&events), Some(echo("hello")));
}

#[tokio::test]
async fn debug_shows_the_url_and_no_secret() {
    let upstream = Upstream::new("my-project", "global").unwrap();
    let client = Client::new(upstream, StaticToken::new("ya29.SECRET").unwrap()).unwrap();
    client.cache().warm_up().await.unwrap();
    let shown = format!("{client:?}");
    assert!(shown.contains("https://aiplatform.googleapis.com/v1/projects/my-project/"), "{shown}");
    assert!(!shown.contains("SECRET"), "{shown}");
    let future = client.clone().call(chat().map(|_| "SECRET".to_owned()));
    assert!(!format!("{future:?}").contains("SECRET"));
}

#[cfg(unix)]
mod from_env {
    use std::fs;

    use super::*;
    use crate::common::world::World;

    /// A world without a metadata server and without gcloud.
    fn bare() -> World {
        World::new().variable("NO_GCE_CHECK", "true")
    }

    /// The world is a network in which Google's host is the emulator.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn from_env_finds_credentials_and_their_project_and_serves() {
        let world = bare()
            .hosts("127.0.0.1 aiplatform.googleapis.com")
            .variable("GOOGLE_CLOUD_LOCATION", "global")
            .variable("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
            .variable("SSL_CERT_FILE", "authority.pem");
        if !world.enter(module_path!(), "from_env_finds_credentials_and_their_project_and_serves") {
            return;
        }
        let vertex = Emulator::builder()
            .listen(([127, 0, 0, 1], 443).into())
            .tls(true)
            .host_aware(true)
            .start()
            .await
            .unwrap();
        let key = vertex.service_account_key();
        let project = json(&key)["project_id"].as_str().unwrap().to_owned();
        fs::write("key.json", key).unwrap();
        fs::write("authority.pem", vertex.certificate_pem().unwrap()).unwrap();
        let client = Client::from_env().await.unwrap();
        assert_eq!(client.upstream().project(), Some(project.as_str()));
        let response = client.send(chat()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.into_body().text().await.unwrap().contains(&echo("hello")));
    }

    #[tokio::test]
    async fn from_env_prefers_the_project_of_the_environment() {
        let world = bare()
            .variable("GOOGLE_CLOUD_PROJECT", "my-project")
            .variable("GOOGLE_CLOUD_LOCATION", "global")
            .variable("GOOGLE_APPLICATION_CREDENTIALS", "key.json");
        if !world.enter(module_path!(), "from_env_prefers_the_project_of_the_environment") {
            return;
        }
        let vertex = Emulator::start().await.unwrap();
        fs::write("key.json", vertex.service_account_key()).unwrap();
        let client = Client::from_env().await.unwrap();
        assert_eq!(client.upstream().project(), Some("my-project"));
    }

    #[tokio::test]
    async fn a_project_that_is_not_set_is_an_error_that_names_the_variable() {
        let world = bare().variable("GOOGLE_CLOUD_LOCATION", "global");
        if !world
            .enter(module_path!(), "a_project_that_is_not_set_is_an_error_that_names_the_variable")
        {
            return;
        }
        // The credentials of a user belong to no project.
        let vertex = Emulator::start().await.unwrap();
        fs::create_dir_all(".config/gcloud").unwrap();
        let file = ".config/gcloud/application_default_credentials.json";
        fs::write(file, vertex.authorized_user()).unwrap();
        let error = Client::from_env().await.unwrap_err();
        assert!(matches!(error, Error::Config(_)));
        let text = error.to_string();
        assert_eq!(text, "no project set: pass a project or set GOOGLE_CLOUD_PROJECT");
    }

    #[tokio::test]
    async fn a_location_that_is_not_set_is_reported_before_the_search_for_credentials() {
        let world = bare().variable("PATH", "");
        if !world.enter(
            module_path!(),
            "a_location_that_is_not_set_is_reported_before_the_search_for_credentials",
        ) {
            return;
        }
        let text = Client::from_env().await.unwrap_err().to_string();
        assert_eq!(text, "no location set: pass a location or set GOOGLE_CLOUD_LOCATION");
    }
}
