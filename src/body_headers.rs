//! The headers that describe a body.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};

/// Digests of the bytes of a body: those of RFC 9530, and their predecessors.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// Whether the body is compressed.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let identity = |value: &HeaderValue| {
        let coding = value.as_bytes().trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    !headers.get_all(CONTENT_ENCODING).iter().all(identity)
}

/// Removes the headers that are wrong for other bytes.
pub(crate) fn remove_digests(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
}

/// Corrects the headers that describe a body that was changed and now has this length.
pub(crate) fn describe_anew(headers: &mut HeaderMap, length: usize) {
    remove_digests(headers);
    if headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_identity_is_no_compression() {
        for (values, encoded) in [
            (&[][..], false),
            (&["identity"], false),
            (&["Identity", ""], false),
            (&["gzip"], true),
            (&["identity, gzip"], true),
            (&["identity", "br"], true),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(is_encoded(&headers), encoded, "{values:?}");
        }
    }
}
