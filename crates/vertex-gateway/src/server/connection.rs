//! One connection of a client, from its TLS handshake to its end.

use std::{
    convert::Infallible, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::server::TlsStream;

use crate::{
    inbound::{
        activity::{Activity, SentBody},
        malformed::LocalReplyIo,
        send_timeout::Streams,
        strict_io::StrictIo,
        tls::Authorities,
    },
    proxy::handler::Handler,
};

/// While the process stops, a new connection may send its first request for this long, and a
/// connection that has sent one may send another within [`LAST_CALL`]. So requests in transit are
/// not lost.
pub(super) const FIRST_CALL: Duration = Duration::from_secs(1);
const LAST_CALL: Duration = Duration::from_millis(100);
/// A closing connection is dropped when nothing has been in flight on it for this long. It does not
/// matter whether its client still sends half a request, or fails to acknowledge a ping.
const LINGER: Duration = Duration::from_secs(1);
/// A closing connection without an admitted client is dropped after this time, even if a request is
/// in flight on it.
const OUTSTAY: Duration = Duration::from_secs(5);
/// Largest number of concurrent requests over one HTTP/2 connection. Clients commonly expect this
/// many, and one connection should not be able to hold more.
const STREAMS: u32 = 200;

/// The first bytes of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection as it was accepted.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// The address of the client.
    fn peer_address(&self) -> Option<SocketAddr>;

    /// Waits for the first bytes and copies them, without reading them. None are copied if the connection
    /// cannot do that.
    fn peek(&self, first: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Stream for TcpStream {
    fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }

    fn peek(&self, first: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.peek(first)
    }
}

type Socket<I> = Pin<Box<TimeoutStream<I>>>;

/// Waits until the process begins to stop.
pub(crate) async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Serves a connection. An idle stream keeps all memory of its connection, so the parts that only the
/// beginning of a connection needs are boxed and dropped after it.
pub(super) async fn serve_connection<I: Stream>(
    socket: I,
    handler: Arc<Handler>,
    activity: Arc<Activity>,
    stopping: watch::Receiver<bool>,
) {
    if handler.shared.log_peer_address
        && let Some(peer) = socket.peer_address()
    {
        activity.comes_from(peer);
    }
    let idle = handler.shared.keepalive_timeout;
    if handler.shared.tls.is_some() {
        let Some((socket, builder, authorities)) =
            Box::pin(shake_hands(socket, &handler, &activity, stopping.clone())).await
        else {
            return;
        };
        let of_closing = Arc::clone(&activity);
        let closing = Box::pin(async move {
            tokio::select! {
                () = until_closing(of_closing, stopping, idle) => {}
                () = authorities.changed() => {}
            }
        });
        return serve_http(socket, builder, handler, activity, closing).await;
    }
    let mut closing = Box::pin(until_closing(Arc::clone(&activity), stopping, idle));
    let builder = tokio::select! {
        biased;
        builder = detect(&socket, builder(&handler)) => builder,
        () = &mut closing => return,
        () = sleep(handler.shared.request_header_timeout) => return,
    };
    let socket = with_timeout(socket, &handler);
    serve_http(socket, builder, handler, activity, closing).await;
}

fn builder(handler: &Handler) -> auto::Builder<Streams> {
    auto::Builder::new(Streams { send_timeout: handler.shared.send_timeout })
}

fn with_timeout<I: Stream>(socket: I, handler: &Handler) -> Socket<I> {
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(handler.shared.send_timeout);
    Box::pin(socket)
}

/// Sets the protocol of a connection without TLS if its first bytes show it, as almost always. hyper-util
/// 0.1 would read them for that, and hyper 1.12 allocates twice as long a buffer for a request head that it
/// gets in two pieces.
async fn detect(socket: &impl Stream, builder: auto::Builder<Streams>) -> auto::Builder<Streams> {
    let mut first = [0; PREFACE.len()];
    let Ok(length) = socket.peek(&mut first).await else { return builder };
    match PREFACE.strip_prefix(&first[..length]) {
        None => builder.http1_only(),
        Some([]) => builder.http2_only(),
        Some(_) => builder,
    }
}

/// Performs the handshake of TLS. It returns `None` if that fails, or the process stops before its end.
async fn shake_hands<I: Stream>(
    socket: I,
    handler: &Handler,
    activity: &Activity,
    stopping: watch::Receiver<bool>,
) -> Option<(TlsStream<Socket<I>>, auto::Builder<Streams>, Authorities)> {
    let tls = handler.shared.tls.as_ref()?;
    let authorities = tls.authorities();
    let socket = with_timeout(socket, handler);
    let handshake = tls.accept(socket, handler.shared.tls_handshake_timeout);
    let last = async {
        stopped(stopping).await;
        sleep(FIRST_CALL).await;
    };
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = last => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "about to end")),
    };
    let socket = match shaken {
        Ok(socket) => socket,
        Err(error) => {
            tracing::info!(%error, peer_address = activity.shown_peer_address(), "TLS handshake failed");
            return None;
        }
    };
    // RFC 7301 §3.2: the connection uses the negotiated protocol.
    let builder = match socket.get_ref().1.alpn_protocol() {
        Some(b"h2") => builder(handler).http2_only(),
        Some(b"http/1.1") => builder(handler).http1_only(),
        _ => builder(handler),
    };
    Some((socket, builder, authorities))
}

/// The same as `future`, but polled only when it was woken, and not each time that the connection is. The
/// futures that end a connection are seldom woken, and by callgrind their polls were 2 % of a request.
pub(super) async fn when_woken(future: impl Future<Output = ()>) {
    FuturesUnordered::from_iter([future]).next().await;
}

/// Waits until the connection must take no further requests.
async fn until_closing(activity: Arc<Activity>, stopping: watch::Receiver<bool>, idle: Duration) {
    tokio::select! {
        () = last_call(stopping, &activity) => {}
        () = activity.closed() => {}
        // hyper has no idle timeout of its own.
        () = activity.idle(idle) => {}
    }
}

/// Serves the requests of a connection. This is no `async` function, because its future would have room for all
/// that is given to it and for the connection that is made of it.
fn serve_http<I>(
    socket: I,
    mut builder: auto::Builder<Streams>,
    handler: Arc<Handler>,
    activity: Arc<Activity>,
    closing: impl Future<Output = ()> + Unpin,
) -> impl Future<Output = ()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let longest = handler.shared.max_header_bytes;
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper's timer also runs while the connection is idle. `StrictIo` and `Activity` have
        // their own timers.
        .header_read_timeout(None)
        // The request head is read into this buffer, and so are parts of a body.
        .max_buf_size(longest);
    // An HTTP/2 client that has vanished does not acknowledge pings.
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(handler.shared.http2_ping_interval)
        .keep_alive_timeout(handler.shared.http2_ping_timeout)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(longest).unwrap_or(u32::MAX));
    let socket =
        StrictIo::new(socket, handler.shared.request_header_timeout, Arc::clone(&activity));
    let socket = LocalReplyIo::new(TokioIo::new(socket), Arc::clone(&activity));
    let of_service = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let (call, handler) = (of_service.call(request.version()), Handler::clone(&handler));
        // Boxed, because hyper 1.12 keeps room for one future as long as the connection lives, and a
        // stream needs this one only until its response begins.
        Box::pin(async move {
            let response = handler.serve(request, &call).await;
            Ok::<_, Infallible>(response.map(|body| SentBody::new(body, call)))
        })
    });
    let mut connection = Box::pin(builder.serve_connection(socket, service).into_owned());
    async move {
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = when_woken(closing) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = &mut connection => ended,
                    () = activity.lingered(LINGER) => Ok(()),
                    () = activity.outstayed(OUTSTAY) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "connection ended");
        }
    }
}

/// Waits for a last request before the connection is closed. hyper closes an idle connection at
/// once and discards data that has arrived but was not read.
async fn last_call(stopping: watch::Receiver<bool>, activity: &Activity) {
    stopped(stopping).await;
    let first = async {
        while activity.is_new() {
            sleep(LAST_CALL / 10).await;
        }
    };
    if activity.is_new() {
        let _ = timeout(FIRST_CALL, first).await;
    } else {
        sleep(LAST_CALL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// All of it stays as long as the connection. That of hyper, which is larger, is behind a pointer.
    #[test]
    fn the_future_of_a_connection_is_small() {
        let size = size_of_future(serve_connection::<TcpStream>);
        assert!(size < 1536, "{size} bytes");
    }
}
