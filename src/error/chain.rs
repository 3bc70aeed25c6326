//! [`ErrorChain`]: an error with its causes.

use std::{error::Error as StdError, fmt, iter::successors};

/// An error and its causes. `Display` writes them on one line, separated by colons, because the outer
/// errors often say little.
///
/// ```
/// use std::io;
/// use tower_vertex::error::ErrorChain;
///
/// let error = io::Error::other(io::Error::other("refused"));
/// assert_eq!(ErrorChain::new(&error).iter().count(), 1, "an `io::Error` shows what it wraps");
/// assert_eq!(ErrorChain::new(&error).to_string(), "refused");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(&'a (dyn StdError + 'static));

impl<'a> ErrorChain<'a> {
    /// The chain of `error`.
    pub fn new(error: &'a (dyn StdError + 'static)) -> Self {
        Self(error)
    }

    /// Iterates over the error and then each cause.
    pub fn iter(&self) -> impl Iterator<Item = &'a (dyn StdError + 'static)> + use<'a> {
        successors(Some(self.0), |&error| error.source())
    }
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            let colon = if index == 0 { "" } else { ": " };
            write!(f, "{colon}{error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no connection")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_chain_is_one_line_with_each_cause_after_its_effect() {
        let error = Outer(std::io::Error::other("refused"));
        assert_eq!(ErrorChain::new(&error).to_string(), "no connection: refused");
        assert_eq!(ErrorChain::new(&error).iter().count(), 2);
        assert_eq!(ErrorChain::new(&error.0).to_string(), "refused");
    }
}
