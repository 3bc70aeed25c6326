//! The list of the methods of models that are let through.

use std::{fmt, sync::Arc};

use crate::error::{ConfigError, RouteError};

/// The methods that are let through by default: those that generate, count and embed. No method that
/// starts a job, trains or administrates is among them, so that a client that may use a model may
/// not use the whole project.
pub const DEFAULT_MODEL_METHODS: [&str; 10] = [
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "computeTokens",
    "embedContent",
    "batchEmbedContents",
    "predict",
    "rawPredict",
    "streamRawPredict",
    RESPONSES,
];

/// The name of a publisher's Responses in the list.
pub(super) const RESPONSES: &str = "responses";

/// The longest method, in bytes.
const LONGEST: usize = 64;

/// The methods that an upstream lets through.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum ModelMethods {
    Default,
    Listed(Arc<[String]>),
}

impl ModelMethods {
    /// `None` is the default.
    pub(super) fn build(listed: Option<&[String]>) -> Result<Self, ConfigError> {
        let Some(listed) = listed else { return Ok(Self::Default) };
        for method in listed {
            let is_name = (1..=LONGEST).contains(&method.len())
                && method.bytes().all(|byte| byte.is_ascii_alphabetic());
            if !is_name {
                let advice = "give the name after the colon, such as generateContent, or responses";
                return Err(ConfigError::invalid("model method", method, advice));
            }
        }
        Ok(Self::Listed(listed.into()))
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let (default, listed): (&[&str], &[String]) = match self {
            Self::Default => (&DEFAULT_MODEL_METHODS, &[]),
            Self::Listed(listed) => (&[], listed),
        };
        default.iter().copied().chain(listed.iter().map(String::as_str))
    }

    #[inline]
    pub(super) fn have(&self, method: &str) -> bool {
        self.iter().any(|allowed| allowed == method)
    }

    /// The error for a method that is not among them. `shown` is the method, clipped.
    pub(super) fn refuse(&self, shown: String) -> RouteError {
        let allowed: Vec<&str> = self.iter().collect();
        RouteError::ModelMethodNotAllowed { method: shown, allowed: allowed.join(", ") }
    }
}

impl fmt::Debug for ModelMethods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
