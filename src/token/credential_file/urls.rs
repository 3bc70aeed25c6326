//! The URLs to which secrets may be sent.

use std::net::{IpAddr, Ipv6Addr};

use super::{AS_MADE, TransportPolicy, field_fault};
use crate::{connect::host::is_loopback, error::Fault};

/// Checks a URL to which secrets are sent.
pub(super) fn check_url(name: &str, url: &str, transport: TransportPolicy) -> Result<(), Fault> {
    let Some((uri, host)) = url.parse::<http::Uri>().ok().and_then(|uri| {
        let host = uri.host().filter(|host| !host.is_empty())?.to_owned();
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let fits = !has_user && matches!(uri.scheme_str(), Some("https" | "http"));
        fits.then_some((uri, host))
    }) else {
        return Err(field_fault(name, "is not an https URL", AS_MADE));
    };
    let clear = uri.scheme_str() == Some("http") && !is_loopback(&host);
    if clear && transport == TransportPolicy::Safe {
        return Err(field_fault(
            name,
            "would send secrets in clear text, because it begins with http://",
            "begin it with https://, or allow it with --allow-insecure-token-endpoints if the \
             network between is yours",
        ));
    }
    Ok(())
}

/// Checks the URL at which the tokens of an identity are exchanged for those of a service account.
/// It must be Google's IAM, under any of its names, or this machine.
pub(super) fn check_impersonation_url(
    url: &str,
    universe: Option<&str>,
    transport: TransportPolicy,
) -> Result<(), Fault> {
    let is_iam = |host: &str| {
        let domain = universe.unwrap_or("googleapis.com").trim();
        let labels = host.strip_suffix(domain).and_then(|labels| labels.strip_suffix('.'));
        let of_google = labels.is_some_and(|l| l.split('.').any(|l| l.contains("iamcredentials")));
        of_google || is_loopback(host) || transport == TransportPolicy::ClearTextToo
    };
    let fits = url.parse::<http::Uri>().is_ok_and(|uri| {
        uri.path().ends_with(":generateAccessToken")
            && uri.query().is_none()
            && uri.host().is_some_and(is_iam)
    });
    if fits {
        return Ok(());
    }
    Err(field_fault(
        "service_account_impersonation_url",
        "is not that of generateAccessToken at Google's IAM, so no token is sent to it",
        "it is such as https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/\
         EMAIL:generateAccessToken",
    ))
}

/// Checks a URL of this machine or of its cloud's metadata server, which speaks http by design. Any
/// other URL must pass [`check_url`].
pub(super) fn check_local_url(
    name: &str,
    url: &str,
    transport: TransportPolicy,
) -> Result<(), Fault> {
    // AWS replaces `{region}` in its URLs later.
    let url = url.replace(['{', '}'], "");
    let host = url.parse::<http::Uri>().ok().and_then(|uri| Some(uri.host()?.to_owned()));
    if url.starts_with("http://") && host.is_some_and(|host| is_metadata_host(&host)) {
        return Ok(());
    }
    check_url(name, &url, transport)
}

/// Link-local addresses, the IPv6 address of AWS, and the name of Google's metadata server.
fn is_metadata_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_unicast_link_local()
                || address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
        Err(_) => host == "metadata.google.internal",
    }
}
