//! Puts a valid access token on requests.
//!
//! [`VertexAuth`] sets `Authorization: Bearer …` on every request, in place of any value that the
//! request has, and `x-goog-user-project` if a quota project is known. The token comes from a
//! [`TokenCache`], which refreshes it ahead of time.
//!
//! If the service still returns 401 (for a revoked token, or after a wrong clock), the token is
//! refreshed and the request is sent again with its whole body. One fetch serves all requests that
//! got a 401. If that is not possible, the caller gets the original 401 unchanged, and a
//! [`RefreshOutcome`] in its extensions gives the reason. A 403 is never a reason to refresh.
//!
//! A gRPC call that ends with UNAUTHENTICATED is treated in the same way as a 401, if the status is
//! in the headers of a response without a body (HTTP status 200, `grpc-status: 16`). If it comes in
//! trailers, the caller may have got messages, and the response is passed on unchanged. A call over
//! tonic's `Channel` needs the client's `with_origin`, so that this layer sees the host:
//! `examples/tonic_channel.rs` is a whole program.
//!
//! The token is sent to trusted hosts only: the hosts of Vertex AI over https, and the origins that
//! [`trust_origin`](VertexAuthLayer::trust_origin) adds. [`trust`](VertexAuthLayer::trust) takes
//! another policy, such as [`Trust::google_apis`]. A request for another host fails before a byte of
//! it is sent. This layer does not follow redirects, and an inner client that follows them
//! must not send the header to another host.
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
mod grpc;
mod layer;
mod service;
mod settings;
mod trust;

pub use self::{future::ResponseFuture, layer::VertexAuthLayer, service::VertexAuth, trust::Trust};
pub use crate::token::RefreshOutcome;
