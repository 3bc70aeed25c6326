//! async-openai over the layers, by its own door for Tower, `Client::with_http_service`.
//!
//! `cargo run --example async_openai --features emulator,reqwest` talks to an emulator inside this process.

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    middleware::{HttpRequestFactory, retry::OpenAIRetryLayer},
};
use serde_json::{from_value, json};
use tokio_stream::StreamExt;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
use tower_vertex::{
    auth::VertexAuthLayer,
    emulator::Emulator,
    http_client::ReqwestClient,
    openai_error::VertexErrorLayer,
    route::{Upstream, VertexRouteLayer},
    token::GcpAuth,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let emulator = Emulator::start().await?;
    // For the real service: `Upstream::from_env()?`, and `Credentials::detect().await?`.
    let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
    let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
    let auth = VertexAuthLayer::new(source).trust_origin(emulator.url())?;

    // Not needed with reqwest's feature `rustls`, which chooses a provider of cryptography.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // It follows no redirects, which would take the token to where the layers have not looked.
    let http = ReqwestClient::build(reqwest::Client::builder())?;
    let client = Client::build(http.get_ref().clone(), OpenAIConfig::new().with_api_key("unused"));

    let vertex = ServiceBuilder::new()
        .layer(VertexErrorLayer::new())
        .layer(VertexRouteLayer::new(upstream.build()?))
        .layer(auth)
        .service(http);
    // What it makes and what it takes are reqwest's, so they are turned into `http`'s and back.
    let door = service_fn(move |factory: HttpRequestFactory| {
        let vertex = vertex.clone();
        async move {
            let request = http::Request::try_from(factory.build().await?)?;
            Ok::<_, OpenAIError>(vertex.oneshot(request).await?.map(reqwest::Body::wrap).into())
        }
    });
    // A service of one's own is without its retries, unless they are put around it.
    let service = ServiceBuilder::new().layer(OpenAIRetryLayer::default()).service(door);
    let client = client.with_http_service(service);

    let chat = |model: &str, text: &str| {
        from_value(json!({ "model": model, "messages": [{ "role": "user", "content": text }] }))
    };
    let gemini = "google/gemini-2.5-flash";
    let answer = client.chat().create(chat(gemini, "Say hello.")?).await?;
    println!("{}", answer.choices[0].message.content.as_deref().unwrap_or_default());

    let mut stream = client.chat().create_stream(chat(gemini, "Count to three.")?).await?;
    while let Some(chunk) = stream.next().await.transpose()? {
        let tokens = chunk.usage.map(|usage| usage.total_tokens);
        println!("{:?} {tokens:?}", chunk.choices[0].delta.content);
    }
    let input = json!({ "model": "google/text-embedding-005", "input": ["one", "two"] });
    println!("{} embeddings", client.embeddings().create(from_value(input)?).await?.data.len());

    if let Err(refused) = client.chat().create(chat("gemini-2.5-flash", "Who?")?).await {
        println!("refused: {refused}");
    }
    emulator.revoke_tokens();
    client.chat().create(chat(gemini, "Still there?")?).await?;
    println!("after the token was revoked: {:?}", emulator.stats().by_status);
    Ok(())
}
