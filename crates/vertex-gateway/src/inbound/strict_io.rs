//! A connection on which ambiguous framing is rejected.
//!
//! hyper 1.12 is lenient where a standard permits it: it accepts lines that end without a carriage
//! return, and in a request with both a length and chunks it uses the chunks. A proxy in front that
//! reads such bytes differently would take a part of one client's request for another client's,
//! with its key. So all bytes are followed here first. Instead of an ambiguous line of a request head,
//! hyper reads bytes that are not HTTP: it responds with 400 and closes the connection. Instead of an
//! ambiguous line of a body, it reads an error, because no byte is wrong at each place of a body: the
//! extension of a chunk may have any byte up to its line end. So the body fails.

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

/// The bytes that hyper reads instead of the end of an ambiguous line of a request head and of all that
/// follows: no such line has a zero byte, and hyper parses a request head when it has its end.
const INSTEAD: &[u8] = b"\0\r\n\r\n";

/// Number of bytes of a request head that are read at a time. hyper 1.12 begins with a buffer of
/// this size and doubles it when it is full, so its size stays a power of two. Reads that fill the
/// buffer more than once in a row would make it larger than the longest request head.
const OF_A_HEAD: u64 = 8 << 10;

/// A connection that reads requests strictly according to RFC 9112.
#[derive(Debug)]
pub(crate) struct StrictIo<I> {
    /// Tokio's own limit of a read leaves the buffer uninitialised. Any other limit would have to fill
    /// the buffer with zeroes before each read: 8 KiB, five times for a request.
    io: Take<I>,
    framing: Framing,
    /// Set once a line was rejected.
    refused: Option<Refused>,
    /// Time for a request head to arrive.
    header_timeout: Duration,
    /// The deadline of the current request head, or of the first one of the connection: hyper-util
    /// 0.1 waits without limit for the bytes that distinguish HTTP/2 from HTTP/1.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Number of complete request heads when the deadline was last lifted.
    heads: u64,
    activity: Arc<Activity>,
}

/// The input of hyper after the bytes before a rejected line end.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// The rest of [`INSTEAD`].
    Head(&'static [u8]),
    /// An error.
    Body,
}

impl Refused {
    fn read(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        match self {
            Self::Head(left) => {
                let (read, rest) = left.split_at(left.len().min(buffer.remaining()));
                buffer.put_slice(read);
                *left = rest;
                Ok(())
            }
            Self::Body => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl<I: AsyncRead> StrictIo<I> {
    /// A request head must arrive within `header_timeout` of its first byte, and the first one of a
    /// connection within `header_timeout` of the start of the connection.
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

    /// Sets the deadline of a request head that has begun, and lifts that of a complete one.
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
        if let Some(refused) = &mut this.refused {
            return Poll::Ready(refused.read(buffer));
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
            let refused = match this.framing.is_in_body() {
                true => Refused::Body,
                false => Refused::Head(INSTEAD),
            };
            let refused = this.refused.insert(refused);
            // An error comes after the bytes before it.
            if matches!(refused, Refused::Head(_)) || at == 0 {
                refused.read(buffer)?;
            }
        }
        if this.framing.is_http2() {
            this.activity.speaks_http2();
        }
        this.activity.reads_request_line(this.framing.is_in_request_line());
        this.update_deadline();
        Poll::Ready(Ok(()))
    }
}

/// Logs a connection that is closed in the middle of a request head.
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
