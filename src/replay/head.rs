//! [`SavedHead`]: the request head without the body, kept for another try.

use http::{
    Extensions, HeaderName, HeaderValue, Method, Request, Uri, Version, header,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};

/// A request's head, kept for another try.
///
/// It is made for every request and needed only after a failure, so it is a copy. A copy is cheaper
/// than counting a reference to each name, each value and the URI, and dropping it again. (The
/// first clone of a value that a server has just read would also allocate its counter.) The type is
/// small, because each layer that wraps a future moves it with the future.
#[derive(Clone)]
pub(crate) struct SavedHead {
    /// Pairs in one buffer: method and scheme, authority and path, then each header's name and
    /// value.
    pairs: Vec<u8>,
    version: Version,
    extensions: Extensions,
}

/// The estimated length of a pair; those of OpenAI clients are shorter.
const USUAL: usize = 64;

impl SavedHead {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self::copy(request, |_| true)
    }

    /// Copies the request head for a second try with another `Authorization`; the old one is long.
    pub(crate) fn without_authorization<B>(request: &Request<B>) -> Self {
        Self::copy(request, |name| name != header::AUTHORIZATION)
    }

    fn copy<B>(request: &Request<B>, wanted: impl Fn(&HeaderName) -> bool) -> Self {
        let (uri, headers) = (request.uri(), request.headers());
        let method = request.method().as_str();
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let path = uri.path_and_query().map_or("", |path| path.as_str());

        let length = authority.len() + path.len() + (headers.len() + 2) * USUAL;
        let mut pairs = Vec::with_capacity(length);
        push(&mut pairs, method.as_bytes(), scheme.as_bytes(), false);
        push(&mut pairs, authority.as_bytes(), path.as_bytes(), false);
        for (name, value) in headers {
            if wanted(name) {
                push(&mut pairs, name.as_str().as_bytes(), value.as_bytes(), value.is_sensitive());
            }
        }
        Self { pairs, version: request.version(), extensions: request.extensions().clone() }
    }

    /// Returns `None` if a part is invalid for its type.
    pub(crate) fn into_request<B>(self, body: B) -> Option<Request<B>> {
        let mut pairs = self.pairs.as_slice();
        let (method, scheme, _) = pop(&mut pairs)?;
        let (authority, path, _) = pop(&mut pairs)?;
        let mut uri = Parts::default();
        uri.scheme = part(scheme, Scheme::try_from)?;
        uri.authority = part(authority, Authority::try_from)?;
        uri.path_and_query = part(path, PathAndQuery::try_from)?;

        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(method).ok()?;
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        *request.version_mut() = self.version;
        *request.extensions_mut() = self.extensions;
        while !pairs.is_empty() {
            let (name, value, sensitive) = pop(&mut pairs)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(sensitive);
            request.headers_mut().append(HeaderName::from_bytes(name).ok()?, value);
        }
        Some(request)
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

/// Parses a part of a URI that may be missing; returns `None` if it is invalid.
fn part<'a, T, E>(text: &'a [u8], parse: impl Fn(&'a [u8]) -> Result<T, E>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { parse(text).ok().map(Some) }
}

/// Appends a pair and a mark, which [`pop`] reads.
#[inline]
fn push(pairs: &mut Vec<u8>, first: &[u8], second: &[u8], mark: bool) {
    // No slice is long enough for the shift to lose a bit.
    let lengths = [(first.len() as u64) << 1 | u64::from(mark), second.len() as u64];
    pairs.extend_from_slice(lengths.map(u64::to_le_bytes).as_flattened());
    pairs.extend_from_slice(first);
    pairs.extend_from_slice(second);
}

/// Removes the next pair from the front.
fn pop<'a>(pairs: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8], bool)> {
    let (first, rest) = pairs.split_first_chunk()?;
    let (second, rest) = rest.split_first_chunk()?;
    let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
    let mark = first & 1 == 1;
    let (first, rest) = rest.split_at_checked(usize::try_from(first >> 1).ok()?)?;
    let (second, rest) = rest.split_at_checked(usize::try_from(second).ok()?)?;
    *pairs = rest;
    Some((first, second, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_head_is_restored() {
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        let sent = Request::builder()
            .method(&*"M".repeat(100_000))
            .uri("https://host.example/path?query")
            .version(Version::HTTP_2)
            .header("authorization", "Bearer one")
            .header("x-two", "1")
            .header("accept", "")
            .header("x-two", HeaderValue::from_bytes(b"\t\x80 \xff").unwrap())
            .header("x-secret", secret)
            .header("x".repeat(u16::MAX as usize - 1), "v".repeat(100_000))
            .extension("extension")
            .body(())
            .unwrap();
        let mut expected = sent.headers().clone();
        let again = SavedHead::of(&sent).into_request("body").unwrap();
        assert_eq!(again.headers(), &expected);
        expected.remove("authorization");
        let without = SavedHead::without_authorization(&sent).into_request(()).unwrap();
        assert_eq!(without.headers(), &expected);

        let two: Vec<_> = again.headers().get_all("x-two").iter().collect();
        assert_eq!(two, sent.headers().get_all("x-two").iter().collect::<Vec<_>>());
        assert!(again.headers()["x-secret"].is_sensitive());
        assert!(!again.headers()["x-two"].is_sensitive());
        assert_eq!((again.method(), again.uri()), (sent.method(), sent.uri()));
        assert_eq!(again.uri().to_string(), "https://host.example/path?query");
        assert_eq!(again.version(), sent.version());
        assert_eq!(again.extensions().get(), Some(&"extension"));
        assert_eq!(again.body(), &"body");
    }

    #[test]
    fn a_request_head_without_headers_is_restored() {
        let star = Uri::builder().scheme("https").authority("a.b").path_and_query("*");
        for uri in [
            Uri::from_static("/"),
            Uri::from_static("/path"),
            Uri::from_static("https://host.example"),
            Uri::from_static("https://host.example:8443/?q"),
            star.build().unwrap(),
        ] {
            let mut sent = Request::new(());
            *sent.uri_mut() = uri.clone();
            let again = SavedHead::of(&sent).into_request(()).unwrap();
            assert_eq!(again.uri(), &uri);
            assert_eq!(again.uri().authority(), uri.authority());
            assert!(again.headers().is_empty());
        }
    }
}
