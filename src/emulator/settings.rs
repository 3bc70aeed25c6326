//! What a test can ask of the emulator: how tokens behave, and what goes wrong.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the token endpoint and the metadata server answer.
///
/// ```
/// use std::time::Duration;
/// use tower_vertex::emulator::TokenBehavior;
///
/// let slow = TokenBehavior { delay: Duration::from_millis(50), ..TokenBehavior::default() };
/// assert_eq!(slow.expires_in, 3600);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenBehavior {
    /// The `expires_in` of every answer, as it stands: any JSON value, so that a client can be
    /// shown `null`, `"3600"` or `-1`. A number of seconds (or a string of one) above 0 and up to
    /// 86,400 is also how long the token lives; with anything else it lives for 3600 s.
    pub expires_in: Value,
    /// Hands out one token again and again, as the metadata server does, until 240 s before its
    /// expiry (half its life, if it lives for less than 480 s). A revoked token is handed out too.
    pub same_until_expiry: bool,
    /// How long each answer takes. `delay_ms` in JSON.
    #[serde(rename = "delay_ms", with = "millis")]
    pub delay: Duration,
    /// Refuse to issue a token.
    pub fail: Option<TokenFault>,
    /// Answer with these bytes instead of a token.
    pub respond: Option<LiteralResponse>,
    /// Never answer.
    pub hang: bool,
}

impl Default for TokenBehavior {
    fn default() -> Self {
        Self {
            expires_in: 3600.into(),
            same_until_expiry: false,
            delay: Duration::ZERO,
            fail: None,
            respond: None,
            hang: false,
        }
    }
}

impl TokenBehavior {
    /// How long a token issued now lives.
    pub(crate) fn life(&self) -> Duration {
        let seconds = match &self.expires_in {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        seconds
            .filter(|seconds| *seconds > 0.0 && *seconds <= 86_400.0)
            .map_or(Duration::from_secs(3600), Duration::from_secs_f64)
    }

    /// What JSON can say and a response cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(fail) = &self.fail {
            check_status("fail.status", fail.status, 400)?;
        }
        if let Some(respond) = &self.respond {
            check_status("respond.status", respond.status, 200)?;
            let content_type = respond.content_type.iter().map(|value| ("content-type", value));
            let headers = respond.headers.iter().map(|(name, value)| (name.as_str(), value));
            for (name, value) in content_type.chain(headers) {
                if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                    return Err(format!("respond: {name:?} is not a header that can be sent"));
                }
            }
        }
        Ok(())
    }
}

/// A token endpoint that refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFault {
    /// The status of the refusal, 400 to 599.
    pub status: u16,
    /// How often; `None` is for ever. Counts down as it happens.
    #[serde(default)]
    pub times: Option<u64>,
}

/// An answer given word for word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiteralResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The `Content-Type`, if there is to be one.
    pub content_type: Option<String>,
    /// Further headers, such as the `Location` of a redirect.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Default for LiteralResponse {
    fn default() -> Self {
        Self { status: 200, content_type: None, headers: BTreeMap::new(), body: String::new() }
    }
}

/// What goes wrong, or slowly, at the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// An error instead of an answer.
    pub api: Option<ApiFault>,
    /// The pace of the answers that do succeed.
    pub stream: StreamBehavior,
}

impl Faults {
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(api) = &self.api {
            check_status("api.status", api.status, 400)?;
            if let Some(delay) = &api.retry_delay {
                check_retry_delay(delay)?;
            }
        }
        match self.stream.chunks {
            Some(0) => Err("stream.chunks must be at least 1".into()),
            Some(chunks) if chunks > MAX_CHUNKS => {
                Err(format!("stream.chunks must be at most {MAX_CHUNKS}"))
            }
            _ => Ok(()),
        }
    }
}

/// As many chunks as one stream can have.
pub(crate) const MAX_CHUNKS: usize = 1_000_000;

/// An error of the API, with Google's own words for its status.
///
/// A 401 answers every request, whatever its token; any other comes after the token was accepted.
/// Either way the request's body has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiFault {
    /// The status, 400 to 599.
    pub status: u16,
    /// How often; `None` is for ever. Counts down as it happens.
    #[serde(default)]
    pub times: Option<u64>,
    /// Adds a `RetryInfo` with this delay, such as `"1.5s"`.
    #[serde(default)]
    pub retry_delay: Option<String>,
    /// The shape of the body; `None` is the one that the service uses for this status here.
    #[serde(default)]
    pub shape: Option<ErrorShape>,
}

impl ApiFault {
    /// This status for every request from now on.
    pub fn new(status: u16) -> Self {
        Self { status, times: None, retry_delay: None, shape: None }
    }
}

/// How an error's body is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorShape {
    /// `[{"error":{…}}]`, as most errors of `openapi` are.
    Array,
    /// `{"error":{…}}`, as errors of authentication and of hosts are.
    Object,
    /// A page for people, as the front end gives it.
    Html,
}

/// The pace of an answer, and where it breaks off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamBehavior {
    /// How long the head of an answer is held back, streamed or not. `first_byte_delay_ms` in JSON.
    #[serde(rename = "first_byte_delay_ms", with = "millis")]
    pub first_byte_delay: Duration,
    /// The pause between two chunks. `chunk_delay_ms` in JSON.
    #[serde(rename = "chunk_delay_ms", with = "millis")]
    pub chunk_delay: Duration,
    /// How many chunks the text is cut into, 1 to 1,000,000; `None` is 5. With more chunks than
    /// characters, some are empty. `[DONE]` is not one of them.
    pub chunks: Option<usize>,
    /// Breaks the connection (HTTP/2: the stream) after so many chunks.
    pub cut_after: Option<usize>,
}

fn check_status(field: &str, status: u16, lowest: u16) -> Result<(), String> {
    if (lowest..600).contains(&status) && StatusCode::from_u16(status).is_ok() {
        return Ok(());
    }
    Err(format!("{field} is {status}; it must be {lowest} to 599"))
}

fn check_retry_delay(delay: &str) -> Result<(), String> {
    let number = delay.strip_suffix('s').unwrap_or_default();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, most| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if digits(whole, 12) && digits(fraction, 9) {
        return Ok(());
    }
    Err(format!("api.retry_delay is {delay:?}; it must be seconds, such as \"1.5s\""))
}

/// Durations are whole milliseconds in JSON.
mod millis {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// A deployed endpoint that the emulator lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointInfo {
    /// Numeric, or like `mg-endpoint-…`.
    pub id: String,
    /// What people call it; `filter=display_name=` looks for it.
    pub display_name: String,
    /// The region that it is listed in.
    pub location: String,
    /// The host of a dedicated endpoint; `None` for a shared one.
    pub dedicated_dns: Option<String>,
}

impl EndpointInfo {
    /// An endpoint on the shared host, in `us-central1`.
    pub fn shared(id: impl Into<String>, display_name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            display_name: display_name.into(),
            location: "us-central1".into(),
            dedicated_dns: None,
        }
    }

    /// An endpoint with a host of its own, in `us-central1`.
    pub fn dedicated(
        id: impl Into<String>,
        display_name: impl Into<String>,
        dns: impl Into<String>,
    ) -> Self {
        Self { dedicated_dns: Some(dns.into()), ..Self::shared(id, display_name) }
    }

    /// Lists it in another region.
    #[must_use]
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = location.into();
        self
    }
}
