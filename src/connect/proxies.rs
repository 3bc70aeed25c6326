//! The rule that decides whether a connection goes through a proxy, and through which.

use std::fmt;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::host::is_never_proxied;
use crate::error::ConfigError;

const SETTING: &str = "proxy";

/// The rule. The matcher of hyper-util compares hosts as curl does.
#[derive(Debug)]
pub(super) struct Proxies(Matcher);

/// A proxy for one destination.
pub(super) struct Proxy {
    pub(super) uri: Uri,
    pub(super) login: Option<HeaderValue>,
}

/// The settings of the rule, before the variables are read.
#[derive(Clone, Default)]
pub(super) struct ProxySettings {
    pub(super) proxy: Option<String>,
    pub(super) no_proxy: Option<String>,
}

impl Proxies {
    /// Builds the rule. `environment` returns the value of a variable.
    ///
    /// hyper-util's own reader of variables uses no proxy at all under CGI, and takes a URL that
    /// it cannot read for no proxy. Requests would then silently take another way than the one that
    /// was set.
    pub(super) fn new(
        settings: &ProxySettings,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let set = |name: &'static str| {
            let value = environment(name)?.trim().to_owned();
            (!value.is_empty()).then_some((value, name))
        };
        let either = |capitals, small| set(capitals).or_else(|| set(small));
        let no = match &settings.no_proxy {
            Some(list) => list.clone(),
            None => either("NO_PROXY", "no_proxy").map(|(list, _)| list).unwrap_or_default(),
        };
        let mut matcher = Matcher::builder().no(normalized(&no));
        if let Some(url) = &settings.proxy {
            check(url)?;
            matcher = matcher.all(url.trim().to_owned());
            return Ok(Self(matcher.build()));
        }
        let is_cgi = environment("REQUEST_METHOD").is_some();
        let http = if is_cgi { set("http_proxy") } else { either("HTTP_PROXY", "http_proxy") };
        let (https, all) = (either("HTTPS_PROXY", "https_proxy"), either("ALL_PROXY", "all_proxy"));
        for (url, name) in [&https, &http, &all].into_iter().flatten() {
            check(url).map_err(|error| error.given_in(*name))?;
        }
        let url = |given: Option<(String, _)>| given.map(|(url, _)| url).unwrap_or_default();
        Ok(Self(matcher.https(url(https)).http(url(http)).all(url(all)).build()))
    }

    /// The proxy to `uri`; `None` for a direct connection.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Option<Proxy> {
        if is_never_proxied(uri.host()?) {
            return None;
        }
        let intercept = self.0.intercept(uri)?;
        Some(Proxy { uri: intercept.uri().clone(), login: intercept.basic_auth().cloned() })
    }
}

impl Proxy {
    /// Scheme, host and port, without the user and the password.
    pub(super) fn origin(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let authority = self.uri.authority().map(|authority| authority.as_str());
        format!("{scheme}://{}", authority.unwrap_or_default())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

/// hyper-util's matcher separates entries by commas alone and takes `*` for a name. curl separates
/// them by spaces too, and the form `*.example.com` is common.
fn normalized(list: &str) -> String {
    let entries = list.split(|c: char| c == ',' || c.is_whitespace());
    let entries = entries.filter(|entry| !entry.is_empty()).map(|entry| {
        let entry = entry.strip_prefix("*.").unwrap_or(entry);
        entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry)
    });
    entries.collect::<Vec<_>>().join(",")
}

/// Refuses the URL of a proxy that cannot be used. The error shows no password.
fn check(url: &str) -> Result<(), ConfigError> {
    const FORM: &str = "give the URL of an HTTP proxy, such as http://proxy.example.com:3128 or \
                        http://USER:PASSWORD@proxy.example.com:3128";
    let invalid = |advice: &'static str| Err(ConfigError::invalid(SETTING, url, advice));
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    if scheme.to_ascii_lowercase().starts_with("socks") {
        return invalid("SOCKS is not supported: give the URL of an HTTP proxy");
    }
    // A password with one of these would be cut off there, and the rest taken for the host.
    let user = rest.rsplit_once('@').map(|(user, _)| user);
    if user.is_some_and(|user| user.contains(['@', '/', '?', '#', '[', ']'])) {
        return invalid("write special characters of the password in percent form: %40 for @");
    }
    let is_usable = |intercept: &Intercept| {
        let Some(authority) = intercept.uri().authority() else { return false };
        // `http` keeps what follows the host, whatever it is.
        let port = authority.as_str().strip_prefix(authority.host());
        let is_port = |text: &str| text.strip_prefix(':')?.parse::<u16>().ok();
        !authority.host().is_empty()
            && port.is_some_and(|text| text.is_empty() || is_port(text).is_some())
    };
    let probe = Uri::from_static("https://host");
    match Matcher::builder().all(url.to_owned()).build().intercept(&probe).filter(is_usable) {
        Some(_) => Ok(()),
        None => invalid(FORM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_variables(variables: &[(&str, &str)]) -> Result<Proxies, ConfigError> {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Proxies::new(&ProxySettings::default(), find)
    }

    fn way(proxies: &Proxies, uri: &str) -> String {
        let proxy = proxies.proxy_for(&uri.parse().unwrap());
        proxy.map_or_else(|| "direct".to_owned(), |proxy| proxy.origin())
    }

    const GOOGLE: &str = "https://aiplatform.googleapis.com";
    const CLEAR: &str = "http://vertex.example.com";

    #[test]
    fn the_variables_have_the_meaning_that_curl_gives_them() {
        const A: &str = "http://a:1";
        const B: &str = "http://b:2";
        for (variables, https, http) in [
            (&[][..], "direct", "direct"),
            (&[("HTTPS_PROXY", A)], A, "direct"),
            (&[("https_proxy", A)], A, "direct"),
            (&[("HTTPS_PROXY", A), ("https_proxy", B)], A, "direct"),
            (&[("HTTPS_PROXY", " "), ("https_proxy", B)], B, "direct"),
            (&[("HTTP_PROXY", A)], "direct", A),
            (&[("http_proxy", A)], "direct", A),
            (&[("ALL_PROXY", A)], A, A),
            (&[("all_proxy", A), ("HTTPS_PROXY", B)], B, A),
            (&[("HTTPS_PROXY", "a:1")], A, "direct"),
            (&[("HTTPS_PROXY", "http://u:p%40@a:1/")], A, "direct"),
            (&[("HTTPS_PROXY", "https://a")], "https://a", "direct"),
            // The header `Proxy` of a CGI request sets `HTTP_PROXY`, and no other variable.
            (&[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", A)], "direct", "direct"),
            (&[("REQUEST_METHOD", "GET"), ("http_proxy", A)], "direct", A),
            (&[("REQUEST_METHOD", "GET"), ("HTTPS_PROXY", A), ("HTTP_PROXY", B)], A, "direct"),
            (&[("ALL_PROXY", A), ("NO_PROXY", "*")], "direct", "direct"),
            (&[("ALL_PROXY", A), ("no_proxy", "googleapis.com")], "direct", A),
            (&[("ALL_PROXY", A), ("NO_PROXY", "x .Googleapis.com")], "direct", A),
            (
                &[("ALL_PROXY", A), ("NO_PROXY", "*.googleapis.com,*.example.com")],
                "direct",
                "direct",
            ),
            (&[("ALL_PROXY", A), ("NO_PROXY", "apis.com")], A, A),
        ] {
            let proxies = of_variables(variables).unwrap();
            assert_eq!((way(&proxies, GOOGLE), way(&proxies, CLEAR)), (https.into(), http.into()));
        }
    }

    #[test]
    fn addresses_are_exempt_alone_and_by_network() {
        let list = "10.0.0.0/8, 192.0.2.7 [2001:db8::1],fd00::/8";
        let proxies = of_variables(&[("ALL_PROXY", "http://a:1"), ("NO_PROXY", list)]).unwrap();
        for host in ["10.1.2.3", "192.0.2.7", "[2001:db8::1]", "[fd12::1]"] {
            assert_eq!(way(&proxies, &format!("https://{host}:8443/x")), "direct", "{host}");
        }
        for host in ["192.0.2.8", "[2001:db8::2]", "11.0.0.1"] {
            assert_eq!(way(&proxies, &format!("https://{host}/x")), "http://a:1", "{host}");
        }
    }

    #[test]
    fn settings_take_precedence_over_the_variables() {
        let find = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://b:2".to_owned()),
            "NO_PROXY" => Some("googleapis.com".to_owned()),
            _ => None,
        };
        let text = |text: &str| Some(text.to_owned());
        for (proxy, no_proxy, https, http) in [
            (text("http://a:1"), None, "direct", "http://a:1"),
            (text("http://a:1"), text("example.com"), "http://a:1", "direct"),
            (text("http://a:1"), text(""), "http://a:1", "http://a:1"),
            (None, text(""), "http://b:2", "direct"),
            (None, text("*"), "direct", "direct"),
        ] {
            let proxies = Proxies::new(&ProxySettings { proxy, no_proxy }, find).unwrap();
            assert_eq!((way(&proxies, GOOGLE), way(&proxies, CLEAR)), (https.into(), http.into()));
        }
    }

    #[test]
    fn hosts_of_this_machine_are_connected_to_directly() {
        let proxies = of_variables(&[("ALL_PROXY", "http://a:1")]).unwrap();
        for uri in [
            "http://127.0.0.1:8080/v1",
            "http://localhost",
            "https://[::1]:8443",
            "http://metadata.google.internal/computeMetadata/v1",
            "http://169.254.169.254/latest",
        ] {
            assert_eq!(way(&proxies, uri), "direct", "{uri}");
        }
    }

    #[test]
    fn a_url_that_is_no_http_proxy_is_an_error_without_its_password() {
        for (url, says) in [
            ("socks5://u:SECRET@proxy:1080", "SOCKS"),
            ("SOCKS5H://proxy", "SOCKS"),
            ("ftp://u:SECRET@proxy", "give the URL"),
            ("http://", "give the URL"),
            ("http://u:SECRET@", "give the URL"),
            ("http://proxy:", "give the URL"),
            ("http://proxy:port", "give the URL"),
            ("http://proxy:99999", "give the URL"),
            ("http://u:SEC@RET@proxy:1", "%40"),
            ("http://u:SEC/RET@proxy:1", "%40"),
            ("http://u:SEC#RET@proxy:1", "%40"),
            ("proxy name", "give the URL"),
        ] {
            for variable in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
                let error = of_variables(&[(variable, url)]).unwrap_err();
                let text = format!("{error} {error:?}");
                assert!(text.contains(says) && text.contains(variable), "{url}: {text}");
                assert!(!text.contains("SEC") && !text.contains("RET"), "{url}: {text}");
            }
        }
    }

    #[test]
    fn no_debug_shows_the_login() {
        let proxies = of_variables(&[("ALL_PROXY", "http://me:SECRET@a:1")]).unwrap();
        let proxy = proxies.proxy_for(&GOOGLE.parse().unwrap()).unwrap();
        assert!(proxy.login.as_ref().is_some_and(HeaderValue::is_sensitive));
        let text = format!("{proxies:?} {proxy:?} {:?}", proxy.login);
        // `bWU6U0VDUkVU` is `me:SECRET` in base64.
        for secret in ["SECRET", "me:", "bWU6U0VDUkVU"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
