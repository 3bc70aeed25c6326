//! Methods of [`ServiceBuilder`] for the layers of this crate.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_vertex::{
//!     BoxError, ServiceBuilderExt, replay::ReplayBody, route::Upstream, token::StaticToken,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Any HTTP service of Tower goes inside; this one replaces an HTTP client and Vertex AI.
//! let vertex = ServiceBuilder::new()
//!     .vertex(Upstream::new("my-project", "global")?, StaticToken::new("ya29.example")?)
//!     .service_fn(|request: Request<ReplayBody<String>>| async move {
//!         assert_eq!(request.uri().host(), Some("aiplatform.googleapis.com"));
//!         assert_eq!(request.headers()["authorization"], "Bearer ya29.example");
//!         let error = r#"[{"error": {"code": 429, "message": "Slow down."}}]"#;
//!         Ok::<_, BoxError>(Response::builder().status(429).body(error.to_owned())?)
//!     });
//!
//! let request = Request::post("/v1/chat/completions").body("{}".to_owned())?;
//! let response = vertex.oneshot(request).await?;
//! assert_eq!(response.headers()["x-vertex-error-type"], "array");
//! # Ok(())
//! # }
//! ```

use tower::{ServiceBuilder, layer::util::Stack};

use crate::{
    auth::VertexAuthLayer,
    compat::{Cures, VertexCompatLayer},
    error_format::VertexErrorLayer,
    route::{Upstream, VertexRouteLayer},
    token::TokenSource,
};

mod sealed {
    pub trait Sealed {}

    impl<L> Sealed for tower::ServiceBuilder<L> {}
}

/// A [`ServiceBuilder`] with the error, route and auth layers added to those of type `L`.
pub type WithVertex<L> =
    ServiceBuilder<Stack<VertexAuthLayer, Stack<VertexRouteLayer, Stack<VertexErrorLayer, L>>>>;

/// Adds the layers of this crate to a [`ServiceBuilder`]. See the [module](self) for an example.
///
/// The trait is sealed: only [`ServiceBuilder`] implements it.
pub trait ServiceBuilderExt<L>: sealed::Sealed + Sized {
    /// Adds the layers that most programs need, in the right order: [`VertexErrorLayer`],
    /// [`VertexRouteLayer`] to `upstream`, and [`VertexAuthLayer`] with the tokens of `source`.
    ///
    /// The token is sent to Vertex AI's hosts and to the [origin](Upstream::origin) of `upstream`,
    /// such as a private address, a proxy or an emulator. There is one exception: the host of an
    /// [`Endpoint::Dedicated`](crate::route::Endpoint::Dedicated) has to be one of Vertex AI's. If
    /// the origin starts with `http`, the token travels in clear text.
    ///
    /// [`VertexModelLayer`](crate::model::VertexModelLayer),
    /// [`vertex_compat`](Self::vertex_compat) and
    /// [`VertexRetryLayer`](crate::retry::VertexRetryLayer) go before this method, in this order.
    fn vertex(self, upstream: Upstream, source: impl TokenSource) -> WithVertex<L>;

    /// Adds [`VertexCompatLayer::new`]: requests and responses of Gemini models are cured. It goes
    /// before [`vertex`](Self::vertex), and inside
    /// [`VertexModelLayer`](crate::model::VertexModelLayer).
    fn vertex_compat(self, cures: Cures) -> ServiceBuilder<Stack<VertexCompatLayer, L>>;

    /// Adds [`VertexRouteLayer::new`]: requests get the URL of `upstream`.
    fn vertex_route(self, upstream: Upstream) -> ServiceBuilder<Stack<VertexRouteLayer, L>>;

    /// Adds [`VertexAuthLayer::new`]: requests to Vertex AI's hosts get a token of `source`.
    fn vertex_auth(self, source: impl TokenSource) -> ServiceBuilder<Stack<VertexAuthLayer, L>>;
}

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {
    fn vertex(self, upstream: Upstream, source: impl TokenSource) -> WithVertex<L> {
        let auth = trusting(VertexAuthLayer::new(source), &upstream);
        self.layer(VertexErrorLayer::new()).vertex_route(upstream).layer(auth)
    }

    fn vertex_compat(self, cures: Cures) -> ServiceBuilder<Stack<VertexCompatLayer, L>> {
        self.layer(VertexCompatLayer::new(cures))
    }

    fn vertex_route(self, upstream: Upstream) -> ServiceBuilder<Stack<VertexRouteLayer, L>> {
        self.layer(VertexRouteLayer::new(upstream))
    }

    fn vertex_auth(self, source: impl TokenSource) -> ServiceBuilder<Stack<VertexAuthLayer, L>> {
        self.layer(VertexAuthLayer::new(source))
    }
}

/// The same layer, which also trusts the origin that the program has chosen.
pub(crate) fn trusting(auth: VertexAuthLayer, upstream: &Upstream) -> VertexAuthLayer {
    match upstream.chosen_origin() {
        // An upstream has checked its origin. If the layer still cannot parse it, the layer refuses
        // the requests, and no token is sent.
        Some(origin) => auth.clone().trust_origin(origin).unwrap_or(auth),
        None => auth,
    }
}
