//! The response that a client gets for an error of the stack.

use http::StatusCode;

use super::admission::ResponseHeaderTimeout;
use crate::{
    error::{causes, find},
    inbound::{
        body_limit::{BodyTimeout, BodyTooLarge, IncompleteBody},
        content_encoding::InvalidCompression,
    },
    local_reply::{INCOMPLETE, LocalReply},
    outbound::ConnectError,
};
use tower_vertex::{BoxError, Error, connect::ProxyError, route::Upstream};

/// The response to the client for an error of a request to `upstream`. The error is also logged,
/// unless it is the client's mistake.
pub(crate) fn local_reply(error: &BoxError, upstream: &Upstream) -> LocalReply {
    if let Some(refusal) = error.downcast_ref::<LocalReply>() {
        return refusal.clone();
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        if !matches!(error, Error::Route(_) | Error::Model(_)) {
            tracing::warn!(%error, "request not forwarded");
        }
        return LocalReply::from(error);
    }
    if let Some(error) = find::<BodyTooLarge>(error) {
        return LocalReply::from(error);
    }
    if let Some(error) = find::<BodyTimeout>(error) {
        return LocalReply::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", error.to_string());
    }
    if let Some(error) = find::<IncompleteBody>(error) {
        return LocalReply::new(StatusCode::BAD_REQUEST, INCOMPLETE, error.to_string());
    }
    if let Some(error) = find::<InvalidCompression>(error) {
        return LocalReply::new(StatusCode::BAD_REQUEST, "invalid_compression", error.to_string());
    }
    let (origin, causes) = (upstream.origin(), causes(error));
    tracing::warn!(origin, error = causes, "no response from upstream");
    if find::<ResponseHeaderTimeout>(error).is_some() {
        let message = format!("{origin}: {causes}");
        return LocalReply::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message);
    }
    if let Some(error) = find::<ProxyError>(error) {
        let message = format!("could not connect to {origin} ({causes}): {}", error.remedy());
        return LocalReply::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", message);
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
            format!("could not connect to {origin}: check the location and the network ({causes})"),
        ),
        None => (
            StatusCode::BAD_GATEWAY,
            "upstream_reset",
            format!("the connection to {origin} closed before a response ({causes})"),
        ),
    };
    LocalReply::new(status, code, message)
}

/// The response for an informational (1xx) status from Vertex AI, which does not complete a
/// request.
pub(crate) fn unexpected_status(status: StatusCode, upstream: &Upstream) -> LocalReply {
    let origin = upstream.origin();
    tracing::warn!(origin, %status, "no response from upstream");
    let message = format!("{origin} responded with {status}, which the request did not ask for");
    LocalReply::new(StatusCode::BAD_GATEWAY, "upstream_reset", message)
}
