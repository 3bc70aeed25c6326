//! The layers over reqwest, whose requests and responses are converted to those of `http` and back.
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

    // reqwest's feature `rustls` would choose a crypto provider, and make this line unnecessary.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The client follows no redirects, because the layers would not see them. A redirect would send
    // the token to another path of the host, or to a host that they do not trust.
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
        let response = vertex.ready().await?.call(request.try_into()?).await?;
        if let Some(RefreshOutcome::Replayed) = response.extensions().get() {
            println!("(with a new token, at the second attempt)");
        }
        let body: Value = reqwest::Response::from(response).error_for_status()?.json().await?;
        println!("{}", body["choices"][0]["message"]["content"]);
        emulator.revoke_tokens();
    }
    Ok(())
}
