//! Tests as a user of the emulator would write them.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt};
use tower_vertex::{
    auth::VertexAuthLayer,
    http_client::ReqwestClient,
    route::{Upstream, VertexRouteLayer},
    token::{GcpAuth, GoogleCloudAuth, TokenSource},
};
use tower_vertex_emulator::Emulator;

async fn ask(source: impl TokenSource, vertex: &Emulator) -> String {
    let upstream = Upstream::builder().project("p").location("global").origin(vertex.url());
    let stack = ServiceBuilder::new()
        .layer(VertexRouteLayer::new(upstream.build().unwrap()))
        .layer(VertexAuthLayer::new(source).trust_origin(vertex.url()).unwrap())
        .service(ReqwestClient::build(reqwest::Client::builder()).unwrap());
    let request = Request::post("/v1/chat/completions").body(Full::<Bytes>::from(
        r#"{"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "hello"}]}"#,
    ));
    let answer = stack.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    reqwest::Response::from(answer).text().await.unwrap()
}

#[tokio::test]
async fn a_key_is_available_without_an_optimised_build() {
    let vertex = Emulator::start().await.unwrap();
    let source = GcpAuth::from_service_account_key(vertex.service_account_key()).unwrap();
    assert!(ask(source, &vertex).await.contains("You said: hello"));
}

#[tokio::test]
async fn google_cloud_auth_works_with_two_crypto_providers_and_no_default() {
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    let vertex = Emulator::start().await.unwrap();
    let source = GoogleCloudAuth::from_json(vertex.authorized_user()).unwrap();
    assert!(ask(source, &vertex).await.contains("You said: hello"));
}
