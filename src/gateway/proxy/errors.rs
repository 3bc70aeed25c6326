//! What an error on the way to Vertex AI means to the client.

use http::StatusCode;

use super::admission::NoAnswer;
use crate::{
    BoxError, Error,
    gateway::{
        error::{causes, find},
        inbound::body::{BrokeOff, TooLarge, TooSlow},
        local_reply::{INCOMPLETE, Refusal},
        outbound::ConnectError,
    },
    route::Upstream,
};

/// What an error on the way to `upstream` means to the client; told to the log too, unless it is
/// the client's mistake.
pub(crate) fn refusal(error: &BoxError, upstream: &Upstream) -> Refusal {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.clone();
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        if !matches!(error, Error::Route(_) | Error::Model(_)) {
            tracing::warn!(%error, "not forwarded");
        }
        return Refusal::from(error);
    }
    if let Some(error) = find::<TooLarge>(error) {
        return Refusal::from(error);
    }
    if let Some(error) = find::<TooSlow>(error) {
        return Refusal::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", error.to_string());
    }
    if let Some(error) = find::<BrokeOff>(error) {
        return Refusal::new(StatusCode::BAD_REQUEST, INCOMPLETE, error.to_string());
    }
    let (origin, causes) = (upstream.origin(), causes(error));
    tracing::warn!(origin, error = causes, "no answer from upstream");
    if find::<NoAnswer>(error).is_some() {
        let message = format!("{origin}: {causes}");
        return Refusal::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message);
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
            "upstream_failed",
            format!("the connection to {origin} broke before it answered ({causes})"),
        ),
    };
    Refusal::new(status, code, message)
}

/// Vertex AI said something that ends nothing.
pub(crate) fn no_answer(status: StatusCode, upstream: &Upstream) -> Refusal {
    let origin = upstream.origin();
    tracing::warn!(origin, %status, "no answer from upstream");
    let message = format!("{origin} answered with {status}, which nobody has asked for");
    Refusal::new(StatusCode::BAD_GATEWAY, "upstream_failed", message)
}
