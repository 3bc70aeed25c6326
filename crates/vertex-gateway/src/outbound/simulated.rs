//! The place of a simulated network below the connector, for tests.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;
use tower_vertex::BoxError;

/// A connection of a simulated network.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<I: AsyncRead + AsyncWrite + Unpin + Send> Io for I {}

type Dialing = Pin<Box<dyn Future<Output = Result<TcpIo, BoxError>> + Send>>;

/// Opens the connections of a simulated network.
pub(crate) type Dial =
    Arc<dyn Fn(Uri) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>> + Send + Sync>;

thread_local! {
    static NETWORK: RefCell<Option<Dial>> = const { RefCell::new(None) };
}

/// Has the connectors that this thread makes from now on use a simulated network, or the real one.
pub(crate) fn use_network(network: Option<Dial>) {
    NETWORK.set(network);
}

/// Connects over TCP, or over the simulated network of the thread that made it.
#[derive(Clone)]
pub(super) struct Tcp {
    tcp: HttpConnector,
    simulated: Option<Dial>,
}

impl Tcp {
    pub(super) fn new(tcp: HttpConnector) -> Self {
        Self { tcp, simulated: NETWORK.with_borrow(Clone::clone) }
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp").field("is_simulated", &self.simulated.is_some()).finish()
    }
}

impl Service<Uri> for Tcp {
    type Response = TcpIo;
    type Error = BoxError;
    type Future = Dialing;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Dialing {
        match &self.simulated {
            Some(dial) => {
                let dialing = dial(uri);
                Box::pin(async move { Ok(TcpIo(TokioIo::new(dialing.await?))) })
            }
            None => {
                let connecting = self.tcp.call(uri);
                Box::pin(async move {
                    Ok(TcpIo(TokioIo::new(Box::new(connecting.await?.into_inner()))))
                })
            }
        }
    }
}

/// A connection of either network.
pub(super) struct TcpIo(TokioIo<Box<dyn Io>>);

impl Connection for TcpIo {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for TcpIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for TcpIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
