use std::sync::Arc;

use tower::Layer;

use super::{
    Trust, VertexAuth,
    settings::{AuthSettings, quota_header},
};
use crate::{
    error::ConfigError,
    http_client::InnerService,
    replay::MemoryBudget,
    token::{TokenCache, TokenSource},
};

/// Applies [`VertexAuth`]: the access token on every request. See the [module's docs](super).
///
/// Clones of a layer, and all services made by them, share one [`TokenCache`].
#[doc(alias = "401")]
#[doc(alias = "bearer")]
#[doc(alias = "authorization")]
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct VertexAuthLayer {
    settings: Arc<AuthSettings>,
}

impl VertexAuthLayer {
    /// Uses tokens of `source`, cached with the default settings.
    pub fn new(source: impl TokenSource) -> Self {
        Self::with_cache(TokenCache::new(source))
    }

    /// Uses tokens of `cache`, which other layers may share.
    pub fn with_cache(cache: TokenCache) -> Self {
        Self { settings: Arc::new(AuthSettings::new(cache)) }
    }

    /// Sends the token to the hosts that `trust` trusts, and to no others: origins that were added
    /// before are forgotten. Default: [`Trust::vertex`]; for tokens that are for one service, the
    /// origin of their [`audience`](TokenSource::audience).
    #[doc(alias = "allowed hosts")]
    pub fn trust(mut self, trust: Trust) -> Self {
        Arc::make_mut(&mut self.settings).trust = trust;
        self
    }

    /// Sends the token to `origin` too, such as `https://vertex.example.com` or
    /// `http://10.0.0.7:8080`: a proxy, a private address, an emulator. With `http` the token
    /// travels in clear text.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `origin` is not a scheme, a host and maybe a port.
    #[doc(alias = "allowed hosts")]
    #[doc(alias = "proxy")]
    #[doc(alias = "psc")]
    pub fn trust_origin(mut self, origin: impl AsRef<str>) -> Result<Self, ConfigError> {
        Arc::make_mut(&mut self.settings).trust.add(origin.as_ref())?;
        Ok(self)
    }

    /// The project to bill and to charge quota to. It is sent as `x-goog-user-project` and replaces
    /// the header of a request. Default: the source's
    /// [`quota_project`](TokenSource::quota_project); if the source has none, the request's own
    /// header is kept.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if no header can carry the project.
    #[doc(alias = "x-goog-user-project")]
    #[doc(alias = "billing")]
    pub fn quota_project(mut self, project: impl AsRef<str>) -> Result<Self, ConfigError> {
        let project = project.as_ref();
        let Some(value) = quota_header(project) else {
            return Err(ConfigError::invalid("quota project", project, "give a project id"));
        };
        Arc::make_mut(&mut self.settings).quota_project = Some(value);
        Ok(self)
    }

    /// The longest request body, in bytes, that is kept so that it can be sent again after a 401.
    /// Default 32 MiB. A longer body is sent, but the caller gets its 401. 0 turns replay off.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.settings).replay_limit = bytes;
        self
    }

    /// The memory, in bytes, that the recorded bodies of all requests in flight may take together.
    /// Default 256 MiB. The recording of a body takes at most twice the body's length; a body of
    /// one short frame counts for 8 KiB. A body that an outer retry layer keeps already is not kept
    /// again, and counts there. A body that exceeds the budget is sent, but the caller gets its
    /// 401.
    pub fn replay_budget(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.settings).replay_budget = MemoryBudget::new(bytes);
        self
    }

    /// Whether the extensions of a request reach the inner service. Default: yes. A replay needs a
    /// copy of each of them, so a program whose inner service reads none can save that copy.
    pub fn forward_extensions(mut self, forward: bool) -> Self {
        Arc::make_mut(&mut self.settings).forward_extensions = forward;
        self
    }

    /// Checks whether the layer sends the token to the host of `uri`.
    ///
    /// # Errors
    ///
    /// [`UntrustedHost`](crate::error::UntrustedHost) if the layer does not send it.
    pub fn check_host(&self, uri: &http::Uri) -> Result<(), crate::error::UntrustedHost> {
        self.settings.trust.check(uri)
    }

    /// Sets the token, and the quota project if there is one, in the headers of a request for `uri`
    /// that another program sends, such as Envoy. Returns the generation of the token, which
    /// [`TokenCache::rejected`] takes if the response is a 401.
    ///
    /// # Errors
    ///
    /// [`Error::UntrustedHost`](crate::Error::UntrustedHost) if the host must not see the token, and
    /// [`Error::Token`](crate::Error::Token) if there is none.
    pub async fn authorize(
        &self,
        uri: &http::Uri,
        headers: &mut http::HeaderMap,
    ) -> Result<u64, crate::Error> {
        let AuthSettings { cache, trust, .. } = &*self.settings;
        trust.check(uri)?;
        let token = cache.get().await?;
        let generation = token.generation();
        self.settings.set_token(token.access_token(), headers);
        Ok(generation)
    }

    /// The cache behind this layer, for [`warm_up`](TokenCache::warm_up), for sharing and for
    /// metrics.
    pub fn cache(&self) -> &TokenCache {
        &self.settings.cache
    }
}

impl<S: InnerService> Layer<S> for VertexAuthLayer {
    type Service = VertexAuth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VertexAuth::with(inner, Arc::clone(&self.settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{AccessToken, token_fn};

    #[tokio::test]
    async fn a_request_of_another_program_is_authorized_for_trusted_hosts_alone() {
        let source = token_fn(|_| async { Ok(AccessToken::new("t1", None)?) });
        let layer = VertexAuthLayer::new(source).quota_project("payer").unwrap();
        let mut headers = http::HeaderMap::new();
        let stranger = http::Uri::from_static("https://example.com/");
        let refused = layer.authorize(&stranger, &mut headers).await.unwrap_err();
        assert!(matches!(refused, crate::Error::UntrustedHost(_)), "{refused}");
        assert!(layer.check_host(&stranger).is_err());
        assert!(headers.is_empty() && layer.cache().stats().fetches == 0);

        let vertex = http::Uri::from_static("https://aiplatform.googleapis.com/v1/x");
        assert!(layer.check_host(&vertex).is_ok());
        assert_eq!(layer.authorize(&vertex, &mut headers).await.unwrap(), 1);
        assert_eq!(headers["authorization"], "Bearer t1");
        assert_eq!(headers["x-goog-user-project"], "payer");
    }
}
