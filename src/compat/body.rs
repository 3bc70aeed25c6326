//! [`CompatBody`]: the body of a response after the layer.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::response::{CuredBody, ResponseContext};
use crate::{body_reader::BodyReader, replay::Chunks};

/// The body of a response of [`VertexCompat`](super::VertexCompat): the inner service's, unchanged or
/// cured. `Send` and `Sync` if `B` is.
///
/// A body of JSON that may need a cure is collected up to 16 MiB; a longer one is forwarded as it is. A
/// stream of server-sent events is cured event by event.
#[pin_project]
pub struct CompatBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
enum Kind<B> {
    Inner(#[pin] B),
    Cured(#[pin] CuredBody<B>),
    /// The body of an error that was read, and the rest of one that was not read to its end.
    Read(Chunks, Option<Pin<Box<BodyReader<B>>>>),
}

impl<B> CompatBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self(Kind::Inner(body))
    }

    pub(super) fn read(chunks: Chunks, rest: Option<Pin<Box<BodyReader<B>>>>) -> Self {
        Self(Kind::Read(chunks, rest))
    }

    pub(super) fn cured(response: Response<B>, context: ResponseContext) -> Response<Self> {
        CuredBody::cured(response, context).map(|body| Self(Kind::Cured(body)))
    }
}

impl<B: Body<Data = Bytes>> Body for CompatBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().0.project() {
            KindProj::Inner(body) => body.poll_frame(cx),
            KindProj::Cured(body) => body.poll_frame(cx),
            KindProj::Read(chunks, rest) => match (chunks.next(), rest) {
                (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
                (None, Some(rest)) => rest.as_mut().poll_rest(cx),
                (None, None) => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Cured(body) => body.is_end_stream(),
            Kind::Read(chunks, rest) => chunks.is_empty() && rest.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Inner(body) => body.size_hint(),
            Kind::Cured(body) => body.size_hint(),
            Kind::Read(chunks, None) => chunks.size_hint(),
            Kind::Read(..) => SizeHint::new(),
        }
    }
}

/// Shows the kind of body, never its content.
impl<B> fmt::Debug for CompatBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Inner(_) => "CompatBody(unchanged)",
            Kind::Cured(_) => "CompatBody(cured)",
            Kind::Read(..) => "CompatBody(error)",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, Full};

    use super::*;
    use crate::body_reader::{ERROR_LIMIT, ERROR_TIMEOUT};

    #[tokio::test]
    async fn a_body_has_its_length_and_its_end_before_and_after_its_data() {
        let data = || Bytes::from_static(b"data");
        let rest = BodyReader::new(Full::new(data()), ERROR_LIMIT, ERROR_TIMEOUT);
        let read = |chunks| CompatBody::read(chunks, None);
        let begun = Chunks::one(data());
        for (mut body, kind, length, frames) in [
            (CompatBody::inner(Full::new(data())), "CompatBody(unchanged)", Some(4), 1),
            (read(Chunks::one(data())), "CompatBody(error)", Some(4), 1),
            (CompatBody::read(begun, Some(Box::pin(rest))), "CompatBody(error)", None, 2),
        ] {
            assert_eq!(format!("{body:?}"), kind);
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (length, false));
            for _ in 0..frames {
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data");
            }
            // The rest of an error may have trailers.
            assert_eq!(body.is_end_stream(), length.is_some());
            assert!(body.frame().await.is_none());
        }
    }

    #[tokio::test]
    async fn the_trailers_of_an_error_follow_its_data() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", "1".parse().unwrap());
        let chunks = Chunks { trailers: Some(trailers.clone()), ..Chunks::one("x".into()) };
        let mut body = CompatBody::<Full<Bytes>>::read(chunks, None);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
        assert!(!body.is_end_stream());
        assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }
}
