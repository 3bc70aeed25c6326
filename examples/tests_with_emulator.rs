//! Tests with the emulator: faults, a revoked token, and the requests that arrived.
//!
//! Run it with `cargo test --example tests_with_emulator`. Your own crate needs
//! `tower-vertex-emulator` as a dev-dependency.

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use serde_json::json;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_vertex::{
    auth::{VertexAuth, VertexAuthLayer},
    replay::ReplayBody,
    route::{Upstream, VertexRoute, VertexRouteLayer},
    token::GcpAuth,
};
use tower_vertex_emulator::Emulator;

type Vertex = VertexRoute<VertexAuth<Client<HttpConnector, ReplayBody<String>>>>;

/// The code under test: a streamed response, with a second request if the model is busy.
async fn complete(vertex: &Vertex, text: &str) -> Result<String, BoxError> {
    let messages = json!([{ "role": "user", "content": text }]);
    let body = json!({ "model": "google/gemini-2.5-flash", "messages": messages, "stream": true });
    let request = Request::post("/v1/chat/completions").body(body.to_string())?;
    let mut response = vertex.clone().oneshot(request.clone()).await?;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response = vertex.clone().oneshot(request).await?;
    }
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().into())?)
}

async fn start() -> Result<(Emulator, Vertex), BoxError> {
    let emulator = Emulator::start().await?;
    let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
    let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
    let vertex = ServiceBuilder::new()
        .layer(VertexRouteLayer::new(upstream.build()?))
        .layer(VertexAuthLayer::new(source).trust_origin(emulator.url())?)
        .service(Client::builder(hyper_util::rt::TokioExecutor::new()).build_http());
    Ok((emulator, vertex))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    println!("{}", complete(&start().await?.1, "hello").await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower_vertex_emulator::{ApiFault, Faults, StreamBehavior};

    #[tokio::test]
    async fn a_request_to_a_busy_model_is_sent_again() -> Result<(), BoxError> {
        let (emulator, vertex) = start().await?;
        let once = ApiFault { times: Some(1), ..ApiFault::new(429) };
        emulator.set_faults(Faults { api: Some(once), ..Faults::default() });
        assert!(complete(&vertex, "hello").await?.ends_with("data: [DONE]\n\n"));
        assert_eq!(emulator.stats().by_status, [(200, 1), (429, 1)].into());
        Ok(())
    }

    #[tokio::test]
    async fn an_interrupted_stream_is_an_error() -> Result<(), BoxError> {
        let (emulator, vertex) = start().await?;
        let stream = StreamBehavior { cut_after: Some(2), ..StreamBehavior::default() };
        emulator.set_faults(Faults { stream, ..Faults::default() });
        assert!(complete(&vertex, "hello").await.is_err());
        assert_eq!(emulator.requests()[0].chunks_sent, 2);
        Ok(())
    }

    #[tokio::test]
    async fn a_revoked_token_is_replaced_without_an_error() -> Result<(), BoxError> {
        let (emulator, vertex) = start().await?;
        complete(&vertex, "hello").await?;
        emulator.revoke_tokens();
        complete(&vertex, "hello").await?;
        let seen = emulator.requests().into_iter().map(|seen| (seen.status, seen.token_generation));
        assert!(seen.eq([(200, Some(1)), (401, Some(1)), (200, Some(2))]));
        Ok(())
    }
}
