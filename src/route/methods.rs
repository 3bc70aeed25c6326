//! The paths that an endpoint has, and the methods that clients may use on each.

/// The methods that a container's route allows. TRACE would show the token to the client (RFC 9110
/// §9.3.8), CONNECT would open a tunnel, and OPTIONS is the preflight request of a browser.
pub(super) const ANY: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// The set of paths that an endpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Methods {
    OpenApi,
    Deployed,
    Publisher,
    All,
}

impl Methods {
    /// The paths without a variable part. [`fixed`] relies on their order.
    pub(super) const FIXED: [&str; 4] =
        ["/chat/completions", "/completions", "/embeddings", "/responses"];

    /// Whether the endpoint has `sub`, a clean path that starts with a slash.
    pub(super) fn have(self, sub: &str) -> bool {
        if let Some(id) = sub.strip_prefix("/responses/") {
            return !id.contains('/');
        }
        if self == Self::Publisher {
            return sub == "/responses";
        }
        match sub {
            "/chat/completions" => true,
            "/completions" | "/embeddings" | "/responses" => self != Self::Deployed,
            _ => self != Self::OpenApi && sub.starts_with("/invoke/"),
        }
    }

    /// The methods that clients may use on `sub`, in the form of `Allow`; `None` if the endpoint has
    /// no such path.
    pub(super) fn allowed(self, sub: &str) -> Option<&'static str> {
        match (self, sub) {
            _ if !self.have(sub) => None,
            (Self::Publisher, "/responses/compact") => Some("POST"),
            // The id of a response.
            (Self::OpenApi | Self::Deployed, "/responses/compact") => Some("GET, HEAD, DELETE"),
            _ => Self::allowed_anywhere(sub),
        }
    }

    /// The methods that clients may use on `sub`, in the form of `Allow`; `None` if no endpoint has
    /// such a path.
    pub(super) fn allowed_anywhere(sub: &str) -> Option<&'static str> {
        if sub == "/responses/compact" {
            // `compact` is the id of a response, too, except for a publisher.
            Some("GET, HEAD, POST, DELETE")
        } else if fixed(sub).is_some() {
            Some("POST")
        } else if sub.strip_prefix("/responses/").is_some_and(|id| !id.contains('/')) {
            Some("GET, HEAD, DELETE")
        } else if sub.starts_with("/invoke/") {
            Some(ANY)
        } else {
            None
        }
    }

    pub(super) fn supported(self) -> &'static str {
        match self {
            Self::OpenApi => {
                "/chat/completions, /completions, /embeddings, /responses and /responses/{id}"
            }
            Self::Deployed => "/chat/completions, /responses/{id} and /invoke/{route}",
            Self::Publisher => {
                "/models/{model}:{method}, /responses, /responses/{id} and /responses/compact"
            }
            Self::All => {
                "/chat/completions, /completions, /embeddings, /responses, /responses/{id} and \
                 /invoke/{route}"
            }
        }
    }
}

/// Returns the position of a path in [`Methods::FIXED`].
#[inline]
pub(super) fn fixed(sub: &str) -> Option<usize> {
    match sub {
        "/chat/completions" => Some(0),
        "/completions" => Some(1),
        "/embeddings" => Some(2),
        "/responses" => Some(3),
        _ => None,
    }
}
