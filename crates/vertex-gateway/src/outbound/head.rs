//! The head of an answer: what of it goes on to a client. Before any layer adds to it, so that nothing
//! that an upstream says takes away what a layer has said.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body;

use tower_vertex::route::headers::{is_hop_by_hop, remove_named_by_connection, retain};

/// Removes what speaks of the connection to the upstream or of the upstream's host, and leaves a
/// `Content-Length` only if it is that of the body.
///
/// # Errors
///
/// [`Undecoded`] if the body is not what it would be taken for.
pub(super) fn settle<B: Body>(response: &mut Response<B>) -> Result<(), Undecoded> {
    let exact = response.body().size_hint().exact();
    let has_no_body = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    // RFC 9112 §6.3: beside a Transfer-Encoding a Content-Length says nothing, and must not go on.
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

/// hyper has undone `chunked`, and would give what else there is to the client as the content.
fn check_chunked(headers: &HeaderMap) -> Result<(), Undecoded> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next().map(|coding| coding.as_bytes().trim_ascii());
    let is_chunked = coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    if is_chunked && codings.next().is_none() { Ok(()) } else { Err(Undecoded) }
}

/// Several that say the same, as `5, 5` or in two lines, become one. hyper has refused those that do
/// not. Those of an answer to HEAD are no length of a body.
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

/// Whether a header says something of the host that sent it, to browsers or to proxies, that would be
/// taken for something about the gateway's. All else is about the answer, and goes on.
pub(crate) fn is_about_a_host(name: &str) -> bool {
    let is_exact = matches!(
        name,
        // How else, and by which, it is reached. RFC 7838, RFC 6797 §8.1.
        "alt-svc" | "strict-transport-security" | "public-key-pins"
        | "public-key-pins-report-only" | "expect-ct" | "expect-staple"
        // What a browser is to keep of it, or to throw away.
        | "set-cookie" | "set-cookie2" | "set-login" | "clear-site-data" | "accept-ch"
        | "accept-ch-lifetime" | "critical-ch" | "p3p"
        // Where a browser is to report what it sees of it.
        | "nel" | "report-to" | "reporting-endpoints"
        // What its pages may do, and who may use them: "this origin" would be another one.
        | "origin-agent-cluster" | "service-worker-allowed" | "timing-allow-origin"
        | "x-frame-options" | "x-permitted-cross-domain-policies" | "x-webkit-csp" | "refresh"
        | "speculation-rules" | "observe-browsing-topics" | "activate-storage-access"
        // What a proxy in front of it is to do.
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
        // Only the gateway says what it did.
        "x-vertex-gateway-",
    ];
    is_exact || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// What an answer that is a stream of events says to a proxy on its way to the client, which would else
/// hold it back: nginx reads the first one, and others the second.
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

/// The error of an answer in a transfer coding that nobody has asked for.
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
    fn a_length_goes_on_only_if_it_is_that_of_the_body() {
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
    fn what_the_upstream_says_of_its_host_or_its_connection_stays_there() {
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
