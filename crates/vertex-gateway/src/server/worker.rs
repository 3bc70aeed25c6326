//! The workers and their connections.
//!
//! Each worker is a thread with its own runtime and its own pool of upstream connections, so a
//! request stays on one thread. State that all workers share (the token, the limits, the metrics)
//! is locked only for moments. Each new connection goes to the worker with the fewest connections,
//! so that a few long ones do not meet on one thread by chance.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use super::{
    connection::{Stream, serve_connection, when_woken},
    register::{ConnectionRegistry, RegisteredConnection},
};
use crate::{
    access::concurrency,
    error::Error,
    proxy::handler::{GatewayState, Handler},
    seldom::LogThrottle,
};

/// Time for a worker to drop its connections.
const CUT: Duration = Duration::from_secs(1);
/// Interval of the search for a connection to close while there is no room.
const LOOK: Duration = Duration::from_millis(100);

/// An accepted socket, in transit to a worker.
pub(crate) trait Socket: Send + 'static {
    type Stream: Stream;

    /// The connection, on the runtime of the worker.
    fn into_stream(self) -> io::Result<Self::Stream>;
}

impl Socket for std::net::TcpStream {
    type Stream = TcpStream;

    fn into_stream(self) -> io::Result<TcpStream> {
        TcpStream::from_std(self)
    }
}

/// A connection that is passed to a worker.
struct Accepted<S> {
    socket: S,
    admitted: RegisteredConnection,
}

/// The work of a worker, which ends after its last connection, or when the rest of them are to be
/// dropped with their runtime. Then its output is dropped.
pub(crate) type Work = Pin<Box<dyn Future<Output = oneshot::Sender<()>> + Send>>;

/// A thread that serves connections.
struct Worker<S> {
    sockets: mpsc::UnboundedSender<Accepted<S>>,
    /// The number of its connections.
    connections: Arc<AtomicUsize>,
    /// Closed when the last connection has ended.
    done: oneshot::Receiver<()>,
}

/// All workers.
pub(crate) struct Workers<S = std::net::TcpStream> {
    workers: Vec<Worker<S>>,
    /// Dropped when the remaining connections are to be closed.
    cut: watch::Sender<()>,
    /// Permits for the largest number of connections; `None` for no limit.
    room: Option<Arc<Semaphore>>,
    open: Arc<ConnectionRegistry>,
    full: LogThrottle,
}

impl Workers {
    /// Starts `number` workers for at most `connections` at a time; `None` means no limit.
    pub(crate) fn start(
        shared: &Arc<GatewayState>,
        number: usize,
        connections: Option<usize>,
    ) -> Result<Self, Error> {
        Self::start_with(shared, number, connections, run_on_a_thread)
    }

    /// Passes a connection to the worker with the fewest connections.
    pub(super) fn serve(
        &self,
        socket: TcpStream,
        room: Option<OwnedSemaphorePermit>,
    ) -> io::Result<()> {
        // Without this option, each small chunk of a stream waits for an acknowledgement. A socket
        // that refuses it is slow, but works.
        let _ = socket.set_nodelay(true);
        self.admit(socket.into_std()?, room)
    }
}

impl<S: Socket> Workers<S> {
    /// The same with `run`, which runs a worker to its end.
    pub(crate) fn start_with(
        shared: &Arc<GatewayState>,
        number: usize,
        connections: Option<usize>,
        run: impl Fn(usize, Work) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let (cut, is_cut) = watch::channel(());
        let start = |number| {
            let handler = Handler::new(Arc::clone(shared))?;
            let (worker, work) = Worker::new(handler, is_cut.clone());
            run(number, work)?;
            Ok(worker)
        };
        let workers = (0..number.max(1)).map(start).collect::<Result<_, Error>>()?;
        let room = concurrency::room(connections);
        Ok(Self { workers, cut, room, open: Arc::default(), full: LogThrottle::default() })
    }

    /// Waits until there is room for a connection that was accepted.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let room = self.room.as_ref()?;
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            return Some(permit);
        }
        if let Some(times) = self.full.happened(Instant::now()) {
            tracing::warn!(times, "--max-connections are open: further connections wait");
        }
        let mut permit = pin!(Arc::clone(room).acquire_owned());
        loop {
            self.open.evict_a_stranger();
            if let Ok(permit) = timeout(LOOK, &mut permit).await {
                // The semaphore is never closed.
                return permit.ok();
            }
        }
    }

    pub(crate) fn admit(&self, socket: S, room: Option<OwnedSemaphorePermit>) -> io::Result<()> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let admitted = self.open.admit(NUMBER.fetch_add(1, Relaxed), room);
        dispatch(&self.workers, Accepted { socket, admitted })
    }

    /// Waits for the requests in flight until `patience` ends. Returns whether all of them were
    /// completed.
    pub(crate) async fn drain(self, patience: impl Future<Output = ()>) -> bool {
        let Self { workers, cut, .. } = self;
        let mut all_done = Vec::new();
        for Worker { sockets, done, .. } in workers {
            // Without new connections, the worker ends with its last one.
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
            // An aborted request gets its log line and its spans as soon as its worker has noticed.
            let _ = tokio::time::timeout(CUT, all).await;
        }
        whole
    }

    /// The number of open connections.
    pub(crate) fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.connections.load(Relaxed)).sum()
    }
}

/// Passes a connection to the worker with the fewest connections. A worker that has ended has
/// panicked, which its thread has logged. The other workers continue.
fn dispatch<S>(workers: &[Worker<S>], mut accepted: Accepted<S>) -> io::Result<()> {
    loop {
        let alive = workers.iter().filter(|worker| !worker.sockets.is_closed());
        let Some(idlest) = alive.min_by_key(|worker| worker.connections.load(Relaxed)) else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, NO_WORKER));
        };
        idlest.connections.fetch_add(1, Relaxed);
        match idlest.sockets.send(accepted) {
            Ok(()) => return Ok(()),
            // The worker has ended in the meantime.
            Err(unsent) => {
                idlest.connections.fetch_sub(1, Relaxed);
                accepted = unsent.0;
            }
        }
    }
}

/// The error when no worker is left.
const NO_WORKER: &str = "all workers have panicked; the log has the details";

impl<S: Socket> Worker<S> {
    /// A worker, and its work.
    fn new(handler: Handler, is_cut: watch::Receiver<()>) -> (Self, Work) {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let (is_done, done) = oneshot::channel();
        let work = async move {
            work(handler, incoming, counter, is_cut).await;
            is_done
        };
        (Self { sockets, connections, done }, Box::pin(work))
    }
}

/// Runs the work on a thread with a runtime of its own.
fn run_on_a_thread(number: usize, work: Work) -> Result<(), Error> {
    let cannot = |error| Error::new(format!("cannot start a worker: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(cannot)?;
    let run = move || {
        let _done = runtime.block_on(work);
        // Name lookups can hang in the system's resolver, so the runtime does not wait for them.
        runtime.shutdown_background();
    };
    thread::Builder::new().name(format!("worker-{number}")).spawn(run).map_err(cannot)?;
    Ok(())
}

/// Serves connections until no more arrive and all of them have ended, or until they are aborted.
async fn work<S: Socket>(
    handler: Handler,
    mut sockets: mpsc::UnboundedReceiver<Accepted<S>>,
    counter: Arc<AtomicUsize>,
    mut is_cut: watch::Receiver<()>,
) {
    let handler = Arc::new(handler);
    // Each connection holds a receiver until its end.
    let (stop, stopping) = watch::channel(false);
    while let Some(Accepted { socket, admitted }) = sockets.recv().await {
        let inbound = handler.shared.telemetry.inbound().one_more();
        let activity = Arc::clone(&admitted.activity);
        let open = (OpenConnection(Arc::clone(&counter)), inbound, stopping.clone(), admitted);
        match socket.into_stream() {
            Ok(socket) => {
                let (handler, stopping) = (Arc::clone(&handler), stopping.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        // Made here, because a task has room for what it is made of and for its steps.
                        () = serve_connection(socket, handler, Arc::clone(&activity), stopping) => {}
                        () = when_woken(activity.evicted()) => {
                            tracing::info!(
                                peer_address = activity.shown_peer_address(),
                                "--max-connections are open: closed the oldest connection without \
                                 a valid request, to accept another one"
                            );
                        }
                    }
                    drop(open);
                });
            }
            Err(error) => tracing::warn!(%error, "connection not served"),
        }
    }
    // Only connections hold receivers now, so `stop` closes with the last connection.
    drop((handler, stopping));
    stop.send_replace(true);
    tokio::select! {
        () = stop.closed() => {}
        _ = is_cut.changed() => {}
    }
}

/// Counts a connection of the worker until it is dropped.
struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker()
    -> (Worker<std::net::TcpStream>, mpsc::UnboundedReceiver<Accepted<std::net::TcpStream>>) {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let connections = Arc::default();
        (Worker { sockets, connections, done: oneshot::channel().1 }, incoming)
    }

    fn accepted(number: u64) -> Accepted<std::net::TcpStream> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Accepted { socket, admitted: Arc::<ConnectionRegistry>::default().admit(number, None) }
    }

    #[test]
    fn a_worker_that_panicked_gets_no_connections() {
        let ((dead, incoming), (alive, mut at_alive)) = (worker(), worker());
        drop(incoming);
        let workers = [dead, alive];
        for number in 0..10 {
            dispatch(&workers, accepted(number)).unwrap();
            assert!(at_alive.try_recv().is_ok(), "the ended worker got the connection");
        }
        assert_eq!(workers[0].connections.load(Relaxed), 0);
        drop(at_alive);
        let error = dispatch(&workers, accepted(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }
}
