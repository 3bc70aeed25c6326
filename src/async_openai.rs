//! [async-openai](::async_openai), with Vertex AI behind it: its client over the layers of this crate.
//!
//! [`from_env`] is one line for most programs; [`client`] takes a [`Client`] that the program made. The
//! layers put the access token on, send to Vertex AI what was meant for OpenAI, and give Google's errors
//! the form that async-openai reads. Its own retries are around them, as in every client of
//! async-openai.
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
//! Which groups of the API there are, such as `chat()`, is a matter of async-openai's features. The version
//! is 0.43: a client of another version has other types.

use ::async_openai::{
    Client as OpenAiClient,
    config::OpenAIConfig,
    error::OpenAIError,
    middleware::{HttpRequestFactory, retry::OpenAIRetryLayer},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{client::Client, crypto_provider, error::Error};

/// async-openai's client for the credentials, the project and the location of the environment, as
/// [`Client::from_env`] finds them.
///
/// # Errors
///
/// Those of [`Client::from_env`].
#[doc(alias = "adc")]
pub async fn from_env() -> Result<OpenAiClient<OpenAIConfig>, Error> {
    Ok(client(Client::from_env().await?))
}

/// async-openai's client over `vertex`.
///
/// No variable of OpenAI's library counts, such as `OPENAI_API_KEY` and `OPENAI_BASE_URL`: where requests
/// go, and by which token, is what `vertex` says.
///
/// An error of this crate, such as that there is no access token, is an [`Error`] inside
/// [`OpenAIError::Boxed`].
#[must_use]
pub fn client(vertex: Client) -> OpenAiClient<OpenAIConfig> {
    // Requests are made by reqwest's client and not sent by it, so its TLS is of no use. But if another
    // crate has turned that on without a provider of cryptography, making the client would panic.
    crypto_provider::install_default();
    // The key never travels, and of the base URL only the path counts.
    let config =
        OpenAIConfig::new().with_api_key("unused").with_api_base("https://api.openai.com/v1");
    let stack = vertex.into_stack();
    // What it makes and what it takes are reqwest's, so they are turned into `http`'s and back.
    let service = service_fn(move |factory: HttpRequestFactory| {
        let stack = stack.clone();
        async move {
            let request = http::Request::try_from(factory.build().await?)?;
            let response = stack.oneshot(request.map(crate::client::Body::new)).await?;
            Ok::<_, OpenAIError>(response.map(::reqwest::Body::wrap).into())
        }
    });
    // A service that async-openai is given is without its retries, unless they are put around it.
    OpenAiClient::build(::reqwest::Client::new(), config)
        .with_http_service(OpenAIRetryLayer::default().layer(service))
}
