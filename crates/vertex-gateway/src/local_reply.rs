//! Responses, in the form of the client's protocol, to requests that got none from Vertex AI.

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::printable::is_unfit;
use tower_vertex::{Error, error::RouteError, error_format::refusal, route::Protocol};

/// All codes of the gateway's own errors, which `docs/errors.md` explains.
const CODES: [&str; 37] = [
    "ambiguous_model",
    "forward_proxy_request",
    "host_not_allowed",
    "incomplete_request",
    "internal_error",
    "invalid_api_key",
    "invalid_body",
    "invalid_compression",
    "invalid_configuration",
    "invalid_model",
    "invalid_path",
    "malformed_request",
    "method_not_allowed",
    "model_alias_not_supported",
    "model_method_not_allowed",
    "model_not_allowed",
    "model_not_found",
    "no_credentials",
    "origin_not_allowed",
    "overloaded",
    "rate_limit_exceeded",
    "request_headers_too_large",
    "request_timeout",
    "request_too_large",
    "resource_not_served",
    "stored_response_not_allowed",
    "stream_interrupted",
    "token_unavailable",
    "too_many_concurrent_requests",
    "unsupported_content_encoding",
    "unsupported_path",
    "untrusted_host",
    "upgrade_required",
    "upstream_reset",
    "upstream_timeout",
    "upstream_unreachable",
    "uri_too_long",
];

/// The codings that a request body may have, for `Accept-Encoding`.
pub(crate) const SUPPORTED_ENCODINGS: &str = "zstd, gzip, deflate";

/// The code of a request whose body did not arrive completely.
pub(crate) const INCOMPLETE: &str = "incomplete_request";

/// The longest part of a client's text that an error repeats, in characters.
const LONGEST_REPEATED: usize = 200;

/// The part of a client's text that an error may repeat.
pub(crate) fn clip(text: &str) -> String {
    text.chars().filter(|c| !is_unfit(*c)).take(LONGEST_REPEATED).collect()
}

/// A response of the gateway itself.
#[derive(Clone, Debug)]
pub(crate) struct LocalReply {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Time after which a retry makes sense.
    retry_after: Option<Duration>,
    /// Other headers that the status requires.
    headers: Vec<(HeaderName, &'static str)>,
}

impl LocalReply {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(CODES.contains(&code), "{code} is not listed");
        let (message, headers) = (message.into(), Vec::new());
        Self { status, code, message, retry_after: None, headers }
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The response in the form that the clients of this protocol read.
    pub(crate) fn to_response(&self, protocol: Protocol) -> Response<Bytes> {
        let mut response = refusal(protocol, self.status, self.code, &self.message);
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(wait) = self.retry_after {
            // The header has whole seconds, and at least one.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let value = HeaderValue::from(seconds.max(1));
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    pub(crate) fn forward_proxy_request() -> Self {
        let message = "this is a gateway to Vertex AI, not a forward proxy: send the path alone, \
             such as /v1/chat/completions, and unset http_proxy for this host";
        Self::new(StatusCode::BAD_REQUEST, "forward_proxy_request", message)
    }

    /// A handshake for another protocol, such as a WebSocket's.
    pub(crate) fn upgrade_required() -> Self {
        let message = "this gateway supports no WebSockets: send a POST, and for a stream \
             \"stream\": true";
        let mut refusal = Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message);
        // RFC 9110 §15.5.22 requires the name of the supported protocol, and §7.8 then
        // `Connection`.
        let headers = [(header::UPGRADE, "HTTP/1.1"), (header::CONNECTION, "upgrade")];
        refusal.headers.extend(headers);
        refusal
    }

    /// A body whose compression is not supported, or which has several.
    pub(crate) fn unsupported_content_encoding() -> Self {
        let message = format!(
            "the request's Content-Encoding is not supported: send the body without compression, or \
             with one of {SUPPORTED_ENCODINGS}"
        );
        let mut refusal =
            Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", message);
        refusal.headers.push((header::ACCEPT_ENCODING, SUPPORTED_ENCODINGS));
        refusal
    }

    /// A request head that hyper or this gateway could not read.
    pub(crate) fn malformed(status: StatusCode, message: &str) -> Self {
        match status {
            StatusCode::URI_TOO_LONG => Self::new(status, "uri_too_long", message),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                Self::new(status, "request_headers_too_large", message)
            }
            _ => Self::new(status, "malformed_request", message),
        }
    }

    /// A bug in this program.
    pub(crate) fn failed() -> Self {
        let message = "the gateway has an internal error; its log has the details";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// Whether the client left before its request was complete.
    pub(crate) fn is_incomplete_request(&self) -> bool {
        self.code == INCOMPLETE
    }
}

impl From<&Error> for LocalReply {
    fn from(error: &Error) -> Self {
        let mut refusal = Self::new(error.status(), error.code(), error.to_string());
        refusal.headers.extend(error.allowed_methods().map(|allowed| (header::ALLOW, allowed)));
        refusal
    }
}

impl From<RouteError> for LocalReply {
    fn from(error: RouteError) -> Self {
        Self::from(&Error::from(error))
    }
}

impl fmt::Display for LocalReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// If a layer of the stack fails with this error, the client gets it as the response.
impl StdError for LocalReply {}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The texts of all files with one of these endings below a folder of the repository, except
    /// this file.
    fn texts(folder: &str, endings: &[&str]) -> Vec<String> {
        fn walk(folder: &Path, endings: &[&str], texts: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let is = |name: &str| path.ends_with(name);
                let ending = path.extension().and_then(|ending| ending.to_str());
                if path.is_dir() && !is("node_modules") {
                    walk(&path, endings, texts);
                } else if ending.is_some_and(|ending| endings.contains(&ending))
                    && !is("src/local_reply.rs")
                {
                    texts.push(fs::read_to_string(path).unwrap());
                }
            }
        }
        let mut found = Vec::new();
        walk(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder),
            endings,
            &mut found,
        );
        found
    }

    /// The code without its tests, with single blanks.
    fn code_of(text: &str) -> String {
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The words between `begin` and a quotation mark.
    fn words(text: &str, begin: &str) -> BTreeSet<String> {
        let words = text.split(begin).skip(1).filter_map(|rest| rest.split_once('"'));
        let is_word = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        words.map(|(word, _)| word.to_owned()).filter(|word| is_word(word)).collect()
    }

    fn listed() -> BTreeSet<String> {
        CODES.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_manual_has_every_code_of_an_error_and_no_other() {
        let page = include_str!("../../../docs/errors.md");
        let section = page.split_once("## The sidecar's own errors").unwrap().1;
        let rows = section.lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|row| row.split('|').nth(2)).skip(1);
        let explained: BTreeSet<_> =
            cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
        assert_eq!(explained, listed());
    }

    #[test]
    fn every_code_that_is_listed_is_in_the_source_and_no_other() {
        let mut made = BTreeSet::from([INCOMPLETE.to_owned()]);
        // A code is the argument after the status in a call of `LocalReply::new`.
        let sources = texts("crates/vertex-gateway/src", &["rs"]);
        for source in sources.iter().map(String::as_str).chain([include_str!("local_reply.rs")]) {
            let source = code_of(source);
            for (at, status) in source.match_indices("StatusCode::") {
                let rest = source[at + status.len()..]
                    .trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
                // The admin listener responds in plain text.
                if let Some(rest) = rest.strip_prefix(", \"")
                    && !source[..at].ends_with("text(")
                {
                    made.extend(rest.split('"').next().map(str::to_owned));
                }
            }
            made.extend(words(&source, "LocalReply::new(status, \""));
            made.extend(words(&source, "Self::new(status, \""));
        }
        let error = code_of(include_str!("../../../src/error/mod.rs"));
        let of_errors =
            error.split_once("pub fn code(").unwrap().1.split_once("pub fn ").unwrap().0;
        made.extend(words(of_errors, "=> \""));
        let openai = include_str!("../../../src/error_format/openai.rs");
        made.extend(words(&code_of(openai), "\"code\":\""));
        assert_eq!(made, listed());
    }

    #[test]
    fn every_code_is_expected_by_a_test() {
        let mut tests = texts("tests", &["rs", "py", "mjs"]);
        tests.extend(texts("crates/vertex-gateway/tests", &["rs"]));
        let sources = [texts("src", &["rs"]), texts("crates/vertex-gateway/src", &["rs"])];
        tests.extend(sources.into_iter().flatten().filter_map(|text| {
            let is_test = !text.contains("#[cfg(test)]\nmod ") && text.contains("#[test]");
            let tests = text.split_once("#[cfg(test)]\nmod ").map(|(_, tests)| tests.to_owned());
            if is_test { Some(text) } else { tests }
        }));
        let is_expected =
            |code: &&str| tests.iter().any(|test| test.contains(&format!("\"{code}\"")));
        let missing: Vec<_> = CODES.iter().filter(|code| !is_expected(code)).collect();
        assert!(missing.is_empty(), "no test expects {missing:?}");
    }
}
