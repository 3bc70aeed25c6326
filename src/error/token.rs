//! [`TokenError`]: there is no usable access token.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

use super::{ConfigError, CredentialsError, Error, Fault, FaultKind, readable_debug};
use crate::BoxError;

/// Why there is no usable access token.
#[derive(Clone)]
#[non_exhaustive]
pub enum TokenError {
    /// The source failed. Its own error is the source of this one.
    Fetch(Arc<dyn StdError + Send + Sync>),
    /// The source returned nothing within its time-out.
    Timeout(Duration),
    /// The source panicked; the panic was contained.
    Panicked,
    /// The source returned something that is not an access token.
    Invalid(&'static str),
    /// The runtime of the fetch was shut down before the fetch ended.
    RuntimeGone,
    /// The call was made outside of a Tokio runtime, so nothing can be fetched.
    NoRuntime,
}

readable_debug!(TokenError);

impl TokenError {
    pub(crate) fn fetch(error: BoxError) -> Self {
        // A token error is not nested in another one with the same text.
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

    /// The fault that the source reports, if the source is of this crate.
    fn fault(&self) -> Option<&Fault> {
        let Self::Fetch(error) = self else { return None };
        let credentials = || match error.downcast_ref() {
            Some(Error::Credentials(error)) => Some(error),
            _ => error.downcast_ref(),
        };
        error.downcast_ref().or_else(|| credentials()?.fault.as_ref())
    }

    /// The remedy, if it is known. A source of another crate has it in its own text.
    pub fn remedy(&self) -> Option<&str> {
        Some(match self {
            Self::Fetch(error) => {
                let of_credentials = || error.downcast_ref::<CredentialsError>()?.remedy();
                let of_a_setting = || Some(error.downcast_ref::<ConfigError>()?.remedy());
                let of_another = || error.downcast_ref::<Error>()?.remedy();
                let of_a_fault = self.fault().map(Fault::remedy);
                of_a_fault.or_else(of_credentials).or_else(of_a_setting).or_else(of_another)?
            }
            Self::Timeout(_) => "check the network path to the token endpoint",
            Self::RuntimeGone => "try again",
            Self::NoRuntime => "call from within a Tokio runtime",
            Self::Panicked | Self::Invalid(_) => return None,
        })
    }

    /// The cause, without the remedy and without the words that there is no token.
    pub fn what(&self) -> Cow<'_, str> {
        match self {
            Self::Fetch(error) => match self.fault() {
                Some(fault) => fault.what().into(),
                None => error.to_string().into(),
            },
            Self::Timeout(after) => {
                format!("the token source did not respond within {after:?}").into()
            }
            Self::Panicked => "the token source panicked".into(),
            Self::Invalid(why) => format!("the token source returned {why}").into(),
            Self::RuntimeGone => "the runtime that was fetching it was shut down".into(),
            Self::NoRuntime => "there is no runtime to fetch it".into(),
        }
    }

    /// Whether the credentials may not impersonate the configured service account.
    pub fn is_impersonation_denied(&self) -> bool {
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
            // The text of the error contains that of the source, so the chain continues below it.
            Self::Fetch(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_error_within_a_token_error_is_printed_once() {
        let inner = Error::from(TokenError::Panicked);
        let text = inner.to_string();
        assert_eq!(Error::from(TokenError::fetch(inner.into())).to_string(), text);
    }
}
