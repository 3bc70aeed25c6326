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
    /// The body is compressed, so that its `model` cannot be read.
    Compressed,
    /// The value is a number, an array or an object, `true` or `false`.
    NotAString,
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
            Self::Compressed => f.write_str(
                "the request body is compressed, so its `model` cannot be read: send it without \
                 Content-Encoding",
            ),
            Self::NotAString => f.write_str("the request's `model` is not a string: give a name"),
            Self::TooLong => f.write_str("the request's `model` is longer than 1,024 bytes"),
            Self::TooLarge { limit } => {
                write!(f, "the request body is longer than {limit} bytes: send a shorter one")
            }
        }
    }
}

impl StdError for ModelError {}
