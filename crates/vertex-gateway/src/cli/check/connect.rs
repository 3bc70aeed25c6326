//! The connection to the upstream's host: its name, the proxy in between, and its certificate.

use std::{future::Future, io};

use http::Uri;
use tokio_rustls::rustls::{self, CertificateError};
use tower::ServiceExt as _;

use super::report::Check;
use crate::{
    config::network::NetworkOptions,
    error::{Error, causes, find},
    outbound::CONNECT_TIMEOUT,
};
use tower_vertex::{
    BoxError,
    connect::{Network, ProxyError},
    error::ErrorChain,
};

/// Number of a name's addresses that are shown.
const ADDRESSES_SHOWN: usize = 3;

/// Looks up the addresses of a host.
pub(super) async fn dns(host: &str, port: u16, own_host: bool) -> Check {
    const NAME: &str = "DNS";
    let bare = unbracketed(host);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Check::passed(NAME, format!("not used: {bare} is an address"));
    }
    let (why, remedy) = match in_time(tokio::net::lookup_host((bare, port))).await {
        Ok(addresses) => {
            let mut addresses: Vec<_> = addresses.map(|address| address.ip()).collect();
            addresses.dedup();
            let shown: Vec<_> =
                addresses.iter().take(ADDRESSES_SHOWN).map(ToString::to_string).collect();
            let more = match addresses.len().saturating_sub(ADDRESSES_SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let detail = format!("{bare} is {}{more}", shown.join(", "));
            return Check::passed(NAME, detail);
        }
        Err(error) if own_host => (
            error,
            "check the spelling of --upstream or --dedicated-host, and that this machine uses the \
                 DNS of its network",
        ),
        Err(error) => (
            error,
            "check the spelling of --location, and that this machine can resolve public names \
             (`getent hosts googleapis.com`)",
        ),
    };
    Check::failed(NAME, format!("{bare} cannot be resolved ({why})"), remedy)
}

/// The network that connections use, and the setting of its proxy.
pub(super) struct Egress {
    pub(super) network: Network,
    proxy_source: String,
}

impl Egress {
    pub(super) fn of(options: &NetworkOptions) -> Result<Self, Error> {
        Ok(Self { network: options.network()?, proxy_source: options.proxy_source() })
    }
}

/// Opens a connection to a host, as requests do: a line about the proxy, if there is one, and a line
/// about TLS.
pub(super) async fn connect(
    uri: &Uri,
    egress: &Egress,
    proxy: Option<&str>,
    own_host: bool,
) -> Vec<Check> {
    const PROXY: &str = "proxy";
    const TLS: &str = "TLS";
    let port = uri.port_u16().unwrap_or(443);
    let through = |proxy: &str| {
        let host = uri.host().unwrap_or_default();
        Check::passed(PROXY, format!("{proxy}, from {}: a tunnel to {host}", egress.proxy_source))
    };
    let opened =
        tokio::time::timeout(CONNECT_TIMEOUT, egress.network.connector().oneshot(uri.clone()));
    let opened = match opened.await {
        Ok(opened) => opened,
        Err(_elapsed) => {
            let text = format!("no connection within {CONNECT_TIMEOUT:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
        }
    };
    match opened {
        Ok(stream) => {
            let tls = match stream.tls_version() {
                Some(version) => {
                    format!("{version}, with a certificate that this system trusts")
                }
                None => "not used (http)".to_owned(),
            };
            let tls = Check::passed(TLS, tls);
            proxy.map(through).into_iter().chain([tls]).collect()
        }
        Err(error) => {
            if let Some(refused) = find::<ProxyError>(&error) {
                let from = format!("{}, from {}", causes(&error), egress.proxy_source);
                let failed = Check::failed(PROXY, from, refused.remedy());
                return vec![failed, Check::not_tried(TLS, "the proxy made no tunnel")];
            }
            let detail = format!("handshake failed: {}", root(&error));
            let is_proxied = proxy.is_some();
            let tls = Check::failed(TLS, detail, remedy(&error, port, own_host, is_proxied));
            proxy.map(through).into_iter().chain([tls]).collect()
        }
    }
}

/// The last cause, which says most.
fn root(error: &BoxError) -> String {
    let last = ErrorChain::new(&**error).iter().last().map(ToString::to_string);
    last.unwrap_or_default()
}

/// The error of rustls, which an I/O error wraps: `source()` skips it.
fn tls_error(error: &BoxError) -> Option<&rustls::Error> {
    ErrorChain::new(&**error).iter().find_map(|error| {
        error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()
    })
}

fn remedy(error: &BoxError, port: u16, own_host: bool, is_proxied: bool) -> String {
    use CertificateError as Bad;
    let remedy = match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer)) => {
            "a proxy on the path may intercept TLS: name a file with its certificate in \
                 --upstream-ca, or add it to those of this system"
        }
        Some(rustls::Error::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        )) => "another server has this name: check --upstream and this machine's DNS",
        Some(rustls::Error::InvalidCertificate(
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. },
        )) => {
            "set this machine's clock (`timedatectl set-ntp true`), or have the server's \
             certificate renewed"
        }
        Some(_) => "the server does not speak TLS correctly: check the port",
        None if is_proxied => "the proxy closed the tunnel: check its log",
        None if own_host => {
            return format!("start the server on port {port}, or correct --upstream");
        }
        None => {
            return format!(
                "allow port {port} of the host in firewalls on the path; if only a proxy leads \
                 out of this network, name it in --proxy or HTTPS_PROXY"
            );
        }
    };
    remedy.to_owned()
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_elapsed) => {
            let text = format!("no connection within {CONNECT_TIMEOUT:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }
}

/// Removes the brackets of an IPv6 address, which only a URI has.
fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
