//! Listening: connections come in, go to the worker that has the fewest, and are served to their
//! end.
//!
//! Each worker is a thread with a runtime and a pool of upstream connections of its own: a request
//! stays on one thread, and what all workers share (the token, the limits, the metrics) is held for
//! moments only. Connections are dealt out, so that few long ones do not meet on one thread by chance.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use crate::gateway::{
    access::concurrency,
    error::Failure,
    inbound::{
        activity::{Activity, SentBody},
        malformed::Connection,
        send_timeout::Streams,
        strict_io::StrictIo,
    },
    proxy::handler::{Handler, Shared},
    seldom::Seldom,
};

/// How long a connection that has not asked for anything yet may still do so when this process is
/// about to end, and how long one that has may ask again: what is on its way is not thrown away.
const FIRST_CALL: Duration = Duration::from_secs(1);
const LAST_CALL: Duration = Duration::from_millis(100);
/// A connection that is closing is dropped when nothing has been in flight on it for so long, whatever
/// its client still sends, or does not: half a request, or no answer to a ping.
const LINGER: Duration = Duration::from_secs(1);
/// A connection of a stranger's that is closing is dropped after so long, whatever is in flight on it.
const OUTSTAY: Duration = Duration::from_secs(5);
/// For a worker to drop what it serves.
const CUT: Duration = Duration::from_secs(1);
/// Requests at a time over one HTTP/2 connection: as many as clients commonly expect, and no more than
/// one connection should be able to hold.
const STREAMS: u32 = 200;
/// How often a full house looks for a stranger to send away.
const LOOK: Duration = Duration::from_millis(100);

/// A connection on its way to a worker.
struct Accepted {
    socket: std::net::TcpStream,
    admitted: Admitted,
}

/// A thread that serves connections.
struct Worker {
    sockets: mpsc::UnboundedSender<Accepted>,
    /// How many it has.
    connections: Arc<AtomicUsize>,
    /// Sent when the last of them has ended.
    done: oneshot::Receiver<()>,
}

/// All of them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    /// Dropped when connections are no longer to be waited for.
    cut: watch::Sender<()>,
    /// For so many connections at a time.
    room: Option<Arc<Semaphore>>,
    open: Arc<Register>,
    full: Seldom,
}

/// All connections that are open.
#[derive(Debug, Default)]
struct Register(Mutex<HashMap<u64, Arc<Activity>>>);

/// A connection in the register until it is dropped.
#[derive(Debug)]
struct Admitted {
    number: u64,
    activity: Arc<Activity>,
    open: Arc<Register>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Register {
    fn admit(self: &Arc<Self>, number: u64, room: Option<OwnedSemaphorePermit>) -> Admitted {
        let activity = Activity::new();
        self.lock().insert(number, Arc::clone(&activity));
        Admitted { number, activity, open: Arc::clone(self), _room: room }
    }

    /// Sends away the connection that has been a stranger's for the longest, whatever it does: first those
    /// on which no request of a client that may ask has ever come.
    fn evict_a_stranger(&self) {
        let open = self.lock();
        let strangers = open.iter().filter_map(|(number, activity)| {
            // A client that has just connected is about to ask.
            let age = activity.strange_for().filter(|age| *age >= FIRST_CALL)?;
            Some(((activity.is_strangers(), age, std::cmp::Reverse(*number)), activity))
        });
        if let Some((_, activity)) = strangers.max_by_key(|(rank, _)| *rank) {
            activity.evict();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        // It is whole between its statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.open.lock().remove(&self.number);
    }
}

impl Workers {
    /// Starts `number` of them, for `connections` at a time; 0 is any number.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        number: usize,
        connections: Option<usize>,
    ) -> Result<Self, Failure> {
        let (cut, is_cut) = watch::channel(());
        let workers = (0..number.max(1))
            .map(|number| Worker::start(number, Handler::new(Arc::clone(shared))?, is_cut.clone()));
        let workers = workers.collect::<Result<_, _>>()?;
        let room = concurrency::room(connections);
        Ok(Self { workers, cut, room, open: Arc::default(), full: Seldom::default() })
    }

    /// Waits until there is room for one more connection, which has come.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let room = self.room.as_ref()?;
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            return Some(permit);
        }
        if let Some(times) = self.full.happened(std::time::Instant::now()) {
            tracing::warn!(times, "--max-connections are open: the next ones wait");
        }
        let mut permit = pin!(Arc::clone(room).acquire_owned());
        loop {
            self.open.evict_a_stranger();
            if let Ok(permit) = timeout(LOOK, &mut permit).await {
                // It is never closed.
                return permit.ok();
            }
        }
    }

    /// Hands a connection to the one that has the fewest.
    fn serve(&self, socket: TcpStream, room: Option<OwnedSemaphorePermit>) -> io::Result<()> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        // Without it, each small chunk of a stream waits for an acknowledgement. A socket that
        // refuses is slow, not wrong.
        let _ = socket.set_nodelay(true);
        let socket = socket.into_std()?;
        let admitted = self.open.admit(NUMBER.fetch_add(1, Relaxed), room);
        hand_over(&self.workers, Accepted { socket, admitted })
    }

    /// Lets all that is under way come to its end, for as long as `patience`. Whether it did.
    pub(crate) async fn drain(self, patience: impl Future<Output = ()>) -> bool {
        let Self { workers, cut, .. } = self;
        let mut all_done = Vec::new();
        for Worker { sockets, done, .. } in workers {
            // Without more to come, it ends with its last connection.
            drop(sockets);
            all_done.push(done);
        }
        let mut all = std::pin::pin!(async {
            for done in &mut all_done {
                let _ = done.await;
            }
        });
        let whole = tokio::select! {
            () = &mut all => true,
            () = patience => false,
        };
        drop(cut);
        if !whole {
            // What is cut has a line in the log, and spans, as soon as its worker has noticed.
            let _ = tokio::time::timeout(CUT, all).await;
        }
        whole
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.connections.load(Relaxed)).sum()
    }
}

/// To the worker that has the fewest connections. One that has ended has panicked, which its thread has
/// told; the others serve on.
fn hand_over(workers: &[Worker], mut accepted: Accepted) -> io::Result<()> {
    loop {
        let alive = workers.iter().filter(|worker| !worker.sockets.is_closed());
        let Some(idlest) = alive.min_by_key(|worker| worker.connections.load(Relaxed)) else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, NO_WORKER));
        };
        idlest.connections.fetch_add(1, Relaxed);
        match idlest.sockets.send(accepted) {
            Ok(()) => return Ok(()),
            // It has ended since.
            Err(unsent) => {
                idlest.connections.fetch_sub(1, Relaxed);
                accepted = unsent.0;
            }
        }
    }
}

/// Why nobody is served any more.
const NO_WORKER: &str = "all workers have ended by a panic, which the log has";

impl Worker {
    fn start(
        number: usize,
        handler: Handler,
        is_cut: watch::Receiver<()>,
    ) -> Result<Self, Failure> {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let (is_done, done) = oneshot::channel();
        let cannot = |error| Failure::new(format!("cannot start a worker: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(cannot)?;
        let run = move || {
            runtime.block_on(work(handler, incoming, counter, is_cut));
            // Lookups of names may hang in the system's resolver: nobody waits for them.
            runtime.shutdown_background();
            let _ = is_done.send(());
        };
        thread::Builder::new().name(format!("worker-{number}")).spawn(run).map_err(cannot)?;
        Ok(Self { sockets, connections, done })
    }
}

/// Serves what comes, until nothing more does and all of it has ended, or is cut.
async fn work(
    handler: Handler,
    mut sockets: mpsc::UnboundedReceiver<Accepted>,
    counter: Arc<AtomicUsize>,
    mut is_cut: watch::Receiver<()>,
) {
    // Each connection holds a receiver until its end.
    let (stop, stopping) = watch::channel(false);
    while let Some(Accepted { socket, admitted }) = sockets.recv().await {
        let inbound = handler.shared.telemetry.inbound().one_more();
        let activity = Arc::clone(&admitted.activity);
        let open = (Open(Arc::clone(&counter)), inbound, stopping.clone(), admitted);
        match TcpStream::from_std(socket) {
            Ok(socket) => {
                let of_connection = Arc::clone(&activity);
                let serving =
                    serve_connection(socket, handler.clone(), of_connection, stopping.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        () = serving => {}
                        () = when_woken(activity.evicted()) => {
                            tracing::info!(
                                peer = activity.shown_peer(),
                                "--max-connections are open: a connection without a request of a \
                                 client that may ask was closed for the next one"
                            );
                        }
                    }
                    drop(open);
                });
            }
            Err(error) => tracing::warn!(%error, "could not serve a connection"),
        }
    }
    // What the stack holds is no connection.
    drop((handler, stopping));
    stop.send_replace(true);
    tokio::select! {
        () = stop.closed() => {}
        _ = is_cut.changed() => {}
    }
}

/// A connection that counts.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Until this process is about to end.
pub(crate) async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn serve_connection(
    socket: TcpStream,
    handler: Handler,
    activity: Arc<Activity>,
    stopping: watch::Receiver<bool>,
) {
    if handler.shared.log_peer
        && let Ok(peer) = socket.peer_addr()
    {
        activity.comes_from(peer);
    }
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(handler.shared.send_timeout);
    let socket = Box::pin(socket);
    let streams = Streams { send_timeout: handler.shared.send_timeout };
    let builder = auto::Builder::new(streams);
    let Some(tls) = handler.shared.tls.clone() else {
        let closing = until_closing(activity.clone(), stopping, handler.shared.header_timeout);
        // In a box, because there are two of these futures, and one is used.
        return Box::pin(serve_http(socket, builder, handler, activity, closing)).await;
    };
    let authorities = tls.authorities();
    let handshake = tls.accept(socket, handler.shared.header_timeout);
    let last = async {
        stopped(stopping.clone()).await;
        sleep(FIRST_CALL).await;
    };
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = last => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "about to end")),
    };
    let socket = match shaken {
        Ok(socket) => socket,
        Err(error) => {
            return tracing::info!(%error, peer = activity.shown_peer(), "no TLS handshake");
        }
    };
    // RFC 7301 §3.2: what was agreed on is what is spoken.
    let builder = match socket.get_ref().1.alpn_protocol() {
        Some(b"h2") => builder.http2_only(),
        Some(b"http/1.1") => builder.http1_only(),
        _ => builder,
    };
    let closing = until_closing(activity.clone(), stopping, handler.shared.header_timeout);
    let closing = async {
        tokio::select! {
            () = closing => {}
            () = authorities.changed() => {}
        }
    };
    Box::pin(serve_http(socket, builder, handler, activity, closing)).await;
}

/// The same as `future`, which is polled when it was woken, and not each time that what it is raced with
/// was: what may end a connection is woken seldom, and by callgrind its polls were 2 % of a request.
async fn when_woken(future: impl Future<Output = ()>) {
    FuturesUnordered::from_iter([future]).next().await;
}

/// Until a connection is to take no further request.
async fn until_closing(activity: Arc<Activity>, stopping: watch::Receiver<bool>, idle: Duration) {
    tokio::select! {
        () = last_call(stopping, &activity) => {}
        () = activity.closed() => {}
        // hyper has no such limit for HTTP/2.
        () = activity.idle_over_http2(idle) => {}
    }
}

async fn serve_http<I>(
    socket: I,
    mut builder: auto::Builder<Streams>,
    handler: Handler,
    activity: Arc<Activity>,
    closing: impl Future<Output = ()>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (header_timeout, longest) =
        (handler.shared.header_timeout, handler.shared.max_header_bytes);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        // It is read into this buffer, and so are parts of a body.
        .max_buf_size(longest);
    // A client over HTTP/2 that is gone is known by the pings that it does not answer.
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(header_timeout)
        .keep_alive_timeout(header_timeout)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(longest).unwrap_or(u32::MAX));
    let socket = StrictIo::new(socket, header_timeout, Arc::clone(&activity));
    let socket = Connection::new(TokioIo::new(socket), Arc::clone(&activity));
    let of_service = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let (call, handler) = (of_service.call(request.version()), handler.clone());
        async move {
            let response = handler.serve(request, &call).await;
            Ok::<_, Infallible>(response.map(|body| SentBody::new(body, call)))
        }
    });
    let mut connection = pin!(builder.serve_connection(socket, service).into_owned());
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = when_woken(closing) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = activity.lingered(LINGER) => Ok(()),
                () = activity.outstayed(OUTSTAY) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}

/// Until a connection is to take no further request: hyper closes one that is idle at once, with
/// what has come on it and was not yet read.
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

/// Binds the address on which clients are served.
pub(crate) async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, &error))?;
    let addr = listener.local_addr().map_err(|error| cannot_listen(addr, &error))?;
    Ok((listener, addr))
}

pub(crate) fn cannot_listen(addr: SocketAddr, error: &io::Error) -> Failure {
    Failure::new(format!("cannot listen on {addr}: {error}; choose another address with --listen"))
}

/// Accepts connections until `stop`.
///
/// # Errors
///
/// There is no worker left.
pub(crate) async fn accept(
    listener: &TcpListener,
    workers: &Workers,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let (mut stop, refused) = (pin!(stop), Refused::default());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let served = match accepted {
            Ok((socket, _)) => {
                // Those that come meanwhile wait in the kernel.
                let (room, stops) = tokio::select! {
                    room = workers.room() => (room, false),
                    () = &mut stop => (None, true),
                };
                let served = workers.serve(socket, room);
                if stops {
                    return Ok(());
                }
                served
            }
            Err(error) => Err(error),
        };
        match served {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                return Err(Failure::negative(error.to_string()));
            }
            Err(error) => refused.wait(&error, "could not accept a connection").await,
        }
    }
}

/// Connections that could not be accepted.
#[derive(Debug, Default)]
pub(crate) struct Refused(Seldom);

impl Refused {
    /// Tells of it, seldom, and waits until the next try.
    pub(crate) async fn wait(&self, error: &io::Error, what: &str) {
        if is_of_one_connection(error) {
            return;
        }
        if let Some(times) = self.0.happened(std::time::Instant::now()) {
            tracing::warn!(%error, times, "{what}");
        }
        // Out of descriptors, most likely: some will be back soon.
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the next connection may be accepted all the same: this one has left already, or its network
/// has failed (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::Interrupted
    )
}

/// Closes the listener. Those whom the system has let in already are served: they know nothing of
/// the end.
pub(crate) fn accept_rest(listener: TcpListener, workers: &Workers) {
    let Ok(listener) = listener.into_std() else { return };
    // It does not block.
    let next = || listener.accept().map(|(socket, _)| socket);
    for socket in rest(next) {
        let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
        if let Err(error) = socket.and_then(|socket| workers.serve(socket, None)) {
            tracing::warn!(%error, "could not serve a connection");
        }
    }
}

/// All that comes without waiting, but for those that have left.
fn rest<T>(mut next: impl FnMut() -> io::Result<T>) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || {
        loop {
            match next() {
                Ok(socket) => return Some(socket),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::warn!(%error, "could not accept the last connections");
                    }
                    return None;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests;
