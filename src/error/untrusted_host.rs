//! [`UntrustedHost`]: a host to which the access token must not be sent.

use std::{error::Error as StdError, fmt};

use super::readable_debug;
use crate::redact;

const ORDER: &str = "VertexRouteLayer belongs outside VertexAuthLayer";
const TRUST_IT: &str = "to trust another, add its origin to the layer";

/// A host that is not trusted with the access token.
#[derive(Clone, PartialEq, Eq)]
pub struct UntrustedHost {
    /// `None` if the request has no host.
    origin: Option<String>,
    /// The rule of the layer; `None` if the request seems not to have been routed.
    rule: Option<&'static str>,
}

readable_debug!(UntrustedHost);

impl UntrustedHost {
    /// Creates an error for an origin that `rule` does not trust.
    pub(crate) fn new(origin: String, rule: &'static str) -> Self {
        Self { origin: Some(origin), rule: Some(rule) }
    }

    /// Creates an error for a request that has not been through `VertexRouteLayer`.
    pub(crate) fn unrouted(origin: Option<String>) -> Self {
        Self { origin, rule: None }
    }

    /// The scheme, the host and the port of the request; `None` if it has no host.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    pub(super) fn remedy(&self) -> &'static str {
        if self.rule.is_some() { TRUST_IT } else { ORDER }
    }
}

impl fmt::Display for UntrustedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(origin) = &self.origin else {
            return write!(f, "the request has no host: {ORDER}");
        };
        write!(f, "the access token is not sent to {:?}: ", redact::value(origin))?;
        match self.rule {
            Some(rule) => write!(f, "{rule}; {TRUST_IT}"),
            None => f.write_str(ORDER),
        }
    }
}

impl StdError for UntrustedHost {}
