//! rig over the layers. Its HTTP client is the layers and a hyper client, by the trait in
//! `vertex.rs`.
//!
//! `cargo run --manifest-path examples/rig/Cargo.toml` talks to an emulator inside this process.

mod vertex;

use futures_util::TryStreamExt;
use rig_core::{completion::CompletionRequest, providers::openai::OpenAIConfig};
use tower::{BoxError, ServiceBuilder, util::BoxCloneSyncService};
use tower_vertex::{
    auth::VertexAuthLayer,
    error_format::VertexErrorLayer,
    http_client::HyperClient,
    route::{Upstream, VertexRouteLayer},
    token::GcpAuth,
};
use tower_vertex_emulator::Emulator;
use vertex::Vertex;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let emulator = Emulator::start().await?;
    // For the real service: `Upstream::from_env()?`, and `Credentials::detect().await?`.
    let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
    let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
    let vertex = ServiceBuilder::new()
        .layer(VertexErrorLayer::new())
        .layer(VertexRouteLayer::new(upstream.build()?))
        .layer(VertexAuthLayer::new(source).trust_origin(emulator.url())?)
        .service(HyperClient::new()?);
    let vertex = Vertex(BoxCloneSyncService::new(vertex));

    let gemini = OpenAIConfig::new("unused").connect(vertex).chat("google/gemini-2.5-flash");
    println!("{:?}", gemini.call(CompletionRequest::new("Say hello.")).await?.choice);
    emulator.revoke_tokens();
    let mut stream = gemini.stream(CompletionRequest::new("Count to three."))?;
    while let Some(event) = stream.try_next().await? {
        println!("{event:?}");
    }
    println!("{:?}", emulator.stats().by_status);
    Ok(())
}
