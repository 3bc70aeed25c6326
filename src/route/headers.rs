//! What must not travel to Vertex AI.

use http::{HeaderMap, HeaderName, header};

/// Removed by name. The position of a name is its bit in [`bit`]'s answer.
pub(crate) static REMOVED: [HeaderName; 15] = [
    // An inbound `Host` would be sent as it is by HTTP/1.1, and beside `:authority` by HTTP/2.
    header::HOST,
    // RFC 9110 §7.6.1: these speak of the connection that the request came by.
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    // A key beside a valid access token gives 401.
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("api-key"),
    // These mean something to OpenAI alone.
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    HeaderName::from_static("openai-beta"),
];

const CONNECTION_BIT: u32 = 1 << 1;
/// From `connection` to `upgrade`.
#[cfg(feature = "gateway")]
const HOP_BY_HOP: u32 = 0b11_1111_1110;

/// The bit of a lower-case name in [`REMOVED`], 0 for a name that may travel.
///
/// By length first: almost every header of a request is told apart without comparing text.
fn bit(name: &str) -> u32 {
    let position = match name.len() {
        2 if name == "te" => 6,
        4 if name == "host" => 0,
        7 => match name {
            "trailer" => 7,
            "upgrade" => 9,
            "api-key" => 11,
            _ => return 0,
        },
        10 => match name {
            "connection" => 1,
            "keep-alive" => 2,
            _ => return 0,
        },
        11 if name == "openai-beta" => 14,
        14 => match name {
            "x-goog-api-key" => 10,
            "openai-project" => 13,
            _ => return 0,
        },
        16 if name == "proxy-connection" => 5,
        17 if name == "transfer-encoding" => 8,
        18 if name == "proxy-authenticate" => 3,
        19 => match name {
            "proxy-authorization" => 4,
            "openai-organization" => 12,
            _ => return 0,
        },
        _ => return 0,
    };
    1 << position
}

/// Removes what must not travel.
pub(super) fn strip(headers: &mut HeaderMap) {
    remove(headers, !0);
}

/// Removes what speaks of one connection alone; of an answer, too: HTTP/2 clients refuse these.
#[cfg(feature = "gateway")]
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    remove(headers, HOP_BY_HOP);
}

/// One pass over the names that are there, then only removals.
fn remove(headers: &mut HeaderMap, which: u32) {
    let mut found = headers.keys().fold(0, |found, name| found | bit(name.as_str())) & which;
    if found & CONNECTION_BIT != 0 {
        remove_named_by_connection(headers);
    }
    while found != 0 {
        headers.remove(&REMOVED[found.trailing_zeros() as usize]);
        found &= found - 1;
    }
}

/// Removes every header that a `Connection` header names, but not that header itself.
///
/// Most clients send `keep-alive` or `close` there and nothing else, which allocates nothing.
fn remove_named_by_connection(headers: &mut HeaderMap) {
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
        .filter(|name| name != header::CONNECTION)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_removed_name_has_its_own_bit() {
        for (position, name) in REMOVED.iter().enumerate() {
            assert_eq!(bit(name.as_str()), 1 << position, "{name}");
        }
        assert_eq!(bit(REMOVED[CONNECTION_BIT.trailing_zeros() as usize].as_str()), CONNECTION_BIT);
    }

    #[test]
    fn a_name_that_only_looks_like_a_removed_one_stays() {
        for name in ["authorization", "content-type", "x-goog-user-project", "hosts", "accept"] {
            assert_eq!(bit(name), 0, "{name}");
        }
    }

    #[test]
    fn every_value_of_a_removed_header_goes() {
        let mut headers = HeaderMap::new();
        for name in &REMOVED {
            headers.append(name, HeaderValue::from_static("one"));
            headers.append(name, HeaderValue::from_static("two"));
        }
        headers.append(header::ACCEPT, HeaderValue::from_static("a"));
        headers.append(header::ACCEPT, HeaderValue::from_static("b"));
        strip(&mut headers);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers.get_all(header::ACCEPT).iter().count(), 2);
    }

    #[test]
    fn every_connection_header_is_read_and_its_rubbish_ignored() {
        let mut headers = HeaderMap::new();
        headers.append("connection", HeaderValue::from_static("Close, X-One,, not a name ,"));
        headers.append("connection", HeaderValue::from_static("connection , x-TWO"));
        headers.append("connection", HeaderValue::from_bytes(b"\xff, x-three").unwrap());
        for name in ["x-one", "x-two", "x-three", "x-four"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        strip(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-four"]);
    }
}
