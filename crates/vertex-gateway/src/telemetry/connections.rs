//! Counts of open connections.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use pin_project::pin_project;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tower::Service;

use crate::joined_write::poll_write_joined;

/// The counts of one kind of connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    pub(super) open: Gauge,
    pub(super) opened: Counter,
}

/// Counts as an open connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Connections {
    pub(crate) fn one_more(&self) -> Counted {
        self.opened.inc();
        self.open.inc();
        Counted(self.open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A connector that counts its connections.
#[derive(Clone, Debug)]
pub(crate) struct CountConnections<C> {
    connector: C,
    connections: Connections,
}

impl<C> CountConnections<C> {
    pub(crate) fn new(connector: C, connections: &Connections) -> Self {
        Self { connector, connections: connections.clone() }
    }
}

impl<C: Service<Uri>> Service<Uri> for CountConnections<C> {
    type Response = CountedIo<C::Response>;
    type Error = C::Error;
    type Future = Connecting<C::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Connecting { future: self.connector.call(uri), connections: self.connections.clone() }
    }
}

/// A connection that is counted once it is open.
#[pin_project]
pub(crate) struct Connecting<F> {
    #[pin]
    future: F,
    connections: Connections,
}

impl<F: Future<Output = Result<I, E>>, I, E> Future for Connecting<F> {
    type Output = Result<CountedIo<I>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let io = ready!(this.future.poll(cx))?;
        Poll::Ready(Ok(CountedIo { io, _counted: this.connections.one_more() }))
    }
}

/// A connection that is counted.
#[pin_project]
#[derive(Debug)]
pub(crate) struct CountedIo<I> {
    #[pin]
    io: I,
    _counted: Counted,
}

impl<I: Connection> Connection for CountedIo<I> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

impl<I: Read> Read for CountedIo<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

impl<I: Write> Write for CountedIo<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_joined(self.project().io, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}
