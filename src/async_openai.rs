//! [async-openai](::async_openai) for Vertex AI: its client over the layers of this crate.
//!
//! [`from_env`] is one line for most programs, and [`client`] takes a [`Client`] that the program
//! made. The layers add the access token, send OpenAI's requests to Vertex AI, and give Google's
//! errors the form that async-openai reads. async-openai's own retries are around the layers, as in
//! every client of async-openai.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_vertex::BoxError> {
//! use async_openai::types::chat::CreateChatCompletionRequest;
//! use serde_json::{from_value, json};
//! use tower_vertex::{Client, route::Upstream, token::GcpAuth};
//! use tower_vertex_emulator::Emulator;
//!
//! // With Vertex AI, the next five lines are
//! // `let client = tower_vertex::async_openai::from_env().await?;`.
//! let emulator = Emulator::start().await?;
//! let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
//! let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
//! let vertex = Client::new(upstream.build()?, source)?;
//! let client = tower_vertex::async_openai::client(vertex);
//!
//! let request: CreateChatCompletionRequest = from_value(json!({
//!     "model": "google/gemini-2.5-flash",
//!     "messages": [{ "role": "user", "content": "hello" }],
//! }))?;
//! let response = client.chat().create(request).await?;
//! assert!(response.choices[0].message.content.as_deref().unwrap().contains("You said: hello"));
//! # Ok(())
//! # }
//! ```
//!
//! The groups of the API, such as `chat()`, depend on async-openai's features. The version is 0.43:
//! a client of another version has other types.

use ::async_openai::{
    Client as OpenAiClient,
    config::OpenAIConfig,
    error::OpenAIError,
    middleware::{HttpRequestFactory, retry::OpenAIRetryLayer},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{client::Client, crypto_provider, error::Error};

/// Creates async-openai's client for the credentials, the project and the location of the
/// environment, like [`Client::from_env`].
///
/// # Errors
///
/// The errors of [`Client::from_env`].
#[doc(alias = "adc")]
pub async fn from_env() -> Result<OpenAiClient<OpenAIConfig>, Error> {
    Ok(client(Client::from_env().await?))
}

/// Creates async-openai's client over `vertex`.
///
/// No variable of OpenAI's library has an effect, such as `OPENAI_API_KEY` and `OPENAI_BASE_URL`.
/// `vertex` decides the destination and the token of requests.
///
/// An error of this crate, such as a missing access token, is an [`Error`] inside
/// [`OpenAIError::Boxed`].
#[must_use]
pub fn client(vertex: Client) -> OpenAiClient<OpenAIConfig> {
    // reqwest's client builds the requests but does not send them, so its TLS is of no use. But if
    // another crate has turned that on without a provider of cryptography, creating the client
    // would panic.
    crypto_provider::install_default();
    // The key is never sent, and only the path of the base URL has an effect.
    let config =
        OpenAIConfig::new().with_api_key("unused").with_api_base("https://api.openai.com/v1");
    let stack = vertex.into_stack();
    // The requests and responses are reqwest's, so they are converted to and from those of `http`.
    let service = service_fn(move |factory: HttpRequestFactory| {
        let stack = stack.clone();
        async move {
            let request = http::Request::try_from(factory.build().await?)?;
            let response = stack.oneshot(request.map(crate::client::Body::new)).await?;
            Ok::<_, OpenAIError>(response.map(::reqwest::Body::wrap).into())
        }
    });
    // A service that is passed to async-openai has no retries, unless they are put around it.
    OpenAiClient::build(::reqwest::Client::new(), config)
        .with_http_service(OpenAIRetryLayer::default().layer(service))
}
