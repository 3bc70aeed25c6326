//! Hosts that no proxy can reach for this machine.

use std::net::IpAddr;

/// Whether data sent to this host of a URI stays on this machine: an address of the loopback
/// network, or `localhost`. Names that end with `.localhost` do not count, because a DNS server may
/// resolve them.
pub fn is_loopback(host: &str) -> bool {
    let host = unbracketed(host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// Whether a host is this machine or a neighbour that only this machine can reach: a loopback or
/// link-local address, such as the metadata server of a cloud, or the name of Google's.
pub(crate) fn is_never_proxied(host: &str) -> bool {
    const METADATA: &str = "metadata.google.internal";
    let bare = unbracketed(host);
    is_loopback(host)
        || bare.strip_suffix('.').unwrap_or(bare).eq_ignore_ascii_case(METADATA)
        || bare.parse().is_ok_and(|address: IpAddr| match address.to_canonical() {
            IpAddr::V4(address) => address.is_link_local(),
            // Google's and Amazon's metadata servers have a unique local address: fd20:ce::254 and
            // fd00:ec2::254.
            IpAddr::V6(address) => {
                address.is_unicast_link_local()
                    || matches!(
                        address.segments(),
                        [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
                            | [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
                    )
            }
        })
}

/// Removes the brackets of an IPv6 address, which only a URI has.
fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_host_is_an_address_or_localhost() {
        for host in
            ["localhost", "LocalHost", "127.0.0.1", "127.9.8.7", "[::1]", "[::ffff:127.0.0.1]"]
        {
            assert!(is_loopback(host) && is_never_proxied(host), "{host}");
        }
        for host in ["app.localhost", "localhost.evil.example", "10.0.0.7", "[::]", "[fd00::7]", ""]
        {
            assert!(!is_loopback(host) && !is_never_proxied(host), "{host}");
        }
    }

    #[test]
    fn a_metadata_server_is_never_behind_a_proxy() {
        for host in [
            "metadata.google.internal",
            "Metadata.Google.Internal.",
            "169.254.169.254",
            "169.254.170.2",
            "[fe80::1]",
            "[fd20:ce::254]",
            "[::ffff:169.254.169.254]",
        ] {
            assert!(is_never_proxied(host) && !is_loopback(host), "{host}");
        }
        for host in ["x.metadata.google.internal", "metadata.google.internal.evil.example"] {
            assert!(!is_never_proxied(host), "{host}");
        }
    }
}
