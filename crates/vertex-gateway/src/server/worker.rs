//! The workers, and the connections that they are given.
//!
//! Each worker is a thread with a runtime and a pool of upstream connections of its own: a request stays
//! on one thread, and what all workers share (the token, the limits, the metrics) is locked for moments
//! only. Each new connection goes to the worker that has the fewest, so that a few long ones do not meet
//! on one thread by chance.

use std::{
    future::Future,
    io,
    pin::pin,
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
    time::timeout,
};

use super::{
    connection::{serve_connection, when_woken},
    register::{ConnectionRegistry, RegisteredConnection},
};
use crate::{
    access::concurrency,
    error::Error,
    proxy::handler::{GatewayState, Handler},
    seldom::LogThrottle,
};

/// The time that a worker has to drop what it serves.
const CUT: Duration = Duration::from_secs(1);
/// How often a stranger's connection is looked for while there is no room.
const LOOK: Duration = Duration::from_millis(100);

/// A connection on its way to a worker.
struct Accepted {
    socket: std::net::TcpStream,
    admitted: RegisteredConnection,
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
    open: Arc<ConnectionRegistry>,
    full: LogThrottle,
}

impl Workers {
    /// Starts `number` workers, for as many `connections` at a time; `None` is any number.
    pub(crate) fn start(
        shared: &Arc<GatewayState>,
        number: usize,
        connections: Option<usize>,
    ) -> Result<Self, Error> {
        let (cut, is_cut) = watch::channel(());
        let workers = (0..number.max(1))
            .map(|number| Worker::start(number, Handler::new(Arc::clone(shared))?, is_cut.clone()));
        let workers = workers.collect::<Result<_, _>>()?;
        let room = concurrency::room(connections);
        Ok(Self { workers, cut, room, open: Arc::default(), full: LogThrottle::default() })
    }

    /// Waits until there is room for one more connection, which has come.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let room = self.room.as_ref()?;
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            return Some(permit);
        }
        if let Some(times) = self.full.happened(std::time::Instant::now()) {
            tracing::warn!(times, "--max-connections are open: further connections wait");
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

    /// Gives a connection to the worker that has the fewest.
    pub(super) fn serve(
        &self,
        socket: TcpStream,
        room: Option<OwnedSemaphorePermit>,
    ) -> io::Result<()> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        // Without it, each small chunk of a stream waits for an acknowledgement. A socket that
        // refuses is slow, not wrong.
        let _ = socket.set_nodelay(true);
        let socket = socket.into_std()?;
        let admitted = self.open.admit(NUMBER.fetch_add(1, Relaxed), room);
        give(&self.workers, Accepted { socket, admitted })
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
            // A request that is cut off gets its line in the log, and spans, as soon as its worker has
            // noticed.
            let _ = tokio::time::timeout(CUT, all).await;
        }
        whole
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.connections.load(Relaxed)).sum()
    }
}

/// Gives a connection to the worker that has the fewest. A worker that has ended has panicked, which its
/// thread has logged; the others continue.
fn give(workers: &[Worker], mut accepted: Accepted) -> io::Result<()> {
    loop {
        let alive = workers.iter().filter(|worker| !worker.sockets.is_closed());
        let Some(idlest) = alive.min_by_key(|worker| worker.connections.load(Relaxed)) else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, NO_WORKER));
        };
        idlest.connections.fetch_add(1, Relaxed);
        match idlest.sockets.send(accepted) {
            Ok(()) => return Ok(()),
            // The worker has ended since.
            Err(unsent) => {
                idlest.connections.fetch_sub(1, Relaxed);
                accepted = unsent.0;
            }
        }
    }
}

/// Why no connection is served any more.
const NO_WORKER: &str = "all workers have panicked; the log has the details";

impl Worker {
    fn start(number: usize, handler: Handler, is_cut: watch::Receiver<()>) -> Result<Self, Error> {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let (is_done, done) = oneshot::channel();
        let cannot = |error| Error::new(format!("cannot start a worker: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(cannot)?;
        let run = move || {
            runtime.block_on(work(handler, incoming, counter, is_cut));
            // Lookups of names may hang in the system's resolver, so no one waits for them.
            runtime.shutdown_background();
            let _ = is_done.send(());
        };
        thread::Builder::new().name(format!("worker-{number}")).spawn(run).map_err(cannot)?;
        Ok(Self { sockets, connections, done })
    }
}

/// Serves connections until no more come and all of them have ended or are cut off.
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
        let open = (OpenConnection(Arc::clone(&counter)), inbound, stopping.clone(), admitted);
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
    // The handler holds no connection.
    drop((handler, stopping));
    stop.send_replace(true);
    tokio::select! {
        () = stop.closed() => {}
        _ = is_cut.changed() => {}
    }
}

/// Counts as a connection of its worker until it is dropped.
struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> (Worker, mpsc::UnboundedReceiver<Accepted>) {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let connections = Arc::default();
        (Worker { sockets, connections, done: oneshot::channel().1 }, incoming)
    }

    fn accepted(number: u64) -> Accepted {
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
            give(&workers, accepted(number)).unwrap();
            assert!(at_alive.try_recv().is_ok(), "it went to the one that has ended");
        }
        assert_eq!(workers[0].connections.load(Relaxed), 0);
        drop(at_alive);
        let error = give(&workers, accepted(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }
}
