//! Anthropic's form: `{"type":"error","error":{"type","message"},"request_id"}`.
//!
//! The anthropic SDKs (Python 2.14, TypeScript 1.14) choose their exception by the status, and read
//! `type` and `message` from the object in `error`, and the id from the header `request-id`. In a
//! stream they raise an error for an event with the name `error` alone.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::translate::{Google, UpstreamError};

/// The last event of a stream that failed.
pub(super) const INTERRUPTED: &str = concat!(
    "event: error\n",
    r#"data: {"type":"error","error":{"type":"api_error","message":"the connection to Vertex AI "#,
    r#"broke in the middle of the response, and the rest of it is missing; send the request "#,
    r#"again","details":{"error_code":"stream_interrupted"}}}"#,
    "\n\n",
);

/// Anthropic's `type` for an error with this status.
/// <https://platform.claude.com/docs/en/api/errors>; the types of 408 and 503 are those with the
/// same meaning.
pub(super) fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// An error of the upstream as JSON. The rest of Google's error stays beside Anthropic's members.
pub(super) fn to_json(status: StatusCode, headers: &HeaderMap, error: &UpstreamError) -> Value {
    let mut members = json!({ "type": kind(status), "message": error.message });
    if let Some(Google { code, status, details }) = &error.google {
        members["google"] = json!({ "code": code, "status": status, "details": details });
    }
    json!({ "type": "error", "error": members, "request_id": request_id(headers) })
}

/// An error of this crate or of a gateway. Anthropic's own errors have their code at the same
/// place.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Value {
    json!({
        "type": "error",
        "error": { "type": kind(status), "message": message, "details": { "error_code": code } },
        "request_id": null,
    })
}

/// The id of the request at Anthropic or at Google.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    let names = ["request-id", "x-request-id"];
    names.into_iter().find_map(|name| headers.get(name)?.to_str().ok())
}
