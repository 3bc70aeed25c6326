//! The clients. Each has one connection, and sends the next request when it has the whole response.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Builder, task::JoinSet};
use tower::BoxError;

use crate::exchange::Question;

/// The measurements of the clients.
#[derive(Debug)]
pub struct Load {
    pub elapsed: Duration,
    /// The duration of each request, the shortest first.
    pub took: Vec<Duration>,
}

impl Load {
    pub fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The quantile in seconds; half of all requests took less than `quantile(0.5)`.
    pub fn quantile(&self, of: f64) -> f64 {
        let last = self.took.len() - 1;
        self.took[(last as f64 * of).round() as usize].as_secs_f64()
    }
}

/// Runs this number of clients concurrently, for this duration, with one runtime for each
/// processor.
pub fn many(addr: SocketAddr, clients: usize, duration: Duration) -> Result<Load, BoxError> {
    let threads = thread::available_parallelism()?.get().min(clients);
    let question = Question::new(false)?;
    let began = Instant::now();
    let some = |number: usize| {
        let clients = clients / threads + usize::from(number < clients % threads);
        let question = question.clone();
        move || -> Result<Vec<Duration>, BoxError> {
            Builder::new_current_thread().enable_all().build()?.block_on(async {
                let mut all = JoinSet::new();
                for _ in 0..clients {
                    all.spawn(client(addr, question.clone(), began + duration));
                }
                let mut took = Vec::new();
                while let Some(client) = all.join_next().await {
                    took.extend(client??);
                }
                Ok(took)
            })
        }
    };
    let threads: Vec<_> = (0..threads).map(|number| thread::spawn(some(number))).collect();
    let mut took = Vec::new();
    for thread in threads {
        took.extend(thread.join().map_err(|_| "a client panicked")??);
    }
    let elapsed = began.elapsed();
    took.sort_unstable();
    Ok(Load { elapsed, took })
}

async fn client(
    addr: SocketAddr,
    question: Question,
    until: Instant,
) -> Result<Vec<Duration>, BoxError> {
    let mut connection = connect(addr).await?;
    let mut took = Vec::new();
    // Each client sends at least one request, regardless of the duration.
    let mut began = Instant::now();
    loop {
        question.ask(&mut connection).await?;
        let now = Instant::now();
        took.push(now - began);
        began = now;
        if now > until {
            return Ok(took);
        }
    }
}

/// One client that requests this number of streams. Returns the times to their first bytes, the
/// shortest first.
pub fn streams(addr: SocketAddr, number: usize) -> Result<Load, BoxError> {
    let question = Question::new(true)?;
    let began = Instant::now();
    let mut took = Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = connect(addr).await?;
        let mut took = Vec::with_capacity(number);
        for _ in 0..number {
            took.push(question.ask(&mut connection).await?);
        }
        Ok::<_, BoxError>(took)
    })?;
    took.sort_unstable();
    Ok(Load { elapsed: began.elapsed(), took })
}

async fn connect(addr: SocketAddr) -> Result<SendRequest<Full<Bytes>>, BoxError> {
    let socket = TcpStream::connect(addr).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    tokio::spawn(async move {
        // The sender of a request on this connection gets the error.
        let _: Result<(), hyper::Error> = connection.await;
    });
    Ok(sender)
}

/// Waits until a server listens at this address.
pub fn wait_for(addr: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match std::net::TcpStream::connect(addr) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
