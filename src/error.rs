//! Every error that a caller of this crate can see.
//!
//! The services of this crate fail with [`BoxError`], as Tower middleware does;
//! an error that this crate made is an [`Error`] inside it, found by `downcast_ref`. Errors of the
//! inner service pass through unchanged.
//!
//! Nothing here can print a token, a key or a body.
//!
//! ```
//! use tower_vertex::{BoxError, Error};
//!
//! fn answer(error: &BoxError) -> http::Response<bytes::Bytes> {
//!     match error.downcast_ref::<Error>() {
//!         Some(error) => error.to_response(),
//!         None => http::Response::builder().status(502).body("{}".into()).unwrap(),
//!     }
//! }
//! # let error: BoxError = Error::from(tower_vertex::error::RouteError::TooLong).into();
//! # assert_eq!(answer(&error).status(), 414);
//! ```

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::BoxError;

/// An error made by this crate. Cheap to clone: many requests may fail for one cause.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no usable access token. 503.
    Token(TokenError),
    /// There are no Google credentials that can be used. 500.
    Credentials(CredentialsError),
    /// A setting cannot be used; it was refused when the layer was built. 500.
    Config(ConfigError),
    /// The request's path has no place on Vertex AI. 400, 404 or 414.
    Route(RouteError),
    /// The request's `model` cannot be read. 400 or 413.
    Model(ModelError),
    /// The request was for a host that must not see the access token; nothing was sent. 500.
    UntrustedHost(UntrustedHost),
}

impl Error {
    /// The HTTP status that tells a client of this error.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Token(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Route(RouteError::InvalidPath { .. }) => StatusCode::BAD_REQUEST,
            Self::Route(RouteError::UnsupportedPath { .. }) => StatusCode::NOT_FOUND,
            Self::Route(RouteError::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Model(ModelError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Model(_) => StatusCode::BAD_REQUEST,
            Self::Credentials(_) | Self::Config(_) | Self::UntrustedHost(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// The `code` of the OpenAI-shaped body.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(_) => "token_unavailable",
            Self::Credentials(_) => "no_credentials",
            Self::Route(RouteError::InvalidPath { .. }) => "invalid_path",
            Self::Route(RouteError::UnsupportedPath { .. }) => "unsupported_path",
            Self::Route(RouteError::TooLong) => "uri_too_long",
            Self::Model(ModelError::TooLarge { .. }) => "request_too_large",
            Self::Model(ModelError::Ambiguous) => "ambiguous_model",
            Self::Model(_) => "invalid_model",
            Self::Config(_) => "invalid_configuration",
            Self::UntrustedHost(_) => "untrusted_host",
        }
    }

    /// A response with [`status`](Self::status) and a body in OpenAI's form,
    /// `{"error":{"message","type","param","code"}}`.
    pub fn to_response(&self) -> Response<Bytes> {
        let param = match self {
            Self::Model(ModelError::TooLarge { .. }) => None,
            Self::Model(_) => Some("model"),
            _ => None,
        };
        openai_error(self.status(), self.code(), param, &self.to_string())
    }
}

/// A response in OpenAI's error form that names no parameter.
#[cfg(feature = "gateway")]
pub(crate) fn openai_response(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    openai_error(status, code, None, message)
}

/// A response in OpenAI's error form. `type` follows from the status as it does at OpenAI.
fn openai_error(
    status: StatusCode,
    code: &str,
    param: Option<&str>,
    message: &str,
) -> Response<Bytes> {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    let body = serde_json::json!({
        "error": { "message": message, "type": kind, "param": param, "code": code }
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Credentials(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Route(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::UntrustedHost(error) => error.fmt(f),
        }
    }
}

impl StdError for Error {
    // The variants are transparent: their text is this error's text, so the chain goes on below.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Token(error) => error.source(),
            Self::Credentials(error) => error.source(),
            Self::Config(error) => error.source(),
            Self::Route(error) => error.source(),
            Self::Model(error) => error.source(),
            Self::UntrustedHost(error) => error.source(),
        }
    }
}

macro_rules! from {
    ($($error:ident => $variant:ident),*) => { $(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )* };
}
from!(TokenError => Token, CredentialsError => Credentials, ConfigError => Config, RouteError => Route, ModelError => Model, UntrustedHost => UntrustedHost);

/// Why there is no usable access token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TokenError {
    /// The source failed. Its own error is the source of this one.
    Fetch(Arc<dyn StdError + Send + Sync>),
    /// The source did not answer within the time it has.
    Timeout(Duration),
    /// The source panicked; the panic went no further.
    Panicked,
    /// The source gave something that is not an access token.
    Invalid(&'static str),
    /// The runtime that ran the fetch was shut down before it ended.
    RuntimeGone,
    /// The call was made outside a Tokio runtime, so nothing can be fetched.
    NoRuntime,
}

impl TokenError {
    pub(crate) fn fetch(error: BoxError) -> Self {
        match error.downcast::<TokenError>() {
            Ok(error) => *error,
            Err(error) => Self::Fetch(error.into()),
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no access token for Vertex AI: ")?;
        match self {
            Self::Fetch(error) => write!(f, "{error}"),
            Self::Timeout(after) => write!(
                f,
                "the token source did not answer within {after:?}; check the way to the token endpoint"
            ),
            Self::Panicked => f.write_str("the token source panicked"),
            Self::Invalid(why) => write!(f, "the token source returned {why}"),
            Self::RuntimeGone => {
                f.write_str("the runtime that was fetching it was shut down; try again")
            }
            Self::NoRuntime => f.write_str("call from within a Tokio runtime"),
        }
    }
}

impl StdError for TokenError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // Displayed as part of this error, so the chain goes on below it.
            Self::Fetch(error) => error.source(),
            _ => None,
        }
    }
}

/// Why this machine's Google credentials cannot be used. Found by `Credentials::detect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsError {
    places: Vec<(&'static str, String)>,
    found: bool,
}

#[cfg(any(feature = "gcp-auth", feature = "google-cloud-auth"))]
impl CredentialsError {
    /// What was looked at, each with what is missing there.
    pub(crate) fn not_found(places: Vec<(&'static str, String)>) -> Self {
        Self { places, found: false }
    }

    /// What is at `path`, which `place` names, cannot be used.
    pub(crate) fn unusable(place: &'static str, path: &std::path::Path, why: &str) -> Self {
        Self { places: vec![(place, format!("{}: {why}", path.display()))], found: true }
    }

    /// What `place` names cannot be used by what was compiled in.
    #[cfg(not(feature = "google-cloud-auth"))]
    pub(crate) fn needs_feature(place: &'static str, feature: &str) -> Self {
        let why = format!("tokens from there need this crate's feature `{feature}`");
        Self { places: vec![(place, why)], found: true }
    }
}

impl CredentialsError {
    /// Whether there are none at all, rather than some that cannot be used.
    pub fn is_not_found(&self) -> bool {
        !self.found
    }

    /// The places that were looked at, each with what is wrong or missing there.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|(place, why)| (*place, why.as_str()))
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.found {
            f.write_str("Google credentials that cannot be used")?;
            return self.places().try_for_each(|(place, why)| write!(f, ": {place}: {why}"));
        }
        f.write_str("no Google credentials found:")?;
        self.places().try_for_each(|(place, why)| write!(f, "\n- {place}: {why}"))
    }
}

impl StdError for CredentialsError {}

/// A setting that cannot be used, named with its value and what would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// What the setting is part of, where there are many alike.
    entry: Option<String>,
    setting: &'static str,
    value: Option<String>,
    advice: &'static str,
}

impl ConfigError {
    /// `value` was given for `setting` and cannot be used.
    pub(crate) fn invalid(setting: &'static str, value: &str, advice: &'static str) -> Self {
        Self { entry: None, setting, value: Some(value.to_owned()), advice }
    }

    /// Nothing was given for `setting`.
    pub(crate) fn missing(setting: &'static str, advice: &'static str) -> Self {
        Self { entry: None, setting, value: None, advice }
    }

    /// The same for the entry of a table.
    pub(crate) fn within(self, entry: String) -> Self {
        Self { entry: Some(entry), ..self }
    }

    /// The entry whose setting it is, such as a pattern of a
    /// [`ModelTable`](crate::model::ModelTable); `None` for a setting that there is but once.
    pub fn entry(&self) -> Option<&str> {
        self.entry.as_deref()
    }

    /// The setting, by the name it has in the builder.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// Whether nothing was given, rather than something that cannot be used.
    pub fn is_missing(&self) -> bool {
        self.value.is_none()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, setting, value, advice } = self;
        if let Some(entry) = entry {
            write!(f, "model {entry:?}: ")?;
        }
        match value {
            Some(value) => write!(f, "invalid {setting} {value:?}: {advice}"),
            None => write!(f, "no {setting} set: {advice}"),
        }
    }
}

impl StdError for ConfigError {}

/// Why a request's path has no place on Vertex AI.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The path could leave the endpoint, or is not a path at all.
    InvalidPath {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The endpoint has no such method.
    UnsupportedPath {
        /// The path that was asked for, without its query; at most 200 bytes of it.
        path: String,
        /// What the endpoint does have.
        supported: &'static str,
    },
    /// The rewritten URI would be longer than the 65,534 bytes that [`http::Uri`] takes.
    TooLong,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPath { reason } => write!(f, "the request path {reason}"),
            Self::UnsupportedPath { path, supported } => write!(
                f,
                "{path:?} is not served by this Vertex AI endpoint, which has {supported}"
            ),
            Self::TooLong => f.write_str("the request's URI is too long"),
        }
    }
}

impl StdError for RouteError {}

/// Why a request's `model` cannot be read. None of the request's content is part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// There is more than one `model`, and they are not the same, or more than 64: which one
    /// counts is up to whoever reads them.
    Ambiguous,
    /// It is a number, an array or an object, `true` or `false`.
    NotAString,
    /// It is longer than 1,024 bytes.
    TooLong,
    /// The body that it is read from is longer than the layer takes.
    TooLarge {
        /// The most that it takes, in bytes.
        limit: usize,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous => f.write_str("the request has more than one `model`: give it once"),
            Self::NotAString => f.write_str("the request's `model` is not a string: give a name"),
            Self::TooLong => f.write_str("the request's `model` is longer than 1,024 bytes"),
            Self::TooLarge { limit } => {
                write!(f, "the request body is longer than {limit} bytes: send a shorter one")
            }
        }
    }
}

impl StdError for ModelError {}

/// A host that is not trusted with the access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrustedHost {
    /// `None` if the request has none.
    origin: Option<String>,
    /// Whether the request looks as it was before it was routed.
    unrouted: bool,
}

impl UntrustedHost {
    pub(crate) fn new(origin: String) -> Self {
        Self { origin: Some(origin), unrouted: false }
    }

    /// A request that has not been through `VertexRouteLayer`.
    pub(crate) fn unrouted(origin: Option<String>) -> Self {
        Self { origin, unrouted: true }
    }
}

impl fmt::Display for UntrustedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = "VertexRouteLayer belongs outside VertexAuthLayer";
        match &self.origin {
            None => write!(f, "the request has no host: {order}"),
            Some(origin) if self.unrouted => {
                write!(f, "the access token is not sent to {origin:?}: {order}")
            }
            Some(origin) => write!(
                f,
                "the access token is not sent to {origin:?}: only https on Vertex AI's own hosts \
                 is trusted; to trust another, add its origin to the layer"
            ),
        }
    }
}

impl StdError for UntrustedHost {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answers_in_openai_form() {
        let error = Error::from(RouteError::UnsupportedPath {
            path: "/v1/\"models\"".into(),
            supported: "/chat/completions",
        });
        let response = error.to_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], "unsupported_path");
        assert!(body["error"]["param"].is_null());
        assert_eq!(body["error"]["message"], error.to_string());
    }

    #[test]
    fn errors_can_cross_threads() {
        fn check<T: Send + Sync + Clone + StdError + 'static>() {}
        check::<Error>();
    }
}
