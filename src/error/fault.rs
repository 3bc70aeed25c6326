//! What the sources of tokens say of a failure: what is wrong, of which kind, and what to do.

use std::{borrow::Cow, error::Error as StdError, fmt};

use super::readable_debug;

/// What stands in the way of a token, parted into what is wrong and what to do about it. Holds no
/// secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    kind: FaultKind,
    what: Cow<'static, str>,
    remedy: Cow<'static, str>,
}

readable_debug!(Fault);

/// What a [`Fault`] is, for code that goes on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(any(feature = "credentials", feature = "credentials-federation")), allow(dead_code))]
pub(crate) enum FaultKind {
    /// The credentials themselves: a file, or a field of it.
    Credentials,
    /// No answer of what gives tokens.
    Unreachable,
    /// It answered, and said no.
    Refused,
    /// It said that this identity may not have another one's tokens.
    MayNotImpersonate,
    /// It answered with something that is not a token.
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

    /// The same fault of `whose`.
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
