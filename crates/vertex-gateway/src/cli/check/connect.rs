//! The connection to the upstream's host: its name, and its certificate.

use std::{future::Future, io, sync::Arc};

use hyper_rustls::ConfigBuilderExt as _;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{self, CertificateError, ClientConfig, crypto::ring, pki_types::ServerName},
};

use super::report::Check;
use crate::outbound::CONNECT_TIMEOUT;

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

/// Performs a TLS handshake with a host, and trusts the authorities that the system trusts.
pub(super) async fn tls(host: &str, port: u16, own_host: bool) -> Check {
    const NAME: &str = "TLS";
    let bare = unbracketed(host);
    let config = match config() {
        Ok(config) => config,
        Err(error) => {
            let detail = format!("no root certificates ({error})");
            return Check::failed(NAME, detail, "install the package ca-certificates");
        }
    };
    let Ok(name) = ServerName::try_from(bare.to_owned()) else {
        let remedy = "set --upstream to a host that a certificate can have";
        return Check::failed(
            NAME,
            format!("{bare:?} cannot be the name of a certificate"),
            remedy,
        );
    };
    let handshake = async {
        let socket = TcpStream::connect((bare, port)).await?;
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    };
    match in_time(handshake).await {
        Ok(stream) => {
            let version = match stream.get_ref().1.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "TLS",
            };
            Check::passed(NAME, format!("{version}, with a certificate that this system trusts"))
        }
        Err(error) => {
            let detail = format!("handshake failed: {error}");
            Check::failed(NAME, detail, remedy(&error, port, own_host))
        }
    }
}

fn config() -> io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(builder.with_native_roots()?.with_no_client_auth())
}

fn remedy(error: &io::Error, port: u16, own_host: bool) -> String {
    use CertificateError as Bad;
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let remedy = match tls {
        Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer)) => {
            "a proxy on the path may intercept TLS: add its certificate to those of this system, \
                 or set SSL_CERT_FILE to a file with it"
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
        None if own_host => {
            return format!("start the server on port {port}, or correct --upstream");
        }
        None => {
            return format!(
                "allow port {port} of the host in firewalls and proxies on the \
             path"
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
