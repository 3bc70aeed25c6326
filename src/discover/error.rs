use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::Value;

use crate::{
    BoxError, Error,
    error::{ConfigError, readable_debug},
    redact,
    route::Location,
};

/// The most characters of a message: more than Google's longest message, and less than a page.
const LONGEST: usize = 500;

/// Why endpoints or models could not be listed, or no endpoint was found. Cheap to clone: one failed lookup may be
/// the result of many concurrent calls.
#[derive(Clone)]
#[non_exhaustive]
pub enum DiscoverError {
    /// An id, a display name or a setting cannot be used; nothing was sent.
    Config(ConfigError),
    /// The layers below refused: no access token, or a host that must not see it.
    Layer(Error),
    /// The service below failed; its error is the source of this one.
    Transport(Arc<dyn StdError + Send + Sync>),
    /// No complete response arrived in time.
    TimedOut(Duration),
    /// Vertex AI, or a server in its place, returned an error.
    Api {
        /// The status of the response.
        status_code: StatusCode,
        /// Google's `error.status`, such as `PERMISSION_DENIED`. `None` if the body is not one of
        /// Google's errors.
        status: Option<String>,
        /// Google's message: one line of at most 500 characters, without access tokens.
        message: Option<String>,
    },
    /// A response of 200 that is not a description of endpoints or models.
    Unreadable {
        /// Why the response is unusable.
        reason: &'static str,
    },
    /// A response was longer than the limit.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The pages of a list do not end: one page token came twice, or there were too many pages.
    PaginationLoop {
        /// The number of pages that were read.
        pages: usize,
    },
    /// There is no such endpoint.
    NotFound {
        /// The entry of the lookup, unchanged.
        wanted: String,
        /// The location of the lookup.
        location: Location,
        /// Up to ten existing endpoints: their ids for a lookup by id, their display names for one
        /// by name. Also empty if they could not be listed.
        present: Vec<String>,
    },
    /// Several endpoints have the requested display name.
    Ambiguous {
        /// The entry of the lookup, unchanged.
        wanted: String,
        /// The ids of all endpoints with this name.
        ids: Vec<String>,
    },
    /// A dedicated endpoint has no host yet.
    NotDeployed {
        /// The endpoint's id.
        id: String,
    },
    /// The host of a dedicated endpoint is not one of Vertex AI's, so it must not see a token.
    UntrustedHost {
        /// The endpoint's id.
        id: String,
        /// The host in the endpoint's description.
        host: String,
    },
}

impl DiscoverError {
    /// The status of Vertex AI's response, if it was an error.
    pub fn status_code(&self) -> Option<StatusCode> {
        match self {
            Self::Api { status_code, .. } => Some(*status_code),
            _ => None,
        }
    }

    pub(super) fn transport(error: BoxError) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::Layer(*error),
            Err(error) => Self::Transport(error.into()),
        }
    }

    /// The error in a response other than a 200. Most are an object, some an array of one.
    pub(super) fn api(status_code: StatusCode, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = body.get(0).unwrap_or(&body).get("error");
        let field = |name| error?.get(name)?.as_str();
        let is_word = |word: &&str| {
            (1..=64).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        Self::Api {
            status_code,
            status: field("status").filter(is_word).map(str::to_owned),
            message: field("message").map(line).filter(|message| !message.is_empty()),
        }
    }
}

/// One line of a text from outside, with access tokens redacted.
pub(super) fn line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let is_token = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && !"/{".contains(c));
        word.to_ascii_lowercase().contains("ya29.")
            || word.starts_with("eyJ") && word.len() > 40
            || redact::could_be_secret(bare)
    };
    let words = words.filter(|word| !word.is_empty());
    let words: Vec<&str> =
        words.map(|word| if is_token(word) { "[redacted]" } else { word }).collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn remedy(status: StatusCode, is_googles: bool, message: &str) -> &'static str {
    match status.as_u16() {
        401 => "the access token was refused, and so was a new one",
        // Only the list of a publisher's models has no project of its own.
        403 if message.contains("quota project") => {
            "set one, with `gcloud auth application-default set-quota-project` or as the quota \
             project of this program"
        }
        403 => {
            "listing and describing endpoints need the permissions aiplatform.endpoints.list and \
             aiplatform.endpoints.get, which the role roles/aiplatform.viewer has"
        }
        404 if !is_googles => "there is no Vertex AI at this host: check the location",
        408 | 429 | 500..=599 => "try again later",
        300..=399 => "a server in between responds in place of Vertex AI",
        _ => "check the project and the location",
    }
}

impl fmt::Display for DiscoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Layer(error) => error.fmt(f),
            Self::Transport(error) => write!(f, "no response from Vertex AI: {error}"),
            Self::TimedOut(limit) => {
                write!(f, "no response from Vertex AI within {limit:?}; check the network")
            }
            Self::Api { status_code, status, message } => {
                let named = status.as_deref().or(status_code.canonical_reason()).unwrap_or("error");
                let said = message.as_deref().unwrap_or_default();
                let remedy = remedy(*status_code, status.is_some(), said);
                write!(f, "{} {named}: ", status_code.as_u16())?;
                match message {
                    Some(message) => write!(f, "{message} ({remedy})"),
                    None => f.write_str(remedy),
                }
            }
            Self::Unreadable { reason } => {
                write!(f, "the response is not one of Vertex AI's: {reason}")
            }
            Self::TooLarge { limit } => write!(
                f,
                "the response is longer than {limit} bytes; set a smaller page size or a larger \
                 limit"
            ),
            Self::PaginationLoop { pages } => {
                write!(f, "the list does not end: stopped after page {pages}")
            }
            Self::NotFound { wanted, location, present } => {
                write!(f, "no endpoint {wanted:?} in {location}")?;
                match present.as_slice() {
                    [] => f.write_str("; check the location and the project"),
                    present => {
                        f.write_str("; there is ")?;
                        list(f, present)
                    }
                }
            }
            Self::Ambiguous { wanted, ids } => {
                write!(f, "{} endpoints are {wanted:?}; use one of their ids: ", ids.len())?;
                list(f, ids)
            }
            Self::NotDeployed { id } => {
                write!(f, "the dedicated endpoint {id} has no host yet: deploy a model to it")
            }
            Self::UntrustedHost { id, host } => write!(
                f,
                "the endpoint {id} is said to be at {host:?}, which is not one of Vertex AI's hosts"
            ),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    for (index, name) in names.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{name:?}")?;
    }
    Ok(())
}

readable_debug!(DiscoverError);

impl StdError for DiscoverError {
    // The displayed part of this error is not a source; the chain continues below it.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Layer(error) => error.source(),
            Self::Transport(error) => error.source(),
            _ => None,
        }
    }
}

impl From<ConfigError> for DiscoverError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &str) -> (Option<String>, Option<String>) {
        match DiscoverError::api(StatusCode::FORBIDDEN, body.as_bytes()) {
            DiscoverError::Api { status, message, .. } => (status, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_of_google_is_read_in_both_forms() {
        let known = (Some("PERMISSION_DENIED".to_owned()), Some("No.".to_owned()));
        let object = r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"No."}}"#;
        assert_eq!(parts(object), known);
        assert_eq!(parts(&format!("[{object}]")), known);
        for other in
            ["", "<html>", "[]", "{}", "7", r#"{"error":"x"}"#, r#"{"error":{"status":1}}"#]
        {
            assert_eq!(parts(other), (None, None), "{other}");
        }
        assert_eq!(parts(r#"{"error":{"status":"no word","message":" \n "}}"#), (None, None));
    }

    #[test]
    fn a_message_is_shown_as_one_line_without_tokens() {
        assert_eq!(line("a\n\u{1b}[31mb  c"), "a [31mb c");
        assert_eq!(line("token=ya29.SECRET is YA29.SECRET"), "[redacted] is [redacted]");
        assert_eq!(line(&format!("eyJ{}", "x".repeat(50))), "[redacted]");
        assert_eq!(line("no `iK1tYsUbr0xUBGLufqFzRjNQ3TpnFOyq`!"), "no [redacted]");
        assert_eq!(line(&"é".repeat(501)).chars().count(), 501);
    }

    #[test]
    fn errors_can_cross_threads() {
        fn check<T: Send + Sync + Clone + StdError + 'static>() {}
        check::<DiscoverError>();
    }
}
