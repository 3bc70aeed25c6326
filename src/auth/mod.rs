//! Puts the access token on requests, and keeps it good.
//!
//! [`VertexAuth`] sets `Authorization: Bearer …` on every request, whatever was there before, and
//! `x-goog-user-project` if a quota project is known. The token comes out of a [`TokenCache`],
//! which refreshes it ahead of time.
//!
//! If the service answers 401 all the same (a revoked token, a clock that was wrong), the token is
//! refreshed and the request sent once more, with its whole body, by one fetch however many
//! requests were hit. When that is not possible, the original 401 goes to the caller untouched, and
//! a [`RefreshOutcome`] in its extensions says why. A 403 is never a reason to refresh.
//!
//! The token goes to no stranger: only https on the hosts of Vertex AI is trusted, and what
//! [`trust_origin`](VertexAuthLayer::trust_origin) adds. A request for another host fails before a
//! byte of it is sent. Redirects are not followed here, and an inner client that follows them must
//! not carry the header to another host.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_vertex::{
//!     BoxError,
//!     auth::VertexAuthLayer,
//!     replay::ReplayBody,
//!     token::StaticToken,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let inner = service_fn(|request: Request<ReplayBody<String>>| async move {
//!     assert_eq!(request.headers()["authorization"], "Bearer ya29.example");
//!     Ok::<_, BoxError>(Response::new(String::new()))
//! });
//! let mut service = VertexAuthLayer::new(StaticToken::new("ya29.example")?).layer(inner);
//!
//! let request = Request::get("https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi/x")
//!     .header("authorization", "Bearer sk-placeholder-of-an-openai-client")
//!     .body(String::new())?;
//! assert_eq!(service.ready().await?.call(request).await?.status(), StatusCode::OK);
//!
//! let stranger = Request::get("https://example.com/").body(String::new())?;
//! assert!(service.ready().await?.call(stranger).await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! [`TokenCache`]: crate::token::TokenCache

mod future;
mod layer;
mod service;
mod settings;
mod trust;

pub use self::{future::ResponseFuture, layer::VertexAuthLayer, service::VertexAuth};
pub use crate::token::RefreshOutcome;
