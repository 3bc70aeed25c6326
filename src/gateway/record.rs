//! One request, from its arrival to the last byte of its answer: what is told of it at its end.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{
    clients::Client,
    limits::Permits,
    sight::Sight,
    usage::{Scanner, Usage},
};

/// As much of a path as is kept: one may have 64 KiB.
const LONGEST_PATH: usize = 200;

/// What is known of a request. Told to [`Sight`] when it is dropped, which is when the last byte of
/// its answer was taken, or nobody waits for it any more.
pub(super) struct Record {
    /// The request's `x-request-id`, or one that was made here.
    pub(super) id: HeaderValue,
    pub(super) method: Method,
    /// Without its query, which may carry a key.
    pub(super) path: String,
    /// Who asked; `None` where nobody has to say.
    pub(super) client: Option<Arc<Client>>,
    /// Where it went.
    pub(super) routed: Arc<Routed>,
    /// `None` if the client left before there was an answer.
    pub(super) status: Option<StatusCode>,
    pub(super) arrived: Instant,
    /// From its arrival to the first byte of the answer's body.
    pub(super) first_byte: Option<Duration>,
    /// Bytes of the answer's body.
    pub(super) sent: u64,
    /// How the answer ended.
    pub(super) end: End,
    pub(super) usage: Option<Usage>,
    sight: Arc<Sight>,
}

/// What becomes known on the way to Vertex AI.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// Given back with the record: an answer under way counts.
    pub(super) permits: OnceLock<Permits>,
    /// As the client wrote it.
    pub(super) model: OnceLock<Arc<str>>,
    /// Of the attempt that was answered.
    pub(super) location: OnceLock<String>,
    /// How Vertex AI broke off, if it did.
    pub(super) broken: OnceLock<End>,
    /// How often the request was sent to Vertex AI, replays after a 401 not counted.
    pub(super) attempts: OnceLock<u32>,
}

/// How an answer ended, as far as its body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With its last byte.
    Whole,
    /// The client did not wait for it.
    ClientLeft,
    /// Vertex AI, or the way there, broke off.
    Broken,
    /// Vertex AI was silent for too long.
    Idle,
}

impl Record {
    pub(super) fn new(id: HeaderValue, method: Method, path: &str, sight: Arc<Sight>) -> Self {
        sight.arrived();
        Self {
            id,
            method,
            path: path.chars().take(LONGEST_PATH).collect(),
            client: None,
            routed: Arc::default(),
            status: None,
            arrived: Instant::now(),
            first_byte: None,
            sent: 0,
            end: End::ClientLeft,
            usage: None,
            sight,
        }
    }

    fn ended_well(&mut self, scanner: &Scanner) {
        self.end = End::Whole;
        self.usage = scanner.usage();
    }
}

/// The body of an answer on its way to the client.
#[pin_project]
pub(super) struct RecordedBody<B> {
    #[pin]
    body: B,
    record: Record,
    scanner: Scanner,
}

impl<B> RecordedBody<B> {
    pub(super) fn new(body: B, record: Record) -> Self {
        Self { body, record, scanner: Scanner::default() }
    }
}

impl<B: Body<Data = Bytes>> Body for RecordedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let record = this.record;
        let Some(frame) = ready!(this.body.as_mut().poll_frame(cx)).transpose()? else {
            record.ended_well(this.scanner);
            return Poll::Ready(None);
        };
        if let Some(data) = frame.data_ref() {
            record.first_byte.get_or_insert_with(|| record.arrived.elapsed());
            record.sent += data.len() as u64;
            this.scanner.read(data);
        }
        // Not every client asks once more at the end.
        if this.body.is_end_stream() {
            record.ended_well(this.scanner);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(broken) = self.routed.broken.get() {
            self.end = *broken;
        }
        self.sight.ended(self);
    }
}
