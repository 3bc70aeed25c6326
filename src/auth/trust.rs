//! The hosts to which the access token may be sent.
//!
//! The forms of Vertex AI's own host names are those in Google's documentation and client
//! libraries. Other labels under the same domains belong to other services, and other domains to
//! other owners.

use http::{Uri, uri::Scheme};

use crate::error::{ConfigError, UntrustedHost};

const ADVICE: &str =
    "give a scheme and a host, such as https://vertex.example.com or http://127.0.0.1:8080";

/// Vertex AI's hosts over https, and the origins that the user added.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    added: Vec<Origin>,
}

#[derive(Clone, Debug)]
struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Trust {
    pub(super) fn add(&mut self, origin: &str) -> Result<(), ConfigError> {
        let error = || ConfigError::invalid("origin", origin, ADVICE);
        let uri: Uri = origin.trim().parse().map_err(|_| error())?;
        let (https, host, port) = parts(&uri).ok_or_else(error)?;
        if uri.path_and_query().is_some_and(|path| path != "/") {
            return Err(error());
        }
        self.added.push(Origin { https, host: host.to_owned(), port });
        Ok(())
    }

    #[inline]
    pub(super) fn check(&self, uri: &Uri) -> Result<(), UntrustedHost> {
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        if https && uri.authority().is_some_and(|authority| is_usual(authority.as_str())) {
            return Ok(());
        }
        match parts(uri) {
            Some((true, host, 443)) if is_vertex(host) => Ok(()),
            Some(origin) if self.is_added(origin) => Ok(()),
            _ => Err(refuse(uri)),
        }
    }

    fn is_added(&self, (https, host, port): (bool, &str, u16)) -> bool {
        self.added.iter().any(|origin| {
            origin.https == https && origin.port == port && origin.host.eq_ignore_ascii_case(host)
        })
    }
}

/// Whether it is `aiplatform` or `{region}-aiplatform`, in lower case and without a port. Almost
/// every request has such a host, and this recognizes it without parsing. [`is_vertex`] accepts
/// these too.
fn is_usual(authority: &str) -> bool {
    match authority.strip_suffix("aiplatform.googleapis.com") {
        Some("") => true,
        Some(region) => region.strip_suffix('-').is_some_and(is_label),
        None => false,
    }
}

/// Returns whether it is https, the host and the port of an http(s) URI without a user name.
fn parts(uri: &Uri) -> Option<(bool, &str, u16)> {
    let https = match uri.scheme()? {
        scheme if *scheme == Scheme::HTTPS => true,
        scheme if *scheme == Scheme::HTTP => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    let (host, text) = (authority.host(), authority.as_str());
    let port = match text.strip_prefix(host) {
        Some("") => {
            if https {
                443
            } else {
                80
            }
        }
        Some(port) => port.strip_prefix(':')?.parse().ok()?,
        // A user name precedes the host.
        None => return None,
    };
    (!host.is_empty() && !text.contains('@')).then_some((https, host, port))
}

#[cold]
fn refuse(uri: &Uri) -> UntrustedHost {
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
        return UntrustedHost::unrouted(None);
    };
    let scheme = uri.scheme_str().unwrap_or("no scheme");
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    let origin = format!("{scheme}://{host}{port}");
    // The default host of OpenAI clients: the request was not routed.
    match is(host, "api.openai.com") {
        true => UntrustedHost::unrouted(Some(origin)),
        false => UntrustedHost::new(origin),
    }
}

fn is_vertex(host: &str) -> bool {
    if let Some(name) = strip_suffix(host, ".googleapis.com") {
        let (service, place) = name.split_once('.').unwrap_or((name, ""));
        let regional = |service: &str| {
            strip_suffix(service, "-aiplatform").map_or(is(service, "aiplatform"), is_label)
        };
        match place.rsplit_once('.').unwrap_or(("", place)) {
            // {region}-aiplatform, aiplatform; the same under mtls
            ("", "") => regional(service),
            ("", last) if is(last, "mtls") => regional(service),
            // aiplatform.{us,eu}.rep
            (location, last) if is(last, "rep") => is(service, "aiplatform") && is_label(location),
            // Private Service Connect for Google APIs: {region-}aiplatform-{name}.p
            ("", last) if is(last, "p") => is_label(service) && is_private_service(service),
            _ => false,
        }
    } else if let Some(name) = strip_suffix(host, ".prediction.vertexai.goog") {
        // {endpoint}.{region}-{uid}
        name.split_once('.').is_some_and(|(endpoint, place)| is_label(endpoint) && is_label(place))
    } else if let Some(name) = strip_suffix(host, ".prediction.p.vertexai.goog") {
        is_label(name)
    } else {
        false
    }
}

fn is_private_service(service: &str) -> bool {
    let service = service.to_ascii_lowercase();
    let name = service.strip_prefix("aiplatform-");
    name.or_else(|| service.split_once("-aiplatform-").map(|(_, name)| name))
        .is_some_and(|name| !name.is_empty())
}

fn is(text: &str, lower: &str) -> bool {
    text.eq_ignore_ascii_case(lower)
}

fn strip_suffix<'a>(text: &'a str, lower: &str) -> Option<&'a str> {
    let (rest, suffix) = text.split_at_checked(text.len().checked_sub(lower.len())?)?;
    is(suffix, lower).then_some(rest)
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| IN_LABEL[usize::from(byte)])
}

/// The bytes that a label may have. The label of a region is looked at for each request: by callgrind,
/// [`is_usual`] takes 101 instructions with this table and 151 with comparisons.
const IN_LABEL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(trust: &Trust, uri: &str) -> bool {
        trust.check(&uri.parse().unwrap()).is_ok()
    }

    #[test]
    fn vertex_hosts_are_trusted_over_https_alone() {
        for host in [
            "us-central1-aiplatform.googleapis.com",
            "europe-west4-aiplatform.googleapis.com",
            "US-Central1-AIplatform.GoogleAPIs.com",
            "aiplatform.googleapis.com",
            "aiplatform.us.rep.googleapis.com",
            "aiplatform.eu.rep.googleapis.com",
            "us-central1-aiplatform.mtls.googleapis.com",
            "aiplatform.mtls.googleapis.com",
            "aiplatform-mypsc.p.googleapis.com",
            "us-central1-aiplatform-mypsc.p.googleapis.com",
            "1234567890.us-central1-12345.prediction.vertexai.goog",
            "mg-endpoint-0a1b.us-central1-fasttryout.prediction.vertexai.goog",
            "1234-us-central1-5678.prediction.p.vertexai.goog",
        ] {
            let trust = Trust::default();
            assert!(trusted(&trust, &format!("https://{host}/v1/x")), "{host}");
            assert!(trusted(&trust, &format!("https://{host}:443/v1/x")), "{host}");
            assert!(!trusted(&trust, &format!("http://{host}/v1/x")), "{host} over http");
            assert!(!trusted(&trust, &format!("https://{host}:8443/v1/x")), "{host} port");
            assert!(!trusted(&trust, &format!("https://{host}.evil.com/v1/x")), "{host}.evil.com");
            assert!(!trusted(&trust, &format!("https://{host}@evil.com/v1/x")), "{host}@evil.com");
            assert!(!trusted(&trust, &format!("https://evil.com@{host}/v1/x")), "evil.com@{host}");
            assert!(!trusted(&trust, &format!("https://evil.com.{host}/v1/x")), "evil.com.{host}");
        }
    }

    #[test]
    fn an_error_names_the_origin_that_is_not_trusted() {
        let refused = |uri: &str| Trust::default().check(&uri.parse().unwrap()).unwrap_err();
        assert_eq!(refused("http://evil.com:8080/x").origin(), Some("http://evil.com:8080"));
        assert_eq!(refused("/v1/chat/completions").origin(), None);
    }

    #[test]
    fn hosts_of_other_services_are_not_trusted() {
        for uri in [
            "https://evil.com/",
            "https://storage.googleapis.com/",
            "https://generativelanguage.googleapis.com/",
            "https://googleapis.com/",
            "https://.googleapis.com/",
            "https://-aiplatform.googleapis.com/",
            "https://evilaiplatform.googleapis.com/",
            "https://aiplatform.googleapis.com.evil.com/",
            "https://aiplatform.googleapis.evil.com/",
            "https://aiplatformxgoogleapis.com/",
            "https://aiplatform.evil.googleapis.com/",
            "https://aiplatform.rep.googleapis.com/",
            "https://aiplatform-.p.googleapis.com/",
            "https://storage-mypsc.p.googleapis.com/",
            "https://prediction.vertexai.goog/",
            "https://x.prediction.vertexai.goog/",
            "https://a.b.c.prediction.vertexai.goog/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "/v1/chat/completions",
            "ftp://aiplatform.googleapis.com/",
        ] {
            assert!(!trusted(&Trust::default(), uri), "{uri}");
        }
    }

    #[test]
    fn an_added_origin_is_trusted_as_it_was_added() {
        let mut trust = Trust::default();
        trust.add("http://127.0.0.1:8080").unwrap();
        trust.add("https://vertex.example.com/").unwrap();
        trust.add("http://[::1]:9").unwrap();
        for uri in [
            "http://127.0.0.1:8080/x",
            "https://Vertex.example.com/x",
            "https://vertex.example.com:443/x",
            "http://[::1]:9/",
        ] {
            assert!(trusted(&trust, uri), "{uri}");
        }
        for uri in [
            "https://127.0.0.1:8080/x",
            "http://127.0.0.1/x",
            "http://127.0.0.1:8081/x",
            "http://vertex.example.com/x",
            "https://vertex.example.com:8443/x",
            "https://user@vertex.example.com/x",
        ] {
            assert!(!trusted(&trust, uri), "{uri}");
        }
    }

    #[test]
    fn a_text_that_is_no_origin_is_refused_by_name() {
        for origin in [
            "",
            "example.com",
            "https://",
            "ftp://example.com",
            "https://example.com/v1",
            "https://a b",
            "https://example.com:99999",
        ] {
            let error = Trust::default().add(origin).unwrap_err().to_string();
            assert!(error.contains(&format!("{origin:?}")), "{error}");
        }
        let error = Trust::default().add("https://user:hunter2@example.com").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn the_refusal_names_the_origin_and_no_more() {
        let uri = "https://user:hunter2@evil.com:99/secret?key=1".parse().unwrap();
        let text = Trust::default().check(&uri).unwrap_err().to_string();
        assert!(text.contains("https://evil.com:99"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("secret"), "{text}");
    }
}
