//! Over HTTP/2, a client may read nothing of one response while it reads others. Its stream is
//! reset after `--send-timeout`. Over HTTP/1.1, the socket itself shows that the client reads
//! nothing.
//!
//! hyper 1.12 waits for the window of a stream without polling the body, so a body cannot end its
//! stream. But each stream is a future that hyper gives to its executor, and dropping that future
//! resets the stream with CANCEL and drops the body. So this module provides the executor: it
//! learns from the body whether a stream waits for its client or for data.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::Executor;
use pin_project::pin_project;
use tokio::task_local;

use crate::lazy_timer::LazyTimer;

/// Runs the streams of HTTP/2 connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    /// Longest time for which a client may read nothing; `None` for no limit.
    pub(crate) send_timeout: Option<Duration>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        match self.send_timeout {
            None => drop(tokio::spawn(stream)),
            Some(limit) => drop(tokio::spawn(Stream {
                stream,
                stalls: Stalls::default(),
                limit,
                polls_seen: 0,
                timer: LazyTimer::default(),
            })),
        }
    }
}

task_local! {
    static STALLS: Stalls;
}

/// The state that the body of a response shares with its stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls(Arc<StallsShared>);

#[derive(Debug, Default)]
struct StallsShared {
    /// Whether hyper has a piece of the body, and has not polled for another one since.
    has_piece: AtomicBool,
    /// Number of polls by hyper.
    polls: AtomicUsize,
}

impl Stalls {
    /// The state of the current stream. It must be called within the stream's future, and is `None`
    /// outside, and for streams without a time limit.
    pub(crate) fn of_this_stream() -> Option<Self> {
        STALLS.try_with(Self::clone).ok()
    }

    /// hyper has polled the body, and gets a piece or not.
    pub(crate) fn polled(&self, a_piece: bool) {
        self.0.has_piece.store(a_piece, Relaxed);
        self.0.polls.fetch_add(1, Relaxed);
    }
}

#[pin_project]
struct Stream<F> {
    #[pin]
    stream: F,
    stalls: Stalls,
    limit: Duration,
    /// The number of polls by hyper when this future was last polled.
    polls_seen: usize,
    /// Runs while the stream waits for its client.
    timer: LazyTimer,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if STALLS.sync_scope(this.stalls.clone(), || this.stream.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let stalls = &this.stalls.0;
        if !stalls.has_piece.load(Relaxed) {
            this.timer.clear();
            return Poll::Pending;
        }
        let polls = stalls.polls.load(Relaxed);
        if std::mem::replace(this.polls_seen, polls) != polls {
            this.timer.clear();
        }
        ready!(this.timer.poll_over(cx, *this.limit));
        tracing::info!("stream reset: the client read nothing of its response for --send-timeout");
        Poll::Ready(())
    }
}
