//! Single requests to Google that the two libraries for tokens do not make.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    io::ErrorKind,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header, uri::Scheme};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::TokioExecutor,
};
use tokio_rustls::rustls::{self, CertificateError, crypto::ring};
use tower::Service;

use crate::error::{ErrorChain, Fault, FaultKind};

/// The maximum size of a response in bytes. No response with a token is longer.
const LONGEST: usize = 1024 * 1024;

/// The reason why there was no response. Its text has no header, no body and no query.
#[derive(Clone, Debug)]
pub(super) struct RequestError {
    pub(super) cause: RequestErrorKind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestErrorKind {
    /// The host name has no address.
    Unresolved,
    /// The connection was refused.
    Refused,
    /// The connection timed out: packets are dropped between this machine and the server.
    TimedOut,
    /// The connection failed for another reason.
    Unconnected,
    /// The certificate's issuer is not known to this machine.
    UnknownIssuer,
    /// The TLS handshake failed for another reason.
    Tls,
    /// The connection closed before the response was complete.
    BrokeOff,
    /// The response is longer than that of any token endpoint.
    TooLong,
    /// Nothing was sent, because of a problem of this machine or process.
    Here,
}

impl RequestError {
    fn new(cause: RequestErrorKind, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    fn of(error: &hyper_util::client::legacy::Error) -> Self {
        request_error(error, error.is_connect())
    }

    /// Converts the error into a fault, for a request for a token of `host`.
    pub(super) fn fault(self, host: &str) -> Fault {
        let Self { cause, text } = self;
        let what = match cause {
            RequestErrorKind::BrokeOff | RequestErrorKind::TooLong => format!("{host}: {text}"),
            RequestErrorKind::Here => text,
            _ => format!("{host} cannot be reached: {text}"),
        };
        let remedy = match cause {
            RequestErrorKind::Unresolved => {
                "check that this machine can resolve external names (`getent hosts googleapis.com`)"
            }
            RequestErrorKind::UnknownIssuer => UNKNOWN_ISSUER,
            RequestErrorKind::Tls => {
                "another server responds there: check this machine's DNS and clock"
            }
            RequestErrorKind::TooLong => "the server there is no token endpoint: check the URL",
            RequestErrorKind::Here => {
                "install the package ca-certificates, or name a file in SSL_CERT_FILE"
            }
            RequestErrorKind::Refused
            | RequestErrorKind::TimedOut
            | RequestErrorKind::Unconnected
            | RequestErrorKind::BrokeOff => UNREACHABLE,
        };
        Fault::new(FaultKind::Unreachable, what, remedy)
    }
}

/// Finds the reason why a client got no response, by the types of the causes and never by their
/// texts.
pub(super) fn request_error(error: &(dyn StdError + 'static), of_connecting: bool) -> RequestError {
    let mut cause =
        if of_connecting { RequestErrorKind::Unconnected } else { RequestErrorKind::BrokeOff };
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if error.is::<LookupError>() {
            cause = RequestErrorKind::Unresolved;
        } else if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            cause = match tls {
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    RequestErrorKind::UnknownIssuer
                }
                _ => RequestErrorKind::Tls,
            };
        } else if cause == RequestErrorKind::Unconnected {
            cause = match io.map(std::io::Error::kind) {
                Some(ErrorKind::ConnectionRefused) => RequestErrorKind::Refused,
                Some(ErrorKind::TimedOut) => RequestErrorKind::TimedOut,
                _ => cause,
            };
        }
        // `source()` of an I/O error skips the error that it wraps and returns the source of that
        // one.
        next = match io.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    // No text in the chain holds a header or a body.
    RequestError::new(cause, ErrorChain::new(error).to_string())
}

/// The remedy if a token endpoint cannot be reached.
pub(super) const UNREACHABLE: &str =
    "check that no firewall or proxy blocks the token endpoint, and try again";
/// The remedy if the issuer of the certificate is unknown here.
pub(super) const UNKNOWN_ISSUER: &str = "a proxy that reads TLS may be between: add its \
                                         certificate to this system's, or name a file with it in \
                                         SSL_CERT_FILE";

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for RequestError {}

/// A failure of the system's resolver, in a type that distinguishes it from a failed connection.
#[derive(Debug)]
struct LookupError(std::io::Error);

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for LookupError {}

#[derive(Clone)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = <GaiResolver as Service<Name>>::Response;
    type Error = LookupError;
    type Future =
        Pin<Box<dyn Future<Output = Result<Self::Response, LookupError>> + Send + 'static>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LookupError>> {
        self.0.poll_ready(cx).map_err(LookupError)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let looked_up = self.0.call(name);
        Box::pin(async { looked_up.await.map_err(LookupError) })
    }
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// The server's own clock, if the response has a `Date`.
    pub(super) fn date(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.headers.get(header::DATE)?.to_str().ok()?).ok()
    }

    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Sends the request over a connection of its own, which is closed afterwards. Tokens are fetched
/// once an hour, and a server would close a connection that was kept that long. Redirects are not
/// followed.
///
/// The caller limits the time of the whole request; opening the connection may take at most
/// `connect`.
pub(super) async fn send(
    request: Request<Full<Bytes>>,
    connect: Duration,
) -> Result<Answer, RequestError> {
    let mut connector = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(connect));
    connector.set_nodelay(true);
    let response = if request.uri().scheme() == Some(&Scheme::HTTPS) {
        // This reads the system's certificates, which takes a while.
        let connector = tokio::task::spawn_blocking(move || {
            let provider = ring::default_provider();
            let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
            Ok::<_, std::io::Error>(builder.https_only().enable_http1().wrap_connector(connector))
        });
        let here = |text| RequestError::new(RequestErrorKind::Here, text);
        let connector = connector
            .await
            .map_err(|_| here("the runtime was shut down"))?
            .map_err(|_| here("this system's root certificates cannot be read"))?;
        once().build(connector).request(request).await
    } else {
        once().build(connector).request(request).await
    };
    let (head, body) = response.map_err(|error| RequestError::of(&error))?.into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return RequestError::new(
                RequestErrorKind::TooLong,
                "the response is too long for a token",
            );
        }
        RequestError::new(RequestErrorKind::BrokeOff, "the connection closed early")
    })?;
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
}

fn once() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(0);
    builder
}

/// Whether data sent to this host of a URI stays on this machine: an address of the loopback
/// network, or `localhost`. Names that end with `.localhost` do not count, because a DNS server may
/// resolve them.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cause_is_known_by_the_kind_of_the_inner_error() {
        for (kind, of_connecting, cause) in [
            (ErrorKind::ConnectionRefused, true, RequestErrorKind::Refused),
            (ErrorKind::TimedOut, true, RequestErrorKind::TimedOut),
            (ErrorKind::HostUnreachable, true, RequestErrorKind::Unconnected),
            (ErrorKind::TimedOut, false, RequestErrorKind::BrokeOff),
            (ErrorKind::ConnectionReset, false, RequestErrorKind::BrokeOff),
        ] {
            let error = io::Error::other(io::Error::from(kind));
            assert_eq!(request_error(&error, of_connecting).cause, cause, "{kind:?}");
        }
    }

    #[test]
    fn a_loopback_host_is_an_address_or_localhost() {
        for host in
            ["localhost", "LocalHost", "127.0.0.1", "127.9.8.7", "[::1]", "[::ffff:127.0.0.1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["app.localhost", "localhost.evil.example", "10.0.0.7", "[::]", "[fd00::7]", ""]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_servers_clock_is_read_in_each_format_of_http() {
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            let headers = HeaderMap::from_iter([(header::DATE, date.parse().unwrap())]);
            let answer = Answer { status: StatusCode::OK, headers, body: Bytes::new() };
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
            assert_eq!(answer.date(), Some(date));
        }
    }
}
