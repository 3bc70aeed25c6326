//! [`ReplayBody`]: the body that is sent.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{
    Coalesced, MemoryBudget,
    budget::Reserved,
    in_memory,
    recording::{Recording, Rewind, Source},
    tape::{Frames, Own, Superseded, Tape, and_recorded, lock, rest_hint},
};
use crate::BoxError;

/// How much of a failed response's body is read so that its connection can be used again. Google's
/// error bodies have about 600 bytes.
const DRAIN_LIMIT: usize = 64 << 10;

/// The cost of a frame besides its data, so that an endless series of empty frames ends too.
const FRAME_COST: usize = size_of::<Bytes>();

/// A body that may be recorded, or a recording that is sent again. It is `Send` and `Sync` if `B`
/// is.
#[doc(alias = "rewind")]
#[pin_project]
pub struct ReplayBody<B> {
    #[pin]
    pub(super) kind: BodyKind<B>,
    broken: Option<Broken>,
}

/// Whether a body failed by itself, because of its sender. Clones share the mark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broken(Arc<AtomicBool>);

impl Broken {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

#[pin_project(project = BodyKindProj)]
pub(super) enum BodyKind<B> {
    /// The body is neither recorded nor replayed: no allocation, no lock.
    Plain(#[pin] B),
    /// The body was in memory as one piece, which was recorded before it is sent. It shares nothing
    /// with the recording, and is still sent if it is replayed before its end.
    Whole(Option<Bytes>),
    Recorded(Arc<Mutex<Tape<B>>>),
    /// This variant is boxed because a body is moved many times.
    Replayed(Box<Replayed<B>>),
}

pub(super) struct Replayed<B> {
    /// `None` for a body that had no frames.
    pub(super) frames: Option<Own>,
    pub(super) rest: Option<Pin<Box<B>>>,
}

impl<B> ReplayBody<B> {
    pub(super) fn of(kind: BodyKind<B>) -> Self {
        Self { kind, broken: None }
    }

    /// Sets `broken` if the body fails by itself.
    pub(crate) fn telling(mut self, broken: Option<&Broken>) -> Self {
        self.broken = broken.cloned();
        self
    }
}

impl<B: Body> ReplayBody<B> {
    /// Creates a body that is not recorded.
    pub fn plain(body: B) -> Self {
        Self::of(BodyKind::Plain(body))
    }

    /// Creates a body that records at most `cap` bytes of `body`, if `budget` allows them.
    ///
    /// A body whose size hint is longer than `cap` is not recorded.
    pub fn record(body: B, cap: usize, budget: &MemoryBudget) -> (Self, Option<Recording<B>>) {
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

    /// Like [`record`](Self::record), but without a second recording of its own if `rewind` is of
    /// this body.
    pub(crate) fn record_once(
        mut body: B,
        cap: usize,
        budget: &MemoryBudget,
        rewind: Option<Rewind>,
    ) -> (Self, Option<Recording<B>>)
    where
        B: 'static,
    {
        if let Some(rewind) = rewind.filter(|rewind| rewind.0.is_of(&body, cap)) {
            return Self::tape(body, Frames::OfBody(rewind), cap);
        }
        let fits = usize::try_from(body.size_hint().lower()).is_ok_and(|lower| lower <= cap);
        match fits.then(|| in_memory::take(&mut body)).flatten() {
            Some(data) => {
                let recording = Recording::of_data(data.clone(), budget);
                (Self::of(BodyKind::Whole(Some(data))), recording)
            }
            None => Self::record(body, cap, budget),
        }
    }

    /// Inlined by force: by callgrind, the call takes 24 instructions more, for what it is given is large.
    #[inline(always)]
    fn tape(body: B, frames: Frames, cap: usize) -> (Self, Option<Recording<B>>) {
        let tape = Arc::new(Mutex::new(Tape::new(Some(Box::pin(body)), frames, cap)));
        let body = Self::of(BodyKind::Recorded(Arc::clone(&tape)));
        (body, Some(Recording(Source::Tape(tape))))
    }
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
            // All frames have been sent, so their share of the budget is freed.
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

/// Polls the next frame, with its data as `Bytes`. The conversion is free if the data is `Bytes`
/// already, and costs one copy for any other buffer.
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

/// Reads and discards the available part of a response's body, so that its connection can be used
/// again. It does not wait for the rest.
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
            BodyKindProj::Plain(body) => poll_bytes(body, cx),
            BodyKindProj::Whole(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            BodyKindProj::Recorded(tape) => lock(tape).poll_frame(cx),
            BodyKindProj::Replayed(replayed) => replayed.poll_frame(cx),
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
            BodyKind::Plain(body) => body.is_end_stream(),
            BodyKind::Whole(data) => data.is_none(),
            BodyKind::Recorded(tape) => lock(tape).is_end_stream(),
            BodyKind::Replayed(replayed) => replayed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodyKind::Plain(body) => body.size_hint(),
            BodyKind::Whole(data) => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            BodyKind::Recorded(tape) => lock(tape).size_hint(),
            BodyKind::Replayed(replayed) => replayed.size_hint(),
        }
    }
}

/// `Debug` shows the kind of body, never its content.
impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            BodyKind::Plain(_) => "ReplayBody(plain)",
            BodyKind::Whole(_) | BodyKind::Recorded(_) => "ReplayBody(recorded)",
            BodyKind::Replayed(_) => "ReplayBody(replayed)",
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[test]
    fn a_body_as_long_as_the_limit_is_recorded_and_a_longer_one_is_not() {
        let budget = MemoryBudget::new(1 << 20);
        for (cap, recorded) in [(5, true), (4, true), (3, false)] {
            let body = Full::new(Bytes::from_static(b"four"));
            let (_, recording) = ReplayBody::record(body, cap, &budget);
            assert_eq!(recording.is_some(), recorded, "{cap}");
        }
    }
}
