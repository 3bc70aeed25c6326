//! A network in memory: connections with latency, buffers of limited size, and faults.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use crate::server::{connection::Stream, worker::Socket};

/// A connection makes at most so many calls. More are a loop that makes no progress.
const MOST_CALLS: u32 = 200_000;

/// The properties of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) latency: Duration,
    /// The bytes of one direction that are sent and not read.
    pub(super) capacity: usize,
    /// The most bytes that one call reads.
    pub(super) piece: usize,
    /// Whether a reset destroys what has arrived and was not read.
    pub(super) reset_destroys: bool,
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    /// Each with the time of its arrival.
    chunks: VecDeque<(Instant, Bytes)>,
    held: usize,
    /// Time at which the end arrives after the chunks.
    end: Option<Instant>,
    is_reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Shared {
    link: Link,
    pipes: [Pipe; 2],
    /// The error that each side gets.
    errors: [Option<ErrorKind>; 2],
    /// Nothing arrives before this time.
    stalled_until: Option<Instant>,
    calls: u32,
    was_disturbed: bool,
}

/// Both ends of a connection, for faults.
#[derive(Clone)]
pub(super) struct Connection(Arc<Mutex<Shared>>);

/// One end of a connection.
pub(super) struct SimSocket {
    connection: Connection,
    side: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// The time in which the peer has to make room for a byte.
    patience: Option<Duration>,
    /// Runs while it makes none.
    blocked: Option<Pin<Box<Sleep>>>,
}

/// Makes a connection.
pub(super) fn connect(link: Link) -> (SimSocket, SimSocket) {
    let connection = Connection(Arc::new(Mutex::new(Shared {
        link,
        pipes: [Pipe::default(), Pipe::default()],
        errors: [None; 2],
        stalled_until: None,
        calls: 0,
        was_disturbed: false,
    })));
    let end = |side| SimSocket {
        connection: connection.clone(),
        side,
        timer: None,
        patience: None,
        blocked: None,
    };
    (end(0), end(1))
}

impl Connection {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap()
    }

    /// Ends the connection for both sides at once.
    pub(super) fn fail(&self, error: ErrorKind) {
        let mut shared = self.lock();
        shared.was_disturbed = true;
        for side in 0..2 {
            shared.fail(side, error);
        }
    }

    /// Delivers nothing for a while, in either direction, and then everything.
    pub(super) fn stall(&self, time: Duration) {
        let mut shared = self.lock();
        shared.was_disturbed = true;
        shared.stalled_until = Some(Instant::now() + time);
        shared.wake();
    }

    /// Whether there was a fault.
    pub(super) fn was_disturbed(&self) -> bool {
        self.lock().was_disturbed
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.lock().stalled_until.is_some_and(|until| Instant::now() < until)
    }

    /// Ends a stall.
    pub(super) fn heal(&self) {
        let mut shared = self.lock();
        shared.stalled_until = None;
        shared.wake();
    }

    /// Whether an end of it was dropped.
    pub(super) fn is_over(&self) -> bool {
        let shared = self.lock();
        shared.pipes.iter().any(|pipe| pipe.is_reader_gone) || shared.errors[0].is_some()
    }
}

impl Shared {
    fn fail(&mut self, side: usize, error: ErrorKind) {
        self.errors[side].get_or_insert(error);
        if self.link.reset_destroys {
            self.pipes[1 - side].chunks.clear();
            self.pipes[1 - side].held = 0;
        }
        self.wake();
    }

    fn wake(&mut self) {
        for pipe in &mut self.pipes {
            pipe.reader.take().into_iter().chain(pipe.writer.take()).for_each(Waker::wake);
        }
    }

    fn counts(&mut self) {
        self.calls += 1;
        assert!(self.calls < MOST_CALLS, "a connection is in a loop that makes no progress");
    }
}

impl SimSocket {
    pub(super) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Gives the connection up if the peer takes nothing for this time, as with `TCP_USER_TIMEOUT`.
    pub(super) fn gives_up_after(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Ends the connection by a reset.
    pub(super) fn reset(self) {
        self.connection.fail(ErrorKind::ConnectionReset);
    }

    /// Leaves without a word, as a machine that loses its network.
    pub(super) fn vanish(self) -> Vanished {
        self.connection.stall(Duration::from_secs(1_000_000));
        Vanished(self)
    }
}

/// The end of a connection whose machine is gone.
pub(super) struct Vanished(
    #[expect(dead_code, reason = "its drop would end the connection")] SimSocket,
);

impl AsyncRead for SimSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut shared = this.connection.lock();
        shared.counts();
        let now = Instant::now();
        let stalled = shared.stalled_until.filter(|until| now < *until);
        let (error, piece) = (shared.errors[this.side], shared.link.piece);
        let pipe = &mut shared.pipes[1 - this.side];
        let mut wait = stalled;
        if let Some((arrives, chunk)) = pipe.chunks.front_mut() {
            if *arrives <= now && stalled.is_none() {
                let length = chunk.len().min(buf.remaining()).min(piece);
                buf.put_slice(&chunk[..length]);
                chunk.advance(length);
                pipe.held -= length;
                if chunk.is_empty() {
                    pipe.chunks.pop_front();
                }
                pipe.writer.take().into_iter().for_each(Waker::wake);
                return Poll::Ready(Ok(()));
            }
            wait = wait.max(Some(*arrives));
        } else if let Some(error) = error {
            return Poll::Ready(Err(error.into()));
        } else if let Some(end) = pipe.end {
            if end <= now && stalled.is_none() {
                return Poll::Ready(Ok(()));
            }
            wait = wait.max(Some(end));
        }
        if let Some(error) = error.filter(|_| stalled.is_some()) {
            return Poll::Ready(Err(error.into()));
        }
        pipe.reader = Some(cx.waker().clone());
        drop(shared);
        if let Some(until) = wait {
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.deadline() != until {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_ready() {
                // The wheel's ticks are a millisecond, so the timer may be early.
                timer.as_mut().reset(until + Duration::from_millis(1));
                let _ = timer.as_mut().poll(cx);
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for SimSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut shared = this.connection.lock();
        shared.counts();
        if let Some(error) = shared.errors[this.side] {
            let broken = error == ErrorKind::ConnectionReset;
            return Poll::Ready(Err(if broken { ErrorKind::BrokenPipe } else { error }.into()));
        }
        let Link { latency, capacity, .. } = shared.link;
        let pipe = &mut shared.pipes[this.side];
        if pipe.end.is_some() {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if pipe.is_reader_gone {
            // The peer resets the connection when the bytes arrive.
            shared.fail(this.side, ErrorKind::ConnectionReset);
            return Poll::Ready(Ok(bytes.len()));
        }
        let room = capacity.saturating_sub(pipe.held);
        if room == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            if let Some(patience) = this.patience {
                let since = this.blocked.get_or_insert_with(|| Box::pin(sleep(patience)));
                if since.as_mut().poll(cx).is_ready() {
                    shared.fail(this.side, ErrorKind::TimedOut);
                    shared.fail(1 - this.side, ErrorKind::ConnectionReset);
                    shared.was_disturbed = true;
                    return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                }
            }
            return Poll::Pending;
        }
        this.blocked = None;
        let length = bytes.len().min(room);
        pipe.held += length;
        pipe.chunks.push_back((Instant::now() + latency, Bytes::copy_from_slice(&bytes[..length])));
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.connection.lock();
        let end = Instant::now() + shared.link.latency;
        let pipe = &mut shared.pipes[self.side];
        pipe.end.get_or_insert(end);
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut shared = self.connection.lock();
        let end = Instant::now() + shared.link.latency;
        let unread = !shared.pipes[1 - self.side].chunks.is_empty();
        let incoming = &mut shared.pipes[1 - self.side];
        incoming.is_reader_gone = true;
        incoming.chunks.clear();
        incoming.held = 0;
        shared.pipes[self.side].end.get_or_insert(end);
        if unread {
            // A socket that is closed with unread bytes resets its connection.
            shared.fail(1 - self.side, ErrorKind::ConnectionReset);
        }
        shared.wake();
    }
}

impl Stream for SimSocket {
    fn peer_address(&self) -> Option<SocketAddr> {
        None
    }

    fn peek(&self, _first: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        std::future::ready(Ok(0))
    }
}

impl Socket for SimSocket {
    type Stream = Self;

    fn into_stream(self) -> io::Result<Self> {
        Ok(self)
    }
}
