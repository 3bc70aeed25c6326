//! A proxy in front of the emulator that records the heads of requests.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

/// The request head, as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Head(String);

impl Head {
    /// The values of all headers with this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let headers = self.0.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

pub(crate) struct Upstream {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Head>>>,
}

impl Upstream {
    pub(crate) async fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::default();
        let sink = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let sink = Arc::clone(&sink);
                tokio::spawn(async move {
                    let (from, mut back) = client.into_split();
                    let (mut answers, to) = TcpStream::connect(behind).await.unwrap().into_split();
                    let forward = forward(from, to, sink);
                    tokio::spawn(async move {
                        let _ = copy(&mut answers, &mut back).await;
                    });
                    forward.await;
                });
            }
        });
        Self { addr, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The request heads since the last call.
    pub(crate) fn take(&self) -> Vec<Head> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: Arc<Mutex<Vec<Head>>>) {
    let (mut text, mut chunk) = (String::new(), vec![0; 64 << 10]);
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        // Bodies in these tests contain no such line, and no two requests arrive in one piece.
        text += &String::from_utf8_lossy(&chunk[..length]);
        if let Some(end) = text.find("\r\n\r\n") {
            if text.starts_with("POST ") || text.starts_with("GET ") {
                seen.lock().unwrap().push(Head(text[..end].to_owned()));
            }
            text.clear();
        } else if !text.starts_with("POST ") && !text.starts_with("GET ") {
            text.clear();
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
