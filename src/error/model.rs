//! [`ModelError`]: a request's `model` is invalid.

use std::{error::Error as StdError, fmt};

use super::readable_debug;

/// Why a request's `model` cannot be read. The error contains nothing of the request's content.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// There are several different `model`s, or more than 64 of them: each parser might use another
    /// one.
    Ambiguous,
    /// There are several of another member on which the URL of an Anthropic request depends, or one
    /// that differs only in the case of its letters.
    AmbiguousMember {
        /// `stream` or `anthropic_version`.
        name: &'static str,
    },
    /// The body is compressed, so that its `model` cannot be read.
    Compressed,
    /// An Anthropic request has no `model`, and Vertex AI cannot be reached without one.
    Missing,
    /// The value is a number, an array or an object, `true` or `false`.
    NotAString,
    /// The value of a member on which the URL of an Anthropic request depends is neither `true` nor
    /// `false`.
    NotABoolean {
        /// `stream`.
        name: &'static str,
    },
    /// The name of the model cannot be part of a path of Vertex AI: it has a character other than
    /// letters, digits and `@`, `-`, `.`, `_`.
    NotForAPath,
    /// The body of an Anthropic request is not a JSON object that every parser reads alike.
    NotJson,
    /// The value is longer than 1,024 bytes.
    TooLong,
    /// The body that contains the `model` is longer than the layer accepts.
    TooLarge {
        /// The maximum length of the body, in bytes.
        limit: usize,
    },
}

readable_debug!(ModelError);

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous => f.write_str("the request has more than one `model`: give it once"),
            Self::AmbiguousMember { name } => {
                write!(f, "the request has more than one `{name}`: give it once, in lower case")
            }
            Self::Compressed => f.write_str(
                "the request body is compressed, so its `model` cannot be read: send it without \
                 Content-Encoding",
            ),
            Self::Missing => f.write_str(
                "the request has no `model`: name one, such as claude-sonnet-4-5@20250929",
            ),
            Self::NotABoolean { name } => {
                write!(f, "the request's `{name}` is neither true nor false")
            }
            Self::NotForAPath => f.write_str(
                "the request's `model` cannot be in a path of Vertex AI: use letters, digits and @ - . _, \
                 or map the name in the table of models",
            ),
            Self::NotJson => f.write_str("the request body is not a JSON object: send one"),
            Self::NotAString => f.write_str("the request's `model` is not a string: give a name"),
            Self::TooLong => f.write_str("the request's `model` is longer than 1,024 bytes"),
            Self::TooLarge { limit } => {
                write!(f, "the request body is longer than {limit} bytes: send a shorter one")
            }
        }
    }
}

impl StdError for ModelError {}
