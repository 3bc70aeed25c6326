//! The framing of a response: Google's headers, chunks without a length, and gzip.
//!
//! A client may get any response of the API compressed, errors and streams included, if its
//! request has `accept-encoding: gzip`.

use std::{
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};

use super::sse::EventStream;

/// A complete or a streamed response body.
pub(crate) type Inner = Either<Full<Bytes>, EventStream>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The headers of an API response that do not depend on it, recorded at Vertex AI.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::VARY, "Origin"),
    (header::VARY, "X-Origin"),
    (header::VARY, "Referer"),
    (header::SERVER, "scaffolding on HTTPServer2"),
    (header::X_XSS_PROTECTION, "0"),
    (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// The body of a response as it is sent.
pub(crate) struct ApiBody {
    inner: Inner,
    coding: Coding,
}

enum Coding {
    /// The body has a length.
    Length,
    /// The body has no length: HTTP/1.1 sends it in chunks.
    Chunked,
    /// Each frame is compressed and flushed, so that an event arrives when it is sent. The encoder
    /// is gone after the end.
    Gzip(Option<GzEncoder<Vec<u8>>>),
}

impl ApiBody {
    /// A body with a length.
    pub(crate) fn with_length(body: Full<Bytes>) -> Self {
        Self { inner: Either::Left(body), coding: Coding::Length }
    }
}

/// Gives a response of the API the headers and the framing of the service. A page of the front end,
/// and a response over gRPC, keeps its own.
pub(crate) fn frame(
    response: Response<Inner>,
    request: &HeaderMap,
    took: Duration,
) -> Response<ApiBody> {
    let (mut parts, inner) = response.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_of_api = content_type.is_some_and(|content_type| {
        [&b"application/json"[..], b"text/event-stream"]
            .iter()
            .any(|of_api| content_type.starts_with(of_api))
    });
    if !is_of_api {
        return Response::from_parts(parts, ApiBody { inner, coding: Coding::Length });
    }
    for (name, value) in HEADERS {
        parts.headers.append(name, HeaderValue::from_static(value));
    }
    if let Ok(timing) = HeaderValue::try_from(format!("gfet4t7; dur={}", took.as_millis())) {
        parts.headers.insert("server-timing", timing);
    }
    let coding = if accepts_gzip(request) {
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        Coding::Gzip(Some(GzEncoder::new(Vec::new(), Compression::fast())))
    } else {
        Coding::Chunked
    };
    Response::from_parts(parts, ApiBody { inner, coding })
}

/// Whether a request accepts gzip by name.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |coding| {
            let mut parts = coding.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let is_refused = |part: &str| {
                part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0))
            };
            is_gzip && !parts.any(is_refused)
        },
    )
}

impl Body for ApiBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Coding::Gzip(encoder) = &mut this.coding else {
            return Pin::new(&mut this.inner).poll_frame(cx);
        };
        if encoder.is_none() {
            return Poll::Ready(None);
        }
        let compressed = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => compress(encoder.as_mut(), &data),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => encoder.take().map_or(Ok(Vec::new()), GzEncoder::finish),
        };
        Poll::Ready(Some(compressed.map(|bytes| Frame::data(bytes.into())).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.coding {
            Coding::Gzip(encoder) => encoder.is_none(),
            Coding::Length | Coding::Chunked => self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.coding {
            Coding::Length => self.inner.size_hint(),
            Coding::Chunked | Coding::Gzip(_) => SizeHint::default(),
        }
    }
}

/// Compresses the data so that the client can read all of it.
fn compress(encoder: Option<&mut GzEncoder<Vec<u8>>>, data: &[u8]) -> io::Result<Vec<u8>> {
    let Some(encoder) = encoder else { return Ok(Vec::new()) };
    encoder.write_all(data)?;
    encoder.flush()?;
    Ok(std::mem::take(encoder.get_mut()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_accepted_by_name() {
        for (values, expected) in [
            (vec![], false),
            (vec!["gzip"], true),
            (vec!["br, GZIP;q=0.5"], true),
            (vec!["identity", "deflate, gzip"], true),
            (vec!["gzip;q=0"], false),
            (vec!["gzip; q=0.0, br"], false),
            (vec!["*"], false),
            (vec!["identity"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(accepts_gzip(&headers), expected, "{values:?}");
        }
    }
}
