//! A failure in a source of tokens: its kind, its cause and the remedy.

use std::{borrow::Cow, error::Error as StdError, fmt};

use super::readable_debug;

/// The reason why there is no token, with the cause and the remedy as separate texts. It holds no
/// secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    kind: FaultKind,
    what: Cow<'static, str>,
    remedy: Cow<'static, str>,
}

readable_debug!(Fault);

/// The kind of a [`Fault`], for code that depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(any(feature = "credentials", feature = "credentials-federation")), allow(dead_code))]
pub(crate) enum FaultKind {
    /// The credentials are unusable: a file, or a field of it.
    Credentials,
    /// The token endpoint sent no response.
    Unreachable,
    /// The token endpoint refused the request.
    Refused,
    /// Google's IAM refused the impersonation of the service account.
    MayNotImpersonate,
    /// The token endpoint returned something that is not a token.
    NotAToken,
}

#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
impl Fault {
    pub(crate) fn new(
        kind: FaultKind,
        what: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, what: what.into(), remedy: remedy.into() }
    }

    /// The same fault with another remedy.
    #[cfg(feature = "credentials-federation")]
    pub(crate) fn remedied(self, remedy: &'static str) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// The same fault with `whose` before its cause.
    pub(crate) fn of(self, whose: &str) -> Self {
        Self { what: format!("{whose}: {}", self.what).into(), ..self }
    }
}

impl Fault {
    pub(crate) fn kind(&self) -> FaultKind {
        self.kind
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    pub(crate) fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, what, remedy } = self;
        match kind {
            FaultKind::Refused | FaultKind::MayNotImpersonate => write!(f, "{what}: {remedy}"),
            _ => write!(f, "{what}; {remedy}"),
        }
    }
}

impl StdError for Fault {}
