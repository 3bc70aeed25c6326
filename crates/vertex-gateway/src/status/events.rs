//! Server-sent events for a page: the whole state first, and then what changes, once a second.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::channel::{Channel, Sender};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};

use super::{
    Status,
    snapshot::{Part, Snapshot},
};

/// Largest number of streams: half of the connections of the admin listener. The others are for probes.
pub(super) const STREAMS: usize = 8;
/// Time in which a page that does not read loses its stream.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last events when the process ends.
pub(super) const ENDING: Duration = Duration::from_millis(500);

/// The body of a stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    events: Channel<Bytes, Infallible>,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.events).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.events.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.events.size_hint()
    }
}

impl Status {
    /// Opens a stream; `None` if as many as possible are open.
    pub(super) fn open_stream(self: &Arc<Self>) -> Option<EventStream> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok()?;
        // From now on, the state is sampled once a second.
        self.opened.notify_one();
        let (latest, ended) = (self.latest.subscribe(), self.ended.subscribe());
        let first = event("whole", &self.snapshot(Part::Whole));
        let (sender, events) = Channel::new(1);
        tokio::spawn(send_events(sender, first, latest, ended));
        Some(EventStream { events, _permit: permit })
    }
}

async fn send_events(
    mut sender: Sender<Bytes, Infallible>,
    first: Bytes,
    mut latest: watch::Receiver<Bytes>,
    mut ended: watch::Receiver<bool>,
) {
    let mut next = first;
    // A page that has gone, or does not read, gets no further event.
    while let Ok(Ok(())) = timeout(SEND_TIMEOUT, sender.send_data(next)).await {
        let is_over = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => true,
            changed = latest.changed() => changed.is_err(),
        };
        if is_over {
            let _ = sender.send_data(Bytes::from_static(b"event: end\ndata: {}\n\n")).await;
            return;
        }
        next = latest.borrow_and_update().clone();
    }
}

/// An event with this name.
pub(super) fn event(name: &str, snapshot: &Snapshot) -> Bytes {
    // A snapshot has only keys that are text.
    let data = serde_json::to_string(snapshot).unwrap_or_default();
    // The browser connects again after a second.
    format!("event: {name}\nretry: 1000\ndata: {data}\n\n").into()
}
