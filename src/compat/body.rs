//! Stub.
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{BoxError, body_reader::BodyReader, replay::Chunks};

/// Stub.
#[pin_project]
pub struct CompatBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
enum Kind<B> {
    Inner(#[pin] B),
    Read(Chunks, Option<Result<Pin<Box<BodyReader<B>>>, BoxError>>),
}

impl<B> CompatBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self(Kind::Inner(body))
    }

    pub(super) fn read(
        chunks: Chunks,
        rest: Option<Result<Pin<Box<BodyReader<B>>>, BoxError>>,
    ) -> Self {
        Self(Kind::Read(chunks, rest))
    }
}

impl<B> Body for CompatBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().0.project() {
            KindProj::Inner(body) => body.poll_frame(cx).map_err(Into::into),
            KindProj::Read(chunks, rest) => match chunks.next() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => match rest {
                    Some(Ok(rest)) => rest.as_mut().poll_rest(cx).map_err(Into::into),
                    Some(Err(_)) => Poll::Ready(rest.take().and_then(Result::err).map(Err)),
                    None => Poll::Ready(None),
                },
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Read(chunks, rest) => chunks.is_empty() && rest.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Inner(body) => body.size_hint(),
            Kind::Read(chunks, None) => SizeHint::with_exact(chunks.len()),
            Kind::Read(..) => SizeHint::new(),
        }
    }
}

impl<B> fmt::Debug for CompatBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompatBody")
    }
}
