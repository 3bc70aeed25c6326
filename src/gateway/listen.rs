//! Listening: connections come in, go to the worker that has the fewest, and are served to their
//! end.
//!
//! Each worker is a thread with a runtime and a pool of upstream connections of its own: a request
//! stays on one thread, and what all workers share (the token, the limits, the metrics) is held for
//! moments only. Connections are dealt out, so that few long ones do not meet on one thread by chance.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use futures_util::FutureExt as _;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use super::{
    app::{App, Shared},
    config::Failure,
    strict::Strict,
    unreadable::{Calls, Connection},
};

/// How long a connection that has not asked for anything yet may still do so when this process is
/// about to end, and how long one that has may ask again: what is on its way is not thrown away.
const FIRST_CALL: Duration = Duration::from_secs(1);
const LAST_CALL: Duration = Duration::from_millis(100);
/// For a worker to drop what it serves.
const CUT: Duration = Duration::from_secs(1);

/// A thread that serves connections.
struct Worker {
    sockets: mpsc::UnboundedSender<(std::net::TcpStream, Option<OwnedSemaphorePermit>)>,
    /// How many it has.
    connections: Arc<AtomicUsize>,
    /// Sent when the last of them has ended.
    done: oneshot::Receiver<()>,
}

/// All of them.
pub(super) struct Workers {
    workers: Vec<Worker>,
    /// Dropped when connections are no longer to be waited for.
    cut: watch::Sender<()>,
    /// For so many connections at a time.
    room: Option<Arc<Semaphore>>,
}

impl Workers {
    /// Starts `number` of them, for `connections` at a time; 0 is any number.
    pub(super) fn start(
        shared: &Arc<Shared>,
        number: usize,
        connections: usize,
    ) -> Result<Self, Failure> {
        let (cut, is_cut) = watch::channel(());
        let workers = (0..number.max(1))
            .map(|number| Worker::start(number, App::new(Arc::clone(shared))?, is_cut.clone()));
        let most = connections.min(Semaphore::MAX_PERMITS);
        let room = (most > 0).then(|| Arc::new(Semaphore::new(most)));
        Ok(Self { workers: workers.collect::<Result<_, _>>()?, cut, room })
    }

    /// Waits until there is room for one more connection.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let room = self.room.as_ref()?;
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            return Some(permit);
        }
        tracing::warn!("--max-connections are open: the next ones wait");
        // It is never closed.
        Arc::clone(room).acquire_owned().await.ok()
    }

    /// Hands a connection to the one that has the fewest.
    fn serve(&self, socket: TcpStream, room: Option<OwnedSemaphorePermit>) -> io::Result<()> {
        // Without it, each small chunk of a stream waits for an acknowledgement. A socket that
        // refuses is slow, not wrong.
        let _ = socket.set_nodelay(true);
        let socket = socket.into_std()?;
        let idlest = self.workers.iter().min_by_key(|worker| worker.connections.load(Relaxed));
        if let Some(worker) = idlest {
            worker.connections.fetch_add(1, Relaxed);
            // One that has ended has panicked, which its thread has told.
            let _ = worker.sockets.send((socket, room));
        }
        Ok(())
    }

    /// Lets all that is under way come to its end, for as long as `patience`. Whether it did.
    pub(super) async fn drain(self, patience: impl Future<Output = ()>) -> bool {
        let Self { workers, cut, room: _ } = self;
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
    pub(super) fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.connections.load(Relaxed)).sum()
    }
}

impl Worker {
    fn start(number: usize, app: App, is_cut: watch::Receiver<()>) -> Result<Self, Failure> {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let (is_done, done) = oneshot::channel();
        let cannot = |error| Failure::new(format!("cannot start a worker: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(cannot)?;
        let run = move || {
            runtime.block_on(work(app, incoming, counter, is_cut));
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
    app: App,
    mut sockets: mpsc::UnboundedReceiver<(std::net::TcpStream, Option<OwnedSemaphorePermit>)>,
    counter: Arc<AtomicUsize>,
    mut is_cut: watch::Receiver<()>,
) {
    // Each connection holds a receiver until its end.
    let (stop, stopping) = watch::channel(false);
    while let Some((socket, room)) = sockets.recv().await {
        let inbound = app.shared.sight.inbound().one_more();
        let open = (Open(Arc::clone(&counter)), inbound, stopping.clone(), room);
        match TcpStream::from_std(socket) {
            Ok(socket) => {
                let serving = serve_connection(socket, app.clone(), stopping.clone());
                tokio::spawn(async move {
                    serving.await;
                    drop(open);
                });
            }
            Err(error) => tracing::warn!(%error, "could not serve a connection"),
        }
    }
    // What the stack holds is no connection.
    drop((app, stopping));
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

async fn serve_connection(socket: TcpStream, app: App, stopping: watch::Receiver<bool>) {
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(app.shared.send_timeout);
    let socket = Box::pin(socket);
    match app.shared.tls.clone() {
        None => serve_http(socket, app, stopping).await,
        Some(tls) => match tls.accept(socket, app.shared.header_timeout).await {
            Ok(socket) => serve_http(socket, app, stopping).await,
            Err(error) => tracing::info!(%error, "no TLS handshake"),
        },
    }
}

async fn serve_http<I>(socket: I, app: App, stopping: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let header_timeout = app.shared.header_timeout;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    // HTTP/2 has no such timeout: a client that is gone is known by the pings that it does not answer.
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(header_timeout)
        .keep_alive_timeout(header_timeout);
    let calls = Calls::default();
    let socket = Connection::new(TokioIo::new(Strict::new(socket, header_timeout)), calls.clone());
    let of_service = calls.clone();
    let service = service_fn(move |request| {
        of_service.one_more();
        app.clone().serve(request).map(Ok::<_, Infallible>)
    });
    let mut connection = pin!(builder.serve_connection(socket, service).into_owned());
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = last_call(stopping, calls) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}

/// Until a connection is to take no further request: hyper closes one that is idle at once, with
/// what has come on it and was not yet read.
async fn last_call(mut stopping: watch::Receiver<bool>, calls: Calls) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
    let first = async {
        while calls.is_none() {
            sleep(LAST_CALL / 10).await;
        }
    };
    if calls.is_none() {
        let _ = timeout(FIRST_CALL, first).await;
    } else {
        sleep(LAST_CALL).await;
    }
}

/// Binds the address on which clients are served.
pub(super) async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, &error))?;
    let addr = listener.local_addr().map_err(|error| cannot_listen(addr, &error))?;
    Ok((listener, addr))
}

pub(super) fn cannot_listen(addr: SocketAddr, error: &io::Error) -> Failure {
    Failure::new(format!("cannot listen on {addr}: {error}; choose another address with --listen"))
}

/// Accepts connections until `stop`.
pub(super) async fn accept(
    listener: &TcpListener,
    workers: &Workers,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            accepted = async {
                // Those that come meanwhile wait in the kernel.
                let room = workers.room().await;
                listener.accept().await.map(|(socket, _)| (socket, room))
            } => accepted,
        };
        if let Err(error) = accepted.and_then(|(socket, room)| workers.serve(socket, room)) {
            // Out of descriptors, most likely: some will be back soon.
            tracing::warn!(%error, "could not accept a connection");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Closes the listener. Those whom the system has let in already are served: they know nothing of
/// the end.
pub(super) fn accept_rest(listener: TcpListener, workers: &Workers) {
    let Ok(listener) = listener.into_std() else { return };
    // It does not block.
    while let Ok((socket, _)) = listener.accept() {
        let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
        if let Err(error) = socket.and_then(|socket| workers.serve(socket, None)) {
            tracing::warn!(%error, "could not serve a connection");
        }
    }
}
