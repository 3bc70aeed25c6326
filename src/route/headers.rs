//! The list of the request headers that are forwarded to Vertex AI.
//!
//! [`VertexRoute`](super::VertexRoute) applies it to each request. The functions are public for
//! gateways that handle the requests of others.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The number of headers that usually remain.
const FEW: usize = 16;

/// The header in which Google's clients repeat the variable parts of their path, such as the project,
/// the location and the model.
pub(super) const REQUEST_PARAMS: &str = "x-goog-request-params";

/// The names of headers that this program has set on a request, in its extensions. These headers
/// are forwarded even if they are on no list and a `Connection` header names them.
#[derive(Clone, Debug)]
pub(crate) struct OwnHeaders(Arc<[HeaderName]>);

impl OwnHeaders {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().cloned().collect())
    }

    pub(super) fn have(&self, name: &str) -> bool {
        self.0.iter().any(|own| own.as_str() == name)
    }
}

/// Whether a header with this lower-case name is forwarded by default.
///
/// The length is checked first: it distinguishes almost all headers without a comparison of text.
#[inline(always)]
fn is_listed(name: &str) -> bool {
    let known = match name.len() {
        6 => name == "accept",
        10 => name == "user-agent" || name == "tracestate",
        11 => name == "traceparent",
        12 => name == "content-type" || name == "x-request-id",
        // `VertexAuth` overwrites a client's own value.
        13 => name == "authorization",
        14 => name == "content-length" || name == "anthropic-beta",
        15 => name == "accept-encoding" || name == "idempotency-key",
        16 => name == "content-encoding" || name == "x-server-timeout",
        17 => name == "x-goog-api-client",
        19 => name == "x-goog-user-project",
        21 => name == REQUEST_PARAMS,
        _ => false,
    };
    known || name.starts_with("x-vertex-ai-")
}

/// Whether an OpenAI SDK describes its program with this header. The headers of this program's own
/// SDK are forwarded, like its `User-Agent`. There are half a dozen of them, and removing them from
/// each request would cost more than everything else that the layers do.
fn is_of_an_sdk(name: &str) -> bool {
    name.starts_with("x-stainless-")
}

/// Whether a header with this lower-case name applies to a single connection only (RFC 9110
/// §7.6.1).
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "http2-settings"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether a header is never forwarded, even if a setting names it.
pub(super) fn is_forbidden(name: &str) -> bool {
    is_hop_by_hop(name)
        || matches!(
            name,
            // HTTP/1.1 would send an inbound `Host` unchanged, and HTTP/2 would send it beside
            // `:authority`.
            "host"
            // A key beside a valid access token causes a 401.
            | "x-goog-api-key"
            // A client's key for a gateway.
            | "x-api-key"
            // The request would become another one than the one that was admitted.
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
        )
}

/// Removes the headers of a request of this program that are not forwarded: all but those on the
/// list, those in which its SDK describes it, those in `more` and those that the layers set.
pub(super) fn strip(headers: &mut HeaderMap, more: &[HeaderName], own: Option<&OwnHeaders>) {
    strip_unless::<true>(headers, more, own);
}

/// Removes the headers of a client's request that must not reach Vertex AI: all but those on the
/// list and those in `more`. Hop-by-hop headers, `Host`, `x-goog-api-key` and the headers that
/// override the method are always removed.
pub fn strip_client_headers(headers: &mut HeaderMap, more: &[HeaderName]) {
    strip_unless::<false>(headers, more, None);
}

/// Whether a header is forwarded by default, with or without the headers in which an SDK describes
/// itself.
///
/// It is always inlined: by callgrind, [`strip`] takes 271 instructions for ten headers, and 448 with
/// a call for each.
#[inline(always)]
fn may_travel<const OF_AN_SDK: bool>(name: &str) -> bool {
    OF_AN_SDK && is_of_an_sdk(name) || is_listed(name)
}

fn strip_unless<const OF_AN_SDK: bool>(
    headers: &mut HeaderMap,
    more: &[HeaderName],
    own: Option<&OwnHeaders>,
) {
    let (mut is_clean, mut has_connection, mut is_chunked) = (true, false, false);
    for name in headers.keys().map(HeaderName::as_str) {
        if may_travel::<OF_AN_SDK>(name) {
            continue;
        }
        is_clean = false;
        has_connection |= name == "connection";
        is_chunked |= name == "transfer-encoding";
    }
    if !is_clean {
        strip_found::<OF_AN_SDK>(headers, more, own, has_connection, is_chunked);
    }
}

/// The rest of it, where something has to go.
fn strip_found<const OF_AN_SDK: bool>(
    headers: &mut HeaderMap,
    more: &[HeaderName],
    own: Option<&OwnHeaders>,
    has_connection: bool,
    is_chunked: bool,
) {
    let is_own = |name: &str| own.is_some_and(|own| own.have(name));
    if has_connection {
        remove_named_by_connection(headers, is_own);
    }
    retain(headers, |name| {
        if may_travel::<OF_AN_SDK>(name) {
            // RFC 9112 §6.3: a Transfer-Encoding overrides a Content-Length.
            !(is_chunked && name == "content-length")
        } else {
            !is_forbidden(name) && (is_own(name) || more.iter().any(|more| more.as_str() == name))
        }
    });
}

/// Keeps the headers whose names `keep` accepts, each with all its values. It allocates only if
/// very many headers remain.
///
/// All headers are drained and some put back, because removing each one by its name costs more.
pub fn retain(headers: &mut HeaderMap, keep: impl Fn(&str) -> bool) {
    if headers.keys().all(|name| keep(name.as_str())) {
        return;
    }
    let (mut few, mut many) = ([const { None }; FEW], Vec::new());
    let (mut count, mut stays) = (0, false);
    for (name, value) in headers.drain() {
        // A further value of a header comes without its name.
        if let Some(name) = &name {
            stays = keep(name.as_str());
        }
        if stays {
            match few.get_mut(count) {
                Some(place) => *place = Some((name, value)),
                None => many.push((name, value)),
            }
            count += 1;
        }
    }
    put_back(headers, few.iter_mut().filter_map(Option::take).chain(many));
}

fn put_back(
    headers: &mut HeaderMap,
    kept: impl Iterator<Item = (Option<HeaderName>, HeaderValue)>,
) {
    let mut kept = kept.peekable();
    while let Some((name, value)) = kept.next() {
        let Some(name) = name else { continue };
        // There is room for the header, because the map contained it before.
        let Ok(header::Entry::Vacant(entry)) = headers.try_entry(name) else { continue };
        let Ok(mut entry) = entry.try_insert_entry(value) else { continue };
        while let Some((_, value)) = kept.next_if(|(name, _)| name.is_none()) {
            entry.append(value);
        }
    }
}

/// Removes every header that a `Connection` header names, except for `Connection` itself and those
/// that must `stay`.
///
/// Most clients send only `keep-alive` or `close` in it, which costs no allocation.
pub fn remove_named_by_connection(headers: &mut HeaderMap, stay: impl Fn(&str) -> bool) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| {
            !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close")
        })
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // The caller removes `Connection` itself, because it still has to find the header here.
        .filter(|name| name != header::CONNECTION && !stay(name.as_str()))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(*name, HeaderValue::from_static("one"));
            headers.append(*name, HeaderValue::from_static("two"));
        }
        headers
    }

    /// The names of the headers, each of which must have kept both values.
    fn names(headers: &HeaderMap) -> Vec<&str> {
        let both = |name: &&str| headers.get_all(*name).iter().eq(["one", "two"]);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert!(names.iter().all(both), "{headers:?}");
        names.sort_unstable();
        names
    }

    #[test]
    fn a_header_that_is_on_no_list_is_not_forwarded() {
        let mut sent = headers(&[
            "cookie",
            "accept",
            "x-forwarded-for",
            "x-vertex-ai-labels",
            "x-made-up-yesterday",
            "x-mine",
            "x-goog-quota-user",
        ]);
        strip(&mut sent, &[HeaderName::from_static("x-mine")], None);
        assert_eq!(names(&sent), ["accept", "x-mine", "x-vertex-ai-labels"]);
    }

    #[test]
    fn each_header_of_the_list_is_forwarded_and_a_similar_name_is_not() {
        for name in [
            "accept",
            "accept-encoding",
            "anthropic-beta",
            "authorization",
            "content-encoding",
            "content-length",
            "content-type",
            "idempotency-key",
            REQUEST_PARAMS,
            "traceparent",
            "tracestate",
            "user-agent",
            "x-goog-api-client",
            "x-goog-user-project",
            "x-request-id",
            "x-server-timeout",
        ] {
            let mut sent = headers(&[name, "cookie"]);
            strip(&mut sent, &[], None);
            assert_eq!(names(&sent), [name]);
            let similar = format!("{}-", &name[..name.len() - 1]);
            let mut sent = HeaderMap::new();
            sent.insert(HeaderName::try_from(&similar).unwrap(), HeaderValue::from_static("1"));
            strip(&mut sent, &[], None);
            assert!(sent.is_empty(), "{similar}");
        }
    }

    #[test]
    fn headers_of_an_sdk_are_forwarded_for_its_own_program_alone() {
        let sdk = ["x-stainless-lang", "x-stainless-os"];
        let mut sent = headers(&sdk);
        strip(&mut sent, &[], None);
        assert_eq!(names(&sent), sdk);
        strip_client_headers(&mut sent, &[]);
        assert!(sent.is_empty(), "{sent:?}");
    }

    #[test]
    fn a_connection_header_alone_takes_the_header_that_it_names() {
        let mut sent = headers(&["accept", "x-vertex-ai-one"]);
        sent.insert("connection", HeaderValue::from_static("x-vertex-ai-one"));
        strip(&mut sent, &[], None);
        assert_eq!(names(&sent), ["accept"]);
    }

    #[test]
    fn a_forbidden_header_is_not_forwarded_even_if_it_is_listed() {
        let forbidden = ["host", "te", "upgrade", "x-goog-api-key", "x-http-method-override"];
        let asked = forbidden.map(HeaderName::from_static);
        let mut sent = headers(&forbidden);
        strip(&mut sent, &asked, Some(&OwnHeaders::of(&headers(&forbidden))));
        assert!(sent.is_empty(), "{sent:?}");
    }

    #[test]
    fn every_connection_header_is_read_and_its_rubbish_ignored() {
        let mut sent = HeaderMap::new();
        sent.append(
            "connection",
            HeaderValue::from_static("Close, X-Vertex-AI-One,, not a name ,"),
        );
        sent.append("connection", HeaderValue::from_static("connection , x-vertex-ai-TWO"));
        sent.append("connection", HeaderValue::from_bytes(b"\xff, x-vertex-ai-three").unwrap());
        let own = headers(&["x-vertex-ai-two", "x-own"]);
        for name in ["one", "two", "three", "four"] {
            let name = HeaderName::try_from(format!("x-vertex-ai-{name}")).unwrap();
            sent.append(name, HeaderValue::from_static("1"));
        }
        sent.append("x-own", HeaderValue::from_static("1"));
        strip(&mut sent, &[], Some(&OwnHeaders::of(&own)));
        let mut left: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-own", "x-vertex-ai-four", "x-vertex-ai-two"]);
    }

    #[test]
    fn a_length_beside_a_transfer_encoding_goes_with_it() {
        let mut sent = headers(&["content-length", "accept"]);
        strip(&mut sent, &[], None);
        assert_eq!(names(&sent), ["accept", "content-length"]);
        sent.append("transfer-encoding", HeaderValue::from_static("chunked"));
        strip(&mut sent, &[], None);
        assert_eq!(names(&sent), ["accept"]);
    }

    #[test]
    fn more_headers_than_few_are_kept_with_all_their_values() {
        let all: Vec<String> =
            (0..3 * FEW).map(|number| format!("x-vertex-ai-{number:02}")).collect();
        let mut sent = headers(&["cookie"]);
        for name in &all {
            let name = HeaderName::try_from(name).unwrap();
            sent.append(&name, HeaderValue::from_static("one"));
            sent.append(&name, HeaderValue::from_static("two"));
        }
        strip(&mut sent, &[], None);
        assert_eq!(names(&sent), all);
    }
}
