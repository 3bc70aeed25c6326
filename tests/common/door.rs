//! A TCP proxy between a client and a server. It can be open, silent or shut.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    task::{AbortHandle, JoinSet},
};

pub(crate) struct Door {
    addr: SocketAddr,
    /// This socket is bound but never listens. It reserves the port while the proxy is shut.
    _reserved: TcpSocket,
    behind: SocketAddr,
    listening: Mutex<Option<AbortHandle>>,
    passed: Arc<AtomicUsize>,
    connected: Arc<AtomicUsize>,
}

/// Counts an open connection.
struct Connected(Arc<AtomicUsize>);

impl Connected {
    fn one_more(connected: &Arc<AtomicUsize>) -> Self {
        connected.fetch_add(1, Relaxed);
        Self(Arc::clone(connected))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Silent,
}

impl Door {
    /// Creates a proxy that is shut. `addr` may have the port 0.
    pub(crate) async fn new(addr: SocketAddr, behind: SocketAddr) -> Arc<Self> {
        let reserved = bound(addr).unwrap();
        let addr = reserved.local_addr().unwrap();
        Arc::new(Self {
            addr,
            _reserved: reserved,
            behind,
            listening: Mutex::default(),
            passed: Arc::default(),
            connected: Arc::default(),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The number of connections that were accepted.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Relaxed)
    }

    /// The number of connections that are open.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Relaxed)
    }

    pub(crate) async fn open(&self) {
        self.listen(Mode::Open).await;
    }

    /// Accepts connections, but forwards no data.
    pub(crate) async fn silence(&self) {
        self.listen(Mode::Silent).await;
    }

    /// Refuses connections, and closes those that are open.
    pub(crate) fn shut(&self) {
        if let Some(listening) = self.listening.lock().unwrap().take() {
            listening.abort();
        }
    }

    async fn listen(&self, mode: Mode) {
        self.shut();
        // Two sockets cannot listen at the same time, so the aborted task has to be dropped first.
        let listener = loop {
            match listener(self.addr) {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let (behind, passed) = (self.behind, Arc::clone(&self.passed));
        let connected = Arc::clone(&self.connected);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((mut client, _)) = listener.accept().await else { continue };
                passed.fetch_add(1, Relaxed);
                let connected = Connected::one_more(&connected);
                connections.spawn(async move {
                    let _connected = connected;
                    if mode == Mode::Silent {
                        std::future::pending::<()>().await;
                    }
                    let Ok(mut server) = TcpStream::connect(behind).await else { return };
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        *self.listening.lock().unwrap() = Some(task.abort_handle());
    }
}

/// An address that refuses connections. Its port stays reserved while this value lives.
pub(crate) struct ClosedPort {
    addr: SocketAddr,
    _reserved: TcpSocket,
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let reserved = bound((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { addr: reserved.local_addr().unwrap(), _reserved: reserved }
    }
}

impl fmt::Display for ClosedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)
    }
}

/// A bound socket. Several sockets may be bound to one address while none of them listens.
fn bound(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

fn listener(addr: SocketAddr) -> io::Result<TcpListener> {
    bound(addr)?.listen(1024)
}
