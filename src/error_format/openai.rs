//! OpenAI's form: `{"error":{"message","type","param","code"}}`.

use http::StatusCode;
use serde_json::{Value, json};

use super::translate::{Google, UpstreamError};

/// The last event of a stream that failed. openai-python 3.54 and openai-node 7.57 raise an
/// `APIError` for data with an `error`, regardless of the event's name. async-openai 0.43 cannot
/// take it for a chunk.
pub(super) const INTERRUPTED: &str = concat!(
    r#"data: {"error":{"message":"the connection to Vertex AI broke in the middle of the response"#,
    r#", and the rest of it is missing; send the request again","type":"server_error","#,
    r#""param":null,"code":"stream_interrupted"}}"#,
    "\n\n",
);

/// OpenAI's `type` for an error with this status.
pub(super) fn kind(status: StatusCode) -> &'static str {
    if status.as_u16() >= 500 {
        "server_error"
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        "rate_limit_error"
    } else {
        "invalid_request_error"
    }
}

/// The error as JSON. The rest of Google's error stays beside OpenAI's members.
pub(super) fn to_json(error: &UpstreamError) -> Value {
    let mut members = json!({
        "message": error.message,
        "type": error.kind,
        "param": error.param,
        "code": error.code,
    });
    if let Some(Google { code, status, details }) = &error.google {
        members["google"] = json!({ "code": code, "status": status, "details": details });
    }
    json!({ "error": members })
}
