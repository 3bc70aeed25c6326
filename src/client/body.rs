use std::{
    any::Any,
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use pin_project::pin_project;

use crate::{BoxError, replay::poll_bytes};

/// 64 MiB: several times the longest response, which contains images in base64.
const LIMIT: usize = 64 << 20;

/// The body of a request to a [`Client`](super::Client), or of its response.
///
/// The body of a request is made [`from`](From) a [`String`], a `&'static str`, a `Vec<u8>`,
/// [`Bytes`] or `()`, or by [`new`](Self::new) from any other body. The body of a response is read
/// as a whole by [`text`](Self::text) and [`bytes`](Self::bytes), or in pieces, as it arrives, by
/// [`chunk`](Self::chunk).
#[derive(Default)]
pub struct Body(Kind);

enum Kind {
    Full(Full<Bytes>),
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Full(Full::default())
    }
}

impl Body {
    /// A body of any type. A `Body` stays as it is; any other is boxed.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        let own = (&mut body as &mut dyn Any).downcast_mut::<Option<Self>>();
        if let Some(own) = own.and_then(Option::take) {
            return own;
        }
        let Some(body) = body else { return Self::default() };
        Self(Kind::Boxed(UnsyncBoxBody::new(AsBytes(body))))
    }

    /// The whole body, of at most 64 MiB.
    ///
    /// # Errors
    ///
    /// [`BodyTooLong`] if it is longer, or the error that ended it early.
    pub async fn bytes(self) -> Result<Bytes, BoxError> {
        self.bytes_up_to(LIMIT).await
    }

    /// The whole body, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`BodyTooLong`] if it is longer, or the error that ended it early.
    pub async fn bytes_up_to(self, limit: usize) -> Result<Bytes, BoxError> {
        match Limited::new(self, limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(BodyTooLong { limit }.into()),
            Err(error) => Err(error),
        }
    }

    /// The whole body, of at most 64 MiB, as text. JSON is always UTF-8.
    ///
    /// # Errors
    ///
    /// The errors of [`bytes`](Self::bytes), and a [`Utf8Error`](std::str::Utf8Error) if it is not
    /// UTF-8.
    pub async fn text(self) -> Result<String, BoxError> {
        let bytes = self.bytes().await?;
        // The error of `String::from_utf8` would show the body.
        Ok(std::str::from_utf8(&bytes)?.to_owned())
    }

    /// The next piece of the body as it arrives, such as some events of a stream; `None` at the
    /// end. A piece may end anywhere, even in the middle of an event.
    ///
    /// # Errors
    ///
    /// The error that ended the body early.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BoxError> {
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Kind::Full(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|f| f.map_err(|e| match e {})))
            }
            Kind::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

/// A body of any type as one of [`Bytes`]. Unlike `map_frame`, it keeps the length, which is sent
/// as `content-length`.
#[pin_project]
struct AsBytes<B>(#[pin] B);

impl<B> HttpBody for AsBytes<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        poll_bytes(self.project().0, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl fmt::Debug for Body {
    /// Shows nothing of the body, which may contain private text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

macro_rules! from {
    ($($body:ty),*) => { $(
        impl From<$body> for Body {
            fn from(body: $body) -> Self {
                Self(Kind::Full(Full::from(body)))
            }
        }
    )* };
}
from!(Bytes, String, Vec<u8>, &'static str);

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// A body is longer than the reader allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyTooLong {
    limit: usize,
}

impl BodyTooLong {
    /// The limit, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl fmt::Display for BodyTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit;
        write!(
            f,
            "the body is longer than {limit} bytes: read it in pieces with `chunk`, or allow more \
             with `bytes_up_to`"
        )
    }
}

impl StdError for BodyTooLong {}

#[cfg(test)]
mod tests {
    use http_body_util::channel::Channel;

    use super::*;

    #[tokio::test]
    async fn simple_bodies_have_a_length_and_come_out_as_they_went_in() {
        for body in [
            Body::from("hello"),
            Body::from("hello".to_owned()),
            Body::from(b"hello".to_vec()),
            Body::from(Bytes::from_static(b"hello")),
            Body::new("hello".to_owned()),
            Body::new(Body::from("hello")),
        ] {
            assert_eq!(body.size_hint().exact(), Some(5));
            assert_eq!(body.text().await.unwrap(), "hello");
        }
        for body in [Body::from(()), Body::default(), Body::from("")] {
            assert!(body.is_end_stream());
            assert_eq!(body.bytes().await.unwrap(), "");
        }
    }

    #[test]
    fn a_body_of_this_type_is_not_boxed() {
        assert!(matches!(Body::new(Body::from("hello")).0, Kind::Full(_)));
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_an_error_with_the_limit() {
        assert_eq!(Body::from("hello").bytes_up_to(5).await.unwrap(), "hello");
        let error = Body::from("hello").bytes_up_to(4).await.unwrap_err();
        assert_eq!(error.downcast_ref::<BodyTooLong>().map(BodyTooLong::limit), Some(4));
        assert!(error.to_string().contains("longer than 4 bytes"), "{error}");
    }

    #[tokio::test]
    async fn chunks_arrive_as_they_are_sent_and_end_with_the_error_of_the_body() {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        let mut body = Body::new(body);
        for text in ["hel", "lo"] {
            sender.send_data(text.into()).await.unwrap();
            assert_eq!(body.chunk().await.unwrap().unwrap(), text);
        }
        sender.send_trailers(http::HeaderMap::new()).await.unwrap();
        drop(sender);
        assert_eq!(body.chunk().await.unwrap(), None);

        let (sender, body) = Channel::<Bytes, BoxError>::new(1);
        sender.abort("cut off".into());
        assert_eq!(Body::new(body).text().await.unwrap_err().to_string(), "cut off");
    }

    #[tokio::test]
    async fn an_error_of_text_and_debug_show_nothing_of_the_body() {
        let secret = b"SECRET \xff".to_vec();
        let body = Body::from(secret);
        assert!(!format!("{body:?}").contains("SECRET"));
        let error = body.text().await.unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("SECRET")
                && !format!("{error:?}").contains("83")
        );
    }
}
