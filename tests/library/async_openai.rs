//! The real async-openai, through its Tower interface, over the layers and a hyper client, against
//! the emulator.

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    middleware::{HttpRequestFactory, retry::OpenAIRetryLayer},
    types::chat::CreateChatCompletionRequest,
};
use serde_json::{from_value, json};
use tokio_stream::StreamExt;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_vertex::Error;
use tower_vertex_emulator::{ApiFault, Emulator, Faults, TokenBehavior, TokenFault};

use crate::common::{Http, key_source, stack, upstream};

fn client(vertex: &Emulator) -> Client<OpenAIConfig> {
    let client = tower_vertex::Client::new(upstream(vertex), key_source(vertex)).unwrap();
    tower_vertex::async_openai::client(client)
}

/// A client with its own retries over these layers.
fn over<S, B>(stack: S) -> Client<OpenAIConfig>
where
    S: Service<http::Request<reqwest::Body>, Response = http::Response<B>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    // reqwest only builds requests here, and has no provider of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let door = service_fn(move |factory: HttpRequestFactory| {
        let stack = stack.clone();
        async move {
            let request = http::Request::try_from(factory.build().await?)?;
            Ok::<_, OpenAIError>(stack.oneshot(request).await?.map(reqwest::Body::wrap).into())
        }
    });
    Client::build(reqwest::Client::new(), OpenAIConfig::new().with_api_key("sk-placeholder"))
        .with_http_service(OpenAIRetryLayer::default().layer(door))
}

fn chat(model: &str, text: &str) -> CreateChatCompletionRequest {
    let messages = json!([{ "role": "user", "content": text }]);
    from_value(json!({ "model": model, "messages": messages })).unwrap()
}

const GEMINI: &str = "google/gemini-2.5-flash";

#[tokio::test]
async fn a_chat_is_authorized_by_our_token_and_not_by_the_clients_key() {
    let vertex = Emulator::start().await.unwrap();
    let answer = client(&vertex).chat().create(chat(GEMINI, "good morning")).await.unwrap();
    let content = answer.choices[0].message.content.as_deref();
    assert_eq!(content, Some("This is the Vertex AI emulator. You said: good morning"));
    assert!(answer.usage.unwrap().total_tokens > 0);
    let seen = &vertex.requests()[0];
    assert_eq!(seen.token_generation, Some(1));
    assert_eq!(seen.header_names.iter().filter(|name| *name == "authorization").count(), 1);
}

#[tokio::test]
async fn a_stream_arrives_in_chunks_and_ends_with_its_usage() {
    let vertex = Emulator::start().await.unwrap();
    let stream = client(&vertex).chat().create_stream(chat(GEMINI, "slowly")).await.unwrap();
    let chunks: Vec<_> = stream.collect::<Result<_, _>>().await.unwrap();
    assert_eq!(chunks.len(), 5);
    let text: String =
        chunks.iter().filter_map(|chunk| chunk.choices[0].delta.content.as_deref()).collect();
    assert_eq!(text, "This is the Vertex AI emulator. You said: slowly");
    let usage: Vec<_> = chunks.iter().map(|chunk| chunk.usage.is_some()).collect();
    assert_eq!(usage, [false, false, false, false, true]);
}

#[tokio::test]
async fn embeddings_have_the_order_of_their_inputs() {
    let vertex = Emulator::start().await.unwrap();
    let request = json!({ "model": "google/text-embedding-005", "input": ["one", "two"] });
    let answer = client(&vertex).embeddings().create(from_value(request).unwrap()).await.unwrap();
    let order: Vec<_> = answer.data.iter().map(|embedding| embedding.index).collect();
    assert_eq!(order, [0, 1]);
    assert!(answer.data.iter().all(|embedding| !embedding.embedding.is_empty()));
}

#[tokio::test]
async fn a_revoked_token_fails_no_call_and_costs_one_mint() {
    let vertex = Emulator::start().await.unwrap();
    let client = client(&vertex);
    client.chat().create(chat(GEMINI, "warm")).await.unwrap();
    vertex.revoke_tokens();
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                client.chat().create(chat(GEMINI, &number.to_string())).await.map(drop)
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let stats = vertex.stats();
    assert_eq!((stats.by_status[&200], stats.token_mints), (21, 2), "{stats:?}");
    assert!(stats.by_status[&401] >= 1);
}

/// Makes the next request fail with 429.
fn exhaust(vertex: &Emulator) {
    let fault = ApiFault { times: Some(1), ..ApiFault::new(429) };
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
}

#[tokio::test]
async fn the_clients_own_retries_handle_a_429() {
    let vertex = Emulator::start().await.unwrap();
    exhaust(&vertex);
    client(&vertex).chat().create(chat(GEMINI, "again")).await.unwrap();
    assert_eq!(vertex.stats().by_status, [(200, 1), (429, 1)].into());
}

#[tokio::test]
async fn without_the_error_layer_the_client_does_not_retry_a_429() {
    let vertex = Emulator::start().await.unwrap();
    exhaust(&vertex);
    let client = over(stack(&vertex, key_source(&vertex), Http::One));
    let error = client.chat().create(chat(GEMINI, "once")).await.unwrap_err();
    let OpenAIError::JSONDeserialize(_, body) = error else { panic!("{error:?}") };
    assert!(body.starts_with(r#"[{"error":{"code":429,"#), "{body}");
    assert_eq!(vertex.stats().by_status, [(429, 1)].into());
}

#[tokio::test]
async fn an_error_of_google_becomes_an_error_of_openai() {
    let vertex = Emulator::start().await.unwrap();
    let error = client(&vertex).chat().create(chat("gemini-2.5-flash", "x")).await.unwrap_err();
    let OpenAIError::ApiError(error) = error else { panic!("{error:?}") };
    assert_eq!(error.status_code, 400);
    assert_eq!(error.api_error.code.as_deref(), Some("400"));
    assert!(error.api_error.message.starts_with("Malformed publisher model"), "{error}");
}

#[tokio::test]
async fn an_error_of_the_layers_keeps_its_own_type() {
    let vertex = Emulator::start().await.unwrap();
    let fail = TokenFault { status: 503, times: None };
    vertex.set_token_behavior(TokenBehavior { fail: Some(fail), ..TokenBehavior::default() });
    let error = client(&vertex).chat().create(chat(GEMINI, "x")).await.unwrap_err();
    let OpenAIError::Boxed(error) = error else { panic!("{error:?}") };
    assert_eq!(error.downcast_ref::<Error>().unwrap().status(), 503);
    assert_eq!(vertex.stats().api_requests, 0);
}
