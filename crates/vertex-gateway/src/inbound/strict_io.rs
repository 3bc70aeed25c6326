//! What two servers might read in two ways is not read at all.
//!
//! hyper 1.12 is lenient where a standard lets it: it ends lines without a carriage return, and of
//! a request with both a length and chunks it believes the chunks. A proxy in front of this one
//! that reads such bytes in the other way would take a part of one client's request for another
//! client's, with its key. So all that comes is followed here first, and what is ambiguous ends in
//! bytes that are no HTTP: hyper answers 400 and closes the connection.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take},
    time::{Sleep, sleep},
};

use super::{
    activity::Activity,
    framing::{Framing, FramingError},
};

/// What is read instead of an ambiguous line's end and all that comes after it: no line of HTTP has
/// a zero, and hyper looks at a head when it has its end.
const INSTEAD: &[u8] = b"\0\r\n\r\n";

/// As much of a head as is read at a time. hyper 1.12 begins with so much and doubles its buffer when
/// it is full, so that the buffer never outgrows a power of two. Reads that fill it more than once in a
/// row would make it ask for more than the longest head.
const OF_A_HEAD: u64 = 8 << 10;

/// A connection that reads requests by the letter of RFC 9112.
#[derive(Debug)]
pub(crate) struct StrictIo<I> {
    /// Tokio's own limit of a read leaves the buffer as it is. Any other one would have to fill it with
    /// zeroes before each read: 8 KiB, five times for a request.
    io: Take<I>,
    framing: Framing,
    /// What is left to be read, once a line was refused.
    refused: Option<&'static [u8]>,
    /// How long the head of a request may take to arrive.
    header_timeout: Duration,
    /// When the head that has begun must be complete, or the first one of the connection: hyper-util
    /// 0.1 waits for ever for the bytes that distinguish HTTP/2 from HTTP/1.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many heads were complete when the deadline was set.
    heads: u64,
    activity: Arc<Activity>,
}

impl<I: AsyncRead> StrictIo<I> {
    /// The head of a request must arrive within `header_timeout` of its first byte, and the first
    /// one of a connection within `header_timeout` of its start.
    pub(crate) fn new(io: I, header_timeout: Duration, activity: Arc<Activity>) -> Self {
        Self {
            io: io.take(OF_A_HEAD),
            framing: Framing::new(),
            refused: None,
            header_timeout,
            deadline: Some(Box::pin(sleep(header_timeout))),
            heads: 0,
            activity,
        }
    }

    /// Sets the deadline for a head that has begun, and lifts that of one that is complete.
    fn update_deadline(&mut self) {
        let is_complete = self.framing.heads() != self.heads || self.framing.is_http2();
        if is_complete {
            self.heads = self.framing.heads();
            self.deadline = None;
        }
        let is_in_head = self.framing.is_in_head();
        self.activity.reads_head(is_in_head);
        if is_in_head && self.deadline.is_none() {
            self.deadline = Some(Box::pin(sleep(self.header_timeout)));
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for StrictIo<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(left) = &mut this.refused {
            read_from(left, buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        this.io.set_limit(if this.framing.is_before_body() { OF_A_HEAD } else { u64::MAX });
        let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, buffer) else {
            let Some(deadline) = &mut this.deadline else { return Poll::Pending };
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        read?;
        if let Err(FramingError { at, why }) = this.framing.follow(&buffer.filled()[before..]) {
            let peer_address = this.activity.shown_peer_address();
            tracing::info!(reason = why, peer_address, "request rejected: ambiguous framing");
            buffer.set_filled(before + at);
            read_from(this.refused.insert(INSTEAD), buffer);
        }
        if this.framing.is_http2() {
            this.activity.speaks_http2();
        }
        this.activity.reads_request_line(this.framing.is_in_request_line());
        this.update_deadline();
        Poll::Ready(Ok(()))
    }
}

fn read_from(left: &mut &'static [u8], buffer: &mut ReadBuf<'_>) {
    let (read, rest) = left.split_at(left.len().min(buffer.remaining()));
    buffer.put_slice(read);
    *left = rest;
}

/// Those who never come to the point are told to the log.
impl<I> Drop for StrictIo<I> {
    fn drop(&mut self) {
        if self.refused.is_none() && self.framing.is_in_head() {
            let peer_address = self.activity.shown_peer_address();
            tracing::info!(peer_address, "connection closed in the middle of a request head");
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for StrictIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_shutdown(cx)
    }
}
