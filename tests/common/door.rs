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
        Arc::new(Self { addr, behind, listening: Mutex::default(), passed: Arc::default() })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many connections have come through.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Relaxed)
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
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((mut client, _)) = listener.accept().await else { continue };
                passed.fetch_add(1, Relaxed);
                connections.spawn(async move {
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
