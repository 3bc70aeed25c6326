//! [`RouteError`]: Vertex AI has no such path or method.

use std::{error::Error as StdError, fmt};

use super::readable_debug;

/// Why a request's path or method has no counterpart on Vertex AI.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The path could be read as one outside the endpoint, or is not a path at all.
    InvalidPath {
        /// The reason, as the end of a sentence about the path.
        reason: &'static str,
    },
    /// The endpoint has no such path.
    UnsupportedPath {
        /// The requested path, without its query; at most 200 bytes of it.
        path: String,
        /// The paths that the endpoint has.
        supported: &'static str,
    },
    /// The path is that of another endpoint.
    OtherResource {
        /// The requested resource, `projects/…`; at most 200 bytes of it.
        asked: String,
        /// The endpoint's own resource; `None` if the upstream's path is not that of a resource.
        served: Option<String>,
    },
    /// The path does not allow this method.
    MethodNotAllowed {
        /// The method; at most 200 bytes of it.
        method: String,
        /// The methods that the path allows, as listed in `Allow`.
        allowed: &'static str,
    },
    /// The method of the model, the endpoint or the publisher is not among those that are
    /// [let through](crate::route::UpstreamBuilder::model_methods).
    ModelMethodNotAllowed {
        /// The method after the colon; at most 200 bytes of it.
        method: String,
        /// The methods that are let through.
        allowed: String,
    },
    /// The rewritten URI would be longer than the 65,534 bytes that [`http::Uri`] accepts.
    TooLong,
}

readable_debug!(RouteError);

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
                "{asked:?} is not served here: request {served}, or leave the resource out of the \
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
            Self::ModelMethodNotAllowed { method, allowed } if allowed.is_empty() => {
                write!(f, "{method:?} is not let through: no method of models is")
            }
            Self::ModelMethodNotAllowed { method, allowed } => {
                write!(f, "{method:?} is not let through: use one of {allowed}")
            }
            Self::TooLong => f.write_str("the request's URI is too long"),
        }
    }
}

impl StdError for RouteError {}
