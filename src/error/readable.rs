//! A readable `Debug` for errors.

use std::{error::Error as StdError, fmt};

use super::chain::ErrorChain;

/// Implements a readable `Debug`, because `main` prints an error with it: the text, and below it
/// the causes that the text does not contain.
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

pub(crate) fn readable(
    error: &(dyn StdError + 'static),
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "{error}")?;
    ErrorChain::new(error).iter().skip(1).try_for_each(|error| write!(f, "\n  caused by: {error}"))
}
