//! [`Connection`]: what a [`Connector`](super::Connector) returns.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection as ConnectionInfo};
use tokio_rustls::rustls::ProtocolVersion;

use super::leg::Leg;

/// A connection over `T`, such as a TCP connection: with or without TLS, directly or through a
/// proxy's tunnel.
pub struct Connection<T>(MaybeHttpsStream<Leg<T>>);

impl<T> Connection<T> {
    pub(super) fn new(stream: MaybeHttpsStream<Leg<T>>) -> Self {
        Self(stream)
    }

    /// The version of TLS: `TLS 1.2` or `TLS 1.3`. `None` for a connection without TLS.
    pub fn tls_version(&self) -> Option<&'static str> {
        match &self.0 {
            MaybeHttpsStream::Http(_) => None,
            MaybeHttpsStream::Https(stream) => {
                Some(match stream.inner().get_ref().1.protocol_version() {
                    Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                    // There is no older and no newer version in rustls.
                    _ => "TLS 1.3",
                })
            }
        }
    }
}

impl<T: ConnectionInfo + Read + Write + Unpin> ConnectionInfo for Connection<T> {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl<T: Read + Write + Unpin> Read for Connection<T> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: Read + Write + Unpin> Write for Connection<T> {
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    #[inline]
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl<T> fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("tls", &self.tls_version()).finish_non_exhaustive()
    }
}
