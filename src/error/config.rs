//! [`ConfigError`]: a setting is unusable.

use std::{borrow::Cow, error::Error as StdError, fmt};

use super::readable_debug;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
use super::{Fault, WRITE_IT};
use crate::redact::{self, Shown};

/// A setting that cannot be used, with its name, its value and advice on valid values. The error
/// contains no value that could be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The entry that the setting belongs to, if there are several entries with such a setting.
    entry: Option<Shown<'static>>,
    setting: &'static str,
    value: Option<Shown<'static>>,
    /// The option, the variable or the key that has the value.
    origin: Option<String>,
    advice: Cow<'static, str>,
}

readable_debug!(ConfigError);

impl ConfigError {
    /// Creates an error for a `value` of `setting` that cannot be used.
    pub(crate) fn invalid(
        setting: &'static str,
        value: &str,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        let value = Some(redact::value(value).into_owned());
        Self { entry: None, setting, value, origin: None, advice: advice.into() }
    }

    /// Creates an error for a `setting` whose file at `path` cannot be used.
    #[cfg(any(feature = "credentials", feature = "credentials-federation"))]
    pub(crate) fn unusable(setting: &'static str, path: &std::path::Path, fault: &Fault) -> Self {
        Self::unusable_file(setting, path, &fault.to_string())
    }

    /// Creates an error for a `setting` whose file at `path` is not of the right kind.
    #[cfg(any(feature = "credentials", feature = "credentials-federation"))]
    pub(crate) fn unusable_file(setting: &'static str, path: &std::path::Path, why: &str) -> Self {
        let value = Some(redact::path(path).into_owned());
        let advice = match redact::is_content_of_a_file(path) {
            true => Cow::from(WRITE_IT),
            false => why.to_owned().into(),
        };
        Self { entry: None, setting, value, origin: None, advice }
    }

    /// Creates an error for a `setting` whose value is the content of a file, and cannot be used.
    #[cfg(any(feature = "credentials", feature = "credentials-federation"))]
    pub(crate) fn unusable_content(setting: &'static str, fault: &Fault) -> Self {
        let value = Some(Shown::Hidden(redact::Hidden::Content));
        Self { entry: None, setting, value, origin: None, advice: fault.to_string().into() }
    }

    /// Creates an error for a `setting` without a value.
    pub(crate) fn missing(setting: &'static str, advice: impl Into<Cow<'static, str>>) -> Self {
        Self { entry: None, setting, value: None, origin: None, advice: advice.into() }
    }

    /// The same error for the entry of a table.
    pub(crate) fn within(self, entry: String) -> Self {
        Self { entry: Some(redact::value(&entry).into_owned()), ..self }
    }

    /// The same error, which also names the origin of the value, such as an option.
    #[must_use]
    pub fn given_in(self, origin: impl Into<String>) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    /// The entry that the setting belongs to, such as a pattern of a
    /// [`ModelTable`](crate::model::ModelTable). `None` for a setting that exists only once, and
    /// for an entry whose name could be a secret.
    pub fn entry(&self) -> Option<&str> {
        match self.entry.as_ref()? {
            Shown::Value(entry) => Some(entry),
            Shown::Hidden(_) => None,
        }
    }

    /// The name of the setting in the builder.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// The error without its advice.
    #[cfg(any(feature = "credentials", feature = "credentials-federation"))]
    pub(crate) fn without_remedy(&self) -> String {
        let text = self.to_string();
        let fault = text.strip_suffix(&*self.advice).unwrap_or(&text);
        fault.trim_end_matches(": ").to_owned()
    }

    /// Whether the setting has no value, rather than one that cannot be used.
    pub fn is_missing(&self) -> bool {
        self.value.is_none()
    }

    /// Advice on valid values.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_could_be_a_secret_is_not_in_the_error() {
        for secret in ["{\"private_key\": 1}", "sk-SECRET", "https://a:SECRET@host/?key=SECRET"] {
            let error = ConfigError::invalid("origin", secret, "give an origin");
            let error = error.within(secret.to_owned()).given_in("UPSTREAM");
            let text = format!("{error} {error:?} {:?}", error.entry());
            assert!(!text.contains("SECRET") && !text.contains("private_key"), "{text}");
        }
    }
}
