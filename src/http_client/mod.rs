//! HTTP clients to put inside the layers.
//!
//! [`VertexAuthLayer`](crate::auth::VertexAuthLayer) takes any
//! `Service<http::Request<ReplayBody<B>>, Response = http::Response<_>>` that is `Clone`. These two
//! are ready-made:
//!
//! | client | is | feature |
//! |---|---|---|
//! | `HyperClient` | hyper-util's client with TLS by rustls and the system's root certificates | `credentials` or `credentials-federation` |
//! | `ReqwestClient` | a `reqwest::Client` of yours, version 0.13 | `reqwest` |
//!
//! `HyperClient` follows the environment's proxies or a `connect::Network`, and a
//! `reqwest::Client` follows its own settings.
//!
//! Neither depends on a default of the process: `HyperClient` brings its provider of cryptography,
//! and a `reqwest::Client` has the one of its own features.
//!
//! # In a field of a struct
//!
//! The type of a whole stack is long, and the type of a closure has no name. Tower's boxes have a
//! short type, and `BoxCloneSyncService` can still be cloned and shared:
//!
//! ```
//! # #[cfg(any(feature = "credentials", feature = "credentials-federation"))] mod example {
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full, combinators::BoxBody};
//! use tower::{BoxError, ServiceBuilder, util::BoxCloneSyncService};
//! use tower_vertex::{
//!     Error,
//!     auth::VertexAuthLayer,
//!     http_client::HyperClient,
//!     route::{Upstream, VertexRouteLayer},
//!     token::TokenSource,
//! };
//!
//! struct App {
//!     vertex: BoxCloneSyncService<Request<Full<Bytes>>, Response<BoxBody<Bytes, BoxError>>, BoxError>,
//! }
//!
//! impl App {
//!     fn new(upstream: Upstream, credentials: impl TokenSource) -> Result<Self, Error> {
//!         let vertex = ServiceBuilder::new()
//!             .map_response(|answer: Response<hyper::body::Incoming>| {
//!                 answer.map(|body| body.map_err(BoxError::from).boxed())
//!             })
//!             .layer(VertexRouteLayer::new(upstream))
//!             .layer(VertexAuthLayer::new(credentials))
//!             .service(HyperClient::new()?);
//!         Ok(Self { vertex: BoxCloneSyncService::new(vertex) })
//!     }
//! }
//! # }
//! ```
//!
//! Boxing a stack also shows why it is not a service. If `.ready()` "exists but its trait
//! bounds were not satisfied", `BoxCloneSyncService::new` names the type and the missing bound.
//!
//! # A client that is not `Clone`
//!
//! The layers that may send a request twice do not accept it:
//!
//! ```compile_fail,E0277
//! use tower::Layer;
//! use tower_vertex::{auth::VertexAuthLayer, token::StaticToken};
//!
//! struct NotClone;
//! let layer = VertexAuthLayer::new(StaticToken::new("ya29.example").unwrap());
//! let _ = layer.layer(NotClone);
//! ```
//!
//! Put `tower::buffer::BufferLayer` in between: its service is `Clone` and sends one request after
//! the other to the client. A client for another kind of request, such as reqwest's own `Service`,
//! is wrapped in a type of yours that converts the requests, as `ReqwestClient` is.

/// A service for the layers of this crate that send a request twice or later: any service that is
/// `Clone`, because they keep a clone for that. The trait exists for its message from the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`, and this layer needs clones of its service",
    label = "not `Clone`",
    note = "put `tower::buffer::BufferLayer` between it and the layer, or derive `Clone`"
)]
pub trait InnerService {}

#[diagnostic::do_not_recommend]
impl<S: Clone> InnerService for S {}

#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod hyper;
#[cfg(feature = "reqwest")]
mod reqwest;

#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "credentials", feature = "credentials-federation"))))]
pub use self::hyper::HyperClient;
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub use self::reqwest::{ReqwestClient, ReqwestFuture};
