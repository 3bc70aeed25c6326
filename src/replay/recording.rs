//! [`Recording`]: what makes a body once more.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex},
};

use super::{
    body::{BodyKind, ReplayBody, Replayed},
    tape::{Taken, Tape, lock, supersede},
};

/// The recording of a body under way. See the [module's docs](super).
#[must_use = "a recording that is dropped is stopped"]
pub struct Recording<B>(pub(super) Source<B>);

pub(super) enum Source<B> {
    /// Taken by `replay`.
    Gone,
    /// The body is empty: there is nothing to record, and any number of them is alike.
    Empty,
    Tape(Arc<Mutex<Tape<B>>>),
}

impl<B> Recording<B> {
    /// The whole body again, from its first byte; the first body fails from now on, if it has not
    /// ended. `None` if the recording was let go; the first body then goes on.
    pub fn replay(mut self) -> Option<ReplayBody<B>> {
        let replayed = match std::mem::replace(&mut self.0, Source::Gone) {
            Source::Gone => return None,
            Source::Empty => Replayed { frames: None, rest: None },
            Source::Tape(tape) => {
                let Taken { frames, rest, .. } = supersede(&tape)?;
                Replayed { frames: frames.into_own(), rest }
            }
        };
        Some(ReplayBody::of(BodyKind::Replayed(Box::new(replayed))))
    }

    /// The same, and a recording of the second body, within the cap and the budget of the first.
    pub fn replay_and_record(mut self) -> Option<(ReplayBody<B>, Self)> {
        match std::mem::replace(&mut self.0, Source::Gone) {
            Source::Gone => None,
            Source::Empty => {
                let empty = Box::new(Replayed { frames: None, rest: None });
                Some((ReplayBody::of(BodyKind::Replayed(empty)), Self(Source::Empty)))
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

    /// Whether [`replay`](Self::replay) would give a body now.
    pub fn is_replayable(&self) -> bool {
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

impl<B> fmt::Debug for Recording<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

/// request, for a layer further in that would record the same body once more.
#[derive(Clone)]
pub(crate) struct Rewind(pub(super) Arc<dyn Rewinds + Send + Sync>);

pub(super) trait Rewinds {
    /// Whether `body` is sent from this recording, which takes `cap` bytes or more.
    fn is_of(&self, body: &dyn Any, cap: usize) -> bool;
    fn is_kept(&self) -> bool;
    /// `false`, and nothing happens, if the recording was let go.
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
