//! The OpenAI-shaped answers to requests that got none from Vertex AI.

use std::{error::Error as StdError, io, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper_util::client::legacy::Error as ClientError;

use super::inbound::TooLarge;
use crate::{BoxError, Error, error::openai_response, route::Upstream};

/// Why a request is answered here.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn to_response(&self) -> Response<Bytes> {
        openai_response(self.status, self.code, &self.message)
    }

    pub(super) fn not_a_proxy() -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "not_a_proxy",
            message:
                "this is a gateway to Vertex AI and not a forward proxy: send the path alone, \
                      such as /v1/chat/completions, and unset http_proxy for this host"
                    .into(),
        }
    }

    pub(super) fn too_large(error: &TooLarge) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "request_too_large",
            message: error.to_string(),
        }
    }

    pub(super) fn timed_out(limit: Duration, upstream: &Upstream) -> Self {
        let origin = upstream.origin();
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            code: "upstream_timeout",
            message: format!(
                "{origin} did not answer within {limit:?}, which --response-timeout allows"
            ),
        }
    }

    pub(super) fn unreadable(status: StatusCode, message: &str) -> Self {
        Self { status, code: "unreadable_request", message: message.to_owned() }
    }

    pub(super) fn panicked() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "internal_error",
            message: "the gateway failed on this request; its log says where".into(),
        }
    }

    /// What an error out of the stack means to the client; told to the log too, unless it is the
    /// client's mistake.
    pub(super) fn of(error: &BoxError, upstream: &Upstream) -> Self {
        if let Some(error) = error.downcast_ref::<Error>() {
            if !matches!(error, Error::Route(_) | Error::Model(_)) {
                tracing::warn!(%error, "not forwarded");
            }
            return Self { status: error.status(), code: error.code(), message: error.to_string() };
        }
        if let Some(error) = find::<TooLarge>(error) {
            return Self::too_large(error);
        }
        let (origin, causes) = (upstream.origin(), causes(error));
        tracing::warn!(origin, error = causes, "no answer from upstream");
        let connecting = find::<ClientError>(error).is_some_and(ClientError::is_connect);
        let late = find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::TimedOut);
        let (status, code, message) = match (connecting, late) {
            (true, true) => (
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                format!("could not connect to {origin} in time: check the network ({causes})"),
            ),
            (true, false) => (
                StatusCode::BAD_GATEWAY,
                "upstream_unreachable",
                format!(
                    "could not connect to {origin}: check the location and the network ({causes})"
                ),
            ),
            (false, _) => (
                StatusCode::BAD_GATEWAY,
                "upstream_failed",
                format!("the connection to {origin} broke before it answered ({causes})"),
            ),
        };
        Self { status, code, message }
    }
}

pub(super) fn find<E: StdError + 'static>(error: &BoxError) -> Option<&E> {
    chain(error).find_map(|error| error.downcast_ref())
}

pub(super) fn causes(error: &BoxError) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn chain(error: &BoxError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(&**error as &(dyn StdError + 'static)), |&error| error.source())
}
