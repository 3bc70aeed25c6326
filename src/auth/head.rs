//! A request's head, kept for a second try.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

/// A request's head without its `Authorization`.
pub(super) struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    fields: Fields,
    extensions: Extensions,
}

impl Head {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            fields: Fields::of(request.headers()),
            extensions: request.extensions().clone(),
        }
    }

    /// `None` if a header holds what no header may.
    pub(super) fn into_request<B>(self, authorization: HeaderValue, body: B) -> Option<Request<B>> {
        let mut request = Request::new(body);
        *request.headers_mut() = self.fields.into_headers()?;
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.extensions_mut() = self.extensions;
        Some(request)
    }
}

/// Header fields in one piece of memory, one behind the other.
///
/// Made for every request, wanted only after a 401, so it is made by copying: that is cheaper than
/// to count a reference to each name and each value and to drop it again. (And a name or a value
/// that was never cloned before, as all those that a server has just read, would allocate its
/// counter for that.)
struct Fields(Vec<u8>);

impl Fields {
    /// How long a field is thought to be; those of OpenAI clients are shorter.
    const USUAL: usize = 64;
    /// The bits of a field's prefix: below it the name's length, itself whether the value is
    /// sensitive, above it the value's length.
    const SENSITIVE: u32 = 16;

    fn of(headers: &HeaderMap) -> Self {
        let mut fields = Vec::with_capacity(headers.len() * Self::USUAL);
        for (name, value) in headers {
            // The second try has another one, and this one is long.
            if name == header::AUTHORIZATION {
                continue;
            }
            let (sensitive, name, value) =
                (value.is_sensitive(), name.as_str().as_bytes(), value.as_bytes());
            // A name is shorter than 64 KiB.
            let prefix = name.len() as u64
                | u64::from(sensitive) << Self::SENSITIVE
                | (value.len() as u64) << (Self::SENSITIVE + 1);
            fields.extend_from_slice(&prefix.to_le_bytes());
            fields.extend_from_slice(name);
            fields.extend_from_slice(value);
        }
        Self(fields)
    }

    fn into_headers(self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut rest = self.0.as_slice();
        while let Some((prefix, fields)) = rest.split_first_chunk() {
            let prefix = u64::from_le_bytes(*prefix);
            let name_length = (prefix & ((1 << Self::SENSITIVE) - 1)) as usize;
            let value_length = (prefix >> (Self::SENSITIVE + 1)) as usize;
            let (name, fields) = fields.split_at_checked(name_length)?;
            let (value, fields) = fields.split_at_checked(value_length)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(prefix >> Self::SENSITIVE & 1 == 1);
            headers.append(HeaderName::from_bytes(name).ok()?, value);
            rest = fields;
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_whole_with_another_authorization() {
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        let sent = Request::put("https://host.example/path?query")
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
        let head = Head::of(&sent);
        let again = head.into_request(HeaderValue::from_static("Bearer two"), "body").unwrap();

        let mut expected = sent.headers().clone();
        expected.insert("authorization", HeaderValue::from_static("Bearer two"));
        assert_eq!(again.headers(), &expected);
        let two: Vec<_> = again.headers().get_all("x-two").iter().collect();
        assert_eq!(two, sent.headers().get_all("x-two").iter().collect::<Vec<_>>());
        assert!(again.headers()["x-secret"].is_sensitive());
        assert!(!again.headers()["x-two"].is_sensitive());
        assert_eq!((again.method(), again.uri()), (sent.method(), sent.uri()));
        assert_eq!(again.version(), sent.version());
        assert_eq!(again.extensions().get(), Some(&"extension"));
        assert_eq!(again.body(), &"body");
    }

    #[test]
    fn a_head_without_headers_comes_back() {
        let head = Head::of(&Request::new(()));
        let again = head.into_request(HeaderValue::from_static("Bearer two"), ()).unwrap();
        assert_eq!(again.headers().len(), 1);
    }
}
