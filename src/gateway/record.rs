//! One request, from its arrival to the last byte of its answer: what is told of it at its end.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{
    clients::Client,
    limits::Permits,
    log::clip,
    operation::operation,
    reason::ErrorText,
    refusal::Refusal,
    sight::Sight,
    trace::Trace,
    usage::{Scanner, Usage},
};
use crate::{
    retry::{Attempt, Attempts},
    route::Upstream,
};

/// What is known of a request. Told to [`Sight`] when it is dropped, which is when the last byte of
/// its answer was taken, or nobody waits for it any more.
pub(crate) struct Record {
    /// The request's `x-request-id`, or one that was made here.
    pub(crate) id: HeaderValue,
    pub(crate) method: Method,
    /// The beginning of its path, in memory of its own: the request's URI keeps the whole head alive.
    pub(crate) path: Box<str>,
    /// What a model was asked to do.
    pub(crate) operation: Option<&'static str>,
    /// Who asked, and where it went.
    pub(crate) routed: Arc<Routed>,
    /// `None` if the client left before there was an answer.
    pub(crate) status: Option<StatusCode>,
    pub(crate) arrived: Instant,
    /// From its arrival to the first byte of the answer's body.
    pub(crate) first_byte: Option<Duration>,
    /// The code of the error that was answered here.
    pub(crate) refused: Option<&'static str>,
    /// Why it was answered with an error: the gateway's own sentence, or Vertex AI's.
    pub(crate) reason: Option<String>,
    /// Who is at the other end of the connection, if that is to be told.
    pub(crate) peer: Option<SocketAddr>,
    /// What came of a 401 to the access token; known at the end.
    pub(crate) refresh: Option<&'static str>,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
    /// How the answer ended.
    pub(crate) end: End,
    /// What it cost, as far as it was read; `None` for what is fetched.
    pub(crate) usage: Option<Usage>,
    pub(crate) trace: Trace,
    scanner: Scanner,
    error: ErrorText,
    sight: Arc<Sight>,
}

/// What becomes known on the way to Vertex AI.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    /// Who asked; nobody where nobody has to say.
    pub(crate) client: OnceLock<Arc<Client>>,
    /// Given back with the record: an answer under way counts.
    pub(crate) permits: OnceLock<Permits>,
    /// As the client wrote it.
    pub(crate) model: OnceLock<Arc<str>>,
    /// Each time that it was sent, replays after a 401 not counted.
    pub(crate) attempts: OnceLock<Attempts>,
    answers: Mutex<Answers>,
}

/// The answers of Vertex AI to one request. The last one is passed on.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) count: usize,
    /// How Vertex AI broke off the last one, if it did.
    pub(crate) broken: Option<End>,
    /// What came of a 401 to the access token, the last time that there was one.
    pub(crate) refresh: Option<&'static str>,
}

impl Routed {
    /// It may be under way, and is about to be.
    pub(crate) fn let_in(&self, permits: Permits, extensions: &mut Extensions) {
        let _ = self.permits.set(permits);
        extensions.insert(self.attempts.get_or_init(Attempts::new).clone());
    }

    /// How often the request was sent; `None` if it was not.
    pub(crate) fn attempts(&self) -> Option<usize> {
        self.attempts.get().map(Attempts::count).filter(|count| *count > 0)
    }

    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        // They are whole between any two statements.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it was sent the last time; `None` if it was not, or if that is not known.
    pub(crate) fn upstream(&self) -> Option<Upstream> {
        self.attempts.get()?.look(|attempts| attempts.last()?.upstream.clone())
    }

    /// Where it was sent, all in all.
    pub(crate) fn way(&self) -> Way {
        let location = |attempt: &Attempt| Some(attempt.upstream.as_ref()?.location()?.shared());
        let way = |attempts: &[Attempt]| Way {
            location: attempts.last().and_then(location),
            retries: attempts.len().checked_sub(1),
            failovers: attempts
                .windows(2)
                .filter(|two| location(&two[0]) != location(&two[1]))
                .count(),
        };
        self.attempts.get().map_or_else(Way::default, |attempts| attempts.look(way))
    }
}

/// The way of a request to Vertex AI.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// Where it was sent the last time; `None` if it was not, or if that is not known.
    pub(crate) location: Option<Arc<str>>,
    /// How often it was sent once more; `None` if it was not sent.
    pub(crate) retries: Option<usize>,
    /// How often that was to another location than the time before.
    pub(crate) failovers: usize,
}

/// How an answer ended, as far as its body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last byte.
    Whole,
    /// The client did not wait for it.
    ClientLeft,
    /// Vertex AI, or the way there, broke off.
    Broken,
    /// Vertex AI was silent for too long.
    Idle,
}

impl End {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::ClientLeft => "client_left",
            Self::Broken => "broken",
            Self::Idle => "idle",
        }
    }
}

impl Record {
    pub(crate) fn new(id: HeaderValue, method: Method, path: &str, sight: Arc<Sight>) -> Self {
        sight.arrived();
        Self {
            id,
            operation: operation(&method, path),
            method,
            path: clip(path).into(),
            routed: Arc::default(),
            status: None,
            arrived: Instant::now(),
            first_byte: None,
            refused: None,
            reason: None,
            peer: None,
            refresh: None,
            sent: 0,
            end: End::ClientLeft,
            usage: None,
            trace: Trace::default(),
            scanner: Scanner::default(),
            error: ErrorText::default(),
            sight,
        }
    }

    /// It is answered here.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.refused = Some(refusal.code());
        self.reason = Some(refusal.to_string());
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// The body of an answer on its way to the client.
#[pin_project]
pub(crate) struct RecordedBody<B> {
    #[pin]
    body: B,
    /// In a box, because many hands pass an answer on; `None` for what is not told.
    record: Option<Box<Record>>,
}

impl<B> RecordedBody<B> {
    pub(crate) fn new(body: B, mut record: Box<Record>) -> Self
    where
        B: Body,
    {
        // Nobody asks for a body that is not sent.
        if record.method == Method::HEAD || body.is_end_stream() {
            record.end = End::Whole;
        }
        Self { body, record: Some(record) }
    }

    /// The answer to a request of which nothing is told.
    pub(crate) fn unrecorded(body: B) -> Self {
        Self { body, record: None }
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
        let Some(record) = this.record else { return this.body.poll_frame(cx) };
        let Some(frame) = ready!(this.body.as_mut().poll_frame(cx)).transpose()? else {
            record.end = End::Whole;
            return Poll::Ready(None);
        };
        if let Some(data) = frame.data_ref() {
            record.first_byte.get_or_insert_with(|| record.arrived.elapsed());
            record.sent += data.len() as u64;
            if record.reason.is_none() && record.status.is_some_and(is_error) {
                record.error.read(data);
            }
            // What is fetched again was counted when it was made.
            if record.method == Method::POST {
                record.scanner.read(data);
            }
        }
        // Not every client asks once more at the end.
        if this.body.is_end_stream() {
            record.end = End::Whole;
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
        let answers = self.routed.answers();
        self.end = match self.status {
            Some(_) => answers.broken.unwrap_or(self.end),
            // What was answered all the same, nobody reads.
            None => End::ClientLeft,
        };
        self.refresh = answers.refresh;
        drop(answers);
        self.usage = self.scanner.usage();
        if self.reason.is_none() && self.status.is_some_and(is_error) {
            self.reason = self.error.message();
        }
        self.sight.ended(self);
        std::mem::take(&mut self.trace).end(self);
    }
}
