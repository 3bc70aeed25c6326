//! Google Vertex AI for every client of OpenAI, Gemini and Claude, as Tower layers.
//!
//! Vertex AI supports OpenAI's Chat Completions, Gemini's own API and Anthropic's Messages, but at URLs
//! with the project, the location and the endpoint, and with access tokens that expire after an hour. Two layers hide both from any Tower
//! HTTP client, and a third translates the errors:
//!
//! - [`VertexRouteLayer`](route::VertexRouteLayer) turns the path of a client's request into the URL
//!   of Vertex AI, and removes the headers that must not be forwarded;
//! - [`VertexAuthLayer`](auth::VertexAuthLayer) adds the access token and refreshes it ahead of
//!   time. After a 401 it refreshes the token and sends the request again with its whole body;
//! - [`VertexErrorLayer`](error_format::VertexErrorLayer) gives Google's errors the form
//!   of the client's protocol, and ends a stream that was reset with an error that the client raises.
//!
//! Three more, outside of these, are optional: [`VertexModelLayer`](model::VertexModelLayer) selects
//! the URL and the name of a model by the `model` of a request.
//! [`VertexCompatLayer`](compat::VertexCompatLayer) cures what OpenAI clients and Gemini cannot read
//! of each other. [`VertexRetryLayer`](retry::VertexRetryLayer) sends a request again after a
//! transient failure, at another location if that is allowed.
//!
//! # Order
//!
//! ```text
//! your own layers            trace, timeout, limits
//!   VertexModelLayer         optional: `model` -> upstream and name
//!     VertexCompatLayer      optional: cures bodies of Gemini's requests and responses
//!       VertexRetryLayer     optional: sends again after 429, 503 and the like
//!         VertexErrorLayer   optional: Google's error body -> the client's form
//!           VertexRouteLayer   client's path -> Vertex AI URL
//!             VertexAuthLayer  access token; after a 401 a new token and a replay
//!               HTTP client    http_client's, or any Service<http::Request<_>> that is Clone
//! ```
//!
//! Model is outside of route, because it selects the upstream for route. Route is outside of auth:
//! auth checks the final host before it sends the token to it, and a replayed request is not routed
//! again. Errors are translated outside of both: route records the upstream of a request, and auth
//! needs the original 401. Retry is inside of model, which sets the locations, and outside of
//! error, so that it sees `Retry-After` in place of Google's `RetryInfo`. Compat is inside of model,
//! which sets the upstream and the name of the model, and outside of retry: a request is cured once,
//! and only the response that the caller gets is cured.
//!
//! Another order would compile too, and send requests to wrong places. Each layer therefore refuses
//! every request, with [`Error::Config`], if a layer that belongs outside is inside of it. It finds
//! such a layer by the types, which a boxed service hides.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use http::{Request, Response, StatusCode};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_vertex::{
//!     BoxError,
//!     auth::VertexAuthLayer,
//!     replay::ReplayBody,
//!     route::{Upstream, VertexRouteLayer},
//!     token::{AccessToken, token_fn},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Replaces Vertex AI and an HTTP client. It accepts only the second token.
//! let client = service_fn(|request: Request<ReplayBody<String>>| async move {
//!     assert_eq!(request.uri().host(), Some("aiplatform.googleapis.com"));
//!     let mut response = Response::new(String::new());
//!     if request.headers()["authorization"] != "Bearer token-2" {
//!         *response.status_mut() = StatusCode::UNAUTHORIZED;
//!     }
//!     Ok::<_, BoxError>(response)
//! });
//!
//! // With a feature for Google's credentials this is `Credentials::detect().await?`.
//! let number = std::sync::atomic::AtomicU32::new(1);
//! let source = token_fn(move |_reason| {
//!     let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
//!     async move {
//!         Ok(AccessToken::new(format!("token-{number}"), Some(Duration::from_secs(3600)))?)
//!     }
//! });
//!
//! let mut vertex = ServiceBuilder::new()
//!     .layer(VertexRouteLayer::new(Upstream::new("my-project", "global")?))
//!     .layer(VertexAuthLayer::new(source))
//!     .service(client);
//!
//! let request = Request::post("/v1/chat/completions").body("{}".to_owned())?;
//! let response = vertex.ready().await?.call(request).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `client`, `Client::from_env` combines credentials, layers and an HTTP client.
//! `examples/hyper_client.rs` does so with real sockets, and `examples/axum_gateway.rs` inside a
//! server.
//!
//! # Settings
//!
//! A builder accepts any value, and its `build` reports unusable ones. If there is no `build`, a
//! setter whose value can be wrong returns a `Result`. A number out of its range is replaced by the
//! nearest one in it, if the setter's documentation says so.
//!
//! # Modules and features
//!
//! | module | what it does | feature |
//! |---|---|---|
//! | [`route`] | from OpenAI's path to Vertex AI's URL | |
//! | [`model`] | from the `model` in the body to an upstream and a name | |
//! | [`compat`] | bodies that OpenAI clients and Gemini can both read | |
//! | [`auth`] | the access token on requests | |
//! | [`token`] | a cached access token that is always valid | |
//! | `token::Credentials` | the Google credentials that the machine has | `credentials` or `credentials-federation` |
//! | `token::GcpAuth` | tokens of a service account's key | `credentials`, on by default |
//! | `token::GoogleCloudAuth` | the same and federation, with Google's own crate | `credentials-federation` |
//! | `token::Impersonated` | tokens of another service account, valid for up to 12 hours | either of the two |
//! | [`error_format`] | from Google's error body to the form of the client's protocol | |
//! | [`retry`] | retries after transient failures, also at other locations | |
//! | [`replay`] | a body that can be sent again | |
//! | [`http_client`] | hyper-util's client and reqwest's, as inner services | `credentials` or `credentials-federation`; `reqwest` |
//! | [`discover`] | finds endpoints and their hosts | |
//! | `client` | all of these in one: credentials, the layers, an HTTP client | `client` |
//! | `async_openai` | async-openai's client over the layers | `async-openai` |
//! | [`ext`] | methods of `tower::ServiceBuilder` for the layers | |
//! | [`error`] | all errors, with their statuses and bodies in OpenAI's form | |
//! | `regular_file`, [`redact`] | reads files that settings name; shows settings in error messages | |
//!
//! Two crates belong to this one: `tower-vertex-emulator` emulates Vertex AI on loopback for tests,
//! and `vertex-gateway` is a sidecar made of these layers.
//!
//! The feature `full` turns everything on.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accessors;
#[cfg(feature = "async-openai")]
#[cfg_attr(docsrs, doc(cfg(feature = "async-openai")))]
pub mod async_openai;
pub mod auth;
mod body_headers;
mod body_reader;
#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
pub mod compat;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "credentials", feature = "credentials-federation"))))]
pub mod connect;
#[cfg(any(feature = "async-openai", feature = "credentials-federation"))]
mod crypto_provider;
pub mod discover;
pub mod error;
pub mod error_format;
pub mod ext;
pub mod http_client;
pub mod model;
mod order;
mod polled;
pub mod redact;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "credentials", feature = "credentials-federation"))))]
pub mod regular_file;
pub mod replay;
pub mod retry;
pub mod route;
mod sse;
pub mod token;

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use client::Client;
pub use error::Error;
pub use ext::ServiceBuilderExt;
/// The error type of a service, as usual in Tower.
pub use tower::BoxError;

// Compiles and runs the examples of the README and the manual.
#[cfg(all(doctest, feature = "client"))]
mod manual {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/start.md")]
    struct Start;
    #[doc = include_str!("../docs/clients.md")]
    struct Clients;
    #[doc = include_str!("../docs/models.md")]
    struct Models;
    #[doc = include_str!("../docs/credentials.md")]
    struct Credentials;
    #[doc = include_str!("../docs/emulator.md")]
    struct Emulator;
}
