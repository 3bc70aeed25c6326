use tower::Layer;

use super::{Upstream, VertexRoute};
use crate::error::ConfigError;

/// Gives requests the URL of a Vertex AI [`Upstream`]. See the [module](super).
#[doc(alias = "base url")]
#[doc(alias = "rewrite")]
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct VertexRouteLayer {
    upstream: Option<Upstream>,
}

impl VertexRouteLayer {
    /// Routes to `upstream`, or to the [`Upstream`] in the extensions of a request, if it has one.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream: Some(upstream) }
    }

    /// Routes to the upstream that is configured in the environment. See [`Upstream::from_env`].
    ///
    /// # Errors
    /// [`ConfigError`] if a variable is missing or cannot be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        Upstream::from_env().map(Self::new)
    }

    /// Routes only requests that have an [`Upstream`] in their extensions. Any other request fails
    /// with [`Error::Config`](crate::Error::Config).
    pub fn without_default() -> Self {
        Self { upstream: None }
    }
}

impl<S> Layer<S> for VertexRouteLayer {
    type Service = VertexRoute<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VertexRoute::to(inner, self.upstream.clone())
    }
}
