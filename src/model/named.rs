//! Requests whose path names the model, and requests that get such a path.

use std::borrow::Cow;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    Extensions, HeaderMap, Method, Uri,
    request::Parts,
    uri::{self, PathAndQuery},
};

use super::{
    ModelEntry, ModelTable, RequestedModel, UpstreamModel,
    body::{Edit, splice},
    scan::Message,
};
use crate::{
    body_headers::describe_anew,
    error::ModelError,
    replay::Chunks,
    retry::Locations,
    route::{
        ANTHROPIC, COUNT_TOKENS, GOOGLE, ModelPath, PathTarget, Protocol, Upstream, decoded,
        is_model, is_publisher, model_path,
    },
};

/// Where a request has its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In the body, and there it stays.
    Body,
    /// In the path, or nowhere because the path names an endpoint. The body is not read.
    Path,
    /// In the body of a request of Anthropic's Messages, from which it is cut.
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

    fn publisher(&self) -> &'a str {
        self.publisher.unwrap_or(self.default)
    }

    /// The name with its publisher.
    fn published(&self) -> String {
        [self.publisher(), "/", self.name].concat()
    }

    /// The extension for this name. The publisher of the protocol is left out of it.
    fn requested(&self, published: &str) -> RequestedModel {
        let is_usual = self.publisher.is_none_or(|publisher| {
            publisher == self.default || publisher == GOOGLE || publisher == ANTHROPIC
        });
        RequestedModel::published(if is_usual { self.name } else { published }, published)
    }
}

/// The destination of a model after the rules of the table.
pub(super) struct Resolved {
    /// The publisher; `None` at an endpoint that ignores the model.
    pub(super) publisher: Option<String>,
    pub(super) name: String,
    /// An entry has another name for the model.
    pub(super) is_renamed: bool,
    /// The upstream decides about the project and the location, not the path.
    is_settled: bool,
}

impl Resolved {
    /// The name with its publisher, if it has one.
    fn full(&self) -> Cow<'_, str> {
        match &self.publisher {
            Some(publisher) => [publisher, "/", &self.name].concat().into(),
            None => self.name.as_str().into(),
        }
    }
}

impl ModelTable {
    /// The entry that decides about the model `name` of `publisher`, in a path that names both. It is
    /// the one for `publisher/name` or for `name`, whichever is more specific: an entry without a `*`
    /// before one with it, and more characters before the `*` before fewer. Between equals,
    /// `publisher/name` decides.
    pub fn find_published(&self, publisher: &str, name: &str) -> Option<&ModelEntry> {
        if self.entries().len() == 0 {
            return None;
        }
        let full = self.find(&[publisher, "/", name].concat());
        let bare = self.find(name);
        let rank = |entry: &ModelEntry| entry.pattern.prefix().map_or(usize::MAX, str::len);
        match (full, bare) {
            (Some(full), Some(bare)) if rank(bare) > rank(full) => Some(bare),
            (full, bare) => full.or(bare),
        }
    }

    /// Sends a request for `named` to its upstream, and notes the model in `extensions`.
    pub(super) fn resolve(
        &self,
        named: Named<'_>,
        path: Option<&ModelPath<'_>>,
        extensions: &mut Extensions,
        headers: &mut HeaderMap,
    ) -> Resolved {
        let published = named.published();
        let entry = self.find_published(named.publisher(), named.name);
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
            publisher: (!ignores).then(|| publisher.to_owned()),
            name: match (dated, ignores) {
                (Some(dated), _) => dated,
                (None, true) => renamed.unwrap_or(named.name).to_owned(),
                (None, false) => name.to_owned(),
            },
            is_renamed: renamed.is_some(),
            is_settled: is_placed || extensions.get::<Locations>().is_some(),
        };
        extensions.insert(named.requested(&published));
        extensions.insert(UpstreamModel::new(&resolved.full()));
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
            let stays = match &resolved.publisher {
                Some(to) => {
                    let bare = || upstream.bare_publisher().unwrap_or_default();
                    to == publisher.unwrap_or_else(bare)
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
    let (PathTarget::Responses { publisher, .. }
    | PathTarget::Model { publisher: Some(publisher), .. }) = path.target()
    else {
        return Ok(None);
    };
    let resolved = table.resolve(Named::in_body(name, publisher), Some(&path), extensions, headers);
    let upstream = extensions.get::<Upstream>().unwrap_or(table.base());
    let is_settled = resolved.is_settled && upstream.has_alternatives();
    let new = resolved.is_renamed.then(|| match &resolved.publisher {
        Some(to) if to != publisher => resolved.full().into_owned(),
        _ => resolved.name.clone(),
    });
    if let Some(short) = without_place(&path, uri, is_settled) {
        *uri = short;
    }
    Ok(Some(new.filter(|new| new != name)))
}

/// Turns a request of Anthropic's Messages into one for Vertex AI: the model moves from the body into
/// the path, and the body gets the version if it has none. All other bytes stay.
pub(super) fn route_message(
    table: &ModelTable,
    head: &mut Parts,
    body: Chunks,
    message: Message,
) -> Result<Chunks, ModelError> {
    let Parts { uri, extensions, headers, .. } = head;
    let Some(path) = ModelPath::parse(uri.path(), table.base().prefix()) else { return Ok(body) };
    let Message { model, cuts, stream, has_version, end, is_empty } = message;
    let mut named = Named::in_body(&model.name, ANTHROPIC);
    named.is_anthropics = true;
    let resolved = table.resolve(named, None, extensions, headers);

    let counts = path.target() == PathTarget::CountTokens;
    let (name, method) = match (counts, stream) {
        // Vertex AI counts tokens for the model in the body.
        (true, _) => (COUNT_TOKENS, "rawPredict"),
        (false, false) => (resolved.name.as_str(), "rawPredict"),
        (false, true) => (resolved.name.as_str(), "streamRawPredict"),
    };
    let new = uri_of(&resolved, name, method, &path, uri.query())?;
    keep_protocol(Protocol::Anthropic, &new, extensions);
    *uri = new;

    let mut edits = if !counts {
        Edit::each(&cuts, &Bytes::new())
    } else if resolved.name == model.name {
        Vec::new()
    } else {
        let name = serde_json::Value::String(resolved.name).to_string();
        Edit::each(&model.spans, &Bytes::from(name))
    };
    if !has_version {
        let member = if is_empty && !counts { &VERSION_MEMBER[1..] } else { VERSION_MEMBER };
        edits.push(Edit { range: end..end, new: Bytes::from_static(member.as_bytes()) });
    }
    let body = splice(body, &edits);
    describe_anew(headers, body.data.len());
    Ok(body)
}

/// The member that a request of Anthropic's own API lacks. The version is that of Vertex AI, which
/// has only this one, and is not the version in the header `anthropic-version`.
/// <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>
const VERSION_MEMBER: &str = r#","anthropic_version":"vertex-2023-10-16""#;

/// The same URI without its project and location, if `wanted` and it has them. The upstream then
/// decides about them.
fn without_place(path: &ModelPath<'_>, uri: &Uri, wanted: bool) -> Option<Uri> {
    let (project, location) = (path.project().filter(|_| wanted)?, path.location()?);
    let place = ["/projects/", project, "/locations/", location].concat();
    let (version, rest) = uri.path().split_once(&place)?;
    let query = uri.query().map(|query| ["?", query].concat()).unwrap_or_default();
    let mut parts = uri::Parts::default();
    parts.path_and_query = PathAndQuery::try_from([version, rest, &query].concat()).ok();
    Uri::from_parts(parts).ok()
}

/// Notes the protocol of the client, if the new path does not say it.
fn keep_protocol(protocol: Protocol, uri: &Uri, extensions: &mut Extensions) {
    if Protocol::of(uri.path()) != protocol {
        extensions.insert(protocol);
    }
}

/// The short path, `/publishers/{publisher}/models/{name}:{method}`, with the version and the query of
/// the client.
fn uri_of(
    resolved: &Resolved,
    name: &str,
    method: &str,
    path: &ModelPath<'_>,
    query: Option<&str>,
) -> Result<Uri, ModelError> {
    let name = match &resolved.publisher {
        // The endpoint ignores the name.
        None if !is_model(name) => "model",
        None => name,
        Some(publisher) if is_publisher(publisher) && is_model(name) => name,
        Some(_) => return Err(ModelError::NotForAPath),
    };
    let version = path.version().map(|version| version.as_str());
    let publisher = resolved.publisher.as_deref();
    let parts = [
        version.map_or("", |_| "/"),
        version.unwrap_or_default(),
        publisher.map_or("", |_| "/publishers/"),
        publisher.unwrap_or_default(),
        "/models/",
        name,
        ":",
        method,
        query.map_or("", |_| "?"),
        query.unwrap_or_default(),
    ];
    let mut text = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.put_slice(part.as_bytes()));
    let mut uri = uri::Parts::default();
    // All parts were checked, or come from a URI.
    let path = PathAndQuery::from_maybe_shared(text.freeze());
    uri.path_and_query = Some(path.map_err(|_| ModelError::NotForAPath)?);
    Uri::from_parts(uri).map_err(|_| ModelError::NotForAPath)
}

/// The model as Vertex AI names it: `claude-sonnet-4-5-20250929` of Anthropic's API is
/// `claude-sonnet-4-5@20250929` there.
pub(super) fn with_vertex_date(name: &str) -> Option<String> {
    let (model, date) = name.rsplit_once('-')?;
    let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    (is_date && !model.is_empty() && !name.contains('@')).then(|| [model, "@", date].concat())
}
