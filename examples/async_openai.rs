//! async-openai over the layers: chats, streams, embeddings, and its own retries.
//!
//! `cargo run --example async_openai --features async-openai` talks to an emulator inside this process.

use serde_json::{from_value, json};
use tokio_stream::StreamExt;
use tower_vertex::{BoxError, Client, route::Upstream, token::GcpAuth};
use tower_vertex_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // For the real service: `let client = tower_vertex::async_openai::from_env().await?;`.
    let emulator = Emulator::start().await?;
    let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
    let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
    let client = tower_vertex::async_openai::client(Client::new(upstream.build()?, source)?);

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
