use bytes::Bytes;
use http::{
    Method, Uri,
    uri::{Parts, PathAndQuery},
};

use super::{
    Upstream,
    methods::{ANY, Methods, fixed},
    path::{EMPTY_SEGMENT, check_path},
    query::{OF_RESPONSES, listed, not_of_google},
};
use crate::error::RouteError;

/// The longest URI that [`http::Uri`] parses, in bytes.
const LONGEST: usize = (u16::MAX - 1) as usize;

/// The longest path that an error carries, in bytes.
const LONGEST_SHOWN: usize = 200;

/// The URI at `upstream` for the `uri` of a request by an OpenAI client.
///
/// Scheme, host and port of `uri` are ignored: OpenAI clients send `https://api.openai.com`. Its
/// path may have the upstream's path prefix or not, a slash at its end or not, and it may be the full
/// path of the upstream's endpoint, `/v1/projects/P/locations/L/endpoints/E/chat/completions`, by `v1`
/// or `v1beta1`; the version that is asked for is the upstream's.
///
/// Of its query travels the parameter `alt`, what OpenAI's API has for a stored response (`include`,
/// `stream`, `starting_after`, `include_obfuscation`), and what
/// [`forward_query`](super::UpstreamBuilder::forward_query) names; the others are dropped, because
/// Google's APIs take [system parameters] there: credentials, who pays, another method. To the routes
/// of a container (`/invoke/{route}`) all travels but system parameters, however they are spelled.
/// What travels is kept byte for byte.
///
/// Segments are compared, and compared as they are: `/v1chat/completions` and
/// `/v1/chat/%63ompletions` are not `/v1/chat/completions`. Paths without a variable part cost
/// no allocation, those with one, and a query that travels, cost one.
///
/// Methods are not looked at here: [`VertexRoute`](super::VertexRoute) does that.
///
/// # Errors
/// - [`RouteError::InvalidPath`] for a path that a server might read as another one: with empty
///   segments, dot segments, encoded slashes, backslashes, control characters, characters beyond
///   ASCII, encoded percent signs or broken percent escapes; and for `*` and `host:port`, which are
///   not paths.
/// - [`RouteError::UnsupportedPath`] for a path that the endpoint does not have, unless the upstream
///   passes such paths through.
/// - [`RouteError::OtherResource`] for the full path of another endpoint.
/// - [`RouteError::TooLong`] when the result would not fit into a URI.
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

/// [`rewrite`] for a request with this `method`, if that is one that the path has.
pub(super) fn resolve(
    upstream: &Upstream,
    method: Option<&Method>,
    uri: &Uri,
) -> Result<Uri, RouteError> {
    if let Some(known) = known(upstream, uri) {
        check_method(method, Some("POST"))?;
        return Ok(known.clone());
    }
    let Some(path_and_query) = uri.path_and_query() else {
        return Err(invalid("is missing: the request names only a host"));
    };
    let sub = sub_path(upstream, path_and_query.path())?;
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
            path: clip(path_and_query.path()),
            supported: upstream.methods().supported(),
        });
    }
    check_method(method, Methods::allowed(sub).filter(|_| has).or(Some(ANY)))?;
    let query = path_and_query.query();
    let query = match sub.starts_with("/responses/") && has {
        true => query.and_then(|query| listed(query, &OF_RESPONSES, more)),
        false => query.and_then(|query| not_of_google(query, more)),
    };
    join(upstream, sub, query.as_deref())
}

/// What [`rewrite`] makes of almost all requests: a path without a variable part and without a
/// query. It is there already, and moving a URI about costs more than to find it.
pub(super) fn known<'a>(upstream: &'a Upstream, uri: &Uri) -> Option<&'a Uri> {
    let path_and_query = uri.path_and_query()?;
    if path_and_query.query().is_some() {
        return None;
    }
    upstream.fixed(fixed(without_prefix(path_and_query.path(), upstream.prefix()))?)
}

/// Checks the `path` and the `method` of a request before its upstream is known: for gateways that
/// refuse a request before they read its body. `prefix` is the prefix that clients may put before a
/// path, such as `/v1`.
///
/// # Errors
///
/// [`RouteError::InvalidPath`], and then [`RouteError::MethodNotAllowed`] if no endpoint has the path
/// with this method.
pub fn check_method_for_path(method: &Method, path: &str, prefix: &str) -> Result<(), RouteError> {
    let sub = without_prefix(path, prefix);
    if fixed(sub).is_none() {
        check_whole(path)?;
    }
    check_method(Some(method), Methods::allowed(sub))
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

/// The beginning of a text of ASCII.
fn clip(text: &str) -> String {
    // It can be cut anywhere; `get` cannot panic if it were not ASCII.
    text.get(..LONGEST_SHOWN).unwrap_or(text).to_owned()
}

fn invalid(reason: &'static str) -> RouteError {
    RouteError::InvalidPath { reason }
}

/// The part of `path` that [`rewrite`] appends to the base of `upstream`, without a slash at its end,
/// which some clients append. The endpoint need not have it.
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
        // To a container the slash may mean something.
        Some(short) if short.starts_with("/invoke/") || upstream.pass_through() => {
            Err(invalid(EMPTY_SEGMENT))
        }
        Some(_) => Ok(sub),
    }
}

/// Refuses a path that could be read as another one, but for a slash at its end. Of the whole path, so
/// that nothing hides in front of a prefix.
fn check_whole(path: &str) -> Result<(), RouteError> {
    match path.strip_suffix('/') {
        Some("") => Ok(()),
        whole => check_path(whole.unwrap_or(path)).map_err(invalid),
    }
}

/// The part of `path` from `/projects/…` on, if the client names the resource itself. `sub` is the same
/// path [without the prefix](without_prefix).
pub fn resource_of<'a>(path: &'a str, sub: &'a str) -> Option<&'a str> {
    const START: &str = "/projects/";
    let versions = ["/v1", "/v1beta1"].into_iter().filter_map(|version| path.strip_prefix(version));
    [sub].into_iter().chain(versions).find(|path| path.starts_with(START))
}

/// `/projects/P/locations/L/endpoints/E`, or as much of it as there is.
fn endpoint_of(resource: &str) -> &str {
    let end = resource.match_indices('/').nth(6).map_or(resource.len(), |(end, _)| end);
    resource.get(1..end).unwrap_or(resource)
}

/// `path` without `prefix`, if the prefix ends where a segment of the path ends; otherwise `path`.
pub fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some(sub) if sub.is_empty() || sub.starts_with('/') => sub,
        _ => path,
    }
}

/// The URI with `sub` and `query` behind the base.
fn join(upstream: &Upstream, sub: &str, query: Option<&str>) -> Result<Uri, RouteError> {
    let base = upstream.base_path();
    let length = base.len() + sub.len() + query.map_or(0, |query| 1 + query.len());
    if upstream.origin().len() + length > LONGEST {
        return Err(RouteError::TooLong);
    }
    let mut text = String::with_capacity(length);
    text.push_str(base);
    text.push_str(sub);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    // All of it came out of checked settings and a parsed URI, so neither step fails.
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
