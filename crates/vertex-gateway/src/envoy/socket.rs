//! gRPC over loopback, a socket file or mutual TLS.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use envoy_types::pb::envoy::service::{
    auth::v3::authorization_server::AuthorizationServer,
    ext_proc::v3::external_processor_server::ExternalProcessorServer,
};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{self as tokio_io, AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tonic::{Status, body::Body};
use tower::ServiceExt as _;

use super::{ExtAuthzOptions, ExtAuthzState, ext_authz::ExtAuthz, ext_proc::ExtProc};
use crate::{
    config::parse::{ConfigFile, address},
    error::Error,
    inbound::{
        activity::{Activity, SentBody},
        malformed::LocalReplyIo,
        send_timeout::Streams,
        tls::Tls,
    },
    seldom::LogThrottle,
    server::{accept_errors::AcceptErrors, connection::stopped, listener::cannot_listen},
};
use tower_vertex::{BoxError, redact};

/// Largest number of concurrent streams of a connection. A stream stays open until Vertex AI
/// responds. For more streams, Envoy opens another connection.
const STREAMS: u32 = 1024;
/// Interval of pings. A connection is closed if a ping is not acknowledged within another 20 s.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// A connection without data for this long is closed, even if something else keeps it open. The
/// time is longer than that of a ping.
const SILENCE: Duration = Duration::from_secs(120);
/// Time limit of the TLS handshake, and again of the HTTP/2 preface. hyper 1.12 has no limit for
/// the preface. It sends pings only after the preface, and a graceful shutdown does not end a
/// connection without one.
const OPENING: Duration = Duration::from_secs(10);
/// Time limit of the message of a call, and of the start of the first message in a stream of calls.
/// Envoy has the message before it calls.
const MESSAGE: Duration = Duration::from_secs(10);
/// Time limit of the handshake and of the preface when the process is about to end, so that data in
/// transit is not lost.
const LAST_OPENING: Duration = Duration::from_secs(1);
/// A stream is reset if Envoy does not take its response for this long.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// A closing connection is dropped when nothing has been in flight on it for this long.
const LINGER: Duration = Duration::from_secs(1);
/// A connection without a call for this long is closed, as Envoy itself does by default
/// (`common_http_protocol_options.idle_timeout`).
const IDLE: Duration = Duration::from_secs(3600);
/// Length of the HTTP/2 preface in bytes.
const PREFACE: usize = 24;
/// In addition to the body, a call has the head of a request, which Envoy limits to 60 KiB.
const HEADERS: usize = 1 << 20;

/// The address that Envoy connects to.
#[derive(Debug)]
pub(super) enum Address {
    Tcp(SocketAddr),
    File(PathBuf),
}

impl Address {
    pub(super) fn parse(text: &str, file: &ConfigFile) -> Result<Self, Error> {
        match text.strip_prefix("unix:") {
            Some("") => Err(Error::new(format!(
                "invalid {} {text:?}: give a path, unix:PATH",
                file.option_source::<ExtAuthzOptions>("--listen")
            ))),
            Some(path) => Ok(Self::File(path.into())),
            None => address::<ExtAuthzOptions>("--listen", text, file).map(Self::Tcp),
        }
    }

    /// Refuses an address that others can reach, because every client that can connect gets a
    /// token, with a client key or without.
    pub(super) fn refuse_strangers(&self, mutual: bool, allowed: bool) -> Result<(), Error> {
        match self {
            Self::Tcp(addr) if !addr.ip().is_loopback() && !mutual && !allowed => {
                Err(Error::new(format!(
                    "every client that can reach {addr} would get access tokens: require Envoy's \
                     certificate with --tls-client-ca; if only Envoy can reach the address, pass \
                     --allow-unauthenticated"
                )))
            }
            Self::Tcp(addr) if !addr.ip().is_loopback() && !mutual => {
                tracing::warn!(%addr, "every client that can reach this address gets access \
                     tokens");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The socket and its connections.
pub(super) struct GrpcListener {
    listener: Listener,
    tls: Option<Arc<Tls>>,
    /// Permits for the largest number of connections.
    room: Arc<Semaphore>,
    full: LogThrottle,
    accept_errors: AcceptErrors,
    /// Each connection holds a receiver until its end.
    stop: watch::Sender<bool>,
}

enum Listener {
    Tcp(TcpListener, SocketAddr),
    #[cfg(unix)]
    File(tokio::net::UnixListener, PathBuf),
}

/// Shows the address as in Envoy's configuration.
impl fmt::Display for GrpcListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "grpcs" } else { "grpc" };
        match &self.listener {
            Listener::Tcp(_, addr) => write!(f, "{scheme}://{addr}"),
            #[cfg(unix)]
            Listener::File(_, path) => write!(f, "unix:{}", redact::path(path)),
        }
    }
}

impl GrpcListener {
    pub(super) async fn bind(
        address: &Address,
        tls: Option<Arc<Tls>>,
        connections: usize,
    ) -> Result<Self, Error> {
        let listener = match address {
            Address::Tcp(addr) => {
                let cannot = |error| cannot_listen(*addr, &error);
                let listener = TcpListener::bind(addr).await.map_err(cannot)?;
                let addr = listener.local_addr().map_err(cannot)?;
                Listener::Tcp(listener, addr)
            }
            #[cfg(unix)]
            Address::File(path) => {
                remove_abandoned_socket(path).await;
                let listener = tokio::net::UnixListener::bind(path).map_err(|error| {
                    Error::new(format!(
                        "cannot listen on unix:{}: {error}; choose another path with --listen",
                        redact::path(path)
                    ))
                })?;
                Listener::File(listener, path.clone())
            }
            #[cfg(not(unix))]
            Address::File(_) => {
                return Err(Error::new(
                    "this system does not support Unix sockets: set an \
                     address",
                ));
            }
        };
        let room = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let stop = watch::Sender::new(false);
        Ok(Self {
            listener,
            tls,
            room,
            full: LogThrottle::default(),
            accept_errors: AcceptErrors::default(),
            stop,
        })
    }

    /// Accepts and serves connections until `stop`.
    pub(super) async fn accept(&self, shared: &Arc<ExtAuthzState>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let what = "accept failed";
            tokio::select! {
                () = &mut stop => return,
                () = self.accept_errors.until_accepted(what, || self.next(shared)) => {}
            }
        }
    }

    async fn next(&self, shared: &Arc<ExtAuthzState>) -> io::Result<()> {
        // Further connections wait in the kernel meanwhile. The semaphore is never closed.
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => Some(room),
            Err(_) => {
                if let Some(times) = self.full.happened(Instant::now()) {
                    tracing::warn!(
                        times,
                        "the limit of open files allows no more connections: further connections \
                             wait"
                    );
                }
                Arc::clone(&self.room).acquire_owned().await.ok()
            }
        };
        match &self.listener {
            Listener::Tcp(listener, _) => {
                let (socket, _) = listener.accept().await?;
                // Without this option, a response waits for an acknowledgement.
                let _ = socket.set_nodelay(true);
                self.serve(socket, room, shared);
            }
            #[cfg(unix)]
            Listener::File(listener, _) => {
                let (socket, _) = listener.accept().await?;
                self.serve(socket, room, shared);
            }
        }
        Ok(())
    }

    fn serve<I>(&self, socket: I, room: Option<OwnedSemaphorePermit>, shared: &Arc<ExtAuthzState>)
    where
        I: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (shared, tls, stopping) = (Arc::clone(shared), self.tls.clone(), self.stop.subscribe());
        let mut socket = TimeoutStream::new(socket);
        socket.set_read_timeout(Some(SILENCE));
        socket.set_write_timeout(Some(SEND_TIMEOUT));
        let socket = Box::pin(socket);
        tokio::spawn(async move {
            let open = (shared.telemetry.inbound().one_more(), room);
            match tls {
                None => {
                    let closing = stopped(stopping.clone());
                    serve_grpc(socket, shared, &stopping, closing).await;
                }
                Some(tls) => {
                    let authorities = tls.authorities();
                    match opened(tls.accept(socket, OPENING), &stopping).await {
                        Ok(socket) => {
                            let closing = async {
                                tokio::select! {
                                    () = stopped(stopping.clone()) => {}
                                    () = authorities.changed() => {}
                                }
                            };
                            serve_grpc(socket, shared, &stopping, closing).await;
                        }
                        Err(error) => tracing::info!(%error, "TLS handshake failed"),
                    }
                }
            }
            drop(open);
        });
    }

    /// Accepts no more connections, and waits for calls in flight until `patience` ends.
    pub(super) async fn drain(self, patience: impl Future<Output = ()>) {
        let Self { listener, stop, .. } = self;
        #[cfg(unix)]
        if let Listener::File(_, path) = &listener {
            let _ = std::fs::remove_file(path);
        }
        drop(listener);
        stop.send_replace(true);
        tokio::select! {
            () = stop.closed() => {}
            () = patience => {}
        }
    }
}

/// Removes a socket file that a killed process left. A socket in use does not refuse connections,
/// even if its queue is full or this user has no permission: these are other errors.
#[cfg(unix)]
async fn remove_abandoned_socket(path: &std::path::Path) {
    use std::os::unix::fs::FileTypeExt as _;
    let file = std::fs::symlink_metadata(path);
    let is_socket = file.is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && tokio::net::UnixStream::connect(path).await.is_err_and(refused) {
        let _ = std::fs::remove_file(path);
    }
}

/// Waits for the handshake or the preface of a connection. The wait is limited, and is shorter when
/// the process is about to end.
async fn opened<T>(
    opening: impl Future<Output = io::Result<T>>,
    stopping: &watch::Receiver<bool>,
) -> io::Result<T> {
    let last = async {
        stopped(stopping.clone()).await;
        sleep(LAST_OPENING).await;
    };
    tokio::select! {
        opened = timeout(OPENING, opening) => opened?,
        () = last => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Returns the connection as soon as its preface has arrived.
async fn after_preface<I>(
    socket: I,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut from, to) = tokio_io::split(socket);
    let mut preface = [0; PREFACE];
    from.read_exact(&mut preface).await?;
    Ok(tokio_io::join(io::Cursor::new(preface).chain(from), to))
}

/// The body of a call, whose first message must arrive in time.
struct Message {
    body: Incoming,
    /// `None` once the message has arrived.
    end: Option<Pin<Box<Sleep>>>,
    /// Whether there is only one message.
    is_only: bool,
}

impl Message {
    fn new(body: Incoming, is_only: bool) -> Self {
        Self { body, end: Some(Box::pin(sleep(MESSAGE))), is_only }
    }
}

impl http_body::Body for Message {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let Some(end) = &mut this.end else { return Poll::Pending };
            ready!(end.as_mut().poll(cx));
            let status = Status::deadline_exceeded(
                "the message of the call did not arrive in \
                 time",
            );
            return Poll::Ready(Some(Err(status.into())));
        };
        if !this.is_only {
            this.end = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn serve_grpc<I>(
    socket: I,
    shared: Arc<ExtAuthzState>,
    stopping: &watch::Receiver<bool>,
    closing: impl Future<Output = ()>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = match opened(after_preface(socket), stopping).await {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%error, "connection without an HTTP/2 preface closed"),
    };
    let longest = shared.max_request_bytes.saturating_add(HEADERS);
    let longest_head = u32::try_from(shared.max_header_bytes).unwrap_or(u32::MAX);
    let activity = Activity::new();
    activity.speaks_http2();
    let of_service = Arc::clone(&activity);
    let check = AuthorizationServer::new(ExtAuthz(Arc::clone(&shared)));
    let check = check.max_decoding_message_size(longest);
    let processor = ExternalProcessorServer::new(ExtProc(shared));
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let (check, processor) = (check.clone(), processor.clone());
        let call = of_service.call(request.version());
        async move {
            let path = request.uri().path();
            let answer: Result<Response<Body>, Infallible> =
                match path.rsplit_once('/').map(|(service, _)| service) {
                    Some("/envoy.service.auth.v3.Authorization") => {
                        check.oneshot(request.map(|body| Message::new(body, true))).await
                    }
                    Some("/envoy.service.ext_proc.v3.ExternalProcessor") => {
                        processor.oneshot(request.map(|body| Message::new(body, false))).await
                    }
                    _ => Ok(Status::unimplemented(
                        "there are envoy.service.auth.v3.Authorization and \
                         envoy.service.ext_proc.v3.ExternalProcessor",
                    )
                    .into_http()),
                };
            answer.map(|answer| answer.map(|body| SentBody::new(body, call)))
        }
    });
    let mut builder = http2::Builder::new(Streams { send_timeout: Some(SEND_TIMEOUT) });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        // Clients that leave at once make Envoy cancel its calls, which is not an attack.
        .max_pending_accept_reset_streams(Some(STREAMS as usize))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_header_list_size(longest_head);
    let service = TowerToHyperService::new(service);
    let socket = LocalReplyIo::new(TokioIo::new(socket), Arc::clone(&activity));
    let mut connection = pin!(builder.serve_connection(socket, service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = async {
            tokio::select! {
                () = closing => {}
                () = activity.idle(IDLE) => {}
            }
        } => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = activity.lingered(LINGER) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection of Envoy ended");
    }
}
