//! Requests that are not HTTP: a path with a raw control byte, or of 64 KiB.
//!
//! hyper answers them by itself, before any service sees them, with a status and no body. Clients
//! that parse each error as OpenAI's would stumble over that, so the body is put in on the way to
//! the socket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::refusal::Refusal;

/// How hyper 1.12 begins its own answers. They end the connection.
const OWN_ANSWERS: [(&[u8], StatusCode, &str); 3] = [
    (b"HTTP/1.1 400 Bad Request\r\n", StatusCode::BAD_REQUEST, "the request is not HTTP"),
    (b"HTTP/1.1 414 URI Too Long\r\n", StatusCode::URI_TOO_LONG, "the request's URI is too long"),
    (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the request's headers are too long",
    ),
];

/// How many requests a connection has given to its service.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub(super) fn one_more(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

/// A connection whose unreadable requests get an OpenAI-shaped answer.
#[derive(Debug)]
pub(super) struct Connection<I> {
    io: I,
    calls: Calls,
    /// The calls for which an answer has begun: what is written next, without another call, is
    /// hyper's own.
    answered: usize,
    instead: Bytes,
}

impl<I> Connection<I> {
    pub(super) fn new(io: I, calls: Calls) -> Self {
        Self { io, calls, answered: 0, instead: Bytes::new() }
    }

    /// Our answer, if these bytes are an answer of hyper's own.
    fn instead_of(&mut self, bytes: &[u8]) -> Option<Bytes> {
        if bytes.starts_with(b"HTTP/1.1 100") {
            return None;
        }
        let calls = self.calls.0.load(Relaxed);
        if std::mem::replace(&mut self.answered, calls) != calls {
            return None;
        }
        if !bytes.starts_with(b"HTTP/1.1 4") || !bytes.ends_with(b"\r\n\r\n") {
            return None;
        }
        let own = OWN_ANSWERS.iter().find(|(head, ..)| bytes.starts_with(head));
        own.map(|&(head, status, message)| {
            tracing::info!(status = status.as_u16(), "refused: {message}");
            let body = Refusal::unreadable(status, message).to_response().into_body();
            let rest = format!(
                "content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            [head, rest.as_bytes(), &body].concat().into()
        })
    }
}

impl<I: Write + Unpin> Connection<I> {
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Write + Unpin> Write for Connection<I> {
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
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        // An answer of hyper's own is one slice.
        let first = slices.first().map_or(&[][..], |slice| slice);
        if let Some(instead) = self.instead_of(first) {
            self.instead = instead;
            return Poll::Ready(Ok(first.len()));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<I: Read + Unpin> Read for Connection<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}
