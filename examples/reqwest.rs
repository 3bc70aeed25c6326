//! The layers over reqwest, whose requests and answers turn into `http`'s and back.
//!
//! `cargo run --example reqwest --features reqwest` talks to an emulator inside this process.

use reqwest::Client;
use serde_json::{Value, json};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_vertex::{
    auth::{RefreshOutcome, VertexAuthLayer},
    http_client::ReqwestClient,
    route::{Upstream, VertexRouteLayer},
    token::GcpAuth,
};
use tower_vertex_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let emulator = Emulator::start().await?;
    // For the real service: `Upstream::from_env()?`, and `Credentials::detect().await?`.
    let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
    let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
    let auth = VertexAuthLayer::new(source).trust_origin(emulator.url())?;

    // Not needed with reqwest's feature `rustls`, which chooses a provider of cryptography.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Without redirects, which would be followed out of the layers' sight: with the token to another
    // path of the host, and to hosts that they do not trust.
    let client = ReqwestClient::build(Client::builder())?;
    let mut vertex = ServiceBuilder::new()
        .layer(VertexRouteLayer::new(upstream.build()?))
        .layer(auth)
        .service(client.clone());

    for text in ["Say hello.", "Still there?"] {
        let messages = json!([{ "role": "user", "content": text }]);
        let request = client
            .get_ref()
            .post("https://api.openai.com/v1/chat/completions")
            .json(&json!({ "model": "google/gemini-2.5-flash", "messages": messages }))
            .build()?;
        let answer = vertex.ready().await?.call(request.try_into()?).await?;
        if let Some(RefreshOutcome::Replayed) = answer.extensions().get() {
            println!("(with a new token, at the second try)");
        }
        let answer: Value = reqwest::Response::from(answer).error_for_status()?.json().await?;
        println!("{}", answer["choices"][0]["message"]["content"]);
        emulator.revoke_tokens();
    }
    Ok(())
}
