//! async-openai over the layers, with its entry point for Tower, `Client::with_http_service`.
//!
//! `cargo run --example async_openai --features reqwest` talks to an emulator inside this process.

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
    http_client::ReqwestClient,
    openai_error::VertexErrorLayer,
    route::{Upstream, VertexRouteLayer},
    token::GcpAuth,
};
use tower_vertex_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let emulator = Emulator::start().await?;
    // For the real service: `Upstream::from_env()?`, and `VertexAuthLayer::new(GcpAuth::new())`.
    let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
    let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
    let auth = VertexAuthLayer::new(source).trust_origin(emulator.url())?;

    // reqwest's feature `rustls` would choose a crypto provider, and make this line unnecessary.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The client follows no redirects, because a redirect would send the token to a URL that the
    // layers have not checked.
    let http = ReqwestClient::build(reqwest::Client::builder())?;
    let client = Client::build(http.get_ref().clone(), OpenAIConfig::new().with_api_key("unused"));

    let vertex = ServiceBuilder::new()
        .layer(VertexErrorLayer::new())
        .layer(VertexRouteLayer::new(upstream.build()?))
        .layer(auth)
        .service(http);
    // async-openai sends and receives reqwest's types, which are converted to those of `http` and
    // back.
    let http_service = service_fn(move |factory: HttpRequestFactory| {
        let vertex = vertex.clone();
        async move {
            let request = http::Request::try_from(factory.build().await?)?;
            Ok::<_, OpenAIError>(vertex.oneshot(request).await?.map(reqwest::Body::wrap).into())
        }
    });
    // A custom service has no retries of its own, so a layer adds them.
    let service = ServiceBuilder::new().layer(OpenAIRetryLayer::default()).service(http_service);
    let client = client.with_http_service(service);

    let chat = |model: &str, text: &str| {
        from_value(json!({ "model": model, "messages": [{ "role": "user", "content": text }] }))
    };
    let gemini = "google/gemini-2.5-flash";
    let response = client.chat().create(chat(gemini, "Say hello.")?).await?;
    println!("{}", response.choices[0].message.content.as_deref().unwrap_or_default());

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
