//! Request bodies that the client has compressed. They are decompressed before anything else reads
//! them, because the model, the client's permissions and the cures for Gemini depend on the text.
//!
//! Codex compresses with zstd, and other clients with gzip. The coding is removed from the request,
//! so Vertex AI gets the plain body. A coding that is not supported is refused with 415 and the list
//! of those that are (RFC 9110 §15.5.16).

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::{
    tokio::bufread::{GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::{HeaderMap, HeaderName, Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyDataStream;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::body_limit::{BodyTooLarge, InboundBody};
use crate::local_reply::LocalReply;
use tower_vertex::BoxError;

/// RFC 9659: a zstd frame in HTTP needs a window of at most 8 MiB. Without this limit a frame of a few
/// bytes could demand 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// These describe the compressed bytes.
const OF_COMPRESSED_BYTES: [HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Zstd,
    Gzip,
    Deflate,
}

impl Coding {
    /// The coding of a body; `None` if it is not compressed.
    ///
    /// # Errors
    ///
    /// 415 if the coding is not supported, or if there are several.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, LocalReply> {
        let mut found = None;
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        for coding in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
            let coding = match coding.trim_ascii().to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"zstd" => Self::Zstd,
                // RFC 9110 §8.4.1.3.
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"deflate" => Self::Deflate,
                _ => return Err(LocalReply::unsupported_content_encoding()),
            };
            if found.replace(coding).is_some() {
                return Err(LocalReply::unsupported_content_encoding());
            }
        }
        Ok(found)
    }

    fn decoder(self, body: InboundBody) -> Decoder {
        let compressed =
            BodyDataStream::new(body).map_err(|error| io::Error::other(FromClient(error)));
        let compressed = StreamReader::new(compressed);
        match self {
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                Box::pin(ZstdDecoder::with_params(compressed, &[window]))
            }
            Self::Gzip => Box::pin(GzipDecoder::new(compressed)),
            Self::Deflate => Box::pin(ZlibDecoder::new(compressed)),
        }
    }
}

type Decoder = Pin<Box<dyn AsyncRead + Send + Sync>>;

/// Decompresses the body of a request, if it is compressed, to at most `limit` bytes.
///
/// # Errors
///
/// 415 for a coding that is not supported.
pub(crate) fn decompress(
    request: Request<InboundBody>,
    limit: usize,
) -> Result<Request<DecodedBody>, LocalReply> {
    if !request.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(request.map(DecodedBody::Plain));
    }
    let coding = Coding::of(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let body = match coding {
        Some(coding) if !body.is_end_stream() => {
            for name in &OF_COMPRESSED_BYTES {
                parts.headers.remove(name);
            }
            let decoded = ReaderStream::new(coding.decoder(body));
            DecodedBody::Decompressed(Box::new(Decompressed { decoded, left: limit, limit }))
        }
        _ => {
            parts.headers.remove(header::CONTENT_ENCODING);
            DecodedBody::Plain(body)
        }
    };
    Ok(Request::from_parts(parts, body))
}

/// The body of a request, without its compression.
pub(crate) enum DecodedBody {
    Plain(InboundBody),
    Decompressed(Box<Decompressed>),
}

/// A body that is decompressed while it is read.
pub(crate) struct Decompressed {
    decoded: ReaderStream<Decoder>,
    left: usize,
    limit: usize,
}

impl Decompressed {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let data = match ready!(Pin::new(&mut self.decoded).poll_next(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(data)) => data,
            Some(Err(error)) => return Poll::Ready(Some(Err(cause(error)))),
        };
        Poll::Ready(Some(match self.left.checked_sub(data.len()) {
            Some(left) => {
                self.left = left;
                Ok(data)
            }
            None => Err(BodyTooLarge::new(self.limit).into()),
        }))
    }
}

/// The error of the client's body if it caused this one, or else that of the compression.
fn cause(error: io::Error) -> BoxError {
    match error.downcast::<FromClient>() {
        Ok(FromClient(error)) => error,
        Err(error) => InvalidCompression(error).into(),
    }
}

/// An error of the client's body, which the decoder passes on.
#[derive(Debug)]
struct FromClient(BoxError);

impl fmt::Display for FromClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for FromClient {}

/// The error of a body that is not what its `Content-Encoding` says.
#[derive(Debug)]
pub(crate) struct InvalidCompression(io::Error);

impl fmt::Display for InvalidCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the request body cannot be decompressed as its Content-Encoding says: {}",
            self.0
        )
    }
}

impl std::error::Error for InvalidCompression {}

impl Body for DecodedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Plain(body) => Pin::new(body).poll_frame(cx),
            Self::Decompressed(body) => {
                body.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Decompressed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Decompressed(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_supported_coding_is_decompressed_and_any_other_is_refused() {
        for (values, coding) in [
            (&[][..], Ok(None)),
            (&["identity"], Ok(None)),
            (&["", "Identity"], Ok(None)),
            (&["zstd"], Ok(Some(Coding::Zstd))),
            (&["identity, GZIP"], Ok(Some(Coding::Gzip))),
            (&["x-gzip"], Ok(Some(Coding::Gzip))),
            (&[" deflate "], Ok(Some(Coding::Deflate))),
            (&["br"], Err(())),
            (&["gzip, gzip"], Err(())),
            (&["gzip", "zstd"], Err(())),
            (&["compress"], Err(())),
            (&["gzip;q=1"], Err(())),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(Coding::of(&headers).map_err(drop), coding, "{values:?}");
        }
    }
}
