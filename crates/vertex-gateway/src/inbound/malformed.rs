//! Responses to requests that are not HTTP, such as a path with a raw control byte, or of 64 KiB.
//!
//! hyper responds to them itself, before any service sees them, with a status and no body. Clients
//! that parse each error as OpenAI's would fail, so the body is inserted before the response
//! reaches the socket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::activity::Activity;
use crate::{joined_write::poll_write_joined, local_reply::LocalReply};
use tower_vertex::route::Protocol;

/// The first bytes of hyper 1.12's own responses. They end the connection.
const OWN_RESPONSES: [(&[u8], StatusCode); 3] = [
    (b"HTTP/1.1 400 ", StatusCode::BAD_REQUEST),
    (b"HTTP/1.1 414 ", StatusCode::URI_TOO_LONG),
    (b"HTTP/1.1 431 ", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
];

const NOT_HTTP: &str = "the request is not HTTP";
const URI_TOO_LONG: &str = "the request's URI is too long";
const HEAD_TOO_LONG: &str = "the request's first line and headers are longer than \
     --max-header-bytes, or there are more than 100 headers";

/// A connection whose unreadable requests get an OpenAI-shaped response. No path of such a request was
/// read, so its protocol is unknown.
///
/// The time of a write shows that it is hyper's own response: no request is in flight, the socket
/// has taken all earlier responses, and the service has received no new request. Only hyper itself
/// can write then. HTTP/2 is excluded, because it has frames for such cases.
#[derive(Debug)]
pub(crate) struct LocalReplyIo<I> {
    io: I,
    activity: Arc<Activity>,
    instead: Bytes,
}

impl<I> LocalReplyIo<I> {
    pub(crate) fn new(io: I, activity: Arc<Activity>) -> Self {
        Self { io, activity, instead: Bytes::new() }
    }

    /// The gateway's response, if these bytes are a response of hyper's own.
    fn instead_of(&mut self, bytes: &[u8]) -> Option<Bytes> {
        if self.activity.is_http2() || !self.activity.is_quiet() {
            return None;
        }
        let &(_, status) = OWN_RESPONSES.iter().find(|(head, _)| bytes.starts_with(head))?;
        let (status, message) = match status {
            StatusCode::BAD_REQUEST => (status, NOT_HTTP),
            StatusCode::URI_TOO_LONG => (status, URI_TOO_LONG),
            // The first line alone is longer than a request head may be.
            _ if self.activity.is_in_request_line() => (StatusCode::URI_TOO_LONG, URI_TOO_LONG),
            _ => (status, HEAD_TOO_LONG),
        };
        let peer_address = self.activity.shown_peer_address();
        tracing::info!(status = status.as_u16(), peer_address, "request rejected: {message}");
        let body = LocalReply::malformed(status, message).to_response(Protocol::OpenAi).into_body();
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len()
        );
        Some([head.as_bytes(), &body].concat().into())
    }
}

impl<I: Write + Unpin> LocalReplyIo<I> {
    fn noted<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() {
            self.activity.blocked();
        }
        written
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.instead);
            let written = ready!(self.noted(written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Write + Unpin> Write for LocalReplyIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        if let Some(instead) = self.instead_of(bytes) {
            self.instead = instead;
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        // A response of hyper's own is one slice.
        let first = slices.first().map_or(&[][..], |slice| slice);
        if let Some(instead) = self.instead_of(first) {
            self.instead = instead;
            return Poll::Ready(Ok(first.len()));
        }
        let written = poll_write_joined(Pin::new(&mut self.io), cx, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper 1.12 and h2 0.4 call this when they have nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.noted(flushed))?;
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<I: Read + Unpin> Read for LocalReplyIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}
