//! The OpenAI-shaped answers to requests that got none from Vertex AI.

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    inbound::{BrokeOff, TooLarge, TooSlow},
    limits::NoTurn,
    outbound::ConnectError,
    policy::NoAnswer,
};
use crate::{
    BoxError, Error,
    error::{RouteError, openai_response},
    route::Upstream,
};

/// The code of a request whose body did not come to its end.
const INCOMPLETE: &str = "incomplete_request";

/// Why a request is answered here.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// When it is worth asking again.
    retry_after: Option<Duration>,
    /// What the status asks for besides.
    headers: Vec<(HeaderName, &'static str)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (message, headers) = (message.into(), Vec::new());
        Self { status, code, message, retry_after: None, headers }
    }

    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn to_response(&self) -> Response<Bytes> {
        let mut response = openai_response(self.status, self.code, &self.message);
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(wait) = self.retry_after {
            // In whole seconds, and never none.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let value = HeaderValue::from(seconds.max(1));
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// More requests than may be under way.
    pub(super) fn busy(why: NoTurn) -> Self {
        let message = format!(
            "as many requests are under way as --max-concurrent-requests allows, and {why}; try \
             again later"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
            .retry_after(Duration::from_secs(1))
    }

    /// The same for the requests of one client.
    pub(super) fn client_is_busy(why: NoTurn) -> Self {
        let message = format!(
            "as many requests of this key are under way as it may have, and {why}; try again later"
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_concurrent_requests", message)
            .retry_after(Duration::from_secs(1))
    }

    pub(super) fn not_a_proxy() -> Self {
        let message = "this is a gateway to Vertex AI and not a forward proxy: send the path \
             alone, such as /v1/chat/completions, and unset http_proxy for this host";
        Self::new(StatusCode::BAD_REQUEST, "not_a_proxy", message)
    }

    /// A handshake for another protocol, such as a WebSocket's.
    pub(super) fn upgrade_required() -> Self {
        let message = "this gateway speaks HTTP alone, and no WebSockets: send a POST, and for a \
             stream \"stream\": true";
        let mut refusal = Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message);
        // RFC 9110 §15.5.22 wants the protocol named that is spoken here, and §7.8 then `Connection`.
        let headers = [(header::UPGRADE, "HTTP/1.1"), (header::CONNECTION, "upgrade")];
        refusal.headers.extend(headers);
        refusal
    }

    pub(super) fn too_large(error: &TooLarge) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", error.to_string())
    }

    /// Vertex AI said something that ends nothing.
    pub(super) fn no_answer(status: StatusCode, upstream: &Upstream) -> Self {
        let origin = upstream.origin();
        tracing::warn!(origin, %status, "no answer from upstream");
        let message = format!("{origin} answered with {status}, which nobody has asked for");
        Self::new(StatusCode::BAD_GATEWAY, "upstream_failed", message)
    }

    pub(super) fn unreadable(status: StatusCode, message: &str) -> Self {
        Self::new(status, "unreadable_request", message)
    }

    /// A mistake of this program.
    pub(super) fn failed() -> Self {
        let message = "the gateway failed on this request; its log says where";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// Whether the client has shown no good key.
    pub(super) fn is_of_a_stranger(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Whether the client left while it was still asking.
    pub(super) fn is_of_one_that_left(&self) -> bool {
        self.code == INCOMPLETE
    }

    /// What an error on the way to `upstream` means to the client; told to the log too, unless it is
    /// the client's mistake.
    pub(super) fn of(error: &BoxError, upstream: &Upstream) -> Self {
        if let Some(refusal) = error.downcast_ref::<Self>() {
            return refusal.clone();
        }
        if let Some(error) = error.downcast_ref::<Error>() {
            if !matches!(error, Error::Route(_) | Error::Model(_)) {
                tracing::warn!(%error, "not forwarded");
            }
            return Self::from(error);
        }
        if let Some(error) = find::<TooLarge>(error) {
            return Self::too_large(error);
        }
        if let Some(error) = find::<TooSlow>(error) {
            return Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", error.to_string());
        }
        if let Some(error) = find::<BrokeOff>(error) {
            return Self::new(StatusCode::BAD_REQUEST, INCOMPLETE, error.to_string());
        }
        let (origin, causes) = (upstream.origin(), causes(error));
        tracing::warn!(origin, error = causes, "no answer from upstream");
        if find::<NoAnswer>(error).is_some() {
            let message = format!("{origin}: {causes}");
            return Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message);
        }
        let (status, code, message) = match find::<ConnectError>(error).map(ConnectError::is_late) {
            Some(true) => (
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                format!("could not connect to {origin} in time: check the network ({causes})"),
            ),
            Some(false) => (
                StatusCode::BAD_GATEWAY,
                "upstream_unreachable",
                format!(
                    "could not connect to {origin}: check the location and the network ({causes})"
                ),
            ),
            None => (
                StatusCode::BAD_GATEWAY,
                "upstream_failed",
                format!("the connection to {origin} broke before it answered ({causes})"),
            ),
        };
        Self::new(status, code, message)
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let mut refusal = Self::new(error.status(), error.code(), error.to_string());
        refusal.headers.extend(error.allowed_methods().map(|allowed| (header::ALLOW, allowed)));
        refusal
    }
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        Self::from(&Error::from(error))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Out of a layer of the stack, it is what the client is told.
impl StdError for Refusal {}

pub(super) fn find<E: StdError + 'static>(error: &BoxError) -> Option<&E> {
    chain(error).find_map(|error| error.downcast_ref())
}

pub(super) fn causes(error: &BoxError) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn chain(error: &BoxError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(&**error as &(dyn StdError + 'static)), |&error| error.source())
}
