//! A TCP door between a client and a server, which can be shut.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

pub(crate) struct Door {
    addr: SocketAddr,
    behind: SocketAddr,
    listening: Mutex<Option<AbortHandle>>,
    passed: Arc<AtomicUsize>,
    connected: Arc<AtomicUsize>,
}

/// A connection that is there.
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
    /// Shut. `addr` may have the port 0.
    pub(crate) async fn new(addr: SocketAddr, behind: SocketAddr) -> Arc<Self> {
        let addr = TcpListener::bind(addr).await.unwrap().local_addr().unwrap();
        Arc::new(Self {
            addr,
            behind,
            listening: Mutex::default(),
            passed: Arc::default(),
            connected: Arc::default(),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many connections have come through.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Relaxed)
    }

    /// How many there are.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Relaxed)
    }

    pub(crate) async fn open(&self) {
        self.listen(Mode::Open).await;
    }

    /// Connections are accepted, and then nothing happens.
    pub(crate) async fn silence(&self) {
        self.listen(Mode::Silent).await;
    }

    /// Connections are refused, and those that are there are cut.
    pub(crate) fn shut(&self) {
        if let Some(listening) = self.listening.lock().unwrap().take() {
            listening.abort();
        }
    }

    async fn listen(&self, mode: Mode) {
        self.shut();
        // The port is free as soon as the aborted task has been dropped.
        let listener = loop {
            match TcpListener::bind(self.addr).await {
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
