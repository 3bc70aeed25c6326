use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::stream::{Stream, StreamFormat};
use crate::{BoxError, replay::Chunks};

/// The body of a response of [`VertexError`](super::VertexError): the inner service's, the body of
/// a translated error, or a stream that reports its failure as an event or as an element of JSON. `Send` and `Sync` if `B`
/// is.
#[pin_project]
pub struct ErrorBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
enum Kind<B> {
    Inner(#[pin] B),
    /// Boxed, because layers move bodies, and most are no streams.
    Stream(Pin<Box<Stream<B>>>),
    /// An error, translated or unchanged.
    Chunks(Box<Chunks>),
}

impl<B> ErrorBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self(Kind::Inner(body))
    }

    pub(super) fn stream(body: B, format: StreamFormat) -> Self {
        Self(Kind::Stream(Box::pin(Stream::new(body, format))))
    }

    pub(super) fn chunks(chunks: Chunks) -> Self {
        Self(Kind::Chunks(Box::new(chunks)))
    }
}

impl<B> Body for ErrorBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().0.project() {
            KindProj::Inner(body) => body.poll_frame(cx),
            KindProj::Stream(stream) => stream.as_mut().poll_frame(cx),
            KindProj::Chunks(chunks) => Poll::Ready(chunks.next().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Stream(stream) => stream.is_end_stream(),
            Kind::Chunks(chunks) => chunks.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Inner(body) => body.size_hint(),
            Kind::Stream(stream) => stream.size_hint(),
            Kind::Chunks(chunks) => chunks.size_hint(),
        }
    }
}

/// Shows the kind of body, never its content.
impl<B> fmt::Debug for ErrorBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Inner(_) => "ErrorBody(inner)",
            Kind::Stream(_) => "ErrorBody(stream)",
            Kind::Chunks(_) => "ErrorBody(error)",
        })
    }
}
