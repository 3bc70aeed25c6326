//! Parses the hosts and origins of settings, so that only checked text becomes an authority.

use std::net::Ipv6Addr;

use crate::error::ConfigError;

/// Whether `host` is a DNS name or an IPv4 address, in lower case. Underscores are allowed, because
/// the names of containers have them.
pub(super) fn is_host_name(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        })
}

/// The parts of a setting that names an origin: `https://host[:port]`, and the text after it.
pub(super) struct Parsed<'a> {
    pub(super) https: bool,
    /// `host[:port]`, in lower case.
    pub(super) authority: String,
    pub(super) has_port: bool,
    /// The text from the first slash on; empty if there is none.
    pub(super) rest: &'a str,
}

/// Parses an `http` or `https` URL. The default scheme is https, as everywhere at Google.
pub(super) fn parse<'a>(setting: &'static str, value: &'a str) -> Result<Parsed<'a>, ConfigError> {
    let refuse = |advice| Err(ConfigError::invalid(setting, value, advice));
    let text = value.trim();
    let (https, text) = match text.split_once("://") {
        None => (true, text),
        Some((scheme, text)) if scheme.eq_ignore_ascii_case("https") => (true, text),
        Some((scheme, text)) if scheme.eq_ignore_ascii_case("http") => (false, text),
        Some(_) => return refuse("start it with https:// or http://"),
    };
    let end = text.find(['/', '?', '#', '\\']).unwrap_or(text.len());
    let (authority, rest) = text.split_at(end);
    if authority.contains('@') {
        return refuse("take the user name and the password out of it");
    }
    if rest.contains(['?', '#']) {
        return refuse("take the query and the fragment out of it");
    }
    let authority = authority.to_ascii_lowercase();
    let (host_is_good, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').unwrap_or((v6, "]"));
            let good =
                host.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'));
            (good, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (is_host_name(host), Some(port)),
            None => (is_host_name(&authority), None),
        },
    };
    if !host_is_good {
        return refuse(
            "give a host name or an IP address, such as https://10.0.0.7 or https://host:8443",
        );
    }
    // `u16::from_str` accepts a plus sign.
    let port_is_good = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !port.is_none_or(port_is_good) {
        return refuse("give a port between 1 and 65535, or none");
    }
    let has_port = port.is_some();
    Ok(Parsed { https, authority, has_port, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_split_into_its_parts() {
        for (value, https, authority, rest) in [
            ("https://Host.Example", true, "host.example", ""),
            ("HTTP://10.0.0.7:8080/", false, "10.0.0.7:8080", "/"),
            ("  host:8443/a/b  ", true, "host:8443", "/a/b"),
            ("http://[::1]:9000/x", false, "[::1]:9000", "/x"),
            ("[FE80::1]", true, "[fe80::1]", ""),
            ("my_container", true, "my_container", ""),
        ] {
            let parsed = parse("origin", value).unwrap();
            assert_eq!(
                (parsed.https, parsed.authority.as_str(), parsed.rest),
                (https, authority, rest),
                "{value}"
            );
        }
    }

    #[test]
    fn a_text_that_is_not_an_origin_is_refused() {
        for value in [
            "",
            " ",
            "https://",
            "ftp://host",
            "file:///etc",
            "://host",
            "https:host",
            "host:",
            "host:0",
            "host:+1",
            "host:65536",
            "host:1:2",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "a b",
            "a%2eb",
            "[::1",
            "[::1]9",
            "[zz]",
            "[::1]::9",
            "h\u{f6}st",
            "https://\\host",
            "host,other",
            "https://ho\nst",
            "https://host?x",
            "https://host#x",
            "https://@host",
        ] {
            assert!(parse("origin", value).is_err(), "{value:?}");
        }
        assert!(parse("origin", &"a".repeat(64)).is_err());
        assert!(parse("origin", &vec!["a"; 128].join(".")).is_err());
    }
}
