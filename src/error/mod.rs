//! All errors that a caller of this crate can see.
//!
//! The services of this crate fail with [`BoxError`](crate::BoxError), as Tower middleware does. An
//! error of this crate is an [`Error`] inside it, found by `downcast_ref`. Errors of the inner
//! service are returned unchanged.
//!
//! No error can print a token, a key or a body.
//!
//! ```
//! use tower_vertex::{BoxError, Error};
//!
//! fn respond(error: &BoxError) -> http::Response<bytes::Bytes> {
//!     match error.downcast_ref::<Error>() {
//!         Some(error) => error.to_response(),
//!         None => http::Response::builder().status(502).body("{}".into()).unwrap(),
//!     }
//! }
//! # let error: BoxError = Error::from(tower_vertex::error::RouteError::TooLong).into();
//! # assert_eq!(respond(&error).status(), 414);
//! ```

mod chain;
mod config;
mod credentials;
mod fault;
mod model;
mod readable;
mod response;
mod route;
mod token;
mod untrusted_host;

use std::{error::Error as StdError, fmt};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
pub(crate) use self::credentials::WRITE_IT;
pub(crate) use self::fault::Fault;
pub(crate) use self::fault::FaultKind;
pub(crate) use self::readable::{readable, readable_debug};
use self::response::openai_error;
pub use self::{
    chain::ErrorChain, config::ConfigError, credentials::CredentialsError, model::ModelError,
    response::openai_response, route::RouteError, token::TokenError, untrusted_host::UntrustedHost,
};

/// An error of this crate. It is cheap to clone, because many requests may fail for one cause.
/// `Debug` prints the same text as `Display`, with the causes below.
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// There is no usable access token. 503.
    Token(TokenError),
    /// There are no usable Google credentials. 500.
    Credentials(CredentialsError),
    /// A setting cannot be used, and was refused when the layer was built. 500.
    Config(ConfigError),
    /// Vertex AI has no such path or method, or the method is not let through. 400, 403, 404, 405
    /// or 414.
    Route(RouteError),
    /// The request's `model` is invalid. 400, 413 or 415.
    Model(ModelError),
    /// The access token must not be sent to the host of the request; nothing was sent. 500.
    UntrustedHost(UntrustedHost),
}

readable_debug!(Error);

impl Error {
    /// The HTTP status of a response to this error.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Token(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Route(RouteError::InvalidPath { .. }) => StatusCode::BAD_REQUEST,
            Self::Route(RouteError::UnsupportedPath { .. } | RouteError::OtherResource { .. }) => {
                StatusCode::NOT_FOUND
            }
            Self::Route(RouteError::MethodNotAllowed { .. }) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Route(RouteError::ModelMethodNotAllowed { .. }) => StatusCode::FORBIDDEN,
            Self::Route(RouteError::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Model(ModelError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Model(ModelError::Compressed) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Model(_) => StatusCode::BAD_REQUEST,
            Self::Credentials(_) | Self::Config(_) | Self::UntrustedHost(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// The `code` in the body in OpenAI's form.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(_) => "token_unavailable",
            Self::Credentials(_) => "no_credentials",
            Self::Route(RouteError::InvalidPath { .. }) => "invalid_path",
            Self::Route(RouteError::UnsupportedPath { .. }) => "unsupported_path",
            Self::Route(RouteError::OtherResource { .. }) => "resource_not_served",
            Self::Route(RouteError::MethodNotAllowed { .. }) => "method_not_allowed",
            Self::Route(RouteError::ModelMethodNotAllowed { .. }) => "model_method_not_allowed",
            Self::Route(RouteError::TooLong) => "uri_too_long",
            Self::Model(ModelError::TooLarge { .. }) => "request_too_large",
            Self::Model(ModelError::Compressed) => "unsupported_content_encoding",
            Self::Model(ModelError::Ambiguous) => "ambiguous_model",
            Self::Model(
                ModelError::AmbiguousMember { .. }
                | ModelError::NotABoolean { .. }
                | ModelError::NotJson,
            ) => "invalid_body",
            Self::Model(_) => "invalid_model",
            Self::Config(_) => "invalid_configuration",
            Self::UntrustedHost(_) => "untrusted_host",
        }
    }

    /// The remedy alone, with which the text of the error ends. `None` if no remedy is known, or if
    /// the client has to change its request.
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
    /// `{"error":{"message","type","param","code"}}`, an `Allow` header if the status is 405, and an
    /// `Accept-Encoding` header if it is 415.
    pub fn to_response(&self) -> Response<Bytes> {
        let param = match self {
            Self::Model(
                ModelError::TooLarge { .. } | ModelError::Compressed | ModelError::NotJson,
            ) => None,
            Self::Model(
                ModelError::AmbiguousMember { name } | ModelError::NotABoolean { name },
            ) => Some(*name),
            Self::Model(_) => Some("model"),
            _ => None,
        };
        let mut response = openai_error(self.status(), self.code(), param, &self.to_string());
        if let Some(allowed) = self.allowed_methods() {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // RFC 9110 §15.5.16: this tells the client that only its coding is not supported.
            let plain = const { HeaderValue::from_static("identity") };
            response.headers_mut().insert(header::ACCEPT_ENCODING, plain);
        }
        response
    }

    /// The methods for the `Allow` header of a 405; `None` for any other error.
    pub fn allowed_methods(&self) -> Option<&'static str> {
        match self {
            Self::Route(RouteError::MethodNotAllowed { allowed, .. }) => Some(allowed),
            _ => None,
        }
    }
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
    // The variants are transparent: their text is this error's text, so the source is that of the
    // inner error.
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

#[cfg(test)]
mod tests;
