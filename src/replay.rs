//! A body that is recorded while it is sent, so that it can be sent again.
//!
//! [`ReplayBody::record`] splits a body in two: what goes on the wire now, and a [`Recording`].
//! Dropping the recording stops it and frees what it holds; [`Recording::replay`] makes a second
//! body of it, which is complete even if the first one was still being sent: the replay takes over
//! what is left of the original, and the first body fails when it is polled next.
//! [`Recording::again`] does the same and records on, for more than one replay.
//!
//! Nothing waits. A body of one frame, and frames of 32 KiB and more, are not copied (they are
//! reference counted). Smaller ones are copied together, because each would keep the buffer alive that
//! it was read into: so a recording takes at most twice the bytes of its body and half a KiB,
//! however the body is cut up. A recording of one frame keeps the buffer that the frame was read into, and
//! counts for 8 KiB at least; the buffer is longer, up to the longest of the server (hyper's is 408 KiB),
//! where long bodies came over the same connection before. What is sent again has the same bytes, in fewer frames. A recording that
//! grows over its cap, or over the [`Budget`] that it shares with others, is dropped; the body goes on.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, Full};
//! use tower_vertex::replay::{Budget, ReplayBody};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_vertex::BoxError> {
//! let body = Full::new(Bytes::from_static(b"hello"));
//! let (body, recording) = ReplayBody::record(body, 1024, &Budget::new(1 << 20));
//!
//! assert_eq!(body.collect().await?.to_bytes(), "hello");
//! let again = recording.and_then(|r| r.replay()).expect("five bytes are below the cap");
//! assert_eq!(again.collect().await?.to_bytes(), "hello");
//! # Ok(())
//! # }
//! ```

mod budget;
mod coalesced;

use std::{
    any::Any,
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

pub use self::budget::Budget;
use self::budget::Reserved;
pub(crate) use self::coalesced::Coalesced;
#[cfg(feature = "gateway")]
pub(crate) use self::coalesced::{READ_BUFFER, detached};
use crate::BoxError;

/// 32 MiB: more than the 20 MiB that Gemini's endpoint takes. Layers' default for a request.
pub(crate) const REPLAY_LIMIT: usize = 32 << 20;
/// 256 MiB: what a process can spare for requests that wait for their answer. Layers' default.
pub(crate) const REPLAY_BUDGET: usize = 256 << 20;

/// How much of a failed response's body is read so that its connection can be used again; Google's
/// have about 600 bytes.
const DRAIN_LIMIT: usize = 64 << 10;

/// What a frame counts for besides its data, so that endless empty ones end too.
const FRAME_COST: usize = size_of::<Bytes>();

/// A body that may be recorded, or a recording that is sent again. `Send` and `Sync` if `B` is.
#[pin_project]
pub struct ReplayBody<B> {
    #[pin]
    kind: Kind<B>,
    broken: Option<Broken>,
}

/// Whether a body failed by itself, which is nobody's fault but its sender's. Clones are told alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broken(Arc<AtomicBool>);

impl Broken {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

#[pin_project(project = KindProj)]
enum Kind<B> {
    /// Neither recorded nor replayed: no allocation, no lock.
    Plain(#[pin] B),
    Recorded(Arc<Mutex<Tape<B>>>),
    /// In a box, because many hands pass a body on.
    Replayed(Box<Replayed<B>>),
}

/// A body on its way and what was sent of it.
struct Tape<B> {
    /// Gone at its end, or once the replay has taken it over.
    body: Option<Pin<Box<B>>>,
    /// Its end was seen.
    ended: bool,
    superseded: bool,
    /// `None` once the recording was let go.
    frames: Option<Frames>,
    /// The recorded frame that is sent next, before what is left of the body. While there is one,
    /// `frames` stay.
    resend: Option<usize>,
    /// The recording was dropped: `frames` go when they have been sent.
    let_go: bool,
    /// How many more bytes of data the recording may take.
    room: usize,
    /// Wakes whoever sends the first body, so that it notices that it was superseded.
    sender: Option<Waker>,
}

#[expect(clippy::large_enum_variant, reason = "the usual one is the large one")]
enum Frames {
    Own(Own),
    /// The body is recorded by itself, and can go back to its beginning.
    OfBody(Rewind),
}

struct Own {
    data: Coalesced,
    trailers: Option<HeaderMap>,
    reserved: Reserved,
}

impl Frames {
    fn own(&self) -> Option<&Own> {
        match self {
            Self::Own(own) => Some(own),
            Self::OfBody(_) => None,
        }
    }

    /// What is sent again, before the rest of the body.
    fn into_own(self) -> Option<Own> {
        match self {
            Self::Own(own) => Some(own),
            Self::OfBody(_) => None,
        }
    }
}

/// Sends a recorded body from its first byte again, without a second recording: in the extensions of a
/// request, for a layer further in that would record the same body once more.
#[derive(Clone)]
pub(crate) struct Rewind(Arc<dyn Rewinds + Send + Sync>);

trait Rewinds {
    /// Whether `body` is sent from this recording, which takes `cap` bytes or more.
    fn is_of(&self, body: &dyn Any, cap: usize) -> bool;
    fn is_kept(&self) -> bool;
    /// `false`, and nothing happens, if the recording was let go.
    fn rewind(&self) -> bool;
}

impl<B: 'static> Rewinds for Mutex<Tape<B>> {
    fn is_of(&self, body: &dyn Any, cap: usize) -> bool {
        let body = body.downcast_ref::<ReplayBody<B>>();
        let Some(Kind::Recorded(tape)) = body.map(|body| &body.kind) else { return false };
        let tape_of_body = lock(tape);
        let taken = tape_of_body.own().map_or(0, |own| own.data.len());
        std::ptr::eq(Arc::as_ptr(tape), self) && tape_of_body.room.saturating_add(taken) >= cap
    }

    fn is_kept(&self) -> bool {
        lock(self).is_kept()
    }

    fn rewind(&self) -> bool {
        let mut tape = lock(self);
        // One that is recorded by its body has nothing of its own to send.
        let kept = tape.own().is_some() && !tape.superseded;
        if kept {
            tape.seal();
            tape.resend = Some(0);
        }
        kept
    }
}

impl fmt::Debug for Rewind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewind").finish_non_exhaustive()
    }
}

struct Replayed<B> {
    /// `None` for a body that had no frames.
    frames: Option<Own>,
    rest: Option<Pin<Box<B>>>,
}

/// The recording of a body under way. See the [module's docs](self).
pub struct Recording<B>(Source<B>);

enum Source<B> {
    /// Taken by `replay`.
    Gone,
    /// The body is empty: there is nothing to record, and any number of them is alike.
    Empty,
    Tape(Arc<Mutex<Tape<B>>>),
}

impl<B> ReplayBody<B> {
    fn of(kind: Kind<B>) -> Self {
        Self { kind, broken: None }
    }

    /// Sets `broken` if the body fails by itself.
    pub(crate) fn telling(mut self, broken: Option<&Broken>) -> Self {
        self.broken = broken.cloned();
        self
    }
}

impl<B: Body> ReplayBody<B> {
    /// Sends `body` without recording it.
    pub fn plain(body: B) -> Self {
        Self::of(Kind::Plain(body))
    }

    /// Sends `body` and records at most `cap` bytes of it, if `budget` has them.
    ///
    /// There is no recording of a body that says that it is longer than `cap`.
    pub fn record(body: B, cap: usize, budget: &Budget) -> (Self, Option<Recording<B>>) {
        if usize::try_from(body.size_hint().lower()).map_or(true, |lower| lower > cap) {
            return (Self::plain(body), None);
        }
        if body.is_end_stream() {
            return (Self::plain(body), Some(Recording(Source::Empty)));
        }
        let reserved = Reserved::of(budget);
        let own = Own { data: Coalesced::default(), trailers: None, reserved };
        Self::tape(body, Frames::Own(own), cap)
    }

    /// The same, or without a second recording of its own if `rewind` is of this body.
    pub(crate) fn record_once(
        body: B,
        cap: usize,
        budget: &Budget,
        rewind: Option<Rewind>,
    ) -> (Self, Option<Recording<B>>)
    where
        B: 'static,
    {
        match rewind.filter(|rewind| rewind.0.is_of(&body, cap)) {
            Some(rewind) => Self::tape(body, Frames::OfBody(rewind), cap),
            None => Self::record(body, cap, budget),
        }
    }

    fn tape(body: B, frames: Frames, cap: usize) -> (Self, Option<Recording<B>>) {
        let tape = Arc::new(Mutex::new(Tape::new(Some(Box::pin(body)), frames, cap)));
        let body = Self::of(Kind::Recorded(Arc::clone(&tape)));
        (body, Some(Recording(Source::Tape(tape))))
    }
}

impl<B> Recording<B> {
    /// The whole body again, from its first byte; the first body fails from now on, if it has not
    /// ended. `None` if the recording was let go; the first body then goes on.
    pub fn replay(mut self) -> Option<ReplayBody<B>> {
        let replayed = match std::mem::replace(&mut self.0, Source::Gone) {
            Source::Gone => return None,
            Source::Empty => Replayed { frames: None, rest: None },
            Source::Tape(tape) => {
                let (frames, rest, _) = supersede(&tape)?;
                Replayed { frames: frames.into_own(), rest }
            }
        };
        Some(ReplayBody::of(Kind::Replayed(Box::new(replayed))))
    }

    /// The same, and a recording of the second body, within the cap and the budget of the first.
    pub fn again(mut self) -> Option<(ReplayBody<B>, Self)> {
        match std::mem::replace(&mut self.0, Source::Gone) {
            Source::Gone => None,
            Source::Empty => {
                let empty = Box::new(Replayed { frames: None, rest: None });
                Some((ReplayBody::of(Kind::Replayed(empty)), Self(Source::Empty)))
            }
            Source::Tape(tape) => {
                let (frames, rest, room) = supersede(&tape)?;
                let resend = frames.own().map(|_| 0);
                let tape = Tape { resend, ..Tape::new(rest, frames, room) };
                let tape = Arc::new(Mutex::new(tape));
                let body = ReplayBody::of(Kind::Recorded(Arc::clone(&tape)));
                Some((body, Self(Source::Tape(tape))))
            }
        }
    }

    /// Whether [`replay`](Self::replay) would give a body now.
    pub fn is_kept(&self) -> bool {
        match &self.0 {
            Source::Gone => false,
            Source::Empty => true,
            Source::Tape(tape) => lock(tape).is_kept(),
        }
    }

    /// For a layer further in: sends the first body from its first byte again. `None` if there is
    /// nothing to record.
    pub(crate) fn rewind(&self) -> Option<Rewind>
    where
        B: Send + 'static,
    {
        match &self.0 {
            Source::Tape(tape) => Some(Rewind(Arc::<Mutex<Tape<B>>>::clone(tape))),
            Source::Gone | Source::Empty => None,
        }
    }
}

/// Stops the recording and frees it; the body goes on.
impl<B> Drop for Recording<B> {
    fn drop(&mut self) {
        // If the body is gone already, its tape goes with this.
        if let Source::Tape(tape) = &self.0
            && Arc::strong_count(tape) > 1
        {
            let mut tape = lock(tape);
            tape.let_go = true;
            let frames = if tape.resend.is_none() { tape.frames.take() } else { None };
            drop(tape);
            drop(frames);
        }
    }
}

/// Ends a body: what it has recorded, what is left of it, and the room for more. `None`, and
/// nothing happens, if the recording was let go.
#[expect(clippy::type_complexity, reason = "one private step of two functions")]
fn supersede<B>(tape: &Mutex<Tape<B>>) -> Option<(Frames, Option<Pin<Box<B>>>, usize)> {
    let mut tape = lock(tape);
    match &tape.frames {
        // The body is taken over below, so that nobody sends the beginning of it twice.
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
    Some((frames, rest, room))
}

/// A poisoned lock is the inner body's panic; the tape itself is whole between its statements.
fn lock<B>(tape: &Mutex<Tape<B>>) -> MutexGuard<'_, Tape<B>> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Tape<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.resent() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(body) = self.body.as_mut().filter(|_| !self.ended) else {
            return Poll::Ready(self.superseded.then(|| Err(Superseded.into())));
        };
        let polled = poll_bytes(body.as_mut(), cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.record(frame),
            // A broken body cannot be sent again.
            Poll::Ready(Some(Err(_))) => self.frames = None,
            // The replay must not poll it past its end. One that can go back to its beginning is kept.
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

    /// The next of the frames that were recorded before.
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
    fn new(body: Option<Pin<Box<B>>>, frames: Frames, room: usize) -> Self {
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

    fn own(&self) -> Option<&Own> {
        self.frames.as_ref().and_then(Frames::own)
    }

    fn is_kept(&self) -> bool {
        match &self.frames {
            None => false,
            Some(Frames::Own(_)) => true,
            Some(Frames::OfBody(rewind)) => rewind.0.is_kept(),
        }
    }

    /// Makes it possible to send the frames again.
    fn seal(&mut self) {
        if let Some(Frames::Own(own)) = &mut self.frames {
            own.data.seal();
        }
    }
}

impl<B: Body> Tape<B> {
    fn size_hint(&self) -> SizeHint {
        match &self.body {
            None if self.superseded => SizeHint::default(),
            body => and_recorded(rest_hint(body.as_ref()), self.left_to_resend()),
        }
    }

    fn is_end_stream(&self) -> bool {
        // Superseded: the error is still to come.
        let ended =
            self.ended || self.body.as_ref().map_or(!self.superseded, |body| body.is_end_stream());
        let trailers = || self.own().is_some_and(|own| own.trailers.is_some());
        ended && self.left_to_resend() == 0 && !(self.resend.is_some() && trailers())
    }

    /// In bytes, which every recorded frame has.
    fn left_to_resend(&self) -> u64 {
        let (Some(next), Some(own)) = (self.resend, self.own()) else { return 0 };
        own.data.sealed().skip(next).map(|data| data.len() as u64).sum()
    }
}

fn rest_hint<B: Body>(rest: Option<&Pin<Box<B>>>) -> SizeHint {
    rest.map_or(SizeHint::with_exact(0), |rest| rest.size_hint())
}

/// The hint of a body that sends so many `recorded` bytes first.
fn and_recorded(rest: SizeHint, recorded: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(recorded));
    if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(recorded)) {
        hint.set_upper(upper);
    }
    hint
}

impl<B> Replayed<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frames) = &mut self.frames {
            if let Some(data) = frames.data.pop() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let trailers = frames.trailers.take();
            // Sent: its share of the budget goes back.
            self.frames = None;
            if let Some(trailers) = trailers {
                // Trailers are a body's last frame.
                self.rest = None;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = poll_bytes(rest.as_mut(), cx);
        if let Poll::Ready(None) = polled {
            self.rest = None;
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        let recorded = self.frames.as_ref().map_or(0, |frames| frames.data.len() as u64);
        and_recorded(rest_hint(self.rest.as_ref()), recorded)
    }

    fn is_end_stream(&self) -> bool {
        let nothing_recorded = self
            .frames
            .as_ref()
            .is_none_or(|frames| frames.data.is_empty() && frames.trailers.is_none());
        nothing_recorded && self.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }
}

/// The next frame, its data as `Bytes`: for free if they are, by one copy if they are another
/// kind of buffer.
pub(crate) fn poll_bytes<B>(
    body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    body.poll_frame(cx).map(|frame| {
        frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
            Err(error) => Err(error.into()),
        })
    })
}

/// Reads what is there of the body of a response that nobody will see, so that its connection can
/// be used again. Nobody waits for the rest.
pub(crate) fn drain<B: Body>(body: B, cx: &mut Context<'_>) {
    let (mut body, mut left) = (pin!(body), DRAIN_LIMIT);
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(cx) {
        let read = frame.data_ref().map_or(0, Buf::remaining) + FRAME_COST;
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let polled = match this.kind.project() {
            KindProj::Plain(body) => poll_bytes(body, cx),
            KindProj::Recorded(tape) => lock(tape).poll_frame(cx),
            KindProj::Replayed(replayed) => replayed.poll_frame(cx),
        };
        if let (Poll::Ready(Some(Err(error))), Some(broken)) = (&polled, this.broken)
            && !error.is::<Superseded>()
        {
            broken.0.store(true, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Plain(body) => body.is_end_stream(),
            Kind::Recorded(tape) => lock(tape).is_end_stream(),
            Kind::Replayed(replayed) => replayed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Plain(body) => body.size_hint(),
            Kind::Recorded(tape) => lock(tape).size_hint(),
            Kind::Replayed(replayed) => replayed.size_hint(),
        }
    }
}

/// The error of a body whose replay took over.
#[derive(Clone, Copy, Debug)]
pub struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is being sent again, so this body of it ends here")
    }
}

impl std::error::Error for Superseded {}

/// Shows the kind of body, never its content.
impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Plain(_) => "ReplayBody(plain)",
            Kind::Recorded(_) => "ReplayBody(recorded)",
            Kind::Replayed(_) => "ReplayBody(replayed)",
        })
    }
}

impl<B> fmt::Debug for Recording<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}
