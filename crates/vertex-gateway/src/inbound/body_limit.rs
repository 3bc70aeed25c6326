//! The first checks of a request, and the bodies of requests that are not read to their end.

use std::{
    fmt,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version, header, uri::Authority};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::local_reply::LocalReply;
use tower_vertex::{BoxError, replay::detached};

/// The limits within which the rest of a body is read after an early response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    bytes: usize,
    time: Duration,
}

impl Drain {
    pub(crate) const OF_A_CLIENT: Self = Self { bytes: 64 << 20, time: Duration::from_secs(10) };
    /// For a client without a valid key: enough to receive the rejection of a usual request.
    pub(crate) const OF_A_STRANGER: Self = Self { bytes: 256 << 10, time: Duration::from_secs(2) };
}

/// Checks a request, and limits its body to `limit` bytes and to the time `patience`. The error is
/// the response to a request that is rejected.
pub(crate) fn admit(
    request: Request<Incoming>,
    limit: usize,
    patience: Option<Duration>,
    drain: Drain,
) -> Result<Request<InboundBody>, LocalReply> {
    let absolute = request.uri().authority().is_some() && request.version() < Version::HTTP_2;
    let request = request.map(|body| InboundBody {
        body: Some(body),
        limit,
        left: limit,
        patience,
        deadline: None,
        drain,
    });
    if absolute || request.method() == Method::CONNECT {
        // Over HTTP/1, only a client that takes this for a forward proxy sends an absolute URI.
        return Err(LocalReply::forward_proxy_request());
    }
    match usize::try_from(request.body().size_hint().lower()) {
        Ok(length) if length <= limit => Ok(request),
        _ => Err(LocalReply::from(&BodyTooLarge { limit })),
    }
}

/// The host of a request; `None` for a request over HTTP/1.0 without one.
///
/// # Errors
///
/// 400 if there is no host, more than one, or a value that is not a host: RFC 9112 §3.2, and RFC
/// 9113 §8.3.1 for HTTP/2, where `Host` may replace `:authority`.
pub(crate) fn host<B>(request: &Request<B>) -> Result<Option<Authority>, LocalReply> {
    let refused = |why: &str| LocalReply::malformed(StatusCode::BAD_REQUEST, why);
    let of_uri = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    let mut of_header = request.headers().get_all(header::HOST).iter();
    let (host, more) = (of_header.next(), of_header.next());
    if more.is_some() {
        return Err(refused("the request has more than one Host header"));
    }
    let host = match host.map(|host| Authority::try_from(host.as_bytes())).transpose() {
        Ok(host) => host,
        Err(_) => return Err(refused("the request's Host header is not a host and a port")),
    };
    let host = match (of_uri.cloned(), host) {
        (None, None) if request.version() == Version::HTTP_10 => return Ok(None),
        (None, None) => return Err(refused("the request has no Host header: send one")),
        (Some(uri), Some(host)) if !uri.as_str().eq_ignore_ascii_case(host.as_str()) => {
            return Err(refused("the request's Host header and its :authority are not the same"));
        }
        (Some(host), _) | (None, Some(host)) => host,
    };
    if host.host().is_empty() || host.as_str().contains('@') {
        return Err(refused("the request's Host header is not a host and a port"));
    }
    Ok(Some(host))
}

/// Whether a request is a handshake for another protocol. Such a request cannot be forwarded as a
/// plain one: it would become a GET that the client did not intend.
///
/// A handshake for `h2c` is an exception. Java's client offers it with usual requests, and a server
/// without it responds as if there were no offer (RFC 9110 §7.8). HTTP/1.0 has no such handshake,
/// and over HTTP/2 a client sends one only after the server has announced support (RFC 8441).
pub(crate) fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11 && asks_for_upgrade(request.headers())
}

pub(crate) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let protocols = headers.get_all(header::UPGRADE).iter();
    let mut protocols = protocols.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    protocols.any(|protocol| {
        let protocol = protocol.trim_ascii();
        !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c")
    })
}

/// The body of a request, copied out of the buffers that it was read into.
///
/// If it is dropped before its end, because a response was sent early, the rest is read and
/// discarded for a while. Closing an HTTP/1.1 connection with unread bytes resets it, and the reset
/// destroys the response in the client's receive buffer.
#[derive(Debug)]
pub(crate) struct InboundBody {
    body: Option<Incoming>,
    limit: usize,
    left: usize,
    /// Time limit for the whole body, from the first wait for a part of it.
    patience: Option<Duration>,
    deadline: Option<Pin<Box<Sleep>>>,
    drain: Drain,
}

/// The error of a body that did not arrive in time.
#[derive(Debug)]
pub(crate) struct BodyTimeout {
    patience: Duration,
}

impl fmt::Display for BodyTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the request body did not arrive within {:?}, the limit of --request-body-timeout",
            self.patience
        )
    }
}

impl std::error::Error for BodyTimeout {}

/// The error of a body that the client did not finish, or whose framing is invalid.
#[derive(Debug)]
pub(crate) struct IncompleteBody(hyper::Error);

impl fmt::Display for IncompleteBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request body is incomplete: {}", self.0)
    }
}

impl std::error::Error for IncompleteBody {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// The error of a body that is longer than the limit.
#[derive(Debug)]
pub(crate) struct BodyTooLarge {
    limit: usize,
}

impl BodyTooLarge {
    /// `limit` is in bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl fmt::Display for BodyTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the request body is longer than {} bytes, the limit of --max-request-bytes",
            self.limit
        )
    }
}

impl std::error::Error for BodyTooLarge {}

impl From<&BodyTooLarge> for LocalReply {
    fn from(error: &BodyTooLarge) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", error.to_string())
    }
}

impl Body for InboundBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            let Some(patience) = this.patience else { return Poll::Pending };
            let sleep = || Box::pin(tokio::time::sleep(patience));
            ready!(this.deadline.get_or_insert_with(sleep).as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyTimeout { patience }.into())));
        };
        let frame = frame.transpose().map_err(IncompleteBody)?;
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            match this.left.checked_sub(data.len()) {
                Some(left) => this.left = left,
                None => return Poll::Ready(Some(Err(BodyTooLarge { limit: this.limit }.into()))),
            }
        }
        Poll::Ready(frame.map(|frame| Ok(frame.map_data(detached))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for InboundBody {
    fn drop(&mut self) {
        let (Some(mut body), Ok(runtime)) =
            (self.body.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        if body.is_end_stream() {
            return;
        }
        let Drain { bytes, time } = self.drain;
        runtime.spawn(async move {
            let drain = async {
                let mut left = bytes;
                // The end is checked and not awaited: after an early response, hyper 1.12 closes
                // the channel of a body with a length only with the connection's next request.
                while !body.is_end_stream() {
                    let Some(Ok(frame)) = body.frame().await else { break };
                    let read = frame.data_ref().map_or(0, Bytes::len);
                    match left.checked_sub(read) {
                        Some(rest) => left = rest,
                        None => break,
                    }
                }
            };
            let _ = tokio::time::timeout(time, drain).await;
        });
    }
}
