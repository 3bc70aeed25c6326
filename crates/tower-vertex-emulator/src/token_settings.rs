//! What a test can ask of the endpoints that give tokens.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::settings::{check_status, millis};

/// The farthest that a clock can be set ahead or back, in seconds: about 30 years.
const FARTHEST: u64 = 1_000_000_000;

/// How everything that gives tokens answers: the token endpoints, the metadata server and the IAM
/// credentials API.
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
    /// The `expires_in` of every answer, as it stands: any JSON value, so that a client can be
    /// shown `null`, `"3600"` or `-1`. A number of seconds (or a string of one) above 0 and up to
    /// 86,400 is also how long the token lives; with anything else it lives for 3600 s. An
    /// impersonated token lives for the `lifetime` that was asked for, but never longer than a
    /// life set here to less than 3600 s.
    pub expires_in: Value,
    /// Hands out one token per principal again and again, as the metadata server does, until 240 s
    /// before its expiry (half its life, if it lives for less than 480 s). A revoked token is
    /// handed out too. Impersonation gives a new token each time all the same.
    pub same_until_expiry: bool,
    /// How long each answer takes. `delay_ms` in JSON.
    #[serde(rename = "delay_ms", with = "millis")]
    pub delay: Duration,
    /// Refuse to issue a token, each endpoint in its own words.
    pub fail: Option<TokenFault>,
    /// Answer with these bytes instead of a token.
    pub respond: Option<LiteralResponse>,
    /// Never answer.
    pub hang: bool,
    /// What a refresh token is answered with that used to be good.
    pub user_grant: Option<UserGrantFault>,
    /// A workforce refresh also gives a new refresh token, and ends the one that was used. A
    /// credential file written before keeps the dead one.
    pub rotate_refresh_token: bool,
    /// Nobody may impersonate: `generateAccessToken` gives a 403.
    pub impersonation_denied: bool,
    /// An impersonated token may live for up to 43,200 s and not just 3600, as with the
    /// organization policy `iam.allowServiceAccountCredentialLifetimeExtension`.
    pub allow_long_lifetimes: bool,
    /// How far the emulator's clock is ahead of this machine's, in seconds; up to 1,000,000,000
    /// either way. It is the clock that signed claims are checked by, and that `expireTime` and the
    /// `Date` header show: set it to see a client whose own clock is wrong. Tokens that are
    /// known live as long as ever.
    pub clock_offset_s: i64,
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

    /// What JSON can say and a response or a clock cannot.
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

/// Why a user has to log in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserGrantFault {
    /// The refresh token was revoked, or has not been used for too long.
    Revoked,
    /// The session control of the organization wants the password again (`invalid_rapt`).
    ReauthRequired,
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
