//! Settings of the endpoints that issue tokens.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::settings::{check_status, millis};

/// The farthest that a clock can be set ahead or back, in seconds: about 30 years.
const FARTHEST: u64 = 1_000_000_000;

/// The behavior of everything that issues tokens: the token endpoints, the metadata server and the
/// IAM credentials API.
///
/// ```
/// use std::time::Duration;
/// use tower_vertex_emulator::TokenBehavior;
///
/// let slow = TokenBehavior { delay: Duration::from_millis(50), ..TokenBehavior::default() };
/// assert_eq!(slow.expires_in, 3600);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenBehavior {
    /// The `expires_in` of every response, verbatim: any JSON value, so that a test can send
    /// `null`, `"3600"` or `-1`. A number of seconds (or a string of one) above 0 and up to 86,400
    /// is also the lifetime of the token. With any other value the token lives for 3600 s. An
    /// impersonated token lives for the `lifetime` in the request, but never longer than a lifetime
    /// set here to less than 3600 s.
    pub expires_in: Value,
    /// Returns the same token to a principal each time, as the metadata server does, until 240 s
    /// before its expiry (half its lifetime, if that is less than 480 s). A revoked token is
    /// returned too. Impersonation issues a new token each time regardless.
    pub same_until_expiry: bool,
    /// The delay of each response. `delay_ms` in JSON.
    #[serde(rename = "delay_ms", with = "millis")]
    pub delay: Duration,
    /// Refuse to issue a token, with the error format of each endpoint.
    pub fail: Option<TokenFault>,
    /// Respond with these bytes instead of a token.
    pub respond: Option<LiteralResponse>,
    /// Never respond.
    pub hang: bool,
    /// The error for a refresh token that used to be valid.
    pub user_grant: Option<UserGrantFault>,
    /// A workforce refresh also returns a new refresh token, and ends the one that was used. A
    /// credential file written before keeps the old refresh token.
    pub rotate_refresh_token: bool,
    /// Deny impersonation: `generateAccessToken` returns a 403.
    pub impersonation_denied: bool,
    /// An impersonated token may live for up to 43,200 s and not just 3600, as with the
    /// organization policy `iam.allowServiceAccountCredentialLifetimeExtension`.
    pub allow_long_lifetimes: bool,
    /// How far the emulator's clock is ahead of this machine's, in seconds; up to 1,000,000,000
    /// either way. The clock is used to check signed claims, and for `expireTime` and the `Date`
    /// header. Set it to test a client whose own clock is wrong. The lifetimes of known tokens do
    /// not change.
    pub clock_offset_s: i64,
    /// The length of the tokens that are issued.
    pub token_length: TokenLength,
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
            user_grant: None,
            rotate_refresh_token: false,
            impersonation_denied: false,
            allow_long_lifetimes: false,
            clock_offset_s: 0,
            token_length: TokenLength::Short,
        }
    }
}

impl TokenBehavior {
    /// The lifetime of a token issued now.
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

    /// Rejects values that JSON allows but that a response or a clock cannot represent.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.clock_offset_s.unsigned_abs() > FARTHEST {
            return Err(format!(
                "clock_offset_s is {}; it must be -{FARTHEST} to {FARTHEST}",
                self.clock_offset_s
            ));
        }
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

/// The length of a token. Programs and proxies have limits for headers, and Google's tokens are
/// longer than those of most test servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLength {
    /// 57 bytes, so that a token is easy to read.
    #[default]
    Short,
    /// 1,024 bytes, as long as many tokens of Google are.
    Usual,
    /// The longest tokens that Google documents: 2,048 bytes, and 12,288 bytes from the Security
    /// Token Service.
    Longest,
}

/// The service that issues a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The Security Token Service.
    Exchange,
    /// Every other service.
    Other,
}

impl TokenLength {
    /// The length in bytes; 0 stands for the shortest.
    pub(crate) fn bytes(self, origin: Origin) -> usize {
        match (self, origin) {
            (Self::Short, _) => 0,
            (Self::Usual, _) => 1024,
            // https://developers.google.com/identity/protocols/oauth2#size
            (Self::Longest, Origin::Other) => 2048,
            // https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token
            (Self::Longest, Origin::Exchange) => 12_288,
        }
    }
}

/// The reason why a user has to log in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserGrantFault {
    /// The refresh token was revoked, or has not been used for too long.
    Revoked,
    /// The session control of the organization requires the password again (`invalid_rapt`).
    ReauthRequired,
}

/// A refusal of the token endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFault {
    /// The status of the refusal, 400 to 599.
    pub status: u16,
    /// The number of refusals, counted down with each; `None` is unlimited.
    #[serde(default)]
    pub times: Option<u64>,
}

/// A response with exactly this content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiteralResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The `Content-Type`; `None` sends no such header.
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
