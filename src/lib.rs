//! Google Vertex AI for every OpenAI client, as Tower layers.
//!
//! Vertex AI understands OpenAI's Chat Completions, but at URLs made of project, location and
//! endpoint, and behind access tokens that die after an hour. Two layers hide both from any
//! Tower HTTP client, and a third translates its errors:
//!
//! - [`VertexRouteLayer`](route::VertexRouteLayer) turns the path of an OpenAI request into the
//!   URL of a Vertex AI endpoint, and removes what must not travel;
//! - [`VertexAuthLayer`](auth::VertexAuthLayer) puts the access token on, refreshes it ahead of
//!   time, and after a 401 refreshes it and sends the request once more, with its whole body;
//! - [`VertexErrorLayer`](openai_error::VertexErrorLayer) gives Google's errors the form that OpenAI
//!   clients read, and ends a stream that broke with an event that they raise.
//!
//! Two more, outside them, are optional: [`VertexModelLayer`](model::VertexModelLayer) picks the URL
//! and the name by the `model` that a request asks for, and
//! [`VertexRetryLayer`](retry::VertexRetryLayer) sends again what failed for the moment, at another
//! location if it may.
//!
//! # Order
//!
//! ```text
//! your own layers            trace, timeout, limits
//!   VertexModelLayer         optional: `model` -> which upstream, which name
//!     VertexRetryLayer       optional: after 429, 503 and the like again, or elsewhere
//!       VertexErrorLayer     optional: Google's error body -> OpenAI's
//!         VertexRouteLayer   OpenAI path -> Vertex AI URL
//!           VertexAuthLayer  access token; after a 401 a new one, and the request again
//!             HTTP client    http_client's, or any Service<http::Request<_>> that is Clone
//! ```
//!
//! Model is outside route, which goes where model says. Route is outside auth: auth sees the final
//! host, which it checks before it shows the token, and a request that is sent again is not routed
//! again. Errors are translated outside both: route says where a request went, and auth needs its
//! 401 as it came. Retry is between model, which says what the locations are, and error, so that it
//! sees `Retry-After` where Google says `RetryInfo`.
//!
//! In another order they would compile too, and send requests where they should not go. Each layer
//! therefore refuses every request, with [`Error::Config`], if one is inside it that belongs outside, as
//! far as the types show it: a boxed service shows nothing.
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
//! // Stands in for Vertex AI and an HTTP client. It takes only the second token.
//! let client = service_fn(|request: Request<ReplayBody<String>>| async move {
//!     assert_eq!(request.uri().host(), Some("aiplatform.googleapis.com"));
//!     let mut answer = Response::new(String::new());
//!     if request.headers()["authorization"] != "Bearer token-2" {
//!         *answer.status_mut() = StatusCode::UNAUTHORIZED;
//!     }
//!     Ok::<_, BoxError>(answer)
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
//! let answer = vertex.ready().await?.call(request).await?;
//! assert_eq!(answer.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `client`, `Client::from_env` puts credentials, layers and an HTTP client together.
//! `examples/hyper_client.rs` does it over sockets, `examples/axum_gateway.rs` inside a server.
//!
//! # Settings
//!
//! A builder takes any value, and its `build` says what cannot be used. Where there is no `build`, a
//! setter whose value can be wrong returns a `Result`. A number that is out of its range is taken as
//! the nearest one in it, where the setter says so.
//!
//! # Modules and features
//!
//! | module | what it does | feature |
//! |---|---|---|
//! | [`route`] | OpenAI path to Vertex AI URL | |
//! | [`model`] | `model` in the body to which upstream, which name | |
//! | [`auth`] | the access token on requests | |
//! | [`token`] | a valid access token, always | |
//! | `token::Credentials` | whichever Google credentials the machine has | `credentials` or `credentials-federation` |
//! | `token::GcpAuth` | tokens by a service account's key | `credentials`, on by default |
//! | `token::GoogleCloudAuth` | the same and federation, by Google's own crate | `credentials-federation` |
//! | `token::Impersonated` | another service account's tokens, of up to 12 hours | either of the two |
//! | [`openai_error`] | Google's error body to OpenAI's | |
//! | [`retry`] | what failed for the moment again, or elsewhere | |
//! | [`replay`] | a body that can be sent again | |
//! | [`http_client`] | hyper-util's client and reqwest's, for inside the layers | `credentials` or `credentials-federation`; `reqwest` |
//! | [`discover`] | which endpoints there are, and where | |
//! | `client` | all of these in one: credentials, the layers, an HTTP client | `client` |
//! | `async_openai` | async-openai's client over these | `async-openai` |
//! | [`ext`] | methods of `tower::ServiceBuilder` for the layers | |
//! | [`error`] | what can go wrong, as statuses and OpenAI's error bodies | |
//! | `regular_file`, [`shown`] | files that settings name, and settings in error messages | |
//!
//! Two crates belong to this one: `tower-vertex-emulator` is Vertex AI on loopback, for tests, and
//! `vertex-gateway` is a sidecar made of these layers.
//!
//! The feature `full` turns everything on.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accessors;
#[cfg(feature = "async-openai")]
#[cfg_attr(docsrs, doc(cfg(feature = "async-openai")))]
pub mod async_openai;
pub mod auth;
mod body_headers;
#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
#[cfg(any(feature = "async-openai", feature = "credentials-federation"))]
mod crypto_provider;
pub mod discover;
pub mod error;
pub mod ext;
pub mod http_client;
pub mod model;
pub mod openai_error;
mod order;
mod polled;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "credentials", feature = "credentials-federation"))))]
pub mod regular_file;
pub mod replay;
pub mod retry;
pub mod route;
pub mod shown;
pub mod token;

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use client::Client;
pub use error::Error;
pub use ext::ServiceBuilderExt;
/// The error type of a service, as everywhere in Tower.
pub use tower::BoxError;

// Compiles and runs what the README and the manual show.
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
