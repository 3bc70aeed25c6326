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

mod fault;

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

pub(crate) use self::fault::Fault;
#[cfg(any(feature = "gcp-auth", feature = "google-cloud-auth"))]
pub(crate) use self::fault::FaultKind;
use crate::{
    BoxError,
    shown::{self, Shown},
};

/// `Debug` as people read it, because it is what `main` shows of an error: the text, and below it
/// the causes that the text does not hold.
macro_rules! readable_debug {
    ($($error:ty),*) => { $(
        impl fmt::Debug for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                crate::error::readable(self, f)
            }
        }
    )* };
}
pub(crate) use readable_debug;

pub(crate) fn readable(error: &dyn StdError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, "\n  caused by: {error}")?;
        cause = error.source();
    }
    Ok(())
}

readable_debug!(
    Error,
    TokenError,
    CredentialsError,
    ConfigError,
    RouteError,
    ModelError,
    UntrustedHost,
    Fault
);

/// An error made by this crate. Cheap to clone: many requests may fail for one cause. `Debug` reads
/// as `Display`, with the causes below.
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// There is no usable access token. 503.
    Token(TokenError),
    /// There are no Google credentials that can be used. 500.
    Credentials(CredentialsError),
    /// A setting cannot be used; it was refused when the layer was built. 500.
    Config(ConfigError),
    /// The request's path or method has no place on Vertex AI. 400, 404, 405 or 414.
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
            Self::Route(RouteError::UnsupportedPath { .. } | RouteError::OtherResource { .. }) => {
                StatusCode::NOT_FOUND
            }
            Self::Route(RouteError::MethodNotAllowed { .. }) => StatusCode::METHOD_NOT_ALLOWED,
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
            Self::Route(RouteError::OtherResource { .. }) => "resource_not_served",
            Self::Route(RouteError::MethodNotAllowed { .. }) => "method_not_allowed",
            Self::Route(RouteError::TooLong) => "uri_too_long",
            Self::Model(ModelError::TooLarge { .. }) => "request_too_large",
            Self::Model(ModelError::Ambiguous) => "ambiguous_model",
            Self::Model(_) => "invalid_model",
            Self::Config(_) => "invalid_configuration",
            Self::UntrustedHost(_) => "untrusted_host",
        }
    }

    /// What to do about it, apart from what is wrong: the advice that the text ends with. `None` if
    /// nothing is known that would help, or if it is the client's to do.
    ///
    /// ```
    /// let error = tower_vertex::route::Upstream::new("my-project", "Berlin").unwrap_err();
    /// let error = tower_vertex::Error::from(error);
    /// assert!(error.remedy().is_some_and(|remedy| error.to_string().ends_with(remedy)));
    /// ```
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Token(error) => error.remedy(),
            Self::Credentials(error) => error.remedy(),
            Self::Config(error) => Some(error.remedy()),
            Self::UntrustedHost(error) => Some(error.remedy()),
            Self::Route(_) | Self::Model(_) => None,
        }
    }

    /// A response with [`status`](Self::status) and a body in OpenAI's form,
    /// `{"error":{"message","type","param","code"}}`; with `Allow` if the status is 405.
    pub fn to_response(&self) -> Response<Bytes> {
        let param = match self {
            Self::Model(ModelError::TooLarge { .. }) => None,
            Self::Model(_) => Some("model"),
            _ => None,
        };
        let mut response = openai_error(self.status(), self.code(), param, &self.to_string());
        if let Some(allowed) = self.allowed_methods() {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }

    /// What `Allow` says, if the method was not allowed.
    pub(crate) fn allowed_methods(&self) -> Option<&'static str> {
        match self {
            Self::Route(RouteError::MethodNotAllowed { allowed, .. }) => Some(allowed),
            _ => None,
        }
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
#[derive(Clone)]
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
        // Not as an error within an error of the same words.
        let error = match error.downcast::<TokenError>() {
            Ok(error) => return *error,
            Err(error) => error,
        };
        match error.downcast::<Error>().map(|error| *error) {
            Ok(Error::Token(error)) => error,
            Ok(error) => Self::Fetch(Arc::new(error)),
            Err(error) => Self::Fetch(error.into()),
        }
    }

    /// What the source says of its failure, if it is of this crate.
    fn fault(&self) -> Option<&Fault> {
        let Self::Fetch(error) = self else { return None };
        let credentials = || match error.downcast_ref() {
            Some(Error::Credentials(error)) => Some(error),
            _ => error.downcast_ref(),
        };
        error.downcast_ref().or_else(|| credentials()?.fault.as_ref())
    }

    /// What to do about it, if that is known. A source that is not of this crate says so in its own
    /// text.
    pub fn remedy(&self) -> Option<&str> {
        Some(match self {
            Self::Fetch(error) => {
                let of_credentials = || error.downcast_ref::<CredentialsError>()?.remedy();
                let of_a_setting = || Some(error.downcast_ref::<ConfigError>()?.remedy());
                let of_another = || error.downcast_ref::<Error>()?.remedy();
                let of_a_fault = self.fault().map(Fault::remedy);
                of_a_fault.or_else(of_credentials).or_else(of_a_setting).or_else(of_another)?
            }
            Self::Timeout(_) => "check the way to the token endpoint",
            Self::RuntimeGone => "try again",
            Self::NoRuntime => "call from within a Tokio runtime",
            Self::Panicked | Self::Invalid(_) => return None,
        })
    }

    /// What is wrong, without the remedy and without saying that there is no token.
    pub(crate) fn what(&self) -> Cow<'_, str> {
        match self {
            Self::Fetch(error) => match self.fault() {
                Some(fault) => fault.what().into(),
                None => error.to_string().into(),
            },
            Self::Timeout(after) => {
                format!("the token source did not answer within {after:?}").into()
            }
            Self::Panicked => "the token source panicked".into(),
            Self::Invalid(why) => format!("the token source returned {why}").into(),
            Self::RuntimeGone => "the runtime that was fetching it was shut down".into(),
            Self::NoRuntime => "there is no runtime to fetch it".into(),
        }
    }

    /// Whether the identity may not have the tokens of the one that it is to impersonate.
    #[cfg(feature = "gateway")]
    pub(crate) fn may_not_impersonate(&self) -> bool {
        self.fault().is_some_and(|fault| fault.kind() == FaultKind::MayNotImpersonate)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no access token for Vertex AI: ")?;
        match (self, self.remedy()) {
            (Self::Fetch(error), _) => error.fmt(f),
            (_, Some(remedy)) => write!(f, "{}; {remedy}", self.what()),
            (_, None) => f.write_str(&self.what()),
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
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialsError {
    places: Vec<(Cow<'static, str>, String)>,
    /// What is wrong with the one that is there.
    fault: Option<Fault>,
}

#[cfg(any(feature = "gcp-auth", feature = "google-cloud-auth"))]
impl CredentialsError {
    /// What was looked at, each with what is missing there.
    pub(crate) fn not_found(places: Vec<(&'static str, String)>) -> Self {
        let places = places.into_iter().map(|(place, why)| (place.into(), why)).collect();
        Self { places, fault: None }
    }

    /// What is at `path`, which `place` names, cannot be used.
    pub(crate) fn unusable(place: Cow<'static, str>, path: &std::path::Path, fault: Fault) -> Self {
        if shown::is_content_of_a_file(path) {
            let text = format!("{place} holds the content of a file, not its path");
            let fault = Fault::new(FaultKind::Credentials, text.clone(), WRITE_IT);
            return Self { places: vec![(place, text)], fault: Some(fault) };
        }
        let fault = fault.of(&shown::path(path).to_string());
        let whole = fault.clone().of(&place);
        Self { places: vec![(place, fault.to_string())], fault: Some(whole) }
    }
}

/// What to do with a key in the place of a path.
#[cfg(any(feature = "gcp-auth", feature = "google-cloud-auth"))]
pub(crate) const WRITE_IT: &str = "write the content to a file and give the path of that file";

impl CredentialsError {
    /// Whether there are none at all, rather than some that cannot be used.
    pub fn is_not_found(&self) -> bool {
        self.fault.is_none()
    }

    /// The places that were looked at, each with what is wrong or missing there.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|(place, why)| (&**place, why.as_str()))
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<&str> {
        Some(match &self.fault {
            Some(fault) => fault.remedy(),
            None => {
                "log in with `gcloud auth application-default login`, or name a credential file in \
                 GOOGLE_APPLICATION_CREDENTIALS"
            }
        })
    }

    /// What is wrong with the one that is there, without the remedy.
    #[cfg(feature = "gateway")]
    pub(crate) fn what(&self) -> Option<&str> {
        self.fault.as_ref().map(Fault::what)
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Some(fault) => write!(f, "Google credentials that cannot be used: {fault}"),
            None => {
                f.write_str("no Google credentials found:")?;
                self.places().try_for_each(|(place, why)| write!(f, "\n- {place}: {why}"))
            }
        }
    }
}

impl StdError for CredentialsError {}

/// A setting that cannot be used, named with its value and what would do. A value that could be a
/// secret is not part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// What the setting is part of, where there are many alike.
    entry: Option<Shown<'static>>,
    setting: &'static str,
    value: Option<Shown<'static>>,
    /// The option, the variable or the key that has the value.
    origin: Option<String>,
    advice: Cow<'static, str>,
}

impl ConfigError {
    /// `value` was given for `setting` and cannot be used.
    pub(crate) fn invalid(
        setting: &'static str,
        value: &str,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        let value = Some(shown::value(value).into_owned());
        Self { entry: None, setting, value, origin: None, advice: advice.into() }
    }

    /// `path` was given for `setting`, and the file cannot be used.
    #[cfg(any(feature = "gcp-auth", feature = "google-cloud-auth"))]
    pub(crate) fn unusable(setting: &'static str, path: &std::path::Path, fault: &Fault) -> Self {
        let value = Some(shown::path(path).into_owned());
        let advice = match shown::is_content_of_a_file(path) {
            true => Cow::from(WRITE_IT),
            false => fault.to_string().into(),
        };
        Self { entry: None, setting, value, origin: None, advice }
    }

    /// The content of a file was given for `setting`, and cannot be used.
    #[cfg(any(feature = "gcp-auth", feature = "google-cloud-auth"))]
    pub(crate) fn unusable_content(setting: &'static str, fault: &Fault) -> Self {
        let value = Some(Shown::Hidden(shown::Hidden::Content));
        Self { entry: None, setting, value, origin: None, advice: fault.to_string().into() }
    }

    /// Nothing was given for `setting`.
    pub(crate) fn missing(setting: &'static str, advice: impl Into<Cow<'static, str>>) -> Self {
        Self { entry: None, setting, value: None, origin: None, advice: advice.into() }
    }

    /// The same for the entry of a table.
    pub(crate) fn within(self, entry: String) -> Self {
        Self { entry: Some(shown::value(&entry).into_owned()), ..self }
    }

    /// The same, with where the value is from.
    #[cfg(any(test, feature = "gcp-auth", feature = "google-cloud-auth"))]
    pub(crate) fn given_in(self, origin: impl Into<String>) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    /// The entry whose setting it is, such as a pattern of a
    /// [`ModelTable`](crate::model::ModelTable); `None` for a setting that there is but once, and
    /// for an entry whose name could be a secret.
    pub fn entry(&self) -> Option<&str> {
        match self.entry.as_ref()? {
            Shown::Value(entry) => Some(entry),
            Shown::Hidden(_) => None,
        }
    }

    /// The setting, by the name it has in the builder.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// Whether nothing was given, rather than something that cannot be used.
    pub fn is_missing(&self) -> bool {
        self.value.is_none()
    }

    /// What would do.
    pub fn remedy(&self) -> &str {
        &self.advice
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, setting, value, origin, advice } = self;
        if let Some(entry) = entry {
            write!(f, "model {entry:?}: ")?;
        }
        match (value, origin) {
            (Some(value), Some(origin)) => {
                write!(f, "invalid {setting} {value:?} in {origin}: {advice}")
            }
            (Some(value), None) => write!(f, "invalid {setting} {value:?}: {advice}"),
            (None, _) => write!(f, "no {setting} set: {advice}"),
        }
    }
}

impl StdError for ConfigError {}

/// Why a request's path has no place on Vertex AI.
#[derive(Clone, PartialEq, Eq)]
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
    /// The path is that of another endpoint.
    OtherResource {
        /// The resource that was asked for, `projects/…`; at most 200 bytes of it.
        asked: String,
        /// The one that is there; `None` if the upstream's path is not that of a resource.
        served: Option<String>,
    },
    /// The path cannot be asked by this method.
    MethodNotAllowed {
        /// The method; at most 200 bytes of it.
        method: String,
        /// Those that the path has, as `Allow` lists them.
        allowed: &'static str,
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
            Self::OtherResource { asked, served: Some(served) } => write!(
                f,
                "{asked:?} is not served here: ask for {served}, or leave the resource out of the \
                 path, as in /v1/chat/completions"
            ),
            Self::OtherResource { asked, served: None } => write!(
                f,
                "{asked:?} is not served here: leave the resource out of the path, as in \
                 /v1/chat/completions"
            ),
            Self::MethodNotAllowed { method, allowed } => {
                write!(f, "{method:?} is not a method of this path: it has {allowed}")
            }
            Self::TooLong => f.write_str("the request's URI is too long"),
        }
    }
}

impl StdError for RouteError {}

/// Why a request's `model` cannot be read. None of the request's content is part of it.
#[derive(Clone, PartialEq, Eq)]
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

const ORDER: &str = "VertexRouteLayer belongs outside VertexAuthLayer";
const TRUST_IT: &str = "to trust another, add its origin to the layer";

/// A host that is not trusted with the access token.
#[derive(Clone, PartialEq, Eq)]
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

    fn remedy(&self) -> &'static str {
        match &self.origin {
            Some(_) if !self.unrouted => TRUST_IT,
            _ => ORDER,
        }
    }
}

impl fmt::Display for UntrustedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            None => write!(f, "the request has no host: {ORDER}"),
            Some(origin) if self.unrouted => {
                write!(f, "the access token is not sent to {:?}: {ORDER}", shown::value(origin))
            }
            Some(origin) => write!(
                f,
                "the access token is not sent to {:?}: only https on Vertex AI's own hosts is \
                 trusted; {TRUST_IT}",
                shown::value(origin)
            ),
        }
    }
}

impl StdError for UntrustedHost {}

#[cfg(test)]
mod tests;
