//! The body of a request: unread, or read and reassembled.

use std::{
    fmt,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::scan::{Message, Model, Scanner, Vacancy};
use crate::{
    BoxError,
    error::ModelError,
    replay::{Chunks, Coalesced, poll_bytes},
};

/// The body of a request after [`VertexModel`](super::VertexModel): the original body if it was not
/// read, or else its pieces around the new name. `Send` and `Sync` if `B` is.
#[pin_project]
pub struct ModelBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
enum Kind<B> {
    Unread(#[pin] B),
    /// Boxed, because a body is moved through many layers.
    Read(Box<Chunks>),
}

impl<B> ModelBody<B> {
    /// Wraps a body that was not read.
    pub(super) fn unread(body: B) -> Self {
        Self(Kind::Unread(body))
    }

    /// Wraps a body that was read.
    pub(super) fn read(whole: Chunks) -> Self {
        // Joined, so that a layer further in that keeps the body needs no copy of a single piece.
        Self(Kind::Read(Box::new(Chunks { data: whole.data.join(), ..whole })))
    }
}

/// The `model` of a body that was read. `None` if there is none, or none that every parser finds. The
/// pieces must be sealed.
pub(crate) fn find_model(data: &Coalesced) -> Option<String> {
    let mut scanner = Scanner::new();
    data.sealed().for_each(|piece| scanner.feed(piece));
    scanner.finish().ok()?.map(|model| model.name)
}

/// A body that is being read.
pub(super) struct Gathering {
    scanner: Scanner,
    chunks: Chunks,
    limit: usize,
}

/// The result of scanning a body.
pub(super) struct Read {
    /// The body is JSON that every parser reads alike.
    pub(super) is_json: bool,
    pub(super) model: Option<Model>,
    /// The place for a `model` in an object without one.
    pub(super) vacancy: Option<Vacancy>,
}

impl Gathering {
    /// Accepts at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { scanner: Scanner::new(), chunks: Chunks::default(), limit }
    }

    /// The next frame of the body.
    pub(super) fn push<D: Buf>(&mut self, frame: Frame<D>) -> Result<(), ModelError> {
        match frame.into_data() {
            Ok(data) => self.push_data(data),
            Err(frame) => {
                self.chunks.trailers = frame.into_trailers().ok();
                Ok(())
            }
        }
    }

    fn push_data(&mut self, mut data: impl Buf) -> Result<(), ModelError> {
        let length = self.chunks.data.len().checked_add(data.remaining());
        if length.is_none_or(|length| length > self.limit) {
            return Err(ModelError::TooLarge { limit: self.limit });
        }
        // This copies nothing if the data is a `Bytes`.
        let data = data.copy_to_bytes(data.remaining());
        self.scanner.feed(&data);
        self.chunks.data.push_whole(data);
        Ok(())
    }

    /// See [`Scanner::refers_to_stored`].
    pub(super) fn refers_to_stored(&self) -> Option<bool> {
        self.scanner.refers_to_stored()
    }

    /// The body and the result of its scan. See [`Scanner::finish`].
    pub(super) fn finish(self) -> Result<(Chunks, Read), ModelError> {
        let Self { scanner, chunks, .. } = self;
        let (is_json, vacancy) = (scanner.is_json(), scanner.vacancy());
        Ok((chunks, Read { is_json, model: scanner.finish()?, vacancy }))
    }

    /// The body of a request of Anthropic's Messages. See [`Scanner::finish_message`].
    pub(super) fn finish_message(self) -> Result<(Chunks, Message), ModelError> {
        let Self { scanner, chunks, .. } = self;
        Ok((chunks, scanner.finish_message()?))
    }
}

/// A change of a body: the bytes of `range` are replaced by `new`.
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) new: Bytes,
}

impl Edit {
    /// Replaces each of `ranges` by `new`.
    pub(super) fn each(ranges: &[Range<usize>], new: &Bytes) -> Vec<Self> {
        ranges.iter().map(|range| Self { range: range.clone(), new: new.clone() }).collect()
    }
}

/// The same body after `edits`, which are in order and do not overlap.
pub(super) fn splice(whole: Chunks, edits: &[Edit]) -> Chunks {
    let old: usize = edits.iter().map(|edit| edit.range.len()).sum();
    let new: usize = edits.iter().map(|edit| edit.new.len()).sum();
    let mut pieces = Coalesced::with_length(whole.data.len() - old + new);
    let mut push = |piece: Bytes| pieces.push(piece);
    let mut edits = edits.iter().peekable();
    let mut at = 0;
    for piece in whole.data {
        let end = at + piece.len();
        // The bytes of this piece before `from` have been pushed or replaced.
        let mut from = at;
        while let Some(Edit { range, new }) = edits.next_if(|edit| edit.range.end <= end) {
            if range.start >= at {
                push(piece.slice(from - at..range.start - at));
                push(new.clone());
            }
            from = range.end;
        }
        let rest = match edits.peek() {
            // The range continues in the next piece, and may have begun before this one.
            Some(Edit { range, new }) if range.start < end => {
                let before = range.start.max(from);
                push(piece.slice(from - at..before - at));
                if range.start >= at {
                    push(new.clone());
                }
                end
            }
            _ => from,
        };
        push(piece.slice(rest - at..));
        at = end;
    }
    Chunks { data: pieces, trailers: whole.trailers }
}

impl<B> Body for ModelBody<B>
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
        match self.project().0.project() {
            KindProj::Unread(body) => poll_bytes(body, cx),
            KindProj::Read(chunks) => Poll::Ready(chunks.next().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Unread(body) => body.is_end_stream(),
            Kind::Read(chunks) => chunks.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Unread(body) => body.size_hint(),
            Kind::Read(chunks) => chunks.size_hint(),
        }
    }
}

/// Shows the kind of body, never its content.
impl<B> fmt::Debug for ModelBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Unread(_) => "ModelBody(unread)",
            Kind::Read(_) => "ModelBody(read)",
        })
    }
}

#[cfg(test)]
mod tests;
