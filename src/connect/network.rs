//! [`Network`]: how connections leave this machine.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Uri, uri::Scheme};
use hyper_util::client::legacy::connect::HttpConnector;

use super::{
    Connector, NetworkBuilder,
    proxies::Proxies,
    tls::{TlsConfigs, TlsFiles},
};
use crate::error::ConfigError;

/// How connections from this machine reach Google: the rule for proxies, the certificate authorities, and a
/// client certificate. See the [module](super).
///
/// Clones share the settings, and are cheap to make.
#[derive(Clone)]
pub struct Network(Arc<Settings>);

struct Settings {
    proxies: Proxies,
    files: TlsFiles,
    tls: ArcSwap<TlsConfigs>,
    uses_mtls_hosts: bool,
    /// Whether there are settings that another program does not know from the environment.
    is_own: bool,
}

impl Network {
    pub(super) fn new(
        proxies: Proxies,
        files: TlsFiles,
        is_own: bool,
        may_use_mtls_hosts: bool,
    ) -> Result<Self, ConfigError> {
        let tls = ArcSwap::from_pointee(files.read()?);
        let uses_mtls_hosts = may_use_mtls_hosts && files.client.is_some();
        Ok(Self(Arc::new(Settings { proxies, files, tls, uses_mtls_hosts, is_own })))
    }

    /// The proxies of the variables, and the root certificates of the system.
    ///
    /// # Errors
    ///
    /// The errors of [`NetworkBuilder::build`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().build()
    }

    /// Settings for a network.
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder::default()
    }

    /// A connector over TCP, without Nagle's algorithm and with a time limit of 10 s for a TCP
    /// connection. The host names of a proxied connection are resolved by the proxy.
    pub fn connector(&self) -> Connector {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // With Nagle's algorithm, the small frames of a request would wait for acknowledgements.
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        self.wrap(tcp)
    }

    /// A connector over connections of `tcp`, which must take `https` URIs too:
    /// `HttpConnector::enforce_http(false)`.
    pub fn wrap<C>(&self, tcp: C) -> Connector<C> {
        Connector::new(self.clone(), tcp)
    }

    /// The proxy of connections to `uri`, without its user and password. `None` for a direct
    /// connection.
    pub fn proxy_for(&self, uri: &Uri) -> Option<String> {
        self.0.proxies.proxy_for(uri).map(|proxy| proxy.origin())
    }

    /// The same URI at Google's host for mutual TLS: `us-central1-aiplatform.mtls.googleapis.com`
    /// for `us-central1-aiplatform.googleapis.com`, and likewise for `aiplatform`, `oauth2`, `sts`
    /// and `iamcredentials`. `None` without a client certificate, for any other host, and if
    /// `GOOGLE_API_USE_MTLS_ENDPOINT` is `never`.
    ///
    /// The clients of this crate and the sources of tokens apply it to each request. The hosts of
    /// the multi-regions `us` and `eu` have no such form.
    ///
    /// Source: <https://google.aip.dev/auth/4114>.
    pub fn mtls_uri(&self, uri: &Uri) -> Option<Uri> {
        if !self.0.uses_mtls_hosts || uri.scheme() != Some(&Scheme::HTTPS) {
            return None;
        }
        let authority = uri.authority()?.as_str();
        let authority = authority.strip_suffix(":443").unwrap_or(authority);
        let service = authority.strip_suffix(".googleapis.com")?;
        let region = service.strip_suffix("-aiplatform");
        let is_known = matches!(service, "aiplatform" | "oauth2" | "sts" | "iamcredentials")
            || region.is_some_and(|region| !region.is_empty() && !region.contains(['.', '@']));
        if !is_known {
            return None;
        }
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(format!("{service}.mtls.googleapis.com").parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    /// The files of certificates and keys, to watch for changes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let TlsFiles { authorities, client, .. } = &self.0.files;
        let client = client.iter().flat_map(|(certificate, key)| [certificate, key]);
        authorities.iter().chain(client).map(PathBuf::as_path)
    }

    /// Reads the system's root certificates and the files again. New connections use them. On an
    /// error, the previous ones stay in use. The sources of tokens call it before each token.
    ///
    /// # Errors
    ///
    /// The errors of [`NetworkBuilder::build`] about files.
    pub fn reload(&self) -> Result<(), ConfigError> {
        self.0.tls.store(Arc::new(self.0.files.read()?));
        Ok(())
    }

    pub(super) fn proxies(&self) -> &Proxies {
        &self.0.proxies
    }

    pub(super) fn tls(&self) -> Arc<TlsConfigs> {
        self.0.tls.load_full()
    }

    /// Whether a program that reads only the environment would take another way.
    pub(crate) fn is_own(&self) -> bool {
        self.0.is_own
    }
}

/// `Debug` shows no password.
impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("proxies", &self.0.proxies).finish_non_exhaustive()
    }
}
