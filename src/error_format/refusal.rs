//! The errors of this crate and of a gateway, in the form of the client's protocol.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::{anthropic, google};
use crate::{Error, error::openai_response, route::Protocol};

/// A response with an error in the form of a protocol's clients, for the refusals of a gateway.
///
/// `code` is a name such as `model_not_found`. It is OpenAI's `code`; in Google's form it is the
/// reason of an `ErrorInfo`, in capital letters; in Anthropic's it is `details.error_code`. `type` and
/// `status` follow from the status of the response, as they do at the three services.
///
/// ```
/// use http::StatusCode;
/// use tower_vertex::{error_format::refusal, route::Protocol};
///
/// let protocol = Protocol::of("/v1/messages");
/// let response = refusal(protocol, StatusCode::NOT_FOUND, "model_not_found", "no such model");
/// let body: serde_json::Value = serde_json::from_slice(response.body())?;
/// assert_eq!(body["type"], "error");
/// assert_eq!(body["error"]["type"], "not_found_error");
/// assert_eq!(body["error"]["message"], "no such model");
///
/// let protocol = Protocol::of("/v1beta/models/m:generateContent");
/// let response = refusal(protocol, StatusCode::NOT_FOUND, "model_not_found", "no such model");
/// let body: serde_json::Value = serde_json::from_slice(response.body())?;
/// assert_eq!(body["error"]["code"], 404);
/// assert_eq!(body["error"]["status"], "NOT_FOUND");
/// assert_eq!(body["error"]["details"][0]["reason"], "MODEL_NOT_FOUND");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn refusal(
    protocol: Protocol,
    status: StatusCode,
    code: &str,
    message: &str,
) -> Response<Bytes> {
    let body = match protocol {
        Protocol::OpenAi => return openai_response(status, code, message),
        Protocol::Gemini => google::refusal(status, code, message),
        Protocol::Anthropic => anthropic::refusal(status, code, message),
    };
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

impl Error {
    /// A response like that of [`to_response`](Self::to_response), in the form that the clients of
    /// a protocol read. See [`refusal`].
    ///
    /// ```
    /// use tower_vertex::{Error, error::RouteError, route::Protocol};
    ///
    /// let response = Error::from(RouteError::TooLong).to_response_for(Protocol::Gemini);
    /// assert_eq!(response.status(), 414);
    /// assert!(response.body().starts_with(br#"{"error":{"code":414,"#));
    /// ```
    pub fn to_response_for(&self, protocol: Protocol) -> Response<Bytes> {
        let response = self.to_response();
        if protocol == Protocol::OpenAi {
            return response;
        }
        // The headers are the same in every form.
        let (head, _) = response.into_parts();
        let body = refusal(protocol, self.status(), self.code(), &self.to_string()).into_body();
        Response::from_parts(head, body)
    }
}
