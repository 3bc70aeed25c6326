//! An OpenAI request over a hyper-util client, made valid for Vertex AI by two layers.
//!
//! `cargo run --example hyper_client` talks to an emulator inside this process. If
//! `GOOGLE_CLOUD_PROJECT` and `GOOGLE_CLOUD_LOCATION` are set, it talks to Vertex AI.

use std::io::Write;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_vertex::{
    BoxError,
    auth::VertexAuthLayer,
    http_client::HyperClient,
    route::{Upstream, VertexRouteLayer},
    token::{Credentials, GcpAuth},
};
use tower_vertex_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (upstream, auth, emulator) = match Upstream::from_env() {
        Ok(upstream) => (upstream, VertexAuthLayer::new(Credentials::detect().await?), None),
        Err(error) if error.is_missing() && error.setting() == "project" => {
            let emulator = Emulator::start().await?;
            let upstream = Upstream::builder().project("p").location("global");
            let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
            let auth = VertexAuthLayer::new(source).trust_origin(emulator.url())?;
            (upstream.origin(emulator.url()).build()?, auth, Some(emulator))
        }
        Err(error) => return Err(error.into()),
    };
    let mut vertex = ServiceBuilder::new()
        .layer(VertexRouteLayer::new(upstream))
        .layer(auth)
        .service(HyperClient::new()?);

    let response = vertex.ready().await?.call(chat("Say hello.", false)?).await?;
    println!("{}", content(response).await?);

    let response = vertex.ready().await?.call(chat("Count to three.", true)?).await?;
    println!("streamed, with status {}:", response.status());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        std::io::stdout().write_all(frame?.data_ref().unwrap_or(&Bytes::new()))?;
    }

    if let Some(emulator) = emulator {
        emulator.revoke_tokens();
        let response = vertex.ready().await?.call(chat("Still there?", false)?).await?;
        println!("after the token was revoked: {}", content(response).await?);
        println!("requests to the emulator by status: {:?}", emulator.stats().by_status);
    }
    Ok(())
}

/// A request as an OpenAI client sends it, with a key that Vertex AI would refuse.
fn chat(text: &str, stream: bool) -> http::Result<Request<Full<Bytes>>> {
    let model = std::env::var("MODEL_ID").unwrap_or("google/gemini-2.5-flash".into());
    let messages = json!([{ "role": "user", "content": text }]);
    let body = json!({ "model": model, "messages": messages, "stream": stream }).to_string();
    Request::post("https://api.openai.com/v1/chat/completions")
        .header("authorization", "Bearer sk-unused")
        .header("content-type", "application/json")
        .body(body.into())
}

async fn content(response: Response<Incoming>) -> Result<String, BoxError> {
    let (status, body) = (response.status(), response.into_body().collect().await?.to_bytes());
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    let body: Value = serde_json::from_slice(&body)?;
    Ok(body["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned())
}
