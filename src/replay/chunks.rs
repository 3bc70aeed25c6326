//! [`Chunks`]: the frames of a body that was read to its end.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

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

    /// The length in bytes, without the trailers.
    pub(crate) fn len(&self) -> u64 {
        self.data.len() as u64
    }
}
