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
    /// Whether the request seems not to have been routed.
    unrouted: bool,
}

readable_debug!(UntrustedHost);

impl UntrustedHost {
    pub(crate) fn new(origin: String) -> Self {
        Self { origin: Some(origin), unrouted: false }
    }

    /// Creates an error for a request that has not been through `VertexRouteLayer`.
    pub(crate) fn unrouted(origin: Option<String>) -> Self {
        Self { origin, unrouted: true }
    }

    /// The scheme, the host and the port of the request; `None` if it has no host.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    pub(super) fn remedy(&self) -> &'static str {
        match &self.origin {
            Some(_) if !self.unrouted => TRUST_IT,
            _ => ORDER,
        }
    }
}

impl fmt::Display for UntrustedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            None => write!(f, "the request has no host: {ORDER}"),
            Some(origin) if self.unrouted => {
                write!(f, "the access token is not sent to {:?}: {ORDER}", redact::value(origin))
            }
            Some(origin) => write!(
                f,
                "the access token is not sent to {:?}: only https on Vertex AI's own hosts is \
                 trusted; {TRUST_IT}",
                redact::value(origin)
            ),
        }
    }
}

impl StdError for UntrustedHost {}
