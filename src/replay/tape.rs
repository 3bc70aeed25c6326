//! The frames that a body has sent, and the rest of the body.

use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{Coalesced, body::poll_bytes, budget::Reserved, recording::Rewind};
use crate::BoxError;

/// A body that is being sent, and the frames that were sent of it.
pub(super) struct Tape<B> {
    /// `None` at the end of the body, or after the replay has taken it over.
    body: Option<Pin<Box<B>>>,
    /// Whether the end of the body was reached.
    ended: bool,
    pub(super) superseded: bool,
    /// `None` after the recorded frames were dropped.
    pub(super) frames: Option<Frames>,
    /// The recorded frame that is sent next, before the rest of the body. While it is set, `frames`
    /// are kept.
    pub(super) resend: Option<usize>,
    /// Whether the recording was dropped. If so, `frames` are dropped when they have been sent.
    pub(super) let_go: bool,
    /// How many more bytes of data the recording may take.
    pub(super) room: usize,
    /// Wakes the task that sends the first body, so that it notices that the body was superseded.
    sender: Option<Waker>,
}

#[expect(clippy::large_enum_variant, reason = "the usual one is the large one")]
pub(super) enum Frames {
    Own(Own),
    /// The body is recorded by itself, and can be sent from its beginning again.
    OfBody(Rewind),
}

pub(super) struct Own {
    pub(super) data: Coalesced,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) reserved: Reserved,
}

impl Frames {
    pub(super) fn own(&self) -> Option<&Own> {
        match self {
            Self::Own(own) => Some(own),
            Self::OfBody(_) => None,
        }
    }

    /// The recorded frames, which are sent again before the rest of the body.
    pub(super) fn into_own(self) -> Option<Own> {
        match self {
            Self::Own(own) => Some(own),
            Self::OfBody(_) => None,
        }
    }
}

/// The parts that [`supersede`] takes from a body.
pub(super) struct Taken<B> {
    /// The recorded frames.
    pub(super) frames: Frames,
    /// The rest of the body.
    pub(super) rest: Option<Pin<Box<B>>>,
    /// How many more bytes of data the recording may take.
    pub(super) room: usize,
}

/// Ends a body, whose replay takes over from it. Returns `None`, and does nothing, if there is no
/// recording.
pub(super) fn supersede<B>(tape: &Mutex<Tape<B>>) -> Option<Taken<B>> {
    let mut tape = lock(tape);
    match &tape.frames {
        // The body is taken over below, so that its beginning is not sent twice.
        Some(Frames::OfBody(rewind)) if !rewind.0.rewind() => return None,
        Some(_) => tape.seal(),
        None => return None,
    }
    let frames = tape.frames.take()?;
    let rest = tape.body.take();
    tape.superseded = tape.resend.take().is_some() || rest.is_some() && !tape.ended;
    let (sender, room) = (tape.sender.take(), tape.room);
    drop(tape);
    if let Some(sender) = sender {
        sender.wake();
    }
    Some(Taken { frames, rest, room })
}

/// A poisoned lock means that the inner body panicked. The tape itself is consistent between its
/// statements.
pub(super) fn lock<B>(tape: &Mutex<Tape<B>>) -> MutexGuard<'_, Tape<B>> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Tape<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.resent() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(body) = self.body.as_mut().filter(|_| !self.ended) else {
            return Poll::Ready(self.superseded.then(|| Err(Superseded(()).into())));
        };
        let polled = poll_bytes(body.as_mut(), cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.record(frame),
            // A body that failed cannot be sent again.
            Poll::Ready(Some(Err(_))) => self.frames = None,
            // The replay must not poll a body past its end. A body that can be sent from its
            // beginning again is kept.
            Poll::Ready(None) => {
                self.ended = true;
                if !matches!(self.frames, Some(Frames::OfBody(_))) {
                    self.body = None;
                }
            }
            Poll::Pending => {
                let woken = self.sender.as_ref().is_some_and(|sender| sender.will_wake(cx.waker()));
                if !woken && self.frames.is_some() {
                    self.sender = Some(cx.waker().clone());
                }
            }
        }
        polled
    }

    /// Returns the next recorded frame.
    fn resent(&mut self) -> Option<Frame<Bytes>> {
        let (next, own) = (self.resend?, self.own()?);
        if let Some(data) = own.data.get(next) {
            let data = data.clone();
            self.resend = Some(next + 1);
            return Some(Frame::data(data));
        }
        let trailers = own.trailers.clone();
        self.resend = None;
        if self.let_go {
            self.frames = None;
        }
        if trailers.is_some() {
            // Trailers are a body's last frame.
            self.body = None;
        }
        trailers.map(Frame::trailers)
    }

    fn record(&mut self, frame: &Frame<Bytes>) {
        let Some(Frames::Own(own)) = &mut self.frames else { return };
        let Some(data) = frame.data_ref() else {
            own.trailers = frame.trailers_ref().cloned();
            return;
        };
        let Some(room) = self.room.checked_sub(data.len()) else {
            self.frames = None;
            return;
        };
        self.room = room;
        own.data.push_whole(data.clone());
        if !own.reserved.grow_to(own.data.pinned()) {
            self.frames = None;
        }
    }
}

impl<B> Tape<B> {
    #[inline]
    pub(super) fn new(body: Option<Pin<Box<B>>>, frames: Frames, room: usize) -> Self {
        Self {
            body,
            ended: false,
            superseded: false,
            frames: Some(frames),
            resend: None,
            let_go: false,
            room,
            sender: None,
        }
    }

    pub(super) fn own(&self) -> Option<&Own> {
        self.frames.as_ref().and_then(Frames::own)
    }

    pub(super) fn is_kept(&self) -> bool {
        match &self.frames {
            None => false,
            Some(Frames::Own(_)) => true,
            Some(Frames::OfBody(rewind)) => rewind.0.is_kept(),
        }
    }

    /// Prepares the recorded frames for being sent again.
    pub(super) fn seal(&mut self) {
        if let Some(Frames::Own(own)) = &mut self.frames {
            own.data.seal();
        }
    }
}

impl<B: Body> Tape<B> {
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.body {
            None if self.superseded => SizeHint::default(),
            body => and_recorded(rest_hint(body.as_ref()), self.left_to_resend()),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        // A superseded body still has to return its error.
        let ended =
            self.ended || self.body.as_ref().map_or(!self.superseded, |body| body.is_end_stream());
        let trailers = || self.own().is_some_and(|own| own.trailers.is_some());
        ended && self.left_to_resend() == 0 && !(self.resend.is_some() && trailers())
    }

    /// In bytes; every recorded frame has some.
    fn left_to_resend(&self) -> u64 {
        let (Some(next), Some(own)) = (self.resend, self.own()) else { return 0 };
        own.data.sealed().skip(next).map(|data| data.len() as u64).sum()
    }
}

pub(super) fn rest_hint<B: Body>(rest: Option<&Pin<Box<B>>>) -> SizeHint {
    rest.map_or(SizeHint::with_exact(0), |rest| rest.size_hint())
}

/// The size hint of a body that sends this many `recorded` bytes first.
pub(super) fn and_recorded(rest: SizeHint, recorded: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(recorded));
    if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(recorded)) {
        hint.set_upper(upper);
    }
    hint
}

/// The error of a body that a replay has taken over.
#[derive(Clone, Copy, Debug)]
pub struct Superseded(());

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is being sent again, so this body of it ends here")
    }
}

impl std::error::Error for Superseded {}
