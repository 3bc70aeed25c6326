//! [`ProxyError`]: a proxy made no tunnel.

use std::{borrow::Cow, error::Error as StdError, fmt};

use http::StatusCode;

use crate::BoxError;

/// A proxy made no tunnel to the host of a request, so nothing of the request was sent. The error
/// names the proxy without its user and password.
///
/// It is among the causes of an HTTP client's error: follow `source()` and downcast.
#[derive(Debug)]
pub struct ProxyError {
    /// Scheme, host and port.
    proxy: String,
    /// Host and port of the destination.
    destination: String,
    kind: ProxyErrorKind,
    source: Option<BoxError>,
}

/// The reason of a [`ProxyError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyErrorKind {
    /// The proxy cannot be connected to.
    Unreachable,
    /// The TLS handshake with a proxy at an `https` URL failed.
    Tls,
    /// The proxy requires a user and a password, and its URL has none: 407.
    LoginRequired,
    /// The proxy does not accept the user and the password: 407.
    LoginRejected,
    /// The proxy requires a login of a kind other than Basic, such as Negotiate: 407.
    LoginUnsupported,
    /// The proxy responded to `CONNECT` with another status than 2xx.
    Refused(StatusCode),
    /// The response was not one of HTTP, came too late, or the connection closed before it.
    NoTunnel,
}

impl ProxyError {
    pub(super) fn new(
        proxy: String,
        destination: String,
        kind: ProxyErrorKind,
        source: Option<BoxError>,
    ) -> Self {
        Self { proxy, destination, kind, source }
    }

    /// The reason.
    pub fn kind(&self) -> ProxyErrorKind {
        self.kind
    }

    /// Whether the same request may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ProxyErrorKind::Unreachable | ProxyErrorKind::NoTunnel => true,
            ProxyErrorKind::Refused(status) => status.is_server_error(),
            _ => false,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> Cow<'static, str> {
        let Self { destination, .. } = self;
        match self.kind {
            ProxyErrorKind::Unreachable => {
                "check the host and the port of the proxy, and that it runs".into()
            }
            ProxyErrorKind::Tls => "add the certificate authority of the proxy to those of this \
                                    system, or write http:// if the proxy speaks no TLS"
                .into(),
            ProxyErrorKind::LoginRequired => {
                "add the user and the password to the proxy's URL: http://USER:PASSWORD@HOST:PORT"
                    .into()
            }
            ProxyErrorKind::LoginRejected => "check the user and the password in the proxy's URL; \
                                              special characters are in percent form, %40 for @"
                .into(),
            ProxyErrorKind::LoginUnsupported => {
                "only Basic logins are supported: have this machine exempted from the login, or run a local \
                 helper for Negotiate or NTLM, such as cntlm, and name that as the proxy"
                    .into()
            }
            ProxyErrorKind::Refused(status) if status.is_server_error() => format!(
                "the proxy could not reach {destination}: check its log and its DNS; if the host \
                 is inside of your network, add it to NO_PROXY"
            )
            .into(),
            ProxyErrorKind::Refused(_) => format!(
                "have the administrator of the proxy allow CONNECT to {destination}, or add the \
                 host to NO_PROXY if it can be reached directly"
            )
            .into(),
            ProxyErrorKind::NoTunnel => {
                "check that the URL is that of an HTTP proxy, with the right port and scheme".into()
            }
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy, destination, kind, source: _ } = self;
        match kind {
            ProxyErrorKind::Unreachable => write!(f, "the proxy {proxy} cannot be reached"),
            ProxyErrorKind::Tls => write!(f, "the TLS handshake with the proxy {proxy} failed"),
            ProxyErrorKind::LoginRequired => {
                write!(f, "the proxy {proxy} requires a user and a password (407)")
            }
            ProxyErrorKind::LoginRejected => {
                write!(f, "the proxy {proxy} rejected the user or the password (407)")
            }
            ProxyErrorKind::LoginUnsupported => {
                write!(f, "the proxy {proxy} requires a login other than Basic (407)")
            }
            ProxyErrorKind::Refused(status) => {
                let status = status.as_u16();
                write!(f, "the proxy {proxy} refused a tunnel to {destination} ({status})")
            }
            ProxyErrorKind::NoTunnel => {
                write!(f, "the proxy {proxy} made no tunnel to {destination}")
            }
        }
    }
}

impl StdError for ProxyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
