use std::time::Duration;

use tower::Layer;

use super::VertexError;
use crate::body_reader::{ERROR_LIMIT, ERROR_TIMEOUT};

/// Translates errors into the form of the client's protocol. See the [module](super).
#[doc(alias = "error translation")]
#[doc(alias = "RetryInfo")]
#[derive(Clone, Copy, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct VertexErrorLayer {
    settings: ErrorSettings,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorSettings {
    pub(super) body_limit: usize,
    pub(super) body_timeout: Duration,
    pub(super) accept_compressed: bool,
}

impl Default for ErrorSettings {
    fn default() -> Self {
        Self { body_limit: ERROR_LIMIT, body_timeout: ERROR_TIMEOUT, accept_compressed: false }
    }
}

impl VertexErrorLayer {
    /// The default settings, which fit Vertex AI.
    pub fn new() -> Self {
        Self { settings: ErrorSettings::default() }
    }

    /// The longest error body, in bytes, that is read to be translated. A longer one is dropped
    /// and replaced by a sentence. Default 256 KiB: Google's errors have about 600 bytes, and a few
    /// KiB with every detail.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.settings.body_limit = bytes;
        self
    }

    /// The time for the rest of an error body after its headers. A body that is not complete by
    /// then is dropped and replaced by a sentence. Default 10 s: the body of an error comes with
    /// its headers, and a later one is worth less than the status.
    ///
    /// Tokio's timer measures the time, so the runtime must have enabled it. Outside a Tokio
    /// runtime there is no limit.
    pub fn body_timeout(mut self, time: Duration) -> Self {
        self.settings.body_timeout = time;
        self
    }

    /// Whether the service may compress its responses if the client accepts that. Default `false`:
    /// `Accept-Encoding` is removed from requests, because a compressed error cannot be
    /// translated. With `true`, compressed errors and streams are forwarded unchanged.
    pub fn accept_compressed(mut self, accept: bool) -> Self {
        self.settings.accept_compressed = accept;
        self
    }
}

impl Default for VertexErrorLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for VertexErrorLayer {
    type Service = VertexError<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VertexError::with(inner, self.settings)
    }
}
