//! A metadata server during its start, in front of the emulator's.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The reply to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Close,
    Hang,
    /// A response with this status, and without the header of a metadata server.
    Status(u16),
    /// A response with this body, also without the header of a metadata server.
    #[allow(dead_code)] // Only one test binary uses it.
    Stranger(&'static str),
    /// The emulator's response.
    Good,
}

/// Serves `listener`. `reply` gets the number of the request, from 0, and its path.
pub(crate) async fn serve(
    listener: TcpListener,
    behind: SocketAddr,
    reply: impl Fn(usize, &str) -> Reply,
) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.unwrap_or(0) > 0 {}
        let text = String::from_utf8_lossy(&head);
        let path = text.split(' ').nth(1).unwrap_or_default();
        match reply(number, path) {
            Reply::Close => {}
            Reply::Hang => drop(connections.spawn(async move {
                let _socket = socket;
                std::future::pending::<()>().await;
            })),
            Reply::Status(status) => {
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
            Reply::Stranger(body) => {
                let length = body.len();
                let answer = format!("HTTP/1.1 200 x\r\ncontent-length: {length}\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
            Reply::Good => drop(connections.spawn(async move {
                let mut server = TcpStream::connect(behind).await.unwrap();
                server.write_all(&head).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut server).await;
            })),
        }
    }
}
