//! The connections to Google: the options of proxies and certificates, and the network that they
//! make.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use clap::Args;

use crate::{
    error::Error,
    values::{non_empty, option_source, shown_debug},
};
use tower_vertex::connect::Network;

/// The options about connections to Google, which hold for requests and for tokens.
#[derive(Clone, Args)]
pub struct NetworkOptions {
    /// HTTP proxy between this machine and Google, as http://USER:PASSWORD@HOST:PORT; https:// for TLS
    /// to the proxy itself [also env: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY] [default: none]
    #[arg(long, value_name = "URL", env = "VERTEX_GATEWAY_PROXY")]
    pub proxy: Option<String>,

    /// Hosts that are connected to without the proxy: names with their subdomains, addresses, networks
    /// such as 10.0.0.0/8, or `*`, separated by commas [also env: NO_PROXY] [default: none but this
    /// machine and the metadata server]
    #[arg(long, value_name = "HOSTS", env = "VERTEX_GATEWAY_NO_PROXY")]
    pub no_proxy: Option<String>,

    /// Certificate authorities, PEM, that are trusted beside those of this system: the one of a proxy
    /// that reads TLS, or of a private endpoint; the file is read again when it changes
    #[arg(long, value_name = "FILE", env = "VERTEX_GATEWAY_UPSTREAM_CA")]
    pub upstream_ca: Option<PathBuf>,

    /// Client certificate, PEM, for Google's hosts for mutual TLS, or for --upstream; it is read again
    /// when it changes
    #[arg(long, value_name = "FILE", env = "VERTEX_GATEWAY_UPSTREAM_CERT")]
    pub upstream_cert: Option<PathBuf>,

    /// Private key of --upstream-cert: PEM, without a password
    #[arg(long, value_name = "FILE", env = "VERTEX_GATEWAY_UPSTREAM_KEY")]
    pub upstream_key: Option<PathBuf>,

    /// The network of these options, which all clones share.
    #[arg(skip)]
    pub(crate) built: Arc<OnceLock<Network>>,
}

shown_debug!(NetworkOptions: proxy, no_proxy, upstream_ca, upstream_cert, upstream_key);

impl NetworkOptions {
    /// The network. The first call reads the files and the variables.
    pub(crate) fn network(&self) -> Result<Network, Error> {
        if let Some(built) = self.built.get() {
            return Ok(built.clone());
        }
        let built = self.build()?;
        Ok(self.built.get_or_init(|| built).clone())
    }

    fn build(&self) -> Result<Network, Error> {
        let mut builder = Network::builder();
        if let Some(url) = non_empty(&self.proxy) {
            builder = builder.proxy(url);
        }
        if let Some(hosts) = non_empty(&self.no_proxy) {
            builder = builder.no_proxy(hosts);
        }
        if let Some(path) = given(&self.upstream_ca) {
            builder = builder.ca_file(path);
        }
        builder = match (given(&self.upstream_cert), given(&self.upstream_key)) {
            (Some(certificate), Some(key)) => builder.client_certificate(certificate, key),
            (None, None) => builder,
            (Some(_), None) => return Err(Error::new("--upstream-cert requires --upstream-key")),
            (None, Some(_)) => return Err(Error::new("--upstream-key requires --upstream-cert")),
        };
        builder.build().map_err(|error| {
            let option = match error.setting() {
                "proxy" if non_empty(&self.proxy).is_some() => "--proxy",
                "certificate authority" => "--upstream-ca",
                "client certificate" => "--upstream-cert",
                "key of the client certificate" => "--upstream-key",
                _ => return error.into(),
            };
            error.given_in(option_source::<Self>(option)).into()
        })
    }

    /// The files to watch for changes.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let files = [&self.upstream_ca, &self.upstream_cert, &self.upstream_key];
        files.into_iter().filter_map(given).cloned().collect()
    }

    /// The option or the variable of the proxy of `https` URLs, for reports.
    pub(crate) fn proxy_source(&self) -> String {
        if non_empty(&self.proxy).is_some() {
            return option_source::<Self>("--proxy");
        }
        let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
        let variables = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        variables.into_iter().find(is_set).unwrap_or("HTTP_PROXY").to_owned()
    }
}

fn given(path: &Option<PathBuf>) -> Option<&PathBuf> {
    path.as_ref().filter(|path| !path.as_os_str().is_empty())
}
