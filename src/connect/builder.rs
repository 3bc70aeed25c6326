//! [`NetworkBuilder`]: the settings of a [`Network`].

use std::{fmt, path::PathBuf};

use super::{
    Network,
    proxies::{Proxies, ProxySettings},
    tls::TlsFiles,
};
use crate::{error::ConfigError, redact};

/// Settings of a [`Network`].
#[derive(Clone, Default)]
#[must_use]
pub struct NetworkBuilder {
    proxies: ProxySettings,
    ignores_environment: bool,
    files: TlsFiles,
}

impl NetworkBuilder {
    /// The URL of an HTTP proxy for all hosts, instead of the proxies of the variables:
    /// `http://HOST:PORT`, `https://HOST:PORT` for TLS to the proxy itself, either with
    /// `USER:PASSWORD@` before the host. Special characters of the password are in percent form.
    /// Without a port, it is that of the scheme.
    ///
    /// The hosts of [`no_proxy`](Self::no_proxy) or of `NO_PROXY` remain exempt.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxies.proxy = Some(url.into());
        self
    }

    /// The hosts that are connected to directly, instead of those of `NO_PROXY`: names, which stand
    /// for their subdomains too, addresses, networks such as `10.0.0.0/8`, or `*` for all hosts,
    /// separated by commas or spaces. An empty list exempts none.
    pub fn no_proxy(mut self, hosts: impl Into<String>) -> Self {
        self.proxies.no_proxy = Some(hosts.into());
        self
    }

    /// Ignores all variables. Default: those for proxies, and `GOOGLE_API_USE_MTLS_ENDPOINT`, are read
    /// by [`build`](Self::build).
    pub fn ignore_environment(mut self) -> Self {
        self.ignores_environment = true;
        self
    }

    /// A file with further certificate authorities in PEM form, beside those of the system: that of
    /// a proxy that reads TLS, or of a private endpoint. It may be called again, for more files.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.authorities.push(path.into());
        self
    }

    /// A client certificate and its private key, as files in PEM form. It is presented to each
    /// destination that requests one, and never to a proxy.
    ///
    /// Google requests one at its hosts for mutual TLS, such as
    /// `us-central1-aiplatform.mtls.googleapis.com`. With a client certificate, requests and tokens
    /// use those hosts. See [`Network::mtls_uri`].
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.files.client = Some((certificate.into(), key.into()));
        self
    }

    /// Whether HTTP/2 is offered, by ALPN, to `https` destinations. Default: no, because one HTTP/2
    /// connection to Vertex AI carries only 100 requests at a time. hyper-util's client needs its
    /// feature `http2` for it.
    pub fn http2(mut self, offered: bool) -> Self {
        self.files.http2 = offered;
        self
    }

    /// Reads the variables, the system's root certificates, which takes some milliseconds, and the
    /// files.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a proxy is not one of HTTP, if a file cannot be used, or if there are no
    /// root certificates.
    pub fn build(self) -> Result<Network, ConfigError> {
        let Self { proxies, ignores_environment, files } = self;
        let environment =
            |name: &str| (!ignores_environment).then(|| std::env::var(name).ok()).flatten();
        let rule = Proxies::new(&proxies, environment)?;
        let is_own =
            proxies.proxy.is_some() || proxies.no_proxy.is_some() || !files.authorities.is_empty();
        let mtls = environment("GOOGLE_API_USE_MTLS_ENDPOINT");
        let never = mtls.is_some_and(|mtls| mtls.trim().eq_ignore_ascii_case("never"));
        Network::new(rule, files, is_own, !never)
    }
}

/// `Debug` shows no password.
impl fmt::Debug for NetworkBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |text: &Option<String>| text.as_deref().map(|text| redact::value(text).into_owned());
        let paths: Vec<_> = self.files.authorities.iter().map(|path| redact::path(path)).collect();
        f.debug_struct("NetworkBuilder")
            .field("proxy", &shown(&self.proxies.proxy))
            .field("no_proxy", &shown(&self.proxies.no_proxy))
            .field("ca_files", &paths)
            .finish_non_exhaustive()
    }
}
