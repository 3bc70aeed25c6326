//! Connections to Google from a company's network: through its proxy, with its certificate
//! authority, with a client certificate.
//!
//! A [`Network`] holds these settings. It is given to everything that connects, so that one rule
//! holds for requests and for access tokens:
//!
//! - [`Network::connector`] is a connector for any stack over hyper-util's `client::legacy`,
//! - `HyperClient::with_network` and `Client::with_network` are the clients of this crate,
//! - `CredentialsBuilder::network` is for the sources of tokens.
//!
//! Without a `Network`, all of these use [`Network::from_env`], which reads the variables that curl
//! and most other programs read.
//!
//! # Which connections go through a proxy
//!
//! 1. Hosts that are never behind a proxy are connected to directly: loopback addresses,
//!    `localhost`, link-local addresses, and Google's metadata server.
//! 2. The same holds for the hosts of [`NetworkBuilder::no_proxy`], or of `NO_PROXY`.
//! 3. All other hosts are connected to through [`NetworkBuilder::proxy`], or else through the proxy
//!    of `HTTPS_PROXY` (for `http` URLs `HTTP_PROXY`) or `ALL_PROXY`.
//!
//! Each variable may also be in lower case; the one in capitals takes precedence. `HTTP_PROXY` in
//! capitals is ignored if `REQUEST_METHOD` is set, because the header `Proxy` of a client of a CGI
//! program would set it.
//!
//! A proxy gets a request for a tunnel, by `CONNECT` (RFC 9110 §9.3.6), for `http` URLs too. So it sees
//! the host and the port, and nothing of a request to an `https` URL. Its user and password are
//! sent by HTTP Basic authentication, and never shown. The URL of a proxy may be `https`. SOCKS is
//! refused.
//!
//! # Example
//!
//! ```
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use http_body_util::Empty;
//! use tower_vertex::connect::Network;
//!
//! # fn main() -> Result<(), tower_vertex::Error> {
//! let network = Network::builder()
//!     .proxy("http://user:password@proxy.example.com:3128")
//!     .no_proxy("internal.example.com, 10.0.0.0/8")
//!     .build()?;
//! let shown = network.proxy_for(&"https://aiplatform.googleapis.com".parse().unwrap());
//! assert_eq!(shown.as_deref(), Some("http://proxy.example.com:3128"));
//! assert_eq!(network.proxy_for(&"http://metadata.google.internal".parse().unwrap()), None);
//!
//! let client = Client::builder(TokioExecutor::new()).build(network.connector());
//! # let _: Client<_, Empty<bytes::Bytes>> = client;
//! # Ok(())
//! # }
//! ```

mod builder;
mod connection;
mod connector;
pub(crate) mod host;
mod leg;
mod network;
mod proxies;
mod proxy_error;
mod tls;
mod tunnel;

pub use self::{
    builder::NetworkBuilder,
    connection::Connection,
    connector::{Connecting, Connector},
    network::Network,
    proxy_error::{ProxyError, ProxyErrorKind},
};
