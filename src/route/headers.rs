//! Which headers of a request travel to Vertex AI: those on a list.
//!
//! [`VertexRoute`](super::VertexRoute) applies it to each request. The functions are here for gateways
//! that handle the requests of others.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// As many headers as usually stay.
const FEW: usize = 16;

/// The names of headers that this program has set on a request, in its extensions. They travel,
/// though no list has them, and no `Connection` header takes them away.
#[derive(Clone, Debug)]
pub(crate) struct OwnHeaders(Arc<[HeaderName]>);

impl OwnHeaders {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().cloned().collect())
    }

    fn have(&self, name: &str) -> bool {
        self.0.iter().any(|own| own.as_str() == name)
    }
}

/// Whether a header with this lower-case name may travel without anybody's asking for it.
///
/// By length first: almost every header of a request is told apart without comparing text.
#[inline(always)]
fn is_listed(name: &str) -> bool {
    let known = match name.len() {
        6 => name == "accept",
        10 => name == "user-agent" || name == "tracestate",
        11 => name == "traceparent",
        12 => name == "content-type" || name == "x-request-id",
        // A client's own is overwritten by `VertexAuth`.
        13 => name == "authorization",
        14 => name == "content-length",
        15 => name == "accept-encoding" || name == "idempotency-key",
        16 => name == "content-encoding" || name == "x-server-timeout",
        17 => name == "x-goog-api-client",
        19 => name == "x-goog-user-project",
        21 => name == "x-goog-request-params",
        _ => false,
    };
    known || name.starts_with("x-vertex-ai-")
}

/// Whether a header is what an OpenAI SDK tells of the program that it is in. A program's own may
/// travel, like its `User-Agent`: there are half a dozen of them, and to take them out of each request
/// would cost more than all else that the layers do.
fn is_of_an_sdk(name: &str) -> bool {
    name.starts_with("x-stainless-")
}

/// Whether a header with this lower-case name is about one connection alone (RFC 9110 §7.6.1).
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

/// Whether a header must not travel, whoever asks for it.
pub(super) fn is_forbidden(name: &str) -> bool {
    is_hop_by_hop(name)
        || matches!(
            name,
            // An inbound `Host` would be sent as it is by HTTP/1.1, and beside `:authority` by HTTP/2.
            "host"
            // A key beside a valid access token gives 401.
            | "x-goog-api-key"
            // The request would be another one than the one that was let through.
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
        )
}

/// Removes what must not travel of a request of this program: all but what is on the list, what its SDK
/// tells of it, and what is in `more` or set by the layers.
pub(super) fn strip(headers: &mut HeaderMap, more: &[HeaderName], own: Option<&OwnHeaders>) {
    strip_unless::<true>(headers, more, own);
}

/// Removes from a client's request all headers that must not travel to Vertex AI: all but those on the
/// list, and those in `more`. Of these, hop-by-hop headers, `Host`, `x-goog-api-key` and the headers
/// that override the method never stay.
pub fn strip_client_headers(headers: &mut HeaderMap, more: &[HeaderName]) {
    strip_unless::<false>(headers, more, None);
}

/// Whether a header may travel of itself, where those of an SDK may or may not.
///
/// Inlined by force: by callgrind, [`strip`] takes 271 instructions for ten headers, and 448 with a call for
/// each.
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
            // RFC 9112 §6.3: beside a Transfer-Encoding, a Content-Length says nothing.
            !(is_chunked && name == "content-length")
        } else {
            !is_forbidden(name) && (is_own(name) || more.iter().any(|more| more.as_str() == name))
        }
    });
}

/// Keeps the headers whose names `keep` wants, each with all its values. Allocates nothing, unless very
/// many stay.
///
/// All are taken out and some put back: each that is removed by its name costs more than that.
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
        // There is room for it: it was there before.
        let Ok(header::Entry::Vacant(entry)) = headers.try_entry(name) else { continue };
        let Ok(mut entry) = entry.try_insert_entry(value) else { continue };
        while let Some((_, value)) = kept.next_if(|(name, _)| name.is_none()) {
            entry.append(value);
        }
    }
}

/// Removes every header that a `Connection` header names, but for that header itself and those that
/// must `stay`.
///
/// Most clients send `keep-alive` or `close` there and nothing else, which allocates nothing.
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
        // Itself is removed by the caller, which still needs it here to be found.
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

    /// The names that are there, each of which must have kept both values.
    fn names(headers: &HeaderMap) -> Vec<&str> {
        let both = |name: &&str| headers.get_all(*name).iter().eq(["one", "two"]);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert!(names.iter().all(both), "{headers:?}");
        names.sort_unstable();
        names
    }

    #[test]
    fn a_header_that_is_on_no_list_stays_here() {
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
    fn what_must_not_travel_stays_here_whoever_asks_for_it() {
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
