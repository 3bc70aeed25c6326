//! The common part of all endpoints that issue tokens: counting, reading, faults, issuing and
//! refusing.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    google_errors::json as json_response,
    scopes::Scopes,
    state::{Shared, lock, take_one},
    token_settings::{LiteralResponse, Origin},
    tokens::{Grant, Principal},
};

/// The largest request body of these endpoints, in bytes.
const LIMIT: usize = 1024 * 1024;

pub(crate) type Answer = Response<Full<Bytes>>;

/// The reason for a refusal: a code of RFC 6749 or RFC 8693, and a description. Neither repeats
/// parts of the request.
pub(crate) type Refusal = (&'static str, &'static str);

/// A reason why a request gets no token.
pub(crate) enum Stop {
    /// The body is too large or ended early.
    Unreadable,
    /// The failure that the emulator is configured to return, in the error format of each endpoint.
    Told(StatusCode),
    /// The response that the emulator is configured to return verbatim.
    Literal(LiteralResponse),
}

/// Counts and reads a request for a token, and applies the configured faults.
pub(crate) async fn receive(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<(Parts, Bytes), Stop> {
    shared.count(|stats| stats.token_requests += 1);
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LIMIT).collect().await.map_err(|_| Stop::Unreadable)?.to_bytes();
    obstacles(shared).await?;
    Ok((parts, body))
}

/// Applies the configured faults: a delay, no response, a failure, or a literal response.
async fn obstacles(shared: &Shared) -> Result<(), Stop> {
    let (delay, hang, fail, respond) = {
        let mut tokens = lock(&shared.tokens);
        let behavior = tokens.behavior_mut();
        let fail = behavior.fail.as_mut().filter(|fail| fail.times != Some(0));
        let fail = fail.and_then(|fail| take_one(&mut fail.times).then_some(fail.status));
        (behavior.delay, behavior.hang, fail, behavior.respond.clone())
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if hang {
        std::future::pending::<()>().await;
    }
    if let Some(status) = fail {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Err(Stop::Told(status));
    }
    respond.map_or(Ok(()), |literal| Err(Stop::Literal(literal)))
}

pub(crate) fn literal_response(literal: &LiteralResponse) -> Answer {
    let mut response = Response::new(Full::from(literal.body.clone()));
    *response.status_mut() = StatusCode::from_u16(literal.status).unwrap_or(StatusCode::OK);
    let content_type = literal.content_type.iter().map(|value| ("content-type", value));
    let headers = literal.headers.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in content_type.chain(headers) {
        // Settings from JSON are checked before. Headers that Rust code sets and that HTTP cannot
        // represent are skipped.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// A stop in the error format of RFC 6749.
impl From<Stop> for Answer {
    fn from(stop: Stop) -> Self {
        let (status, error) = match stop {
            Stop::Literal(literal) => return literal_response(&literal),
            Stop::Unreadable => {
                return refuse(("invalid_request", "The body is too large or ended early."));
            }
            Stop::Told(status) => (
                status,
                match status.as_u16() {
                    400 => "invalid_grant",
                    401 => "invalid_client",
                    403 => "access_denied",
                    503 => "temporarily_unavailable",
                    500..=599 => "internal_failure",
                    _ => "invalid_request",
                },
            ),
        };
        let body =
            json!({ "error": error, "error_description": "The emulator is configured to fail." });
        json_response(status, &body)
    }
}

/// Issues a token. Returns the body of a response by RFC 6749.
pub(crate) fn issue(
    shared: &Shared,
    principal: Principal,
    scopes: Scopes,
    origin: Origin,
) -> Value {
    let Grant { value, expires_in, minted } = lock(&shared.tokens).grant(principal, scopes, origin);
    if minted {
        shared.count(|stats| stats.token_mints += 1);
    }
    json!({ "access_token": value, "expires_in": expires_in, "token_type": "Bearer" })
}

pub(crate) fn ok(body: &Value) -> Answer {
    json_response(StatusCode::OK, body)
}

pub(crate) fn refuse((error, description): Refusal) -> Answer {
    let status = match error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    };
    json_response(status, &json!({ "error": error, "error_description": description }))
}

/// The fields of a form or of a JSON object: `gcp_auth` sends the refresh grant as JSON.
pub(crate) enum Fields<'a> {
    Json(Value),
    Form(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Self {
        // No form begins with a brace, so the content type is not needed.
        match serde_json::from_slice(body) {
            Ok(value @ Value::Object(_)) => Self::Json(value),
            _ => Self::Form(body),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(object) => object.get(name)?.as_str().map(Cow::Borrowed),
            Self::Form(body) => {
                form_urlencoded::parse(body).find(|(key, _)| key == name).map(|(_, value)| value)
            }
        }
    }
}
