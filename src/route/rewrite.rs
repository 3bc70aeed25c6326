use bytes::Bytes;
use http::{
    Method, Uri,
    uri::{Parts, PathAndQuery},
};

use super::{
    ModelPath, Upstream,
    methods::{ANY, Methods, fixed},
    model_methods::{ModelMethods, RESPONSES},
    path::{EMPTY_SEGMENT, check_path},
    query::{OF_RESPONSES, listed, not_of_google},
};
use crate::error::RouteError;

mod model;

/// The longest URI that [`http::Uri`] parses, in bytes.
const LONGEST: usize = (u16::MAX - 1) as usize;

/// The longest path that an error carries, in bytes.
const LONGEST_SHOWN: usize = 200;

/// Returns the URI at `upstream` for the `uri` of a client's request.
///
/// Scheme, host and port of `uri` are ignored: OpenAI clients send `https://api.openai.com`. The
/// path may have the upstream's path prefix, and a slash at its end. It may also be the full path
/// of the upstream's endpoint, `/v1/projects/P/locations/L/endpoints/E/chat/completions`, with `v1`
/// or `v1beta1`. The version of the result is always the upstream's.
///
/// A path that names a model, an endpoint or a publisher is parsed and built again, so that the
/// result is exactly one call of one method. The [module's docs](super#which-paths) have a table of
/// these forms. For an upstream in project `p` and location `eu`:
///
/// | path | result, after `/v1/projects/p/locations/eu` |
/// |---|---|
/// | `/v1/projects/x/locations/y/publishers/meta/models/llama:rawPredict` | `/publishers/meta/models/llama:rawPredict` |
/// | `/v1/models/gemini-2.5-flash:generateContent` | `/publishers/google/models/gemini-2.5-flash:generateContent` |
/// | `/v1/publishers/anthropic/models/claude%401:rawPredict` | `/publishers/anthropic/models/claude@1:rawPredict` |
/// | `/v1/publishers/openai/v1/responses/r` | `/publishers/openai/v1/responses/r` |
/// | `/v1/publishers/google/models/m:tuneModel` | an error: the method is not let through |
/// | `/v1/publishers/google/models/m:a:predict` | an error: the name has a colon |
/// | `/v1/models/m%3Apredict` | an error: there is no method |
///
/// These parameters of the query are forwarded: `alt` (`alt=sse` of Gemini's streams), OpenAI's parameters of a stored response
/// (`include`, `stream`, `starting_after`, `include_obfuscation`), and those that
/// [`forward_query`](super::UpstreamBuilder::forward_query) names. The others are dropped, because
/// Google's APIs accept [system parameters] there, which are credentials, or select the billed
/// project or another method. The routes of a container (`/invoke/{route}`) get all parameters but
/// system parameters in any spelling. Forwarded parameters are kept byte for byte.
///
/// Whole segments are compared, without decoding: `/v1chat/completions` and
/// `/v1/chat/%63ompletions` are not `/v1/chat/completions`. Paths without a variable part cost no
/// allocation. A path with a variable part, and a query that is forwarded, cost one.
///
/// This function does not check the method; [`VertexRoute`](super::VertexRoute) does.
///
/// # Errors
/// - [`RouteError::InvalidPath`] for a path that a server might read as another one. Such a path
///   has empty segments, dot segments, encoded slashes, backslashes, control characters, characters
///   beyond ASCII, encoded percent signs or broken percent escapes. The forms `*` and `host:port`
///   are not paths, and are refused too.
/// - [`RouteError::UnsupportedPath`] for a path that the endpoint does not have, unless the
///   upstream forwards such paths.
/// - [`RouteError::OtherResource`] for the full path of another endpoint.
/// - [`RouteError::ModelMethodNotAllowed`] for a method of a model that is not let through.
/// - [`RouteError::TooLong`] if the result would not fit into a URI.
///
/// [system parameters]: https://cloud.google.com/apis/docs/system-parameters
///
/// ```
/// use http::Uri;
/// use tower_vertex::{error::RouteError, route::{Upstream, rewrite}};
///
/// let upstream = Upstream::new("p", "eu")?;
/// let uri = rewrite(&upstream, &Uri::from_static("/v1/chat/completions?alt=sse&key=secret"))?;
/// assert_eq!(
///     uri,
///     "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/endpoints/openapi\
///      /chat/completions?alt=sse",
/// );
///
/// let error = rewrite(&upstream, &Uri::from_static("/v1/%2e%2e/secrets")).unwrap_err();
/// assert!(matches!(error, RouteError::InvalidPath { .. }));
/// # Ok::<_, tower_vertex::BoxError>(())
/// ```
pub fn rewrite(upstream: &Upstream, uri: &Uri) -> Result<Uri, RouteError> {
    resolve(upstream, None, uri)
}

/// [`rewrite`] for a request with this `method`, if the path allows it.
pub(super) fn resolve(
    upstream: &Upstream,
    method: Option<&Method>,
    uri: &Uri,
) -> Result<Uri, RouteError> {
    if let Some(known) = known(upstream, uri) {
        check_method(method, Some("POST"))?;
        return Ok(known.clone());
    }
    resolve_unknown(upstream, method, uri).map(|(uri, _)| uri)
}

/// [`resolve`] for a URI that is not [`known`]. If the path names a model, an endpoint or a publisher,
/// this returns the upstream at the place that it names, too.
pub(super) fn resolve_unknown<'a>(
    upstream: &'a Upstream,
    method: Option<&Method>,
    uri: &Uri,
) -> Result<(Uri, Option<&'a Upstream>), RouteError> {
    let Some(path_and_query) = uri.path_and_query() else {
        return Err(invalid("is missing: the request names only a host"));
    };
    let path = path_and_query.path();
    // A base URL that passes paths through and names no location may be that of another gateway.
    let is_blank = upstream.pass_through() && upstream.place().is_none();
    if let Some(named) = model_path(path, upstream.prefix())?
        && !is_blank
    {
        let upstream = upstream.at_place_of(&named);
        let uri = model::resolve(upstream, method, &named, path, path_and_query.query())?;
        return Ok((uri, Some(upstream)));
    }
    resolve_openai(upstream, method, path_and_query).map(|uri| (uri, None))
}

/// [`resolve`] for OpenAI's paths.
fn resolve_openai(
    upstream: &Upstream,
    method: Option<&Method>,
    path_and_query: &PathAndQuery,
) -> Result<Uri, RouteError> {
    let path = path_and_query.path();
    let sub = sub_path(upstream, path)?;
    let more = upstream.forward().query();
    if let Some(known) = fixed(sub).and_then(|index| upstream.fixed(index)) {
        check_method(method, Some("POST"))?;
        return match path_and_query.query().and_then(|query| listed(query, &[], more)) {
            None => Ok(known.clone()),
            Some(query) => join(upstream, sub, Some(&query)),
        };
    }
    let has = upstream.methods().have(sub);
    if sub.len() <= 1 || !(has || upstream.pass_through()) {
        return Err(RouteError::UnsupportedPath {
            path: clip(path),
            supported: upstream.methods().supported(),
        });
    }
    check_method(method, upstream.methods().allowed(sub).or(Some(ANY)))?;
    let let_through = upstream.model_methods();
    if !has {
        check_passed_through(let_through, sub)?;
    } else if upstream.methods() == Methods::Publisher && !let_through.have(RESPONSES) {
        return Err(let_through.refuse(RESPONSES.to_owned()));
    }
    let query = path_and_query.query();
    let query = match sub.starts_with("/responses/") && has {
        true => query.and_then(|query| listed(query, &OF_RESPONSES, more)),
        false => query.and_then(|query| not_of_google(query, more)),
    };
    join(upstream, sub, query.as_deref())
}

/// Returns the URI for almost all requests of [`rewrite`]: those with a path without a variable
/// part and without a query. The URI exists already, and moving it would cost more than finding it.
pub(super) fn known<'a>(upstream: &'a Upstream, uri: &Uri) -> Option<&'a Uri> {
    let path_and_query = uri.path_and_query()?;
    if path_and_query.query().is_some() {
        return None;
    }
    upstream.fixed(fixed(without_prefix(path_and_query.path(), upstream.prefix()))?)
}

/// Checks the `path` and the `method` of a request before its upstream is known, for gateways that
/// refuse a request before they read its body. `prefix` is the prefix that clients may put before a
/// path, such as `/v1`.
///
/// # Errors
///
/// [`RouteError::InvalidPath`], and then [`RouteError::MethodNotAllowed`] if no endpoint allows
/// this method on the path.
pub fn check_method_for_path(method: &Method, path: &str, prefix: &str) -> Result<(), RouteError> {
    let sub = without_prefix(path, prefix);
    let allowed = match model_path(path, prefix)? {
        Some(named) => Some(named.allowed_methods()),
        None => {
            if fixed(sub).is_none() {
                check_whole(path)?;
            }
            Methods::allowed_anywhere(sub)
        }
    };
    check_method(Some(method), allowed)
}

/// Parses a path that names a model, an endpoint or a provider. `None` for any other path, which was
/// not checked.
///
/// # Errors
///
/// [`RouteError::InvalidPath`] for such a path that a server might read as another one.
pub(crate) fn model_path<'a>(
    path: &'a str,
    prefix: &str,
) -> Result<Option<ModelPath<'a>>, RouteError> {
    if fixed(without_prefix(path, prefix)).is_some() {
        return Ok(None);
    }
    let Some(named) = ModelPath::parse(path, prefix) else { return Ok(None) };
    check_whole(path)?;
    Ok(Some(named))
}

/// Refuses a path that is passed through if it could call a method that is not let through.
fn check_passed_through(let_through: &ModelMethods, sub: &str) -> Result<(), RouteError> {
    if sub.contains("%3a") || sub.contains("%3A") {
        return Err(invalid("has an encoded colon"));
    }
    match sub.rsplit_once(':') {
        Some((_, method)) if !let_through.have(method) => Err(let_through.refuse(clip(method))),
        _ => Ok(()),
    }
}

pub(super) fn check_method(
    method: Option<&Method>,
    allowed: Option<&'static str>,
) -> Result<(), RouteError> {
    let (Some(method), Some(allowed)) = (method, allowed) else { return Ok(()) };
    let method_name = method.as_str();
    if allowed == method_name || allowed.split(", ").any(|allowed| allowed == method_name) {
        return Ok(());
    }
    Err(RouteError::MethodNotAllowed { method: clip(method.as_str()), allowed })
}

/// Returns the beginning of an ASCII text.
fn clip(text: &str) -> String {
    // ASCII can be split at any byte. If the text were not ASCII, `get` still would not panic.
    text.get(..LONGEST_SHOWN).unwrap_or(text).to_owned()
}

fn invalid(reason: &'static str) -> RouteError {
    RouteError::InvalidPath { reason }
}

/// Returns the part of `path` that [`rewrite`] appends to the base of `upstream`, without the slash
/// that some clients append. The endpoint need not have such a path. A path that names a model, an
/// endpoint or a provider is returned as it is, without the prefix: see [`ModelPath`].
///
/// # Errors
///
/// [`RouteError::InvalidPath`], and [`RouteError::OtherResource`] if the path names another endpoint.
pub fn sub_path<'a>(upstream: &Upstream, path: &'a str) -> Result<&'a str, RouteError> {
    let sub = without_prefix(path, upstream.prefix());
    if fixed(sub).is_some() {
        return Ok(sub);
    }
    check_whole(path)?;
    if ModelPath::parse(path, upstream.prefix()).is_some() {
        return Ok(sub);
    }
    let mut sub = sub;
    if let Some(resource) = resource_of(path, sub) {
        let own = upstream.resource();
        sub = own
            .and_then(|own| resource.strip_prefix(own))
            .filter(|sub| sub.is_empty() || sub.starts_with('/'))
            .ok_or_else(|| RouteError::OtherResource {
                asked: clip(endpoint_of(resource)),
                served: own.map(|own| clip(own.trim_start_matches('/'))),
            })?;
    }
    match sub.strip_suffix('/').filter(|sub| !sub.is_empty()) {
        None => Ok(sub),
        Some(short) if fixed(short).is_some() || short.starts_with("/responses/") => Ok(short),
        // The slash may have a meaning for a container.
        Some(short) if short.starts_with("/invoke/") || upstream.pass_through() => {
            Err(invalid(EMPTY_SEGMENT))
        }
        Some(_) => Ok(sub),
    }
}

/// Refuses a path that could be read as another one; a slash at its end is allowed. The whole path
/// is checked, so that nothing hides before the prefix.
fn check_whole(path: &str) -> Result<(), RouteError> {
    match path.strip_suffix('/') {
        Some("") => Ok(()),
        whole => check_path(whole.unwrap_or(path)).map_err(invalid),
    }
}

/// Returns the part of `path` from `/projects/…` on, if the client names the resource itself. `sub`
/// is the same path [without the prefix](without_prefix).
pub fn resource_of<'a>(path: &'a str, sub: &'a str) -> Option<&'a str> {
    const START: &str = "/projects/";
    let versions = ["/v1", "/v1beta1"].into_iter().filter_map(|version| path.strip_prefix(version));
    [sub].into_iter().chain(versions).find(|path| path.starts_with(START))
}

/// Returns `/projects/P/locations/L/endpoints/E`, or its beginning if `resource` is shorter.
fn endpoint_of(resource: &str) -> &str {
    let end = resource.match_indices('/').nth(6).map_or(resource.len(), |(end, _)| end);
    resource.get(1..end).unwrap_or(resource)
}

/// Returns `path` without `prefix`, if the prefix ends at the end of a segment of the path;
/// otherwise `path`.
pub fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some(sub) if sub.is_empty() || sub.starts_with('/') => sub,
        _ => path,
    }
}

/// Builds the URI with `sub` and `query` after the base.
fn join(upstream: &Upstream, sub: &str, query: Option<&str>) -> Result<Uri, RouteError> {
    let version = if upstream.methods() == Methods::Publisher { "/v1" } else { "" };
    uri_of(upstream, [upstream.base_path(), version, sub].into_iter(), query)
}

/// Builds the URI with these parts of a path, and `query`, at the origin of `upstream`.
fn uri_of<'a>(
    upstream: &Upstream,
    path: impl Iterator<Item = &'a str> + Clone,
    query: Option<&str>,
) -> Result<Uri, RouteError> {
    let length =
        path.clone().map(str::len).sum::<usize>() + query.map_or(0, |query| 1 + query.len());
    if upstream.origin().len() + length > LONGEST {
        return Err(RouteError::TooLong);
    }
    let mut text = String::with_capacity(length);
    path.for_each(|part| text.push_str(part));
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    // All parts come from checked settings and a parsed URI, so neither step fails.
    let refused = || invalid("and query do not make a URI");
    let mut parts = Parts::default();
    parts.scheme = upstream.uri().scheme().cloned();
    parts.authority = upstream.uri().authority().cloned();
    parts.path_and_query =
        Some(PathAndQuery::from_maybe_shared(Bytes::from(text)).map_err(|_| refused())?);
    Uri::from_parts(parts).map_err(|_| refused())
}

#[cfg(test)]
mod tests;
