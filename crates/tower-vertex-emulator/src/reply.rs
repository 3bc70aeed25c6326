//! The response to one request, before it is framed and paced.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::{google_errors, sse::Script};

/// The response to one request.
pub(crate) enum Reply {
    Whole(Response<Full<Bytes>>),
    /// A stream, which the settings of the stream delay, count and cut.
    Stream {
        script: Script,
        content_type: &'static str,
    },
}

impl Reply {
    /// A JSON response with this status. A publisher's own errors have it, too.
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::Whole(google_errors::json(status, body))
    }

    /// A stream of server-sent events.
    pub(crate) fn events(script: Script) -> Self {
        Self::Stream { script, content_type: "text/event-stream" }
    }

    /// A JSON array whose elements are sent one by one. The front end writes a stream of messages in
    /// this form, unless the query has `alt=sse`.
    pub(crate) fn array(
        count: usize,
        mut element: impl FnMut(usize) -> Value + Send + 'static,
    ) -> Self {
        let chunk = move |index: usize| {
            let before = if index == 0 { "[" } else { ",\r\n" };
            Bytes::from(format!("{before}{:#}\n", element(index)))
        };
        let end = Some(Bytes::from_static(b"]"));
        let script = Script { chunks: count, chunk: Box::new(chunk), end };
        Self::Stream { script, content_type: "application/json; charset=UTF-8" }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Whole(response) => response.status(),
            Self::Stream { .. } => StatusCode::OK,
        }
    }
}
