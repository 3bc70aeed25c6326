//! [`ModelError`]: a request's `model` cannot be read.

use std::{error::Error as StdError, fmt};

use super::readable_debug;

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

readable_debug!(ModelError);

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
