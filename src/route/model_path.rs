//! Parses the paths that name a model, an endpoint or a provider, without an allocation.

use std::borrow::Cow;

use super::{
    ApiVersion, model_methods::RESPONSES, path::hex, query::OF_RESPONSES, rewrite::without_prefix,
};

/// The publisher of a path without one: that of Gemini, as in the Gemini Developer API.
pub(crate) const GOOGLE: &str = "google";

/// The publisher of Claude.
pub(crate) const ANTHROPIC: &str = "anthropic";

/// The name that stands in the place of a model in the path for counting Claude's tokens.
pub(crate) const COUNT_TOKENS: &str = "count-tokens";

/// A path that names a model, an endpoint or a provider, in one of the forms of Vertex AI, of the
/// Gemini Developer API or of Anthropic's API. It borrows from the path.
///
/// Only the form is checked: the names may be ones that [`rewrite`](super::rewrite) refuses.
///
/// ```
/// use tower_vertex::route::{ModelPath, PathTarget};
///
/// let path = ModelPath::parse("/v1beta/models/gemini-2.5-flash:generateContent", "/v1").unwrap();
/// let PathTarget::Model { publisher, model, method } = path.target() else { panic!() };
/// assert_eq!((publisher, model, method), (None, "gemini-2.5-flash", "generateContent"));
///
/// assert_eq!(ModelPath::parse("/v1/chat/completions", "/v1"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelPath<'a> {
    version: Option<ApiVersion>,
    place: Option<(&'a str, &'a str)>,
    target: PathTarget<'a>,
}

/// The target of a [`ModelPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathTarget<'a> {
    /// `…/publishers/{publisher}/models/{model}:{method}`, `/models/{model}:{method}` or
    /// `/models/{publisher}/{model}:{method}`.
    Model {
        /// The publisher; `None` if the path has none.
        publisher: Option<&'a str>,
        /// The model as it is in the path, with its percent escapes.
        model: &'a str,
        /// The text after the last colon.
        method: &'a str,
    },
    /// `…/endpoints/{id}:{method}`.
    Endpoint {
        /// The endpoint's id.
        id: &'a str,
        /// The text after the last colon.
        method: &'a str,
    },
    /// `…/publishers/{publisher}/v1/responses`, `/responses/{id}` and `/responses/compact`.
    Responses {
        /// The publisher, such as `openai`.
        publisher: &'a str,
        /// The path after `v1/`: `responses` and what follows.
        sub: &'a str,
    },
    /// Anthropic's `/v1/messages`. The model is in the body.
    Messages,
    /// Anthropic's `/v1/messages/count_tokens`. The model is in the body.
    CountTokens,
}

impl<'a> ModelPath<'a> {
    /// Parses `path`, whose prefix may be `prefix` in place of a version. `None` for any other path,
    /// such as those of OpenAI's API.
    pub fn parse(path: &'a str, prefix: &str) -> Option<Self> {
        Self::parse_versioned(path).or_else(|| {
            // A second version after a first one is no path of any client.
            let is_version =
                prefix.strip_prefix('/').is_some_and(|prefix| version(prefix).is_some());
            let sub = without_prefix(path, prefix);
            if is_version || sub.len() == path.len() { None } else { Self::parse_versioned(sub) }
        })
    }

    fn parse_versioned(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix('/')?;
        let (first, after) = split(rest);
        let (version, rest) = match (version(first), after) {
            (Some(version), Some(after)) => (Some(version), after),
            _ => (None, rest),
        };
        let (place, rest) = match rest.strip_prefix("projects/") {
            None => (None, rest),
            Some(rest) => {
                let (project, rest) = rest.split_once('/')?;
                let (location, rest) = rest.strip_prefix("locations/")?.split_once('/')?;
                (Some((project, location)), rest)
            }
        };
        let target = PathTarget::parse(rest, place.is_some())?;
        Some(Self { version, place, target })
    }

    /// The version of Vertex AI's API in the path. `v1beta` and `v1alpha` of the Gemini Developer API
    /// stand for `v1beta1`, because its fields are the same.
    pub fn version(&self) -> Option<ApiVersion> {
        match self.target {
            // This is the version of Anthropic's API.
            PathTarget::Messages | PathTarget::CountTokens => None,
            _ => self.version,
        }
    }

    /// The project in the path.
    pub fn project(&self) -> Option<&'a str> {
        self.place.map(|(project, _)| project)
    }

    /// The location in the path.
    pub fn location(&self) -> Option<&'a str> {
        self.place.map(|(_, location)| location)
    }

    /// The target.
    pub fn target(&self) -> PathTarget<'a> {
        self.target
    }

    /// The HTTP methods that clients may use, in the form of `Allow`.
    pub fn allowed_methods(&self) -> &'static str {
        match self.target {
            PathTarget::Responses { sub: "responses" | "responses/compact", .. } => "POST",
            PathTarget::Responses { .. } => "GET, HEAD, DELETE",
            _ => "POST",
        }
    }

    /// The method of the model or of the endpoint, as it is in the list of methods that are let
    /// through. `None` for Anthropic's own paths, whose method depends on the body.
    pub fn method(&self) -> Option<&'a str> {
        match self.target {
            PathTarget::Model { method, .. } | PathTarget::Endpoint { method, .. } => Some(method),
            PathTarget::Responses { .. } => Some(RESPONSES),
            PathTarget::Messages | PathTarget::CountTokens => None,
        }
    }

    /// Whether the model of the request is in its body.
    pub fn has_model_in_body(&self) -> bool {
        match self.target {
            PathTarget::Model { publisher: None | Some(ANTHROPIC), model, .. } => {
                decoded(model).is_some_and(|model| model == COUNT_TOKENS)
            }
            PathTarget::Model { .. } => false,
            PathTarget::Endpoint { .. } => false,
            PathTarget::Responses { sub, .. } => {
                matches!(sub, "responses" | "responses/compact")
            }
            PathTarget::Messages | PathTarget::CountTokens => true,
        }
    }

    /// The query parameters that are forwarded besides the usual ones.
    pub(super) fn query(&self) -> &'static [&'static str] {
        match self.target {
            PathTarget::Responses { .. } if self.allowed_methods() != "POST" => &OF_RESPONSES,
            _ => &[],
        }
    }
}

impl<'a> PathTarget<'a> {
    fn parse(rest: &'a str, has_place: bool) -> Option<Self> {
        let (kind, rest) = rest.split_once('/').unwrap_or((rest, ""));
        match kind {
            "publishers" => {
                let (publisher, rest) = rest.split_once('/')?;
                let (kind, rest) = rest.split_once('/')?;
                match kind {
                    "models" => Self::model(Some(publisher), rest),
                    "v1" => Self::responses(publisher, rest),
                    _ => None,
                }
            }
            "endpoints" => {
                let (id, method) = last(rest)?;
                Some(Self::Endpoint { id, method })
            }
            _ if has_place => None,
            "models" => match rest.split_once('/') {
                Some((publisher, rest)) => Self::model(Some(publisher), rest),
                None => Self::model(None, rest),
            },
            "messages" => match rest {
                "" => Some(Self::Messages),
                "count_tokens" | "count_tokens/" => Some(Self::CountTokens),
                _ => None,
            },
            _ => None,
        }
    }

    fn model(publisher: Option<&'a str>, rest: &'a str) -> Option<Self> {
        let (model, method) = last(rest)?;
        Some(Self::Model { publisher, model, method })
    }

    fn responses(publisher: &'a str, rest: &'a str) -> Option<Self> {
        let sub = rest.strip_suffix('/').unwrap_or(rest);
        let id = sub.strip_prefix("responses")?;
        let is_one = id.strip_prefix('/').is_some_and(|id| !id.is_empty() && !id.contains('/'));
        (id.is_empty() || is_one).then_some(Self::Responses { publisher, sub })
    }
}

/// Splits a last segment at its last colon.
fn last(segment: &str) -> Option<(&str, &str)> {
    if segment.contains('/') { None } else { segment.rsplit_once(':') }
}

/// Returns the first segment, and the rest after the slash.
fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

fn version(segment: &str) -> Option<ApiVersion> {
    match segment {
        "v1" => Some(ApiVersion::V1),
        "v1beta1" | "v1beta" | "v1alpha" => Some(ApiVersion::V1Beta1),
        _ => None,
    }
}

/// Whether `name` can be a publisher in a path: `google`, `deepseek-ai`.
pub(crate) fn is_publisher(name: &str) -> bool {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    (1..=100).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

/// Whether `name` can be a model in a path without percent escapes, such as `gemini-2.5-flash` and
/// `claude-sonnet-4-5@20250929`. No colon is part of it: the method comes after one.
pub(crate) fn is_model(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@');
    (1..=200).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

/// A segment without its percent escapes, decoded once. `None` if they are not UTF-8, or broken.
pub(crate) fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(segment.into());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, rest) {
            (b'%', [high, low, after @ ..]) => {
                bytes.push(hex(*high, *low)?);
                rest = after;
            }
            (b'%', _) => return None,
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_into_its_parts() {
        let model = |publisher, model, method| PathTarget::Model { publisher, model, method };
        let responses = |sub| PathTarget::Responses { publisher: "openai", sub };
        let beta = Some(ApiVersion::V1Beta1);
        let place = Some(("p", "l"));
        for (path, version, at, target) in [
            ("/v1beta/models/m:a", beta, None, model(None, "m", "a")),
            ("/models/m:a:b", None, None, model(None, "m:a", "b")),
            ("/models/x/m:a", None, None, model(Some("x"), "m", "a")),
            (
                "/v1/publishers/g/models/m%40:a",
                Some(ApiVersion::V1),
                None,
                model(Some("g"), "m%40", "a"),
            ),
            (
                "/v1beta1/projects/p/locations/l/publishers/g/models/m:a",
                beta,
                place,
                model(Some("g"), "m", "a"),
            ),
            (
                "/projects/p/locations/l/endpoints/1:a",
                None,
                place,
                PathTarget::Endpoint { id: "1", method: "a" },
            ),
            ("/v1alpha/endpoints/1:a", beta, None, PathTarget::Endpoint { id: "1", method: "a" }),
            ("/publishers/openai/v1/responses", None, None, responses("responses")),
            ("/publishers/openai/v1/responses/", None, None, responses("responses")),
            ("/publishers/openai/v1/responses/r/", None, None, responses("responses/r")),
            ("/v1/messages", None, None, PathTarget::Messages),
            ("/messages/", None, None, PathTarget::Messages),
            ("/v1/messages/count_tokens", None, None, PathTarget::CountTokens),
            ("/v1/messages/count_tokens/", None, None, PathTarget::CountTokens),
        ] {
            let found = ModelPath::parse(path, "/v1").unwrap_or_else(|| panic!("{path}"));
            assert_eq!(found.version(), version, "{path}");
            assert_eq!(found.project().zip(found.location()), at, "{path}");
            assert_eq!(found.target(), target, "{path}");
        }
        for path in [
            "",
            "/",
            "models/m:a",
            "/models",
            "/models/",
            "/models/m",
            "/models/a/b/c:d",
            "/v1",
            "/v1/models",
            "/v1/v1/models/m:a",
            "/v1/v1/messages",
            "/messages/x",
            "/messages//",
            "/projects/p/locations/l/models/m:a",
            "/projects/p/locations/l/messages",
            "/projects/p/locations/l",
            "/projects/p/publishers/g/models/m:a",
            "/publishers/g/models/m",
            "/publishers/g/v1/responses/r/cancel",
            "/publishers/g/v1/responses//",
            "/publishers/g/v1/responsesx",
            "/endpoints/1/chat/completions",
            "/endpoints/1",
            "/v1/chat/completions",
            "/v1/embeddings",
            "/invoke/v1/models/m:a",
            "/v1/responses/r",
        ] {
            assert_eq!(ModelPath::parse(path, "/v1"), None, "{path}");
        }
    }

    #[test]
    fn escapes_are_decoded_once_or_not_at_all() {
        for (segment, text) in [
            ("a", Some("a")),
            ("a%40b", Some("a@b")),
            ("%2541", Some("%41")),
            ("%c3%bc", Some("\u{fc}")),
            ("%ff", None),
            ("%", None),
            ("%4", None),
            ("a%zz", None),
        ] {
            assert_eq!(decoded(segment).as_deref(), text, "{segment}");
        }
    }
}
