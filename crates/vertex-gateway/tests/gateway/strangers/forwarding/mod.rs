//! The parts of a request that go to Vertex AI, and the parts of its response that go to the
//! client.

mod headers;
mod paths;
mod responses;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tower_vertex_emulator::{Emulator, EndpointInfo};

use super::{Files, Gateway, openai_error};
use crate::common::{Http, chat, chat_stream, in_time, text};

const OPENAPI: &str = "/v1/projects/p1/locations/us-central1/endpoints/openapi";

/// A server that sends the same response to each request, and records the requests.
struct Upstream {
    addr: SocketAddr,
    came: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    async fn answering(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, came) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let (answer, written) = (answer.to_owned(), Arc::clone(&came));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                while !is_whole(&read) && socket.read_buf(&mut read).await.unwrap_or(0) > 0 {}
                written.lock().unwrap().push(String::from_utf8_lossy(&read).into_owned());
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { addr, came }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The only request that arrived.
    fn only(&self) -> String {
        let mut came = std::mem::take(&mut *self.came.lock().unwrap());
        assert_eq!(came.len(), 1, "{came:?}");
        came.remove(0)
    }
}

fn is_whole(read: &[u8]) -> bool {
    let read = String::from_utf8_lossy(read).to_lowercase();
    let Some((head, body)) = read.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
