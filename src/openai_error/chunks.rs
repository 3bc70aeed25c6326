//! [`Chunks`]: the complete body of an error.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::replay::Coalesced;

/// A body that was read to its end.
#[derive(Default)]
pub(super) struct Chunks {
    pub(super) data: Coalesced,
    pub(super) trailers: Option<HeaderMap>,
}

impl Chunks {
    pub(super) fn one(data: Bytes) -> Self {
        Self { data: data.into(), trailers: None }
    }

    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        match self.data.pop() {
            Some(data) => Some(Frame::data(data)),
            None => self.trailers.take().map(Frame::trailers),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    /// The length in bytes, without the trailers.
    pub(super) fn len(&self) -> u64 {
        self.data.len() as u64
    }
}
