//! The URL for a path that names a model, an endpoint or a provider.

use http::{Method, Uri};

use super::{check_method, clip, invalid, uri_of};
use crate::{
    error::RouteError,
    route::{
        ApiVersion, ModelPath, PathTarget, Upstream,
        model_path::{decoded, is_model, is_publisher},
        place::{Bare, Place},
        query::listed_of_model,
    },
};

/// The paths of models, for the error of an upstream that has none of them.
const NO_MODELS: &str = "no paths of publishers: its URL names no project and location, or its host \
                         has a single endpoint";

/// Returns the URL at `upstream`, which is at the place of `path`. The clean path `text` was parsed into
/// `path`.
pub(super) fn resolve(
    upstream: &Upstream,
    method: Option<&Method>,
    path: &ModelPath<'_>,
    text: &str,
    query: Option<&str>,
) -> Result<Uri, RouteError> {
    check_method(method, Some(path.allowed_methods()))?;
    if let Some(method) = path.method()
        && !upstream.model_methods().have(method)
    {
        return Err(upstream.model_methods().refuse(clip(method)));
    }
    let query =
        query.and_then(|query| listed_of_model(query, path.query(), upstream.forward().query()));
    let unsupported = |supported| Err(RouteError::UnsupportedPath { path: clip(text), supported });
    let Some(place) = upstream.place() else { return unsupported(NO_MODELS) };
    let to = Destination { upstream, place, version: path.version(), query: query.as_deref() };
    match path.target() {
        PathTarget::Model { publisher, model, method } => {
            let publisher = match (publisher, &place.bare) {
                (Some(publisher), _) => publisher,
                (None, Bare::Publisher(default)) => default,
                // The endpoint ignores the name, as it does in the body of a chat.
                (None, Bare::Endpoint) => return to.uri(&[&place.endpoint, ":", method]),
                (None, Bare::Nothing) => return unsupported(NO_MODELS),
            };
            let name = decoded(model).ok_or(invalid(NOT_A_MODEL))?;
            if !is_model(&name) {
                return Err(invalid(NOT_A_MODEL));
            }
            to.publisher(publisher, text, &["/models/", &name, ":", method])
        }
        PathTarget::Responses { publisher, sub } => {
            to.publisher(publisher, text, &["/v1/", sub, "", ""])
        }
        PathTarget::Endpoint { id, method } => {
            let own = upstream.own_endpoint();
            if own != Some(id) {
                return Err(RouteError::OtherResource {
                    asked: clip(&format!("endpoints/{id}")),
                    served: own.map(|own| clip(&format!("endpoints/{own}"))),
                });
            }
            to.uri(&[&place.endpoint, ":", method])
        }
        PathTarget::Messages | PathTarget::CountTokens => unsupported(
            "Claude at /publishers/anthropic/models/{model}:rawPredict alone: /v1/messages needs \
             VertexModelLayer, which takes the model out of the body",
        ),
    }
}

const NOT_A_MODEL: &str = "has a model with a character other than letters, digits and @ - . _";

/// The parts of a URL besides the path below its location.
struct Destination<'a> {
    upstream: &'a Upstream,
    place: &'a Place,
    /// The version that the client has in its path.
    version: Option<ApiVersion>,
    query: Option<&'a str>,
}

impl Destination<'_> {
    fn publisher(&self, publisher: &str, text: &str, rest: &[&str; 4]) -> Result<Uri, RouteError> {
        if !is_publisher(publisher) {
            return Err(invalid("has a publisher that is none, such as google or anthropic"));
        }
        if !self.place.has_publishers {
            return Err(RouteError::UnsupportedPath { path: clip(text), supported: NO_MODELS });
        }
        if let (Bare::Publisher(own), crate::route::Endpoint::Publisher { .. }) =
            (&self.place.bare, self.upstream.endpoint())
            && own != publisher
        {
            return Err(RouteError::OtherResource {
                asked: clip(&format!("publishers/{publisher}")),
                served: Some(clip(&format!("publishers/{own}"))),
            });
        }
        let [a, b, c, d] = rest;
        self.uri(&["/publishers/", publisher, a, b, c, d])
    }

    /// The URL with these parts of a path below the location.
    fn uri(&self, parts: &[&str]) -> Result<Uri, RouteError> {
        let Place { before, version, location, .. } = self.place;
        // A base URL without a version has a server that adds it.
        let version = version.map(|own| self.version.unwrap_or(own).as_str());
        let slash = version.map_or("", |_| "/");
        let base = [before, slash, version.unwrap_or_default(), location];
        uri_of(self.upstream, base.into_iter().chain(parts.iter().copied()), self.query)
    }
}
