//! Single requests to Google that the two libraries for tokens do not make.

use std::{
    borrow::Cow,
    error::Error as StdError,
    fmt,
    future::Future,
    io::ErrorKind,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header, uri::Scheme};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client, Error as ClientError, ResponseFuture,
        connect::{
            Connect, HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::TokioExecutor,
};
use tokio_rustls::rustls::{self, CertificateError};
use tower::Service;

use crate::{
    connect::{Network, ProxyError, host::is_never_proxied},
    error::{ConfigError, ErrorChain, Fault, FaultKind},
};

/// The maximum size of a response in bytes. No response with a token is longer.
const LONGEST: usize = 1024 * 1024;

/// The reason why there was no response. Its text has no header, no body and no query.
#[derive(Clone, Debug)]
pub(super) struct RequestError {
    pub(super) cause: RequestErrorKind,
    text: String,
    /// The remedy, if it depends on more than the kind.
    remedy: Option<Cow<'static, str>>,
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
    /// A proxy made no tunnel, and may make one a moment later.
    ProxyBusy,
    /// A proxy refused to make a tunnel.
    ProxyRefused,
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
        Self { cause, text: text.into(), remedy: None }
    }

    fn of(error: &ClientError) -> Self {
        request_error(error, error.is_connect())
    }

    /// The error of a network that cannot be used.
    fn of_network(error: &ConfigError) -> Self {
        let remedy = Some(error.remedy().to_owned().into());
        Self { cause: RequestErrorKind::Here, text: error.without_remedy(), remedy }
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(
            self.cause,
            RequestErrorKind::Refused
                | RequestErrorKind::Unconnected
                | RequestErrorKind::ProxyBusy
                | RequestErrorKind::BrokeOff
        )
    }

    /// Converts the error into a fault, for a request for a token of `host`.
    pub(super) fn fault(self, host: &str) -> Fault {
        let Self { cause, text, remedy } = self;
        let what = match cause {
            RequestErrorKind::BrokeOff | RequestErrorKind::TooLong => format!("{host}: {text}"),
            RequestErrorKind::Here => text,
            _ => format!("{host} cannot be reached: {text}"),
        };
        let usual = match cause {
            RequestErrorKind::Unresolved => {
                "check that this machine can resolve external names (`getent hosts googleapis.com`)"
            }
            RequestErrorKind::UnknownIssuer => UNKNOWN_ISSUER,
            RequestErrorKind::Tls => {
                "another server responds there: check this machine's DNS and clock"
            }
            RequestErrorKind::TooLong => "the server there is no token endpoint: check the URL",
            RequestErrorKind::Here => "start this again",
            RequestErrorKind::Refused
            | RequestErrorKind::TimedOut
            | RequestErrorKind::Unconnected
            | RequestErrorKind::ProxyBusy
            | RequestErrorKind::ProxyRefused
            | RequestErrorKind::BrokeOff => UNREACHABLE,
        };
        Fault::new(FaultKind::Unreachable, what, remedy.unwrap_or(usual.into()))
    }
}

/// Finds the reason why a client got no response, by the types of the causes and never by their
/// texts.
pub(super) fn request_error(error: &(dyn StdError + 'static), of_connecting: bool) -> RequestError {
    let mut cause =
        if of_connecting { RequestErrorKind::Unconnected } else { RequestErrorKind::BrokeOff };
    let mut remedy = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(proxy) = error.downcast_ref::<ProxyError>() {
            cause = match proxy.is_transient() {
                true => RequestErrorKind::ProxyBusy,
                false => RequestErrorKind::ProxyRefused,
            };
            remedy = Some(proxy.remedy());
            break;
        }
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
    RequestError { cause, text: ErrorChain::new(error).to_string(), remedy }
}

/// The remedy if a token endpoint cannot be reached.
pub(super) const UNREACHABLE: &str =
    "check that no firewall or proxy blocks the token endpoint, and try again";
/// The remedy if the issuer of the certificate is unknown here.
pub(super) const UNKNOWN_ISSUER: &str = "a proxy that reads TLS may be between: add its \
                                         certificate to this system's, or name a file with it in \
                                         --upstream-ca (`NetworkBuilder::ca_file`) or \
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

/// Sends the requests of a source: by the network that the program has set, or by that of the
/// environment.
#[derive(Clone, Debug, Default)]
pub(super) struct HttpClient(Option<Network>);

impl HttpClient {
    pub(super) fn new(network: Option<Network>) -> Self {
        Self(network)
    }

    /// Sends the request over a connection of its own, which is closed afterwards. Tokens are
    /// fetched once an hour, and a server would close a connection that was kept that long.
    /// Redirects are not followed.
    ///
    /// The caller limits the time of the whole request; opening the connection may take at most
    /// `connect`.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        connect: Duration,
    ) -> Result<Answer, RequestError> {
        let is_here = request.uri().host().is_some_and(is_never_proxied);
        if request.uri().scheme() == Some(&Scheme::HTTP) && is_here {
            // This needs no certificates, which a container may lack.
            return send_directly(request, connect).await;
        }
        let network = self.0.clone();
        let is_https = request.uri().scheme() == Some(&Scheme::HTTPS);
        // This reads the system's certificates, which takes a while.
        let network = tokio::task::spawn_blocking(move || match network {
            None => Network::from_env(),
            Some(network) => {
                // Unless the files can be used, the last certificates are.
                if is_https && let Err(error) = network.reload() {
                    tracing::warn!(%error, "the certificates could not be read again");
                }
                Ok(network)
            }
        });
        let network = network
            .await
            .map_err(|_| RequestError::new(RequestErrorKind::Here, "the runtime was shut down"))?
            .map_err(|error| RequestError::of_network(&error))?;
        if let Some(uri) = network.mtls_uri(request.uri()) {
            *request.uri_mut() = uri;
        }
        read(once(network.wrap(tcp(connect)), request).await).await
    }
}

/// Sends a request to a server of this machine or next to it, never through a proxy, and otherwise
/// as [`HttpClient::send`] does.
pub(super) async fn send_directly(
    request: Request<Full<Bytes>>,
    connect: Duration,
) -> Result<Answer, RequestError> {
    read(once(tcp(connect), request).await).await
}

fn tcp(connect: Duration) -> HttpConnector<Resolver> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(connect));
    tcp.set_nodelay(true);
    tcp
}

fn once(
    connector: impl Connect + Clone + Send + Sync + 'static,
    request: Request<Full<Bytes>>,
) -> ResponseFuture {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(0);
    builder.build(connector).request(request)
}

async fn read(
    response: Result<http::Response<Incoming>, ClientError>,
) -> Result<Answer, RequestError> {
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
