//! Settings of the API: its endpoints, and its faults.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::clock;

/// Faults and delays of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// An error instead of a response.
    pub api: Option<ApiFault>,
    /// The pace of the successful responses.
    pub stream: StreamBehavior,
}

impl Faults {
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(api) = &self.api {
            check_status("api.status", api.status, 400)?;
            if let Some(delay) = api.retry_delay.as_deref()
                && clock::parse_duration(delay).is_none()
            {
                return Err(format!(
                    "api.retry_delay is {delay:?}; it must be seconds, such as \"1.5s\""
                ));
            }
            if let Some(reason) = &api.reason {
                check_reason(reason)?;
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

/// The largest number of chunks in a stream.
pub(crate) const MAX_CHUNKS: usize = 1_000_000;

/// An error of the API, with Google's own words for its status.
///
/// A 401 is returned to every request, regardless of its token. Any other status is returned after
/// the token was accepted. In both cases the request's body has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiFault {
    /// The status, 400 to 599.
    pub status: u16,
    /// The number of errors, counted down with each; `None` is unlimited.
    #[serde(default)]
    pub times: Option<u64>,
    /// Adds a `RetryInfo` with this delay, such as `"1.5s"`.
    #[serde(default)]
    pub retry_delay: Option<String>,
    /// The shape of the body; `None` is the one that the service uses for this status here.
    #[serde(default)]
    pub shape: Option<ErrorShape>,
    /// The reason in the `ErrorInfo`, such as `"IAM_PERMISSION_DENIED"`: capital letters, digits
    /// and underscores. A 403 with `"SERVICE_DISABLED"` has the service's message for a project
    /// that has not enabled the Vertex AI API.
    #[serde(default)]
    pub reason: Option<String>,
    /// Limits the fault to requests to this location, such as `"us-central1"`; `None` means all.
    #[serde(default)]
    pub location: Option<String>,
}

impl ApiFault {
    /// Returns this status for every request from now on.
    pub fn new(status: u16) -> Self {
        Self { status, times: None, retry_delay: None, shape: None, reason: None, location: None }
    }
}

/// The wrapping of an error's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorShape {
    /// `[{"error":{…}}]`, as in most errors of `openapi`.
    Array,
    /// `{"error":{…}}`, as in errors of authentication and of hosts.
    Object,
    /// An HTML page, as from the front end.
    Html,
    /// `{"type":"error","error":{…},"request_id":…}`, as from the server of a Claude model.
    Anthropic,
}

/// The pace of a response, and where it is closed early.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamBehavior {
    /// The delay of the response headers, streamed or not. `first_byte_delay_ms` in JSON.
    #[serde(rename = "first_byte_delay_ms", with = "millis")]
    pub first_byte_delay: Duration,
    /// The pause between two chunks. `chunk_delay_ms` in JSON.
    #[serde(rename = "chunk_delay_ms", with = "millis")]
    pub chunk_delay: Duration,
    /// The number of chunks of the text, 1 to 1,000,000; `None` is 5. With more chunks than
    /// characters, some are empty. `[DONE]` is not counted.
    pub chunks: Option<usize>,
    /// Resets the connection (HTTP/2: the stream) after this number of chunks.
    pub cut_after: Option<usize>,
}

pub(crate) fn check_status(field: &str, status: u16, lowest: u16) -> Result<(), String> {
    if (lowest..600).contains(&status) && StatusCode::from_u16(status).is_ok() {
        return Ok(());
    }
    Err(format!("{field} is {status}; it must be {lowest} to 599"))
}

fn check_reason(reason: &str) -> Result<(), String> {
    let word = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = reason.starts_with(|first: char| first.is_ascii_uppercase());
    if begins && reason.len() <= 63 && reason.bytes().all(word) {
        return Ok(());
    }
    Err(format!("api.reason is {reason:?}; it must be like \"SERVICE_DISABLED\""))
}

/// Durations are whole milliseconds in JSON.
pub(crate) mod millis {
    use super::{Deserialize, Duration};

    pub(crate) fn serialize<S: serde::Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(
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
    /// The name for people; `filter=display_name=` searches for it.
    pub display_name: String,
    /// The region of the endpoint.
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

    /// Sets the region.
    #[must_use]
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = location.into();
        self
    }
}
