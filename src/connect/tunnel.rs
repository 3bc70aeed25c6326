//! `CONNECT`, RFC 9110 §9.3.6.
//!
//! hyper-util has a `Tunnel`, whose error (0.1.21) is of a private type without the status: a proxy
//! that refuses a host could not be distinguished from one that cannot reach it. So hyper itself sends the
//! request here.

use std::{
    error::Error as StdError,
    fmt,
    future::poll_fn,
    pin::pin,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http1,
    rt::{Read, Write},
};

use super::{proxies::Proxy, proxy_error::ProxyErrorKind};
use crate::BoxError;

/// Time for the proxy to connect to the destination and to respond.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The kind of a failure, and its cause if there is more to say.
pub(super) type Failure = (ProxyErrorKind, Option<BoxError>);

/// Host and port of a URI, as `CONNECT` needs them.
pub(super) fn destination(uri: &Uri) -> Option<String> {
    let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(usual)))
}

/// Requests a tunnel to `destination` of the proxy at the other end of `io`.
pub(super) async fn open<T>(io: T, destination: &str, proxy: &Proxy) -> Result<T, Failure>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let asked = connect(io, destination, proxy.login.clone());
    let (response, io) = match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(asked) => asked.map_err(|error| (ProxyErrorKind::NoTunnel, Some(error)))?,
        Err(_elapsed) => return Err((ProxyErrorKind::NoTunnel, Some(Late.into()))),
    };
    match (response.status(), io) {
        (status, Some(io)) if status.is_success() => Ok(io),
        (StatusCode::PROXY_AUTHENTICATION_REQUIRED, _) => {
            let has_login = proxy.login.is_some();
            Err((login_kind(response.headers(), has_login), None))
        }
        (status, _) => Err((ProxyErrorKind::Refused(status), None)),
    }
}

fn login_kind(headers: &HeaderMap, has_login: bool) -> ProxyErrorKind {
    // Several schemes may be in one header.
    let offers = headers.get_all(header::PROXY_AUTHENTICATE).iter().map(HeaderValue::as_bytes);
    let offers: Vec<_> = offers.map(<[u8]>::to_ascii_lowercase).collect();
    let has_basic = offers.iter().any(|offer| offer.windows(5).any(|word| word == b"basic"));
    match has_login {
        _ if !offers.is_empty() && !has_basic => ProxyErrorKind::LoginUnsupported,
        true => ProxyErrorKind::LoginRejected,
        false => ProxyErrorKind::LoginRequired,
    }
}

/// Sends the request. The connection comes back if the response switched it to the tunnel.
async fn connect<T>(
    io: T,
    destination: &str,
    login: Option<HeaderValue>,
) -> Result<(Response<Incoming>, Option<T>), BoxError>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let mut request = Request::connect(destination).header(header::HOST, destination);
    if let Some(login) = login {
        request = request.header(header::PROXY_AUTHORIZATION, login);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let (mut sender, mut connection) = http1::handshake(io).await?;
    let mut answer = pin!(sender.send_request(request));
    let mut is_switched = false;
    let response = poll_fn(|cx| {
        if !is_switched && let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
            ended?;
            is_switched = true;
        }
        answer.as_mut().poll(cx)
    });
    let response = response.await?;
    if !response.status().is_success() {
        return Ok((response, None));
    }
    if !is_switched {
        poll_fn(|cx| {
            ready!(connection.poll_without_shutdown(cx))?;
            Poll::Ready(Ok::<_, hyper::Error>(()))
        })
        .await?;
    }
    let parts = connection.into_parts();
    // Neither a TLS server nor one of HTTP sends anything before its client does.
    if !parts.read_buf.is_empty() {
        return Err(Early.into());
    }
    Ok((response, Some(parts.io)))
}

#[derive(Debug)]
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no response within {TIMEOUT:?}")
    }
}

impl StdError for Late {}

#[derive(Debug)]
struct Early;

impl fmt::Display for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it sent data of its own into the tunnel")
    }
}

impl StdError for Early {}
