//! [`Chunks`]: the frames of a body that was read to its end.

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::Coalesced;

/// A body that was read to its end.
#[derive(Default)]
pub(crate) struct Chunks {
    pub(crate) data: Coalesced,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Chunks {
    pub(crate) fn one(data: Bytes) -> Self {
        Self { data: data.into(), trailers: None }
    }

    pub(crate) fn next(&mut self) -> Option<Frame<Bytes>> {
        match self.data.pop() {
            Some(data) => Some(Frame::data(data)),
            None => self.trailers.take().map(Frame::trailers),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    /// The length in bytes, which is a bound and not exact if trailers follow: HTTP/1 clients turn an
    /// exact hint into a Content-Length, and a message with that header cannot carry trailers.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.size_hint_with(&SizeHint::with_exact(0))
    }

    /// The same for a body that continues after these frames.
    pub(crate) fn size_hint_with(&self, rest: &SizeHint) -> SizeHint {
        let length = self.data.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(length));
        if let Some(upper) = rest.upper().filter(|_| self.trailers.is_none()) {
            hint.set_upper(upper.saturating_add(length));
        }
        hint
    }
}
