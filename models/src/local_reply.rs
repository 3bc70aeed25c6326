//! The code of a response of the sidecar itself.

use std::time::Duration;

use http::StatusCode;

#[derive(Debug)]
pub(crate) struct LocalReply(&'static str);

impl LocalReply {
    pub(crate) fn new(_: StatusCode, code: &'static str, _: String) -> Self {
        Self(code)
    }

    pub(crate) fn retry_after(self, _: Duration) -> Self {
        self
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0
    }
}
