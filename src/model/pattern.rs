//! [`Pattern`]: the names that an entry is for.

use std::{fmt, str::FromStr};

use super::scan::LONGEST_NAME;
use crate::error::ConfigError;

/// The name of a model, or a name with one `*`, which stands for any text: `gemini-2.5-flash`,
/// `llama-*`, `*-lite`, `*`. Matching is case-sensitive.
///
/// ```
/// use tower_vertex::model::Pattern;
///
/// let pattern: Pattern = "gpt-*-mini".parse()?;
/// assert!(pattern.matches("gpt-4o-mini") && !pattern.matches("gpt-4o"));
/// # Ok::<_, tower_vertex::error::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    star: Option<usize>,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let star = text.find('*');
        let literal = star.map_or(text, |star| &text[star + 1..]);
        if text != "*" && text.replace('*', "").is_empty() || literal.contains('*') {
            let advice = "give a name, or one with a single `*`";
            return Err(ConfigError::invalid("pattern", text, advice));
        }
        if text.len() > LONGEST_NAME || text.contains(char::is_control) {
            let advice = "give a name without control characters, of at most 1,024 bytes";
            return Err(ConfigError::invalid("pattern", text, advice));
        }
        Ok(Self { text: text.to_owned(), star })
    }

    /// The part of the name before the `*`; `None` without a `*`.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.star.map(|star| &self.text[..star])
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern matches this `name`.
    pub fn matches(&self, name: &str) -> bool {
        let Some(star) = self.star else { return name == self.text };
        let (prefix, suffix) = (&self.text[..star], &self.text[star + 1..]);
        name.strip_prefix(prefix).is_some_and(|rest| rest.ends_with(suffix))
    }
}

impl FromStr for Pattern {
    type Err = ConfigError;

    /// # Errors
    ///
    /// [`ConfigError`] if the text is empty, has more than one `*`, a control character, or more
    /// than 1,024 bytes.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::parse(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_by_its_two_ends() {
        for (pattern, name, matches) in [
            ("a", "a", true),
            ("a", "A", false),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "x/y", true),
            ("llama-*", "llama-", true),
            ("llama-*", "llama-3/x", true),
            ("llama-*", "llama", false),
            ("a*b", "ab", true),
            ("a*b", "a-b", true),
            ("a*b", "a-bc", false),
            ("ab*ba", "aba", false),
            ("*-lite", "-lite", true),
            ("*-lite", "x-lite", true),
            ("*-lite", "lite", false),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(name), matches, "{pattern:?} {name:?}");
        }
        for bad in ["", "**", "a*b*", "a\n", "\u{0}", &"x".repeat(LONGEST_NAME + 1)] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
