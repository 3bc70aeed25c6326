//! Over HTTP/2 a client may take nothing of one response and go on with others: its stream is reset
//! after `--send-timeout`. Over HTTP/1.1 the socket itself tells that it takes nothing.
//!
//! hyper 1.12 waits for the window of a stream without asking the body, so that a body cannot end the
//! stream. But each stream is a future that hyper gives to its executor, and dropping that future
//! resets the stream with CANCEL and drops the body. So the executor is ours: it knows from the body
//! whether a stream waits for its client or for what is to be sent.

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
    /// How long a client may take nothing; `None` for ever.
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
                handed_over: 0,
                timer: LazyTimer::default(),
            })),
        }
    }
}

task_local! {
    static STALLS: Stalls;
}

/// What the body of a response tells the stream that sends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls(Arc<StallsShared>);

#[derive(Debug, Default)]
struct StallsShared {
    /// Whether hyper has a piece, and has not asked for another since.
    has_piece: AtomicBool,
    /// How often it has asked.
    asked: AtomicUsize,
}

impl Stalls {
    /// To be called within the stream's future; `None` outside, and where nothing is watched.
    pub(crate) fn of_this_stream() -> Option<Self> {
        STALLS.try_with(Self::clone).ok()
    }

    /// hyper has asked for a piece, and gets one or not.
    pub(crate) fn handed_over(&self, a_piece: bool) {
        self.0.has_piece.store(a_piece, Relaxed);
        self.0.asked.fetch_add(1, Relaxed);
    }
}

#[pin_project]
struct Stream<F> {
    #[pin]
    stream: F,
    stalls: Stalls,
    limit: Duration,
    /// How often hyper had asked when this was polled last.
    handed_over: usize,
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
        let asked = stalls.asked.load(Relaxed);
        if std::mem::replace(this.handed_over, asked) != asked {
            this.timer.clear();
        }
        ready!(this.timer.poll_over(cx, *this.limit));
        tracing::info!("stream reset: the client read nothing of its response for --send-timeout");
        Poll::Ready(())
    }
}
