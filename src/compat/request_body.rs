//! [`RequestBody`]: the body of a request after the layer.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{
    BoxError,
    replay::{Chunks, poll_bytes},
};

/// The body of a request after [`VertexCompat`](super::VertexCompat): the original body if it was
/// not read, or else its bytes, cured or unchanged. `Send` and `Sync` if `B` is.
#[pin_project]
pub struct RequestBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
enum Kind<B> {
    Unread(#[pin] B),
    /// Boxed, because a body is moved through many layers.
    Read(Box<Read<B>>),
}

struct Read<B> {
    chunks: Chunks,
    /// The rest of a body that is longer than the limit.
    rest: Option<Pin<Box<B>>>,
}

impl<B> RequestBody<B> {
    /// Wraps a body that was not read.
    pub(super) fn unread(body: B) -> Self {
        Self(Kind::Unread(body))
    }

    /// Wraps a body that was read to its end.
    pub(super) fn read(chunks: Chunks) -> Self {
        Self(Kind::Read(Box::new(Read { chunks, rest: None })))
    }
}

/// A body that is being read.
pub(super) struct Gathering<B> {
    body: Pin<Box<B>>,
    chunks: Chunks,
    /// The number of bytes that may still come.
    room: usize,
}

impl<B> Gathering<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Reads at most `limit` bytes.
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self { body: Box::pin(body), chunks: Chunks::default(), room: limit }
    }

    /// Ready with whether the whole body was read.
    ///
    /// # Errors
    ///
    /// The error of the body.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BoxError>> {
        loop {
            let lower = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
            if lower > self.room {
                return Poll::Ready(Ok(false));
            }
            let frame = match std::task::ready!(self.body.as_mut().poll_frame(cx)) {
                Some(frame) => frame.map_err(Into::into)?,
                None => break,
            };
            match frame.into_data() {
                Ok(mut data) => {
                    let room = self.room.checked_sub(data.remaining());
                    self.room = room.unwrap_or_default();
                    // This copies nothing if the data is a `Bytes`.
                    self.chunks.data.push_whole(data.copy_to_bytes(data.remaining()));
                    if room.is_none() {
                        return Poll::Ready(Ok(false));
                    }
                }
                Err(frame) => self.chunks.trailers = frame.into_trailers().ok(),
            }
        }
        self.chunks.data.seal();
        Poll::Ready(Ok(true))
    }
}

impl<B> Gathering<B> {
    /// The body, which was read to its end.
    pub(super) fn into_chunks(self) -> Chunks {
        self.chunks
    }

    /// The beginning that was read, and the rest after it.
    pub(super) fn into_body(self) -> RequestBody<B> {
        RequestBody(Kind::Read(Box::new(Read { chunks: self.chunks, rest: Some(self.body) })))
    }
}

impl<B> Body for RequestBody<B>
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
            KindProj::Read(read) => match (read.chunks.next(), &mut read.rest) {
                (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
                (None, Some(rest)) => poll_bytes(rest.as_mut(), cx),
                (None, None) => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Unread(body) => body.is_end_stream(),
            Kind::Read(read) => {
                read.chunks.is_empty() && read.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Unread(body) => body.size_hint(),
            Kind::Read(read) => match &read.rest {
                Some(rest) => read.chunks.size_hint_with(&rest.size_hint()),
                None => read.chunks.size_hint(),
            },
        }
    }
}

/// Shows the kind of body, never its content.
impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Unread(_) => "RequestBody(unread)",
            Kind::Read(_) => "RequestBody(read)",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_as_long_as_the_limit_is_read_and_each_keeps_its_length_and_its_end() {
        for (limit, is_read) in [(3, false), (4, true), (5, true)] {
            let mut gathering = Gathering::new(Full::new(Bytes::from_static(b"body")), limit);
            let Poll::Ready(Ok(whole)) = gathering.poll(&mut Context::from_waker(Waker::noop()))
            else {
                panic!("the body is in memory")
            };
            assert_eq!(whole, is_read, "{limit}");
            let unread = RequestBody::unread(Full::new(Bytes::from_static(b"body")));
            assert_eq!((unread.size_hint().exact(), unread.is_end_stream()), (Some(4), false));
            assert_eq!(format!("{unread:?}"), "RequestBody(unread)");
            let mut body = match whole {
                true => RequestBody::read(gathering.into_chunks()),
                false => gathering.into_body(),
            };
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "body");
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
        }
    }
}
