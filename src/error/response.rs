//! Errors in the form that OpenAI clients read.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

/// A response in OpenAI's error form that names no parameter.
#[cfg(feature = "gateway")]
pub(crate) fn openai_response(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    openai_error(status, code, None, message)
}

/// A response in OpenAI's error form. `type` follows from the status as it does at OpenAI.
pub(super) fn openai_error(
    status: StatusCode,
    code: &str,
    param: Option<&str>,
    message: &str,
) -> Response<Bytes> {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    let body = serde_json::json!({
        "error": { "message": message, "type": kind, "param": param, "code": code }
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
