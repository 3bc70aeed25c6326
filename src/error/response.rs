//! Errors in the form that OpenAI clients read.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

/// A response with an error in OpenAI's form, for the refusals of a gateway. `code` and `message`
/// are the given ones, `type` follows from the status as it does at OpenAI, and `param` is null.
///
/// ```
/// use http::StatusCode;
/// use tower_vertex::error::openai_response;
///
/// let response = openai_response(StatusCode::NOT_FOUND, "model_not_found", "no such model");
/// assert_eq!(response.headers()["content-type"], "application/json");
/// assert_eq!(
///     response.into_body(),
///     r#"{"error":{"code":"model_not_found","message":"no such model","param":null,"type":"invalid_request_error"}}"#,
/// );
/// ```
pub fn openai_response(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
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
