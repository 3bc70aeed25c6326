//! Detection of requests that a page in a browser sent: the name under which it reached this
//! server, and the origin of the page.
//!
//! A server without client keys accepts requests from every program of its machine. A browser is
//! such a program, and any web page can make it send requests. Two checks keep pages out. First,
//! the name in `Host` (`:authority`) must be this server's own. A page whose own name was resolved
//! to 127.0.0.1 (DNS rebinding) has the same origin as this server in the browser, and only that
//! name gives it away. Second, `Sec-Fetch-Site` or `Origin`, which the browser sets, must not name
//! another origin. The rules are those of Go's `http.CrossOriginProtection`, except that they also
//! apply to GET, HEAD and OPTIONS, which Go accepts from any page.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The domains that no public DNS server serves: those of RFC 6761, RFC 6762 and RFC 8375,
/// `internal`, and the domain of services in Kubernetes.
const LOCAL_DOMAINS: [&str; 6] = ["localhost", "local", "internal", "test", "home.arpa", "svc"];

/// A host as in `Host`, without its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IP address, without the brackets of IPv6.
    Address(IpAddr),
    /// A name in lower case, without a trailing dot.
    Name(String),
}

/// The origin of a request: a page of another origin, or anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator<'a> {
    /// A program other than a browser, the user, or a page of this server's own origin.
    Own,
    /// A page of another origin; `None` if the browser does not name the origin.
    Page(Option<&'a HeaderValue>),
}

impl Host {
    /// Parses a host with an optional port. Returns `None` if the text is not a valid host.
    pub fn parse(authority: &str) -> Option<Self> {
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(rest) = authority.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
            let address: Ipv6Addr = address.parse().ok()?;
            return is_port(port).then_some(Self::Address(address.to_canonical()));
        }
        let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !is_port(port) || name.is_empty() || !name.bytes().all(is_fit) {
            return None;
        }
        Some(match name.parse::<Ipv4Addr>() {
            Ok(address) => Self::Address(address.into()),
            Err(_) => Self::Name(name.to_ascii_lowercase()),
        })
    }

    /// Whether a browser takes the host for this machine, regardless of DNS. A name in `localhost`
    /// may still lead elsewhere when a request is sent to it: see
    /// `tower_vertex::token::is_loopback`.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => is_within(name, "localhost"),
        }
    }

    /// Whether no page on the internet has this host as its own name: an address, a name without a
    /// dot, or a name in a domain that is not on the internet. (The only names without a dot on the
    /// internet are the top-level domains. Most of them must not have an address and a page, and
    /// for the others it is rare.)
    pub fn is_local(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Name(name) => {
                !name.contains('.') || LOCAL_DOMAINS.iter().any(|domain| is_within(name, domain))
            }
        }
    }
}

/// Whether `name` is `domain` or a name within it.
fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// All names that a request has for this server: `:authority`, and each `Host`. A value that is not
/// text becomes empty.
pub fn authorities<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let hosts = headers.get_all(header::HOST).iter();
    authority.into_iter().chain(hosts.map(|host| host.to_str().unwrap_or_default()))
}

/// Determines the origin of a request.
pub fn initiator<'a>(uri: &Uri, headers: &'a HeaderMap) -> Initiator<'a> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next();
    if origins.next().is_some() {
        return Initiator::Page(None);
    }
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter().peekable();
    if sites.peek().is_some() {
        // Pages cannot set this header. `none` means that the user typed the address, or that an
        // extension sent the request to which the user gave access to this host.
        let own = sites.all(|site| site == "same-origin" || site == "none");
        return if own { Initiator::Own } else { Initiator::Page(origin) };
    }
    // Browsers omit it for hosts that they do not trust, and old browsers always omit it.
    let Some(origin) = origin else { return Initiator::Own };
    let of_this = |origin: &str| {
        let (_, host) = origin.split_once("://")?;
        let mut names = authorities(uri, headers).peekable();
        names.peek()?;
        Some(names.all(|name| name.eq_ignore_ascii_case(host)))
    };
    match origin.to_str().ok().and_then(of_this) {
        Some(true) => Initiator::Own,
        _ => Initiator::Page(Some(origin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_loopback_or_local_only_by_its_full_name() {
        for (authority, loopback, local) in [
            ("localhost", true, true),
            ("LocalHost:8080", true, true),
            ("localhost.:8080", true, true),
            ("app.localhost", true, true),
            ("127.0.0.1:8080", true, true),
            ("127.9.8.7", true, true),
            ("[::1]:8080", true, true),
            ("[::1]", true, true),
            ("[::ffff:127.0.0.1]:80", true, true),
            ("gateway:8080", false, true),
            ("gateway.team.svc", false, true),
            ("gateway.team.svc.cluster.local", false, true),
            ("metadata.google.internal", false, true),
            ("10.0.0.7:8080", false, true),
            ("[fd00::7]:8080", false, true),
            ("0.0.0.0:8080", false, true),
            ("[::]:8080", false, true),
            ("evil.example", false, false),
            ("evil.example:8080", false, false),
            ("localhost.evil.example", false, false),
            ("notlocalhost.example", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("127.0.0.1.nip.io:8080", false, false),
            ("evil.example.", false, false),
        ] {
            let host = Host::parse(authority).expect(authority);
            assert_eq!((host.is_loopback(), host.is_local()), (loopback, local), "{authority}");
        }
        assert!(!Host::parse("mylocalhost").unwrap().is_loopback());
    }

    #[test]
    fn an_invalid_host_is_rejected() {
        for authority in [
            "",
            ":8080",
            "user@localhost",
            "localhost@evil.example",
            "localhost:80@evil.example",
            "localhost:x",
            "localhost:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[localhost]",
            "local host",
            "localhost/",
            "évil",
            ".",
        ] {
            assert_eq!(Host::parse(authority), None, "{authority}");
        }
    }

    #[test]
    fn a_page_is_detected_by_the_headers_of_its_browser() {
        let page = |headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            matches!(initiator(&Uri::from_static("/v1"), &map), Initiator::Page(_))
        };
        let host = ("host", "127.0.0.1:8080");
        let (own, evil) = ("http://127.0.0.1:8080", "http://evil.example");
        for (headers, expected) in [
            (vec![], false),
            (vec![("sec-fetch-mode", "cors")], false),
            (vec![("origin", own)], false),
            (vec![("origin", evil)], true),
            (vec![("origin", "null")], true),
            (vec![("origin", "http://127.0.0.1:3000")], true),
            (vec![("origin", "http://localhost:8080")], true),
            (vec![("origin", own), ("origin", evil)], true),
            (vec![("origin", "127.0.0.1:8080")], true),
            (vec![("sec-fetch-site", "cross-site")], true),
            (vec![("sec-fetch-site", "same-site")], true),
            (vec![("sec-fetch-site", "anything")], true),
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], true),
            (vec![("sec-fetch-site", "cross-site"), ("origin", own)], true),
            // A proxy that rewrites `Host`: `Sec-Fetch-Site` takes precedence.
            (vec![("sec-fetch-site", "same-origin"), ("origin", "https://app.example")], false),
        ] {
            let all = [&[host][..], &headers].concat();
            assert_eq!(page(&all), expected, "{headers:?}");
        }
        assert!(page(&[("origin", evil)]), "no host at all");
    }
}
