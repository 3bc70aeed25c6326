//! Browsers: the web pages that may send requests, and CORS.
//!
//! Without keys, the sidecar serves every client that can reach it, and a browser on this machine
//! can reach it for each page that it shows. So a request under a name that is not the sidecar's is
//! rejected, and so is a request that a page of another origin has made, unless the settings name
//! the host or the origin. With keys, neither is checked: a page that has a key may use it, within
//! the limits of its browser, which uses preflights to find them out.

use std::{net::IpAddr, str::FromStr};

use bytes::Bytes;
use clap::Args;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
    },
};

use crate::{
    error::Error,
    local_reply::{LocalReply, clip},
    values::parsed,
};
use tower_vertex_emulator::cross_origin::{Host, Initiator, authorities, initiator};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// Headers of a response that a page may read, in addition to those that every page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "retry-after, www-authenticate, x-request-id, x-vertex-compat, x-vertex-error-type, \
     x-vertex-gateway-attempts",
);
/// Seconds for which a browser may cache the response to a preflight; Chromium's maximum.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const ANY: HeaderValue = HeaderValue::from_static("*");
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// The options about browsers.
#[derive(Clone, Debug, Args)]
pub struct BrowserOptions {
    /// Origin of web pages that may send requests, such as `https://app.example.com`; repeatable, or
    /// separated by commas. `*` allows all pages, and requires that clients have keys [default:
    /// none]
    #[arg(long, value_name = "ORIGIN", env = "VERTEX_GATEWAY_CORS_ORIGIN", value_delimiter = ',', value_parser = parsed(CorsOrigin::from_str))]
    pub cors_origin: Vec<CorsOrigin>,

    /// Host name under which clients without keys may send requests, in addition to the names of
    /// this machine, such as gateway.example.com or *.example.com; repeatable, or separated by
    /// commas. `*` allows all
    #[arg(long, value_name = "HOST", env = "VERTEX_GATEWAY_ALLOWED_HOST", value_delimiter = ',', value_parser = parsed(AllowedHost::from_str))]
    pub allowed_host: Vec<AllowedHost>,
}

/// The origin of web pages that may send requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsOrigin(HeaderValue);

/// A host under which clients may send requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Host(Host),
    /// All names that end with this suffix, which starts with a dot.
    Below(String),
}

/// The listener of a request, as far as it determines the names of this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// An address that only this machine can reach.
    Loopback,
    /// Any other address.
    Open,
    /// Envoy's listener, which may have names and guards of its own.
    #[cfg_attr(not(feature = "ext-authz"), allow(dead_code))]
    Foreign,
}

/// The rules for requests from browsers.
#[derive(Debug)]
pub(crate) struct Browsers {
    options: BrowserOptions,
    /// Whether clients must present certificates. Such a client has verified the name of this
    /// server.
    mutual: bool,
}

/// The CORS headers of a response.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    /// The origin that may read the response.
    origin: Option<HeaderValue>,
    /// Whether a request of another origin would have got other headers.
    varies: bool,
}

impl FromStr for CorsOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = "give the origin as browsers send it, such as https://app.example.com or \
             http://localhost:3000, without a path";
        let text = text.trim();
        if text == "*" {
            return Ok(Self(ANY));
        }
        if text == "null" {
            return Err(
                "any page can have the origin `null`: serve your pages over http or https, and \
                     give that origin"
                    .into(),
            );
        }
        let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let (scheme, host) = text.split_once("://").ok_or(advice)?;
        let is_scheme = !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !is_scheme || Host::parse(host).is_none() {
            return Err(advice.to_owned());
        }
        // Browsers omit the default port.
        let port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let text = if port.is_empty() { &text } else { text.strip_suffix(port).unwrap_or(&text) };
        HeaderValue::from_str(text).map(Self).map_err(|_| advice.to_owned())
    }
}

impl CorsOrigin {
    fn is_any(&self) -> bool {
        self.0 == ANY
    }
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self(Pattern::Any));
        }
        let advice = "give a host, such as gateway.example.com or *.example.com, without a scheme and \
             without a path";
        let pattern = match text.strip_prefix("*.") {
            None => Host::parse(text).map(Pattern::Host),
            Some(rest) => match Host::parse(rest) {
                Some(Host::Name(name)) => Some(Pattern::Below(format!(".{name}"))),
                _ => None,
            },
        };
        pattern.map(Self).ok_or_else(|| advice.to_owned())
    }
}

impl AllowedHost {
    fn allows(&self, host: &Host) -> bool {
        match (&self.0, host) {
            (Pattern::Any, _) => true,
            (Pattern::Host(allowed), host) => allowed == host,
            (Pattern::Below(end), Host::Name(name)) => name.ends_with(end.as_str()),
            (Pattern::Below(_), Host::Address(_)) => false,
        }
    }
}

impl Listener {
    pub(crate) fn at(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() { Self::Loopback } else { Self::Open }
    }
}

impl Browsers {
    /// `keys` says whether clients must have keys, `mutual` whether they must present certificates.
    pub(crate) fn new(options: &BrowserOptions, keys: bool, mutual: bool) -> Result<Self, Error> {
        if !keys && options.cors_origin.iter().any(CorsOrigin::is_any) {
            return Err(Error::new(
                "--cors-origin '*' lets every web page use your credentials: name the origins of your \
                 pages, or give clients keys with --client-key-file",
            ));
        }
        Ok(Self { options: options.clone(), mutual })
    }

    /// Checks a request for which the client needs no key.
    ///
    /// # Errors
    ///
    /// 403 if the request is for a foreign host, or a page of another origin has made it.
    pub(crate) fn admit(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        listener: Listener,
    ) -> Result<(), LocalReply> {
        if !self.mutual {
            self.check_host(uri, headers, listener)?;
        }
        match initiator(uri, headers) {
            Initiator::Own => Ok(()),
            Initiator::Page(Some(origin)) if self.allows(origin) => Ok(()),
            Initiator::Page(origin) => Err(cross_origin(origin)),
        }
    }

    /// # Errors
    ///
    /// 403 if the request is for a foreign host.
    pub(crate) fn check_host(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        listener: Listener,
    ) -> Result<(), LocalReply> {
        let listed = &self.options.allowed_host;
        let is_own = |host: &Host| match listener {
            Listener::Loopback => host.is_loopback(),
            Listener::Open => host.is_local(),
            Listener::Foreign => listed.is_empty() || host.is_loopback(),
        };
        let is_fine = |authority: &str| match Host::parse(authority) {
            Some(host) => is_own(&host) || listed.iter().any(|allowed| allowed.allows(&host)),
            None => listed.iter().any(|allowed| allowed.0 == Pattern::Any),
        };
        match authorities(uri, headers).find(|authority| !is_fine(authority)) {
            None => Ok(()),
            Some(authority) => Err(foreign_host(authority)),
        }
    }

    /// The CORS headers of the response to this request.
    pub(crate) fn cors(&self, headers: &HeaderMap) -> Cors {
        let origins = &self.options.cors_origin;
        let mut sent = headers.get_all(ORIGIN).iter();
        let origin = sent.next().filter(|origin| sent.next().is_none() && self.allows(origin));
        let any = origins.iter().any(CorsOrigin::is_any);
        Cors {
            // Fetch, "CORS protocol and HTTP caches": a cache may keep the response for a later
            // page.
            origin: if any { Some(ANY) } else { origin.cloned() },
            varies: !origins.is_empty() && !any,
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.options.cors_origin.iter().any(|allowed| allowed.is_any() || allowed.0 == *origin)
    }
}

/// The response to a request with the method OPTIONS, which is never forwarded: a browser sends it
/// without the key, to find out what a page may do.
///
/// # Errors
///
/// 403 if the page may not send requests.
pub(crate) fn answer_options(
    headers: &HeaderMap,
    cors: &Cors,
) -> Result<Response<Bytes>, LocalReply> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answered = response.headers_mut();
    if !headers.contains_key(ORIGIN) || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        answered.insert(ALLOW, ALLOWED);
        return Ok(response);
    }
    if cors.origin.is_none() {
        return Err(cross_origin(headers.get(ORIGIN)));
    }
    answered.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    answered.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    // All requested headers are allowed: SDKs have headers of their own, and headers that must not
    // be forwarded are removed later.
    for asked in headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        answered.append(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    if headers.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
        answered.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    Ok(response)
}

impl Cors {
    /// Adds the headers that let the page read the response, which may also be an error.
    pub(crate) fn put_on(&self, headers: &mut HeaderMap) {
        if self.varies {
            // Vertex AI's response may have a `Vary` of its own.
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = &self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// Whether a request is a preflight, or a query of the allowed methods.
pub(crate) fn is_options(method: &Method) -> bool {
    method == Method::OPTIONS
}

fn foreign_host(authority: &str) -> LocalReply {
    let message = format!(
        "the request is for the host {:?}, which is not a name of this gateway: use 127.0.0.1 or \
             localhost; if it is a name of this gateway, start the gateway with --allowed-host \
             and that name",
        clip(&String::from_utf8_lossy(authority.as_bytes()))
    );
    LocalReply::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
}

fn cross_origin(origin: Option<&HeaderValue>) -> LocalReply {
    let message = match origin {
        Some(origin) => format!(
            "a web page of {:?} sent this request, and this origin is not allowed: if the page is \
                 yours, start the gateway with --cors-origin and that origin",
            clip(&String::from_utf8_lossy(origin.as_bytes()))
        ),
        None => {
            "a web page of another origin sent this request without CORS: use `fetch` with CORS, \
                 from an origin that --cors-origin allows"
                .to_owned()
        }
    };
    LocalReply::new(StatusCode::FORBIDDEN, "origin_not_allowed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browsers(origins: &[&str], hosts: &[&str]) -> Browsers {
        let options = BrowserOptions {
            cors_origin: origins.iter().map(|text| text.parse().unwrap()).collect(),
            allowed_host: hosts.iter().map(|text| text.parse().unwrap()).collect(),
        };
        Browsers::new(&options, true, false).unwrap()
    }

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let all = all
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        all.collect()
    }

    #[test]
    fn an_origin_has_the_form_that_browsers_send() {
        for (text, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            (" https://App.Example.com/ ", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("http://app.example.com:443", "http://app.example.com:443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("app://obsidian.md", "app://obsidian.md"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("*", "*"),
        ] {
            assert_eq!(text.parse::<CorsOrigin>().unwrap().0, origin, "{text}");
        }
        for text in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https://a/b",
            "https://a b",
            "://a",
            "https://*.a",
        ] {
            assert!(text.parse::<CorsOrigin>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_is_allowed_by_its_listener_or_by_the_list() {
        let (none, list) =
            (browsers(&[], &[]), browsers(&[], &["gateway.example.com:8080", "*.b.example"]));
        let any = browsers(&[], &["*"]);
        use Listener::{Foreign, Loopback, Open};
        for (browsers, listener, host, may) in [
            (&none, Loopback, "127.0.0.1:8080", true),
            (&none, Loopback, "gateway:8080", false),
            (&none, Loopback, "10.0.0.7", false),
            (&none, Loopback, "evil.example", false),
            (&none, Loopback, "a b", false),
            (&none, Open, "gateway:8080", true),
            (&none, Open, "10.0.0.7", true),
            (&none, Loopback, "0.0.0.0:8080", false),
            (&none, Open, "evil.example", false),
            (&none, Foreign, "evil.example", true),
            (&list, Loopback, "Gateway.Example.com", true),
            (&list, Loopback, "gateway.example.com.evil.example", false),
            (&list, Open, "a.b.example", true),
            (&list, Open, "b.example", false),
            (&list, Open, "ab.example", false),
            (&list, Foreign, "evil.example", false),
            (&list, Foreign, "gateway.example.com", true),
            (&any, Loopback, "evil.example", true),
            (&any, Loopback, "a b", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_str(host).unwrap());
            let checked = browsers.check_host(&Uri::from_static("/v1"), &headers, listener);
            assert_eq!(checked.is_ok(), may, "{listener:?} {host}");
        }
        let both = Uri::from_static("http://127.0.0.1/v1");
        let checked = none.check_host(&both, &headers(&[("host", "evil.example")]), Loopback);
        assert_eq!(checked.unwrap_err().code(), "host_not_allowed");
        for text in ["", "https://a", "a/b", "*.", "a*", "*.127.0.0.1"] {
            assert!(text.parse::<AllowedHost>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_preflight_of_an_allowed_page_succeeds_and_others_are_rejected() {
        let named = browsers(&["https://app.example", "http://localhost:3000"], &[]);
        let asked = |origin: &'static str| {
            headers(&[
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization,content-type,x-stainless-os"),
                ("access-control-request-private-network", "true"),
            ])
        };
        let told = |browsers: &Browsers, asked: &HeaderMap| {
            let cors = browsers.cors(asked);
            let mut response = answer_options(asked, &cors)?;
            cors.put_on(response.headers_mut());
            assert_eq!(response.status(), 204);
            Ok::<_, LocalReply>(response.into_parts().0.headers)
        };
        let allowed = told(&named, &asked("http://localhost:3000")).unwrap();
        for (name, value) in [
            ("access-control-allow-origin", "http://localhost:3000"),
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            ("access-control-allow-headers", "authorization,content-type,x-stainless-os"),
            ("access-control-allow-private-network", "true"),
            ("access-control-max-age", "7200"),
            ("vary", "origin"),
        ] {
            assert_eq!(allowed[name], value);
        }
        for origin in
            ["https://evil.example", "null", "http://localhost:3001", "https://APP.example"]
        {
            let refusal = told(&named, &asked(origin)).unwrap_err();
            assert_eq!(refusal.code(), "origin_not_allowed", "{origin}");
        }
        assert!(told(&browsers(&[], &[]), &asked("https://app.example")).is_err());
        let any = told(&browsers(&["*"], &[]), &asked("https://evil.example")).unwrap();
        assert_eq!(any["access-control-allow-origin"], "*");
        assert!(!any.contains_key("vary"));
        let options = told(&named, &HeaderMap::new()).unwrap();
        assert_eq!(options["allow"], "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        let options =
            BrowserOptions { cors_origin: vec!["*".parse().unwrap()], allowed_host: vec![] };
        assert!(Browsers::new(&options, false, true).is_err());
    }
}
