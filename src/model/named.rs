//! Requests whose path names the model, and requests that get such a path.

mod uri;

use std::{borrow::Cow, sync::Arc};

use http::{Extensions, HeaderMap, Method, request::Parts};

pub(super) use self::uri::uri_of;
use self::uri::{keep_protocol, without_place};
use super::{ModelEntry, ModelTable, RequestedModel, UpstreamModel, message::with_vertex_date};
use crate::{
    error::ModelError,
    retry::Locations,
    route::{
        ANTHROPIC, GOOGLE, ModelPath, PathTarget, Protocol, Upstream, decoded, is_model,
        is_publisher, model_path,
    },
};

/// The position of a request's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In the body, and there it stays.
    Body,
    /// In the path, or nowhere because the path names an endpoint. The body is not read.
    Path,
    /// In the body of a request of Anthropic's Messages, which loses it.
    Message,
    /// The request has no model.
    Nowhere,
}

impl Form {
    pub(super) fn of(method: &Method, path: &str, table: &ModelTable) -> Self {
        // The router refuses a path that could be read as another one.
        let Ok(Some(path)) = model_path(path, table.base().prefix()) else { return Self::Body };
        match path.target() {
            _ if *method != Method::POST => Self::Nowhere,
            PathTarget::Messages | PathTarget::CountTokens => Self::Message,
            _ if path.has_model_in_body() => Self::Body,
            _ => Self::Path,
        }
    }
}

/// The publisher and the name of a model, as a request has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    /// The publisher; `None` if the request has none.
    publisher: Option<&'a str>,
    name: &'a str,
    /// The publisher that a name without one has in this protocol.
    default: &'a str,
    /// The date at the end of the name may have the form of Anthropic's own API.
    is_anthropics: bool,
}

impl<'a> Named<'a> {
    /// The model in a body, whose name may begin with a publisher.
    pub(super) fn in_body(name: &'a str, default: &'a str) -> Self {
        match name.split_once('/') {
            Some((publisher, name)) if is_publisher(publisher) => {
                Self { publisher: Some(publisher), name, default, is_anthropics: false }
            }
            _ => Self { publisher: None, name, default, is_anthropics: false },
        }
    }

    /// The model in the body of a request of Anthropic's Messages.
    pub(super) fn in_message(name: &'a str) -> Self {
        Self { is_anthropics: true, ..Self::in_body(name, ANTHROPIC) }
    }

    fn publisher(&self) -> &'a str {
        self.publisher.unwrap_or(self.default)
    }

    /// The name with its publisher.
    fn published(&self) -> String {
        [self.publisher(), "/", self.name].concat()
    }

    /// Whether the publisher goes without saying in this protocol.
    fn is_usual(&self) -> bool {
        self.publisher.is_none_or(|publisher| {
            publisher == self.default || publisher == GOOGLE || publisher == ANTHROPIC
        })
    }
}

/// The destination of a model after the rules of the table.
pub(super) struct Resolved<'a> {
    /// The publisher; `None` at an endpoint that ignores the model.
    pub(super) publisher: Option<&'a str>,
    pub(super) name: Cow<'a, str>,
    /// An entry has another name for the model.
    pub(super) is_renamed: bool,
    /// The upstream decides about the project and the location, not the path.
    is_settled: bool,
}

impl Resolved<'_> {
    /// The name with its publisher, if it has one.
    fn full(&self) -> Cow<'_, str> {
        match self.publisher {
            Some(publisher) => [publisher, "/", &self.name].concat().into(),
            None => (&*self.name).into(),
        }
    }
}

impl ModelTable {
    /// The entry that decides about the model `name` of `publisher`, in a path that names both. It is
    /// the one for `publisher/name` or for `name`, whichever is more specific: an entry without a `*`
    /// before one with it, and more characters before the `*` before fewer. Between equals,
    /// `publisher/name` decides.
    pub fn find_published(&self, publisher: &str, name: &str) -> Option<&ModelEntry> {
        self.find_either(&[publisher, "/", name].concat(), name)
    }

    fn find_either(&self, published: &str, name: &str) -> Option<&ModelEntry> {
        let (full, bare) = (self.find(published), self.find(name));
        let rank = |entry: &ModelEntry| entry.pattern.prefix().map_or(usize::MAX, str::len);
        match (full, bare) {
            (Some(full), Some(bare)) if rank(bare) > rank(full) => Some(bare),
            (full, bare) => full.or(bare),
        }
    }

    /// Sends a request for `named` to its upstream, and notes the model in `extensions`.
    pub(super) fn resolve<'a>(
        &'a self,
        named: Named<'a>,
        path: Option<&ModelPath<'_>>,
        extensions: &mut Extensions,
        headers: &mut HeaderMap,
    ) -> Resolved<'a> {
        let published = named.published();
        let entry = self.find_either(&published, named.name);
        let is_placed = entry.is_some_and(|entry| entry.upstream().is_some());
        self.choose(entry, extensions, headers);
        if !is_placed && let Some(path) = path {
            go_to_place(path, extensions);
        }
        let upstream = extensions.get::<Upstream>().unwrap_or(self.base());

        let renamed = entry.and_then(ModelEntry::model);
        let own = entry.and_then(|entry| entry.own_publisher.as_deref());
        let (publisher, name) = match renamed.and_then(|name| name.split_once('/')) {
            Some(both) => both,
            None => {
                let implied = own.filter(|_| renamed.is_some() || named.publisher.is_none());
                (implied.unwrap_or(named.publisher()), renamed.unwrap_or(named.name))
            }
        };
        let ignores = upstream.own_endpoint().is_some()
            && (is_placed || is_bare(path) || !upstream.has_publishers());
        let dated = (named.is_anthropics && named.publisher.is_none() && renamed.is_none())
            .then(|| with_vertex_date(name).filter(|_| publisher == ANTHROPIC && !ignores))
            .flatten();
        let resolved = Resolved {
            publisher: (!ignores).then_some(publisher),
            name: match (dated, ignores) {
                (Some(dated), _) => dated.into(),
                (None, true) => renamed.unwrap_or(named.name).into(),
                (None, false) => name.into(),
            },
            is_renamed: renamed.is_some(),
            is_settled: is_placed || extensions.get::<Locations>().is_some(),
        };
        let published: Arc<str> = published.into();
        let is_same = resolved.publisher == Some(named.publisher()) && resolved.name == named.name;
        let upstream_model = match is_same {
            true => UpstreamModel::new(Arc::clone(&published)),
            false => UpstreamModel::new(&*resolved.full()),
        };
        let start = if named.is_usual() { published.len() - named.name.len() } else { 0 };
        extensions.insert(RequestedModel::published(published, start));
        extensions.insert(upstream_model);
        resolved
    }

    /// Sends a request whose path names an endpoint to the upstream that has it. If none has it, the
    /// request stays where it is, and is refused there.
    ///
    /// Returns whether an entry decides about the project and the location.
    pub(super) fn go_to_endpoint(
        &self,
        path: &ModelPath<'_>,
        extensions: &mut Extensions,
        headers: &mut HeaderMap,
    ) -> bool {
        self.settle(extensions);
        let PathTarget::Endpoint { id, .. } = path.target() else { return false };
        let is_here = |upstream: &Upstream| upstream.own_endpoint() == Some(id);
        if !extensions.get::<Upstream>().is_some_and(is_here) {
            let entries = || self.entries().filter(|entry| entry.upstream().is_some_and(is_here));
            let is_named = |entry: &&ModelEntry| {
                let location = entry.upstream().and_then(Upstream::location);
                location.is_some_and(|location| Some(location.as_str()) == path.location())
            };
            let Some(entry) = entries().find(is_named).or_else(|| entries().next()) else {
                return false;
            };
            self.choose(Some(entry), extensions, headers);
            return true;
        }
        go_to_place(path, extensions);
        false
    }
}

/// Sends a request to the project and the location that its path names, if its upstream allows them.
fn go_to_place(path: &ModelPath<'_>, extensions: &mut Extensions) {
    let Some(upstream) = extensions.get::<Upstream>() else { return };
    let named = upstream.at_place_of(path);
    if named != upstream {
        let named = named.clone();
        extensions.insert(named);
        // The client has named one location, so no other one is tried.
        extensions.remove::<Locations>();
    }
}

/// Whether the path names a model without a publisher.
fn is_bare(path: Option<&ModelPath<'_>>) -> bool {
    let target = path.map(ModelPath::target);
    matches!(target, Some(PathTarget::Model { publisher: None, .. }))
}

/// Applies the table to a request whose path names the model or the endpoint. The body is not read.
///
/// # Errors
///
/// [`ModelError::NotForAPath`] if the name cannot be in a path.
pub(super) fn route_by_path(table: &ModelTable, head: &mut Parts) -> Result<(), ModelError> {
    let Parts { uri, extensions, headers, .. } = head;
    let Some(path) = ModelPath::parse(uri.path(), table.base().prefix()) else { return Ok(()) };
    let new = match path.target() {
        PathTarget::Model { publisher, model, method } => {
            let name = decoded(model).ok_or(ModelError::NotForAPath)?;
            let default = table.bare_publisher(extensions);
            let named = Named { publisher, name: &name, default: &default, is_anthropics: false };
            let resolved = table.resolve(named, Some(&path), extensions, headers);
            let upstream = extensions.get::<Upstream>().unwrap_or(table.base());
            let stays = match resolved.publisher {
                Some(to) => {
                    publisher.or_else(|| upstream.bare_publisher()).is_none_or(|own| own == to)
                }
                None => publisher.is_none(),
            };
            if stays && resolved.name == name {
                if resolved.publisher.is_some() && !is_model(&name) {
                    return Err(ModelError::NotForAPath);
                }
                without_place(&path, uri, resolved.is_settled && upstream.has_alternatives())
            } else {
                let new = uri_of(&resolved, &resolved.name, method, &path, uri.query())?;
                keep_protocol(Protocol::of(uri.path()), &new, extensions);
                Some(new)
            }
        }
        _ => {
            let is_settled = table.go_to_endpoint(&path, extensions, headers);
            without_place(&path, uri, is_settled)
        }
    };
    if let Some(new) = new {
        *uri = new;
    }
    Ok(())
}

/// Applies the table to a request whose path names a publisher, and whose body has the model `name`.
/// Returns the new name for the body, if it changes; `None` if the path names no publisher.
pub(super) fn route_by_published(
    table: &ModelTable,
    head: &mut Parts,
    name: &str,
) -> Result<Option<Option<String>>, ModelError> {
    let Parts { uri, extensions, headers, .. } = head;
    let Ok(Some(path)) = model_path(uri.path(), table.base().prefix()) else { return Ok(None) };
    let publisher = match path.target() {
        PathTarget::Responses { publisher, .. } => publisher,
        // Tokens are counted for a model of Anthropic's.
        PathTarget::Model { .. } => ANTHROPIC,
        _ => return Ok(None),
    };
    let resolved = table.resolve(Named::in_body(name, publisher), Some(&path), extensions, headers);
    let upstream = extensions.get::<Upstream>().unwrap_or(table.base());
    let is_settled = resolved.is_settled && upstream.has_alternatives();
    let new = resolved.is_renamed.then(|| match resolved.publisher {
        Some(to) if to != publisher => resolved.full().into_owned(),
        _ => resolved.name.clone().into_owned(),
    });
    if let Some(short) = without_place(&path, uri, is_settled) {
        *uri = short;
    }
    Ok(Some(new.filter(|new| new != name)))
}
