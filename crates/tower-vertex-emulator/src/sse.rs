//! Streamed responses: they are paced, counted, and closed early by a fault. Most are server-sent
//! events.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::Value;
use tokio::time::{Instant, Sleep};

use super::{
    settings::StreamBehavior,
    state::{Live, Shared},
};

/// The pause between the last chunk and a reset. A reset discards data that is still queued.
const CUT_GRACE: Duration = Duration::from_millis(20);

/// The event with this name and this data.
pub(crate) fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// The events of one response, created as they are sent.
pub(crate) struct Script {
    /// The number of chunks, without the end mark.
    pub(crate) chunks: usize,
    pub(crate) chunk: Box<dyn FnMut(usize) -> Bytes + Send>,
    /// The end mark after the last chunk, such as `data: [DONE]`.
    pub(crate) end: Option<Bytes>,
}

/// The body of a streamed response. It counts as aborted if it is dropped before its end.
pub(crate) struct EventStream {
    script: Script,
    sent: usize,
    chunk_delay: Duration,
    cut_after: Option<usize>,
    timer: Option<Pin<Box<Sleep>>>,
    completed: bool,
    shared: Arc<Shared>,
    live: Arc<Live>,
}

impl EventStream {
    pub(crate) fn new(
        script: Script,
        behavior: &StreamBehavior,
        shared: Arc<Shared>,
        live: Arc<Live>,
    ) -> Self {
        shared.count(|stats| stats.streams.open += 1);
        Self {
            script,
            sent: 0,
            chunk_delay: behavior.chunk_delay,
            cut_after: behavior.cut_after,
            timer: None,
            completed: false,
            shared,
            live,
        }
    }

    fn pause(&mut self, cx: &mut Context<'_>, delay: Duration) -> Poll<()> {
        if delay.is_zero() {
            return Poll::Ready(());
        }
        // A delay beyond the range of the clock is treated as one year.
        let until = Instant::now().checked_add(delay).unwrap_or_else(far_future);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(())
    }
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 3600)
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.completed {
            return Poll::Ready(None);
        }
        if this.cut_after.is_some_and(|most| this.sent >= most) {
            ready!(this.pause(cx, CUT_GRACE));
            return Poll::Ready(Some(Err(io::Error::other("cut by a fault"))));
        }
        if this.sent < this.script.chunks {
            if this.sent > 0 {
                ready!(this.pause(cx, this.chunk_delay));
            }
            let chunk = (this.script.chunk)(this.sent);
            this.sent += 1;
            this.live.chunks_sent.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(end) = this.script.end.take() {
            return Poll::Ready(Some(Ok(Frame::data(end))));
        }
        this.completed = true;
        Poll::Ready(None)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let completed = self.completed;
        self.shared.count(|stats| {
            stats.streams.open -= 1;
            if completed {
                stats.streams.completed += 1;
            } else {
                stats.streams.aborted += 1;
            }
        });
    }
}
