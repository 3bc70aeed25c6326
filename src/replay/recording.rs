//! [`Recording`]: the source of a replayed body.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use super::{
    Coalesced, MemoryBudget,
    body::{BodyKind, ReplayBody, Replayed},
    budget::Reserved,
    tape::{Own, Taken, Tape, lock, supersede},
};

/// The recording of a body that is being sent. See the [module's docs](super).
#[must_use = "a recording that is dropped is stopped"]
pub struct Recording<B>(pub(super) Source<B>);

pub(super) enum Source<B> {
    /// `replay` has taken the source.
    Gone,
    /// The body is empty. There is nothing to record, and it can be replayed any number of times.
    Empty,
    /// The body was in memory as one piece.
    Whole(Bytes, Reserved),
    Tape(Arc<Mutex<Tape<B>>>),
}

impl<B> Recording<B> {
    /// A recording of a whole body. Returns `None` if the budget does not allow it.
    pub(super) fn of_data(data: Bytes, budget: &MemoryBudget) -> Option<Self> {
        let mut reserved = Reserved::of(budget);
        let fits = reserved.grow_to(Coalesced::pinned_by(&data));
        fits.then(|| Self(Source::Whole(data, reserved)))
    }

    /// Returns the whole body again, from its first byte. From now on the first body fails, if it
    /// has not ended. Returns `None` if the recording was dropped for its size; the first body is
    /// then still sent.
    pub fn replay(mut self) -> Option<ReplayBody<B>> {
        let replayed = match std::mem::replace(&mut self.0, Source::Gone) {
            Source::Gone => return None,
            Source::Empty => Replayed { frames: None, rest: None },
            Source::Whole(data, reserved) => {
                let own = Own { data: data.into(), trailers: None, reserved };
                Replayed { frames: Some(own), rest: None }
            }
            Source::Tape(tape) => {
                let Taken { frames, rest, .. } = supersede(&tape)?;
                Replayed { frames: frames.into_own(), rest }
            }
        };
        Some(ReplayBody::of(BodyKind::Replayed(Box::new(replayed))))
    }

    /// Like [`replay`](Self::replay), with a recording of the second body, within the cap and the
    /// budget of the first.
    pub fn replay_and_record(mut self) -> Option<(ReplayBody<B>, Self)> {
        match std::mem::replace(&mut self.0, Source::Gone) {
            Source::Gone => None,
            Source::Empty => {
                let empty = Box::new(Replayed { frames: None, rest: None });
                Some((ReplayBody::of(BodyKind::Replayed(empty)), Self(Source::Empty)))
            }
            Source::Whole(data, reserved) => {
                let body = ReplayBody::of(BodyKind::Whole(Some(data.clone())));
                Some((body, Self(Source::Whole(data, reserved))))
            }
            Source::Tape(tape) => {
                let Taken { frames, rest, room } = supersede(&tape)?;
                let resend = frames.own().map(|_| 0);
                let mut tape = Tape::new(rest, frames, room);
                tape.resend = resend;
                let tape = Arc::new(Mutex::new(tape));
                let body = ReplayBody::of(BodyKind::Recorded(Arc::clone(&tape)));
                Some((body, Self(Source::Tape(tape))))
            }
        }
    }

    /// Whether [`replay`](Self::replay) would return a body now.
    pub fn is_replayable(&self) -> bool {
        match &self.0 {
            Source::Gone => false,
            Source::Empty | Source::Whole(..) => true,
            Source::Tape(tape) => lock(tape).is_kept(),
        }
    }

    /// Lets an inner layer send the first body again from its first byte. Returns `None` if there
    /// is nothing to record.
    pub(crate) fn rewind(&self) -> Option<Rewind>
    where
        B: Send + 'static,
    {
        match &self.0 {
            Source::Tape(tape) => Some(Rewind(Arc::<Mutex<Tape<B>>>::clone(tape))),
            Source::Gone | Source::Empty | Source::Whole(..) => None,
        }
    }
}

/// Stops the recording and frees it. The body is still sent.
impl<B> Drop for Recording<B> {
    fn drop(&mut self) {
        // If the body has been dropped already, the tape is dropped with this recording.
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

impl<B> fmt::Debug for Recording<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

/// Access to a recording in the extensions of a request, for an inner layer that would record the
/// same body again.
#[derive(Clone)]
pub(crate) struct Rewind(pub(super) Arc<dyn Rewinds + Send + Sync>);

pub(super) trait Rewinds {
    /// Whether `body` is sent from this recording, and the recording accepts `cap` bytes or more.
    fn is_of(&self, body: &dyn Any, cap: usize) -> bool;
    fn is_kept(&self) -> bool;
    /// Returns `false`, and does nothing, if the recording was dropped.
    fn rewind(&self) -> bool;
}

impl<B: 'static> Rewinds for Mutex<Tape<B>> {
    fn is_of(&self, body: &dyn Any, cap: usize) -> bool {
        let body = body.downcast_ref::<ReplayBody<B>>();
        let Some(BodyKind::Recorded(tape)) = body.map(|body| &body.kind) else { return false };
        let tape_of_body = lock(tape);
        let taken = tape_of_body.own().map_or(0, |own| own.data.len());
        std::ptr::eq(Arc::as_ptr(tape), self) && tape_of_body.room.saturating_add(taken) >= cap
    }

    fn is_kept(&self) -> bool {
        lock(self).is_kept()
    }

    fn rewind(&self) -> bool {
        let mut tape = lock(self);
        // A tape that is recorded by its body has no frames of its own to send.
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Body as _;
    use http_body_util::Full;

    use super::*;
    use crate::replay::MemoryBudget;

    fn body() -> Full<Bytes> {
        Full::new(Bytes::from_static(b"body"))
    }

    fn recorded() -> (ReplayBody<Full<Bytes>>, Recording<Full<Bytes>>) {
        let (body, recording) = ReplayBody::record(body(), 100, &MemoryBudget::new(1 << 20));
        (body, recording.unwrap())
    }

    #[test]
    fn a_recording_serves_the_body_that_it_records_and_no_other() {
        let (one, recording) = recorded();
        let (other, _recording_of_other) = recorded();
        let rewind = recording.rewind().unwrap();
        assert!(rewind.0.is_of(&one, 100));
        assert!(!rewind.0.is_of(&one, 101), "its limit is lower");
        assert!(!rewind.0.is_of(&other, 100));
        assert!(!rewind.0.is_of(&ReplayBody::plain(body()), 100));
        assert!(!rewind.0.is_of(&body(), 100));
    }

    #[test]
    fn a_recording_that_was_dropped_cannot_be_rewound() {
        let (_body, recording) = recorded();
        let rewind = recording.rewind().unwrap();
        assert!(rewind.0.is_kept());
        drop(recording);
        assert!(!rewind.0.is_kept() && !rewind.0.rewind());
    }

    #[test]
    fn a_body_that_a_replay_has_taken_over_promises_no_length() {
        let (old, recording) = recorded();
        assert_eq!(old.size_hint().exact(), Some(4));
        let new = recording.replay().unwrap();
        assert_eq!((old.size_hint().exact(), old.is_end_stream()), (None, false));
        assert_eq!(new.size_hint().exact(), Some(4));
    }
}
