//! Google's own form, a `google.rpc.Status`: `{"error":{"code","message","status","details"}}`.
//!
//! google-genai (Python 3.6, JavaScript 2.32) reads `code`, `message` and `status` from the object in
//! `error`, and does so in events too. Its Python client raises an error for an event only if `error`
//! is the first member of the object, and its JavaScript client only if `code` is a number from 400
//! to 599.

use http::StatusCode;
use serde_json::{Value, json};

use super::translate::UpstreamError;

/// The domain of the reasons that this crate gives, in an `ErrorInfo`.
const DOMAIN: &str = "tower-vertex";

/// The error of a stream that failed, and the last element of a stream that is an array.
macro_rules! interrupted {
    () => {
        concat!(
            r#"{"error":{"code":503,"message":"the connection to Vertex AI broke in the middle of"#,
            r#" the response, and the rest of it is missing; send the request again","status":"#,
            r#""UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","#,
            r#""reason":"STREAM_INTERRUPTED","domain":"tower-vertex"}]}}"#,
        )
    };
}

/// The last element of an array that failed.
pub(super) const INTERRUPTED: &str = interrupted!();

/// The last event of a stream that failed.
pub(super) const INTERRUPTED_EVENT: &str = concat!("data: ", interrupted!(), "\n\n");

/// The name of `google.rpc.Code` for a response with this status. The mapping is that of Google's
/// APIs, <https://cloud.google.com/apis/design/errors#handling_errors>, and for a status that is
/// not in it the name with the nearest meaning.
pub(super) fn status_name(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        405 | 501 => "UNIMPLEMENTED",
        502 | 503 | 529 => "UNAVAILABLE",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

/// An error of the upstream as JSON: Google's own, without the array around it.
pub(super) fn to_json(status: StatusCode, error: &UpstreamError) -> Value {
    let google = error.google.as_ref();
    let code = google.and_then(|google| google.code).unwrap_or(status.as_u16().into());
    let name = google.and_then(|google| google.status.as_deref());
    let mut members = json!({
        "code": code,
        "message": error.message,
        "status": name.unwrap_or_else(|| status_name(status)),
    });
    if let Some(google) = google.filter(|google| !google.details.is_empty()) {
        members["details"] = json!(google.details);
    }
    json!({ "error": members })
}

/// An error of this crate or of a gateway. The code is the reason of an `ErrorInfo`, whose letters
/// are upper case.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Value {
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": code.to_ascii_uppercase(),
        "domain": DOMAIN,
    });
    json!({ "error": {
        "code": status.as_u16(),
        "message": message,
        "status": status_name(status),
        "details": [info],
    } })
}
