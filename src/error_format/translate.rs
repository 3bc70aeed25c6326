//! Translates the status, headers and body of an error into the form of the client's protocol.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, RETRY_AFTER, TRAILER,
        TRANSFER_ENCODING,
    },
};
use serde_json::{Map, Value};

use super::{
    advice::advice as advice_about,
    anthropic,
    explain_404::{nowhere, who},
    google, openai,
    unknown_model::Requested,
};
use crate::{
    body_headers::{has_type, is_encoded, remove_digests},
    route::{Protocol, Upstream},
};

/// The header of a translated response that names the form of the original.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-vertex-error-type");

/// The most characters of a text that a message shows.
const EXCERPT: usize = 200;

/// The longest `google.protobuf.Duration`, in seconds: ten thousand years.
const LONGEST_DELAY: u64 = 315_576_000_000;

/// The form of the original error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `[{"error":{…}}]`
    Array,
    /// `{"error":{…}}`
    Object,
    /// A web page.
    Html,
    /// Other text, an empty body, or a body that could not be read.
    Other,
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Object => "object",
            Self::Html => "html",
            Self::Other => "other",
        }
    }
}

/// Why there is no complete body to translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnreadReason {
    /// The body is longer than this many bytes.
    TooLong(usize),
    /// The body ended early.
    Broken,
    /// The body was not complete after this time.
    Late(Duration),
}

impl fmt::Display for UnreadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(limit) => write!(f, "is longer than {limit} bytes"),
            Self::Broken => f.write_str("ended early"),
            Self::Late(time) => write!(f, "did not arrive within {time:?}"),
        }
    }
}

/// An error of the upstream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UpstreamError {
    /// A sentence for people.
    pub(crate) message: String,
    /// OpenAI's `type`: see the [module's docs](super).
    pub(crate) kind: String,
    /// OpenAI's `param`.
    pub(crate) param: Option<String>,
    /// Google's code, which is a status, as text; without one, the status of the response.
    pub(crate) code: String,
    /// The rest of Google's error.
    pub(crate) google: Option<Google>,
    /// The form of the original error.
    pub(crate) form: Form,
    /// The time until the next attempt, in whole seconds, at least 1.
    pub(crate) retry_after: Option<u64>,
}

/// The fields of a `google.rpc.Status`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Google {
    pub(crate) code: Option<i64>,
    /// A name such as `RESOURCE_EXHAUSTED`.
    pub(crate) status: Option<String>,
    pub(crate) details: Vec<Value>,
}

/// The error in a response with this `status`, which is not a success. `body` is complete.
///
/// `None` for a body that must stay as it is: OpenAI's and Anthropic's forms, JSON of another form, and
/// compressed bodies.
pub(crate) fn translate(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    upstream: Option<&Upstream>,
) -> Option<UpstreamError> {
    if is_encoded(headers) {
        return None;
    }
    match serde_json::from_slice(body) {
        Ok(Value::Array(mut items)) if items.len() == 1 => {
            return from_google(status, items.pop()?, Form::Array, upstream);
        }
        Ok(value @ Value::Object(_)) => return from_google(status, value, Form::Object, upstream),
        Ok(Value::Array(_)) => return None,
        // A text may look like a number, but a body of this type is JSON.
        Ok(_) if has_type(headers, "application/json") => return None,
        Ok(_) | Err(_) => {}
    }
    Some(if has_type(headers, "text/html") || is_page(body) {
        UpstreamError::of_page(status, upstream)
    } else if has_type(headers, "text/plain") {
        UpstreamError::of_text(status, &excerpt(body), upstream)
    } else {
        UpstreamError::of_text(status, "", upstream)
    })
}

/// The error in a response whose body could not be read, for this reason.
pub(crate) fn unread(
    status: StatusCode,
    headers: &HeaderMap,
    why: UnreadReason,
    upstream: Option<&Upstream>,
) -> UpstreamError {
    if has_type(headers, "text/html") {
        // The message for a page does not depend on its text.
        return UpstreamError::of_page(status, upstream);
    }
    let message = format!("{}, but the body of the error {why}", answered(status, upstream));
    UpstreamError::new(status, Form::Other, message)
}

impl UpstreamError {
    fn new(status: StatusCode, form: Form, message: String) -> Self {
        let code = status.as_str().to_owned();
        let kind = openai::kind(status).to_owned();
        Self { message, kind, param: None, code, google: None, form, retry_after: None }
    }

    fn of_text(status: StatusCode, text: &str, upstream: Option<&Upstream>) -> Self {
        let answered = answered(status, upstream);
        let message = if text.is_empty() {
            format!("{answered} and gave no reason{}", advice(status))
        } else {
            format!("{answered}: {text}")
        };
        Self::new(status, Form::Other, message)
    }

    fn of_page(status: StatusCode, upstream: Option<&Upstream>) -> Self {
        let mut message = answered(status, upstream) + " with a web page instead of JSON";
        if status == StatusCode::NOT_FOUND {
            message.push_str(": ");
            message.push_str(&nowhere(upstream));
        } else {
            message.push_str(advice(status));
        }
        Self::new(status, Form::Html, message)
    }

    /// Adds advice where Google's message has none. All of it is about OpenAI's protocol.
    pub(super) fn with_advice(
        mut self,
        protocol: Protocol,
        status: StatusCode,
        requested: Option<&Requested>,
    ) -> Self {
        if protocol == Protocol::OpenAi
            && let Some(advice) = advice_about(status, &self.message, requested)
        {
            self.message = format!("{} {advice}", self.message.trim_end());
        }
        self
    }

    /// Whether a client of this protocol can read the body as it is.
    pub(super) fn is_in_form(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Gemini && self.form == Form::Object
    }

    /// The error as JSON, in the form of this protocol.
    fn to_json(&self, protocol: Protocol, status: StatusCode, headers: &HeaderMap) -> Value {
        match protocol {
            Protocol::OpenAi => openai::to_json(self),
            Protocol::Gemini => google::to_json(status, self),
            Protocol::Anthropic => anthropic::to_json(status, headers, self),
        }
    }

    /// Returns the body in the form of this protocol, and changes the headers to fit it.
    pub(super) fn into_body(
        self,
        protocol: Protocol,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Bytes {
        let body = Bytes::from(self.to_json(protocol, status, headers).to_string());
        remove_digests(headers);
        for name in [CONTENT_LANGUAGE, ETAG, LAST_MODIFIED, TRAILER, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.form.as_str()));
        self.put_retry_after(headers);
        body
    }

    /// Adds the header `Retry-After` if the error has a delay and there is no such header.
    pub(super) fn put_retry_after(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after {
            headers.entry(RETRY_AFTER).or_insert_with(|| seconds.into());
        }
    }
}

/// Translates an error of Google's. `None` if `value` is not one.
fn from_google(
    status: StatusCode,
    value: Value,
    form: Form,
    upstream: Option<&Upstream>,
) -> Option<UpstreamError> {
    let Value::Object(mut value) = value else { return None };
    let Some(Value::Object(mut error)) = value.remove("error") else { return None };
    let code = error.get("code").and_then(Value::as_i64);
    let name = take_text(&mut error, "status");
    if code.is_none() && name.is_none() {
        return None;
    }
    let details = match error.remove("details") {
        Some(Value::Array(details)) => details,
        _ => Vec::new(),
    };
    let retry_after = details.iter().find_map(retry_delay);
    let message = take_text(&mut error, "message").filter(|message| !message.trim().is_empty());
    let mut translated = match message {
        Some(message) => UpstreamError::new(status, form, message),
        None => UpstreamError { form, ..UpstreamError::of_text(status, "", upstream) },
    };
    // Google's own errors have neither; a server behind an endpoint may set them.
    if let Some(kind) = take_text(&mut error, "type") {
        translated.kind = kind;
    }
    translated.param = take_text(&mut error, "param");
    if let Some(code) = code.filter(|code| (100..1000).contains(code)) {
        translated.code = code.to_string();
    }
    translated.retry_after = retry_after;
    translated.google = Some(Google { code, status: name, details });
    Some(translated)
}

fn take_text(object: &mut Map<String, Value>, name: &str) -> Option<String> {
    match object.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The delay of a `google.rpc.RetryInfo`, in seconds, rounded up, at least 1.
fn retry_delay(detail: &Value) -> Option<u64> {
    let name = detail.get("@type")?.as_str()?.rsplit('/').next()?;
    if name != "google.rpc.RetryInfo" {
        return None;
    }
    whole_seconds(detail.get("retryDelay")?.as_str()?)
}

/// The JSON form of a `google.protobuf.Duration`, such as `39s` or `1.5s`.
fn whole_seconds(text: &str) -> Option<u64> {
    let text = text.strip_suffix('s')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds: u64 = whole.parse().ok().filter(|seconds| *seconds <= LONGEST_DELAY)?;
    let more = fraction.bytes().any(|digit| digit != b'0');
    Some((seconds + u64::from(more)).max(1))
}

/// The beginning of a sentence.
fn answered(status: StatusCode, upstream: Option<&Upstream>) -> String {
    let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    format!("{} returned {}{reason}", who(upstream), status.as_str())
}

/// Advice about a status, as the end of a sentence.
fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "; check the credentials",
        403 => "; check the project, its permissions and the credentials",
        413 => "; send a shorter request",
        408 | 429 | 500.. => "; try again in a while",
        _ => "; check the URL and the request",
    }
}

fn is_page(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    ["<!doctype html", "<html"].iter().any(|start| {
        body.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()))
    })
}

/// The beginning of a text, on one line and without control characters.
fn excerpt(body: &[u8]) -> String {
    // No character has more than four bytes; the factor is doubled to allow for white space.
    let begin = body.get(..8 * EXCERPT).unwrap_or(body);
    let text = String::from_utf8_lossy(begin).replace(char::is_control, " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests;
