//! The framing of HTTP/1.1: the gateway's strict reading in comparison with hyper's.
//!
//! hyper reads the same bytes twice: as they came, and through the connection that refuses ambiguous
//! framing. In both cases each request that hyper completes must be the one of the strict reading, with the
//! same body. hyper may read fewer of them, because it refuses or closes for other reasons.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Builder, Runtime},
};
use vertex_gateway::fuzzing::{Framing, Part, strict_io};

use crate::input::Input;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

/// A request: its body, and whether it is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    body: Vec<u8>,
    is_complete: bool,
}

/// Controls: the pieces. Text: the bytes of a connection.
pub fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else { return };
    let Some(strict) = strictly(input.text) else {
        // HTTP/2 has frames. hyper must read it as HTTP/2, too.
        let read = hyper(Pieces::of(&[input.text]), true);
        assert!(read.is_empty(), "hyper reads a request of HTTP/1.1 in what counts as HTTP/2");
        return;
    };
    let pieces = input.pieces();
    for (read, how) in [
        (hyper(Pieces::of(&[input.text]), false), "as it came"),
        (hyper(Pieces::of(&pieces), false), "in pieces"),
        (hyper(Pieces::of(&[input.text]), true), "through the strict connection"),
        (hyper(Pieces::of(&pieces), true), "through the strict connection, in pieces"),
    ] {
        compare(&strict, &read, how);
    }
}

/// The requests of the strict reading, up to the first line that it refuses. `None` for HTTP/2.
struct Strict {
    messages: Vec<Message>,
    is_refused: bool,
}

fn strictly(text: &[u8]) -> Option<Strict> {
    let mut framing = Framing::default();
    let mut messages: Vec<Message> = Vec::new();
    for byte in text {
        let heads = messages.len();
        match framing.follow(*byte) {
            Ok(Part::Http2) => return None,
            Ok(Part::Body) => {
                messages.last_mut().expect("a body has a request head").body.push(*byte)
            }
            Ok(Part::Other) => {}
            Err(_) => return Some(Strict { messages, is_refused: true }),
        }
        let new = usize::try_from(framing.heads()).unwrap_or_default() - heads;
        messages.extend(std::iter::repeat_with(Message::default).take(new));
        if framing.is_between_requests()
            && let Some(last) = messages.last_mut()
        {
            last.is_complete = true;
        }
    }
    Some(Strict { messages, is_refused: false })
}

fn compare(strict: &Strict, read: &[Message], how: &str) {
    let sees_all = !how.starts_with("through");
    for (at, message) in read.iter().enumerate() {
        let expected = strict.messages.get(at);
        if strict.is_refused && sees_all && expected.is_none_or(|message| !message.is_complete) {
            // This is what the strict connection refuses, so hyper's reading of it does not count.
            return;
        }
        let why = match expected {
            None => "another request",
            Some(expected) if message.is_complete && !expected.is_complete => "an earlier end",
            Some(expected) if !expected.body.starts_with(&message.body) => "another body",
            Some(expected) if message.is_complete && message.body != expected.body => "a part",
            Some(_) => continue,
        };
        panic!("hyper reads {why} {how}: strictly {:?}, hyper {read:?}", strict.messages);
    }
}

/// The requests that hyper reads from these bytes, as the gateway configures it.
fn hyper(io: Pieces, strictly: bool) -> Vec<Message> {
    let messages: Arc<Mutex<Vec<Message>>> = Arc::default();
    let read = Arc::clone(&messages);
    let service = service_fn(move |request: Request<Incoming>| {
        let read = Arc::clone(&read);
        async move {
            let at = {
                let mut read = read.lock().unwrap();
                read.push(Message::default());
                read.len() - 1
            };
            let mut body = request.into_body();
            loop {
                let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
                let mut read = read.lock().unwrap();
                match frame {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            read[at].body.extend_from_slice(&data);
                        }
                    }
                    Some(Err(_)) => break,
                    None => {
                        read[at].is_complete = true;
                        break;
                    }
                }
            }
            Ok::<_, Infallible>(Response::new(Answer))
        }
    });
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().max_buf_size(64 << 10);
            let served = if strictly {
                let io = TokioIo::new(strict_io(io));
                builder.serve_connection(io, service).await
            } else {
                builder.serve_connection(TokioIo::new(io), service).await
            };
            drop(served);
        });
    });
    std::mem::take(&mut messages.lock().unwrap())
}

/// An empty response.
struct Answer;

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// A connection whose client sends these pieces and then closes its side, and takes every response.
struct Pieces(std::collections::VecDeque<Vec<u8>>);

impl Pieces {
    fn of(pieces: &[&[u8]]) -> Self {
        Self(pieces.iter().map(|piece| piece.to_vec()).collect())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.front_mut() {
            let length = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece[..length]);
            piece.drain(..length);
            if piece.is_empty() {
                self.0.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
