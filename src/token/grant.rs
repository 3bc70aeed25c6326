//! A request for a token, and the required form of its response: RFC 6749 §5.1, RFC 8693 §2.2.1,
//! and the metadata server's documentation.
//!
//! Every source whose tokens come over HTTP uses this module. So all sources limit the size of the
//! response, read it in the same way, retry after the same failures and report them with the same
//! messages.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::Value;

use super::{
    AccessToken, CredentialKind,
    http::{Answer, HttpClient, RequestError},
    oauth_error::OAuthError,
};
use crate::{
    BoxError,
    error::{Fault, FaultKind},
};

/// Half of the time of a fetch. If packets are dropped, the first try uses it up; a second try
/// would end with the time of the fetch, and its error would not name the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A short overload of a token endpoint or of the metadata server ends within these tries.
pub(super) const TRIES: u32 = 4;
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest lifetime, in seconds, after which a newer token is fetched.
const LONGEST_LIFE: u64 = 24 * 3600;

/// The tokens that a response grants.
pub(super) struct Grant {
    pub(super) token: AccessToken,
    /// A new refresh token, which replaces the one that was sent.
    pub(super) refresh_token: Option<String>,
}

/// Builds a POST request with these form fields.
pub(super) fn form(url: &str, fields: &[(&str, &str)]) -> Result<Request<Full<Bytes>>, BoxError> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Ok(Request::post(url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(Full::from(form))?)
}

/// Requests a token for the owner of credentials of this kind.
pub(super) async fn ask(
    client: &HttpClient,
    kind: CredentialKind,
    request: Request<Full<Bytes>>,
) -> Result<Grant, BoxError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    granted(kind, &send(client, request).await?, &host)
}

/// Reads the grant from the response of `host`.
pub(super) fn granted(
    kind: CredentialKind,
    answer: &Answer,
    host: &str,
) -> Result<Grant, BoxError> {
    if !answer.status.is_success() {
        return Err(OAuthError::new(answer.status.as_u16(), answer.text()).fault(kind).into());
    }
    read(answer, host)
}

/// Sends the request, and retries it if it could not be sent or the server has a problem.
pub(super) async fn send(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Fault> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    persist(&host, || client.send(request.clone(), CONNECT_TIMEOUT)).await
}

/// Sends the request in the same way, but never through a proxy.
pub(super) async fn send_directly(request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    persist(&host, || super::http::send_directly(request.clone(), CONNECT_TIMEOUT)).await
}

async fn persist<F>(host: &str, send: impl Fn() -> F) -> Result<Answer, Fault>
where
    F: Future<Output = Result<Answer, RequestError>>,
{
    let (mut tries, mut pause) = (1, FIRST_PAUSE);
    loop {
        let answer = send().await;
        let passes = match &answer {
            Ok(answer) => answer.status.is_server_error(),
            Err(why) => why.is_transient(),
        };
        if !passes || tries == TRIES {
            return answer.map_err(|why| why.fault(host));
        }
        tokio::time::sleep(pause).await;
        (tries, pause) = (tries + 1, pause * 2);
    }
}

/// Reads the token of a successful response.
fn read(answer: &Answer, host: &str) -> Result<Grant, BoxError> {
    let wrong = |what: String| not_a_token(host, &what);
    let json = answer.json().filter(Value::is_object);
    let json = json.ok_or_else(|| wrong("is not a JSON object".to_owned()))?;
    let text = |name: &str| match json.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(wrong(format!("has an {name:?} that is not text"))),
    };
    let token = text("access_token")?.ok_or_else(|| wrong("has no \"access_token\"".to_owned()))?;
    // RFC 6749 §7.1: a token of another type must not be used.
    if text("token_type")?.is_some_and(|kind| !kind.trim().eq_ignore_ascii_case("bearer")) {
        return Err(wrong("has a \"token_type\" that is not Bearer".to_owned()).into());
    }
    let lifetime = lifetime(json.get("expires_in").unwrap_or(&Value::Null))
        .ok_or_else(|| wrong("has an \"expires_in\" that is not a number of seconds".to_owned()))?;
    let refresh_token = text("refresh_token")?.filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(Grant { token: AccessToken::new(token, lifetime)?, refresh_token })
}

pub(super) fn not_a_token(host: &str, what: &str) -> Fault {
    let what = format!("the response of {host} {what}");
    let remedy = "check that it is a token endpoint, and that no proxy responds in its place";
    Fault::new(FaultKind::NotAToken, what, remedy)
}

/// Reads a number of seconds, which some servers put in quotes; `Some(None)` if it is missing.
fn lifetime(value: &Value) -> Option<Option<Duration>> {
    let seconds = match value {
        Value::Null => return Some(None),
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let seconds = Some(seconds).filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    // The cast saturates.
    Some(Some(Duration::from_secs((seconds as u64).min(LONGEST_LIFE))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lifetime_is_a_number_with_or_without_quotes() {
        for (value, seconds) in [
            (json!(3600), Some(Some(3600))),
            (json!("3600"), Some(Some(3600))),
            (json!(" 3599 "), Some(Some(3599))),
            (json!(3599.9), Some(Some(3599))),
            (json!("3599.0"), Some(Some(3599))),
            (json!(0), Some(Some(0))),
            (json!(10_000_000_000_000_000_000_u64), Some(Some(LONGEST_LIFE))),
            (Value::Null, Some(None)),
            (json!(-1), None),
            (json!(""), None),
            (json!("an hour"), None),
            (json!("NaN"), None),
            (json!("inf"), None),
            (json!([3600]), None),
            (json!(true), None),
        ] {
            let expected = seconds.map(|seconds| seconds.map(Duration::from_secs));
            assert_eq!(lifetime(&value), expected, "{value}");
        }
    }
}
