//! Decides which headers of a response are forwarded to the client. This runs before any layer adds
//! headers, so an upstream cannot remove a header that a layer has set.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body;

use tower_vertex::route::headers::{is_hop_by_hop, remove_named_by_connection, retain};

/// Removes headers about the connection to the upstream or about the upstream's host. A
/// `Content-Length` stays only if it is the length of the body.
///
/// # Errors
///
/// Returns [`Undecoded`] if the body has a transfer coding other than `chunked`.
pub(super) fn settle<B: Body>(response: &mut Response<B>) -> Result<(), Undecoded> {
    let exact = response.body().size_hint().exact();
    let has_no_body = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    // RFC 9112 §6.3: a Transfer-Encoding overrides a Content-Length, which must not be forwarded.
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if is_chunked {
        check_chunked(headers)?;
    }
    if headers.contains_key(header::CONNECTION) {
        remove_named_by_connection(headers, |_| false);
    }
    let drop_length = is_chunked || has_no_body;
    retain(headers, |name| {
        let is_length = drop_length && name == "content-length";
        !is_length && !is_hop_by_hop(name) && !is_about_a_host(name)
    });
    one_length(headers, exact);
    Ok(())
}

/// hyper decodes only `chunked`. It would pass any other coding to the client as the content.
fn check_chunked(headers: &HeaderMap) -> Result<(), Undecoded> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next().map(|coding| coding.as_bytes().trim_ascii());
    let is_chunked = coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    if is_chunked && codings.next().is_none() { Ok(()) } else { Err(Undecoded) }
}

/// Merges repeated equal lengths, as `5, 5` or in two lines, into one. hyper has already refused
/// different ones. In a response to HEAD, the length is not that of a body.
fn one_length(headers: &mut HeaderMap, exact: Option<u64>) {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    let digits = first.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default();
    let digits = digits.trim_ascii();
    if lengths.next().is_none() && digits.len() == first.len() {
        return;
    }
    let said = HeaderValue::from_bytes(digits);
    match exact.filter(|exact| *exact > 0).map(HeaderValue::from).or(said.ok()) {
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, length)),
        None => drop(headers.remove(header::CONTENT_LENGTH)),
    }
}

/// Whether a header is about the host that sent it, and would mislead browsers or proxies if it
/// came from the gateway. All other headers are about the response, and are forwarded.
pub(crate) fn is_about_a_host(name: &str) -> bool {
    let is_exact = matches!(
        name,
        // Other addresses of the host, and rules for connections to it. RFC 7838, RFC 6797 §8.1.
        "alt-svc" | "strict-transport-security" | "public-key-pins"
        | "public-key-pins-report-only" | "expect-ct" | "expect-staple"
        // State that a browser keeps for the host, or deletes.
        | "set-cookie" | "set-cookie2" | "set-login" | "clear-site-data" | "accept-ch"
        | "accept-ch-lifetime" | "critical-ch" | "p3p"
        // Addresses for a browser's reports about the host.
        | "nel" | "report-to" | "reporting-endpoints"
        // Permissions of the host's pages and of their users: "this origin" would be another one.
        | "origin-agent-cluster" | "service-worker-allowed" | "timing-allow-origin"
        | "x-frame-options" | "x-permitted-cross-domain-policies" | "x-webkit-csp" | "refresh"
        | "speculation-rules" | "observe-browsing-topics" | "activate-storage-access"
        // Instructions for a proxy in front of the host.
        | "x-sendfile" | "x-lighttpd-send-file" | "x-reproxy-url" | "surrogate-control"
    );
    const BEGINNINGS: [&str; 12] = [
        "access-control-",
        "attribution-reporting-",
        "content-security-policy",
        "cross-origin-",
        "document-policy",
        "feature-policy",
        "permissions-policy",
        "require-document-policy",
        "sec-",
        "x-accel-",
        "x-content-security-policy",
        // Only the gateway may set these.
        "x-vertex-gateway-",
    ];
    is_exact || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Headers that keep a proxy between gateway and client from buffering a stream of events. nginx
/// reads the first one, other proxies read the second one.
pub(crate) fn stream_headers(
    content_type: Option<&[u8]>,
    has_cache_control: bool,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
    let essence = content_type.unwrap_or_default().split(|byte| *byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let is_stream = essence.eq_ignore_ascii_case(b"text/event-stream");
    let buffering = HeaderName::from_static("x-accel-buffering");
    let all = [
        (is_stream, buffering, HeaderValue::from_static("no")),
        (
            is_stream && !has_cache_control,
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache"),
        ),
    ];
    all.into_iter().filter(|(wanted, ..)| *wanted).map(|(_, name, value)| (name, value))
}

/// The error of a response with a transfer coding that the gateway did not request.
#[derive(Debug)]
pub(super) struct Undecoded;

impl fmt::Display for Undecoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response has a transfer coding other than `chunked`")
    }
}

impl std::error::Error for Undecoded {}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn settled(
        status: u16,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Result<Vec<String>, Undecoded> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let mut response = response.body(Full::<bytes::Bytes>::from(body)).unwrap();
        settle(&mut response)?;
        let left = response.headers().iter();
        Ok(left.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect())
    }

    #[test]
    fn a_content_length_is_forwarded_only_if_the_body_has_this_length() {
        let chunked = ("transfer-encoding", "Chunked");
        for (status, headers, left) in [
            (200, &[("content-length", "5")][..], &["content-length: 5"][..]),
            (200, &[("content-length", "500"), chunked], &[]),
            (500, &[chunked, ("content-length", "1")], &[]),
            (200, &[("content-length", "5"), ("content-length", "5")], &["content-length: 5"]),
            (200, &[("content-length", "5, 5")], &["content-length: 5"]),
            (204, &[("content-length", "5")], &[]),
            (304, &[("content-length", "5")], &["content-length: 5"]),
        ] {
            assert_eq!(settled(status, headers, "12345").unwrap(), left, "{headers:?}");
        }
        for coding in ["gzip", "gzip, chunked", "identity", "chunked, chunked", ""] {
            assert!(settled(200, &[("transfer-encoding", coding)], "").is_err(), "{coding}");
        }
    }

    #[test]
    fn headers_about_the_host_or_the_connection_of_the_upstream_are_removed() {
        let gone = [
            "alt-svc",
            "set-cookie",
            "strict-transport-security",
            "nel",
            "report-to",
            "access-control-allow-origin",
            "content-security-policy-report-only",
            "cross-origin-opener-policy",
            "x-accel-redirect",
            "x-vertex-gateway-attempts",
            "keep-alive",
            "proxy-authenticate",
            "x-hop",
        ];
        let kept = ["www-authenticate", "retry-after", "vary", "server", "x-mine", "content-type"];
        let all = gone.iter().chain(&kept).map(|name| (*name, "1"));
        let all: Vec<_> = all.chain([("connection", "close, X-Hop")]).collect();
        let left = settled(200, &all, "").unwrap();
        assert_eq!(left, kept.map(|name| format!("{name}: 1")));
    }
}
