//! The page itself: one document with its style and its scripts, and the policy that allows nothing else.

use std::sync::OnceLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ring::digest::{SHA256, digest};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = concat!(include_str!("uplot/uPlot.min.css"), include_str!("page/page.css"));
/// uPlot, which draws the curves; `uplot/VERSION` has its source.
const CHARTS: &str = include_str!("uplot/uPlot.iife.min.js");
const SCRIPT: &str = include_str!("page/page.js");

pub(super) struct Document {
    pub(super) html: Bytes,
    policy: HeaderValue,
}

/// The document, which is assembled once.
pub(super) fn document() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let html = PAGE
            .replace("/* STYLE */", STYLE)
            .replace("/* CHARTS */", CHARTS)
            .replace("/* SCRIPT */", SCRIPT);
        // `data:` is for the icon.
        let policy = format!(
            "default-src 'none'; script-src {} {}; style-src {}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            hash(CHARTS),
            hash(SCRIPT),
            hash(STYLE)
        );
        // The text has only visible ASCII characters.
        let none = HeaderValue::from_static("default-src 'none'");
        Document { html: html.into(), policy: HeaderValue::from_str(&policy).unwrap_or(none) }
    })
}

/// The source expression for an inline script or style (CSP 3, §2.3.1).
fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// Headers for every response of the page, which keep it out of caches, frames and other pages.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, document().policy.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_all_its_parts_and_names_no_other_host() {
        let document = document();
        let html = std::str::from_utf8(&document.html).unwrap();
        for part in [STYLE, CHARTS, SCRIPT] {
            assert_eq!(html.matches(part).count(), 1);
            // The browser hashes the text between the tags.
            assert!(html.contains(&format!(">{part}</")), "a tag has more than the part");
        }
        // The namespace of SVG is a name and not an address, and uPlot names its own source.
        let own = html
            .replace("http://www.w3.org/2000/svg", "")
            .replace("https://github.com/leeoniya/uPlot", "");
        for address in ["http://", "https://", "//cdn", "url(", "@import", "innerHTML", "eval("] {
            assert!(!own.contains(address), "the page has {address}");
        }
        let policy = document.policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(document.html.len() < 100_000, "{} bytes", document.html.len());
    }
}
