//! [`Network`]: how connections leave this machine.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;

use super::{
    Connector, NetworkBuilder,
    proxies::Proxies,
    tls::{TlsConfigs, TlsFiles},
};
use crate::error::ConfigError;

/// The way from this machine to Google: the rule for proxies, the certificate authorities, and a
/// client certificate. See the [module](super).
///
/// Clones share the settings, and are cheap to make.
#[derive(Clone)]
pub struct Network(Arc<Settings>);

struct Settings {
    proxies: Proxies,
    files: TlsFiles,
    tls: ArcSwap<TlsConfigs>,
    /// Whether there are settings that another program does not know from the environment.
    is_own: bool,
}

impl Network {
    pub(super) fn new(
        proxies: Proxies,
        files: TlsFiles,
        is_own: bool,
    ) -> Result<Self, ConfigError> {
        let tls = ArcSwap::from_pointee(files.read()?);
        Ok(Self(Arc::new(Settings { proxies, files, tls, is_own })))
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

    /// The host for mutual TLS of one of Google's hosts that issue tokens, if this network has a
    /// client certificate: `oauth2.mtls.googleapis.com` for `oauth2.googleapis.com`.
    ///
    /// Source: <https://google.aip.dev/auth/4114>.
    pub fn mtls_host(&self, host: &str) -> Option<&'static str> {
        self.0.files.client.as_ref()?;
        Some(match host {
            "oauth2.googleapis.com" => "oauth2.mtls.googleapis.com",
            "sts.googleapis.com" => "sts.mtls.googleapis.com",
            "iamcredentials.googleapis.com" => "iamcredentials.mtls.googleapis.com",
            _ => return None,
        })
    }

    /// Whether there is a client certificate.
    pub fn has_client_certificate(&self) -> bool {
        self.0.files.client.is_some()
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
