use std::borrow::Cow;

use bytes::Bytes;
use http::{
    Uri,
    uri::{Parts, PathAndQuery},
};

use super::Upstream;
use crate::error::RouteError;

/// The longest URI that [`http::Uri`] parses, in bytes.
const LONGEST: usize = (u16::MAX - 1) as usize;

/// The longest path that an error carries, in bytes.
const LONGEST_SHOWN: usize = 200;

/// Query parameters that are credentials of Google's APIs. They must not reach a log on the way,
/// and a key beside a valid access token gives 401.
const CREDENTIALS: [&str; 3] = ["key", "access_token", "oauth_token"];

/// What an endpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    OpenApi,
    Deployed,
    All,
}

impl Methods {
    /// The paths without a variable part. [`fixed`] knows their order.
    pub(super) const FIXED: [&str; 4] =
        ["/chat/completions", "/completions", "/embeddings", "/responses"];

    /// Whether the endpoint has `sub`, a clean path that starts with a slash.
    pub(super) fn have(self, sub: &str) -> bool {
        if let Some(id) = sub.strip_prefix("/responses/") {
            return !id.contains('/');
        }
        match sub {
            "/chat/completions" => true,
            "/completions" | "/embeddings" | "/responses" => self != Self::Deployed,
            _ => self != Self::OpenApi && sub.starts_with("/invoke/"),
        }
    }

    fn supported(self) -> &'static str {
        match self {
            Self::OpenApi => {
                "/chat/completions, /completions, /embeddings, /responses and /responses/{id}"
            }
            Self::Deployed => "/chat/completions, /responses/{id} and /invoke/{route}",
            Self::All => {
                "/chat/completions, /completions, /embeddings, /responses, /responses/{id} and \
                 /invoke/{route}"
            }
        }
    }
}

/// The position in [`Methods::FIXED`].
fn fixed(sub: &str) -> Option<usize> {
    match sub {
        "/chat/completions" => Some(0),
        "/completions" => Some(1),
        "/embeddings" => Some(2),
        "/responses" => Some(3),
        _ => None,
    }
}

/// The URI at `upstream` for the `uri` of a request by an OpenAI client.
///
/// Scheme, host and port of `uri` are ignored: OpenAI clients send `https://api.openai.com`. Its
/// path may have the upstream's path prefix or not. Its query is kept byte for byte, but for the
/// parameters `key`, `access_token` and `oauth_token` (in upper or lower case, percent-encoded or
/// not), which are credentials. A `?` with nothing behind it is dropped.
///
/// Segments are compared, and compared as they are: `/v1chat/completions`, `/v1/chat/completions/`
/// and `/v1/chat/%63ompletions` are not `/v1/chat/completions`. Paths without a variable part cost
/// no allocation, those with one, and a query, cost one.
///
/// # Errors
/// - [`RouteError::InvalidPath`] for a path that a server might read as another one: with empty
///   segments (a slash at the end makes one), dot segments, encoded slashes, backslashes, control
///   characters, characters beyond ASCII, encoded percent signs or broken percent escapes; and for
///   `*` and `host:port`, which are not paths.
/// - [`RouteError::UnsupportedPath`] for a path that the endpoint does not have, unless the upstream
///   passes such paths through.
/// - [`RouteError::TooLong`] when the result would not fit into a URI.
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
    if let Some(known) = known(upstream, uri) {
        return Ok(known.clone());
    }
    let Some(path_and_query) = uri.path_and_query() else {
        return Err(invalid("is missing: the request names only a host"));
    };
    let path = path_and_query.path();
    let sub = without_prefix(path, upstream.prefix());
    let query = path_and_query.query().and_then(without_credentials);

    if let Some(known) = fixed(sub).and_then(|index| upstream.fixed(index)) {
        return match query {
            None => Ok(known.clone()),
            Some(query) => join(upstream, sub, Some(&query)),
        };
    }
    // Of the whole path, so that nothing hides in front of a prefix.
    if path != "/" {
        check_path(path).map_err(invalid)?;
    }
    let goes = sub.len() > 1 && (upstream.pass_through() || upstream.methods().have(sub));
    if !goes {
        return Err(RouteError::UnsupportedPath {
            // A checked path is ASCII, so it can be cut anywhere; `get` cannot panic if it were not.
            path: path.get(..LONGEST_SHOWN).unwrap_or(path).to_owned(),
            supported: upstream.methods().supported(),
        });
    }
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

fn invalid(reason: &'static str) -> RouteError {
    RouteError::InvalidPath { reason }
}

/// `path` without `prefix`, if that ends where a segment ends.
fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
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

/// `query` without its credentials; `None` if nothing is left.
fn without_credentials(query: &str) -> Option<Cow<'_, str>> {
    let kept = if query.split('&').any(is_credential) {
        let kept: Vec<&str> = query.split('&').filter(|pair| !is_credential(pair)).collect();
        Cow::Owned(kept.join("&"))
    } else {
        Cow::Borrowed(query)
    };
    (!kept.is_empty()).then_some(kept)
}

fn is_credential(pair: &str) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    // A name that is encoded is longer, never shorter.
    name.len() >= 3 && CREDENTIALS.iter().any(|credential| decodes_to(name, credential))
}

/// Whether `name`, decoded, is `wanted`, but for upper and lower case.
fn decodes_to(name: &str, wanted: &str) -> bool {
    let mut rest = name.as_bytes();
    for wanted in wanted.bytes() {
        let byte = match *rest {
            [b'%', high, low, ref after @ ..] if let Some(byte) = hex(high, low) => {
                rest = after;
                byte
            }
            [byte, ref after @ ..] => {
                rest = after;
                byte
            }
            [] => return false,
        };
        if !byte.eq_ignore_ascii_case(&wanted) {
            return false;
        }
    }
    rest.is_empty()
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Refuses a path that a server, or a proxy on the way, could read as another path.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    let path = path.strip_prefix('/').ok_or("does not start with a slash")?;
    path.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    let mut rest = segment.as_bytes();
    // The segment as far as its parameters: some servers read `..;x` as `..`.
    let (mut length, mut dots, mut in_name) = (0, 0, true);
    while let [byte, after @ ..] = rest {
        rest = after;
        let byte = match *byte {
            b'%' => {
                let [high, low, after @ ..] = rest else {
                    return Err("has a broken percent escape");
                };
                rest = after;
                match hex(*high, *low).ok_or("has a broken percent escape")? {
                    b'/' => return Err("has an encoded slash"),
                    // Decoded twice, it could be any of the others.
                    b'%' => return Err("has an encoded percent sign"),
                    byte => byte,
                }
            }
            // RFC 3986 §3.3, `pchar`.
            byte @ (b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
            | b':'
            | b'@'
            | b'\\'
            | 0..=0x1f
            | 0x7f..) => byte,
            _ => return Err("has a character that a path cannot have unencoded"),
        };
        match byte {
            b'\\' => return Err("has a backslash"),
            0..=0x1f | 0x7f => return Err("has a control character"),
            0x80.. => return Err("has a character beyond ASCII"),
            b';' => in_name = false,
            _ if in_name => {
                length += 1;
                dots += usize::from(byte == b'.');
            }
            _ => {}
        }
    }
    match length {
        0 => Err("has an empty segment"),
        1 | 2 if dots == length => Err("has a dot segment"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
