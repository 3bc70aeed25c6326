use std::fmt;

use http::{HeaderName, uri::Scheme};

use super::{
    ApiVersion, Endpoint, Location, Upstream,
    headers::is_forbidden,
    host::{self, is_host_name},
    rewrite::{Methods, check_path, may_be_forwarded},
    upstream::{Checked, Forward},
};
use crate::{error::ConfigError, shown};

/// The name under which Vertex AI serves the models that Google runs.
const OPENAPI: &str = "openapi";

/// The settings of an [`Upstream`]. Nothing is checked before [`build`](Self::build).
#[derive(Clone)]
#[must_use]
pub struct UpstreamBuilder {
    pub(super) project: Option<String>,
    location: Option<String>,
    pub(super) endpoint: Endpoint,
    pub(super) api_version: ApiVersion,
    universe_domain: String,
    origin: Option<String>,
    path_prefix: String,
    pub(super) pass_through: bool,
    forward_headers: Vec<String>,
    forward_query: Vec<String>,
}

impl Default for UpstreamBuilder {
    fn default() -> Self {
        Self {
            project: None,
            location: None,
            endpoint: Endpoint::default(),
            api_version: ApiVersion::default(),
            universe_domain: "googleapis.com".to_owned(),
            origin: None,
            path_prefix: "/v1".to_owned(),
            pass_through: false,
            forward_headers: Vec::new(),
            forward_query: Vec::new(),
        }
    }
}

impl UpstreamBuilder {
    /// The settings that the environment names. See [`Upstream::from_env`].
    pub fn from_env() -> Self {
        // What is not Unicode becomes a replacement character, which `build` refuses.
        Self::from_lookup(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// [`from_env`](Self::from_env) over any source of variables.
    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            names.iter().filter_map(|name| lookup(name)).find(|value| !value.is_empty())
        };
        let endpoint = match first(&["ENDPOINT"]) {
            Some(id) if id != OPENAPI => Endpoint::Deployed { id },
            _ => Endpoint::OpenApi,
        };
        Self {
            project: first(&["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "PROJECT_ID"]),
            location: first(&["GOOGLE_CLOUD_LOCATION", "LOCATION"]),
            endpoint,
            ..Self::default()
        }
    }

    /// The project's id or number.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// A region, `us`, `eu` or `global`. See [`Location`].
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// What answers there. Default: [`Endpoint::OpenApi`].
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Default: [`ApiVersion::V1`].
    pub fn api_version(mut self, version: ApiVersion) -> Self {
        self.api_version = version;
        self
    }

    /// The domain of Google's services. Default: `googleapis.com`; another one only in a sovereign
    /// or air-gapped cloud.
    pub fn universe_domain(mut self, domain: impl Into<String>) -> Self {
        self.universe_domain = domain.into();
        self
    }

    /// Another scheme, host and port for the same paths, whatever the endpoint: Private Service
    /// Connect for Google APIs (`https://aiplatform-NAME.p.googleapis.com`), mutual TLS
    /// (`https://us-central1-aiplatform.mtls.googleapis.com`), or an emulator.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// What OpenAI clients put before the path of a method; it is taken off. Default: `/v1`. A path
    /// without it is taken too. Empty for none.
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.path_prefix = prefix.into();
        self
    }

    /// Whether a path that the endpoint is not known to have is appended to the base all the same,
    /// if it cannot leave it. Default: no, because Vertex AI would answer with a page of HTML.
    pub fn pass_through(mut self, pass_through: bool) -> Self {
        self.pass_through = pass_through;
        self
    }

    /// A header of requests that travels to Vertex AI besides [those that always
    /// do](super#which-headers-travel), such as one that a container of yours looks at. May be called
    /// for several. Not for `Host`, those of the connection, `x-goog-api-key` and those that make
    /// another method of a request's.
    pub fn forward_header(mut self, name: impl Into<String>) -> Self {
        self.forward_headers.push(name.into());
        self
    }

    /// A parameter of the query that travels besides `alt`; see [`rewrite`](super::rewrite). May be
    /// called for several. Not for credentials, nor for those that make another method or another type
    /// of a request's.
    pub fn forward_query(mut self, name: impl Into<String>) -> Self {
        self.forward_query.push(name.into());
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is missing or cannot be used, with its value. A value that
    /// could be a secret is left out of the text.
    pub fn build(self) -> Result<Upstream, ConfigError> {
        let project = self.project.as_deref().filter(|project| !project.is_empty());
        if let Some(project) = project
            && !is_project(project)
        {
            return Err(ConfigError::invalid(
                "project",
                project,
                "give a project id or a project number",
            ));
        }
        let location = self.location.as_deref().filter(|location| !location.is_empty());
        let location = location.map(Location::try_from).transpose()?;
        if !is_host_name(&self.universe_domain) {
            let advice = "give a domain in lower case, such as googleapis.com";
            return Err(ConfigError::invalid("universe domain", &self.universe_domain, advice));
        }
        let prefix = self.path_prefix.trim_end_matches('/').to_owned();
        if !prefix.is_empty() && check_path(&prefix).is_err() {
            let advice = "give a path such as /v1, or an empty one";
            return Err(ConfigError::invalid("path prefix", &self.path_prefix, advice));
        }

        let (mut origin, base_path, methods) = if let Endpoint::BaseUrl { url } = &self.endpoint {
            let (origin, path) = base_url(url)?;
            (origin, path, Methods::All)
        } else {
            let advice = "pass a project or set GOOGLE_CLOUD_PROJECT";
            let project = project.ok_or(ConfigError::missing("project", advice))?;
            let advice = "pass a location or set GOOGLE_CLOUD_LOCATION";
            let location = location.as_ref().ok_or(ConfigError::missing("location", advice))?;
            let shared = || Origin::https(location.shared_host(&self.universe_domain));
            let (id, origin) = match &self.endpoint {
                Endpoint::OpenApi | Endpoint::BaseUrl { .. } => (OPENAPI, shared()),
                Endpoint::Deployed { id } => (id.as_str(), shared()),
                Endpoint::Dedicated { id, dns } => (id.as_str(), dedicated(dns)?),
                Endpoint::Private { id, address } => {
                    (id.as_str(), Origin::parse("endpoint address", address)?)
                }
            };
            if !is_endpoint_id(id) {
                let advice = "give the id alone, such as 1234567890: letters, digits, hyphens and \
                              underscores";
                return Err(ConfigError::invalid("endpoint id", id, advice));
            }
            let version = self.api_version;
            let path = format!("/{version}/projects/{project}/locations/{location}/endpoints/{id}");
            // The name makes the endpoint, at whatever host.
            (origin, path, if id == OPENAPI { Methods::OpenApi } else { Methods::Deployed })
        };
        let forward = self.forward()?;
        if let Some(other) = &self.origin {
            origin = Origin::parse("origin", other)?;
        }
        let Origin { scheme, authority } = origin;
        Upstream::assemble(Checked {
            location,
            scheme,
            authority,
            base_path,
            prefix,
            methods,
            forward,
            settings: self,
        })
    }

    fn forward(&self) -> Result<Forward, ConfigError> {
        let header = |name: &String| {
            let header = HeaderName::from_bytes(name.trim().as_bytes()).ok();
            header.filter(|header| !is_forbidden(header.as_str())).ok_or_else(|| {
                let advice = "give the name of a header that describes neither the connection, the \
                              host nor the method, and is no API key";
                ConfigError::invalid("header to forward", name, advice)
            })
        };
        let parameter = |name: &String| {
            let name = name.trim();
            if may_be_forwarded(name) {
                return Ok(name.to_owned());
            }
            let advice = "give the name of a query parameter: letters, digits and -._~, and neither a \
                          credential nor another method or type";
            Err(ConfigError::invalid("query parameter to forward", name, advice))
        };
        Ok(Forward {
            headers: self.forward_headers.iter().map(header).collect::<Result<_, _>>()?,
            query: self.forward_query.iter().map(parameter).collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Debug for UpstreamBuilder {
    /// Shows no value that could be a secret: nothing has been checked yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |texts: &[String]| {
            texts.iter().map(|text| shown::value(text).into_owned()).collect::<Vec<_>>()
        };
        f.debug_struct("UpstreamBuilder")
            .field("project", &self.project.as_deref().map(shown::value))
            .field("location", &self.location.as_deref().map(shown::value))
            .field("endpoint", &self.endpoint)
            .field("api_version", &self.api_version)
            .field("universe_domain", &shown::value(&self.universe_domain))
            .field("origin", &self.origin.as_deref().map(shown::value))
            .field("path_prefix", &shown::value(&self.path_prefix))
            .field("pass_through", &self.pass_through)
            .field("forward_headers", &all(&self.forward_headers))
            .field("forward_query", &all(&self.forward_query))
            .finish()
    }
}

/// A scheme and an authority that have been checked.
struct Origin {
    scheme: Scheme,
    authority: String,
}

impl Origin {
    fn https(host: String) -> Self {
        Self { scheme: Scheme::HTTPS, authority: host }
    }

    fn new(parsed: host::Parsed<'_>) -> Self {
        let scheme = if parsed.https { Scheme::HTTPS } else { Scheme::HTTP };
        Self { scheme, authority: parsed.authority }
    }

    /// An origin and nothing else; a slash at its end is forgiven.
    fn parse(setting: &'static str, value: &str) -> Result<Self, ConfigError> {
        let parsed = host::parse(setting, value)?;
        if !parsed.rest.trim_end_matches('/').is_empty() {
            return Err(ConfigError::invalid(
                setting,
                value,
                "leave the path out: it follows from the endpoint",
            ));
        }
        Ok(Self::new(parsed))
    }
}

fn dedicated(dns: &str) -> Result<Origin, ConfigError> {
    let refuse = |advice| Err(ConfigError::invalid("endpoint dns", dns, advice));
    let parsed = host::parse("endpoint dns", dns)?;
    if !parsed.https {
        return refuse("a dedicated endpoint is reached by https only; leave the scheme out");
    }
    if parsed.has_port || !parsed.rest.trim_end_matches('/').is_empty() {
        return refuse("give the host alone, as dedicatedEndpointDns shows it");
    }
    Ok(Origin::new(parsed))
}

/// The origin of a base URL, and its path without a slash at the end.
fn base_url(url: &str) -> Result<(Origin, String), ConfigError> {
    if url.trim().is_empty() {
        return Err(ConfigError::missing(
            "endpoint url",
            "pass a URL such as http://127.0.0.1:9000/v1",
        ));
    }
    if !url.contains("://") {
        return Err(ConfigError::invalid("endpoint url", url, "start it with https:// or http://"));
    }
    let parsed = host::parse("endpoint url", url)?;
    let path = parsed.rest.trim_end_matches('/').to_owned();
    if !path.is_empty() && check_path(&path).is_err() {
        let advice = "give a path without empty segments, dot segments and encoded slashes";
        return Err(ConfigError::invalid("endpoint url", url, advice));
    }
    Ok((Origin::new(parsed), path))
}

/// `example.com:project` is one too: a project of a domain.
fn is_project(project: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    project.bytes().next().is_some_and(first)
        && project.bytes().all(|b| first(b) || matches!(b, b'.' | b':'))
}

fn is_endpoint_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(endpoint: Endpoint) -> UpstreamBuilder {
        Upstream::builder().project("p").location("us-central1").endpoint(endpoint)
    }

    #[test]
    fn a_setting_that_cannot_be_part_of_a_url_is_refused_and_named() {
        let id = || "123".to_owned();
        let mut cases: Vec<(UpstreamBuilder, &str, String)> = Vec::new();
        for bad in [
            "evil.com/",
            "us-central1.evil.com",
            "US-CENTRAL1",
            &"a".repeat(31),
            "..",
            "us/../eu",
            "a@b",
        ] {
            let builder = Upstream::builder().project("p").location(bad);
            cases.push((builder, "location", shown::value(bad).to_string()));
        }
        for bad in [
            ".", "..", "a/b", "p?x", "p#x", "p%2f", "p\\", "p p", ".p", ":p", "p\n", "\u{fc}",
            "../x",
        ] {
            let builder = Upstream::builder().project(bad).location("eu");
            cases.push((builder, "project", bad.to_owned()));
        }
        for bad in [
            "",
            "a/b",
            "..",
            "a.b",
            "1?x",
            "1#x",
            "1:predict",
            "1 ",
            "%31",
            "projects/p/locations/l/endpoints/1",
        ] {
            for endpoint in [
                Endpoint::Deployed { id: bad.into() },
                Endpoint::Dedicated { id: bad.into(), dns: "a.b".into() },
                Endpoint::Private { id: bad.into(), address: "a.b".into() },
            ] {
                cases.push((with(endpoint), "endpoint id", bad.to_owned()));
            }
        }
        for bad in [
            "",
            " ",
            "a.b/c",
            "https://a.b/c",
            "http://a.b",
            "a.b:443",
            "a..b",
            "a b",
            "a.b?x",
            "a.b#x",
            "\u{fc}.b",
        ] {
            let endpoint = Endpoint::Dedicated { id: id(), dns: bad.into() };
            cases.push((with(endpoint), "endpoint dns", bad.to_owned()));
        }
        for bad in
            ["", "ftp://a", "http://", "10.0.0.7/x", "10.0.0.7:0", "10.0.0.7:99999", "[::1", "a b"]
        {
            let endpoint = Endpoint::Private { id: id(), address: bad.into() };
            cases.push((with(endpoint), "endpoint address", bad.to_owned()));
            if !bad.is_empty() {
                let builder = with(Endpoint::OpenApi).origin(bad);
                cases.push((builder, "origin", bad.to_owned()));
            }
        }
        for bad in [
            "127.0.0.1:9000",
            "ftp://h/x",
            "file:///etc",
            "http://",
            "http:///x",
            "http://h/a/../b",
            "http://h/%2e%2e",
            "http://h/a//b",
            "http://h/a%2fb",
            "http://h/a\\b",
            "http://h\\x",
            "http://h/\u{fc}",
            "http://h:x/",
            "http://h/a b",
        ] {
            let endpoint = Endpoint::BaseUrl { url: bad.into() };
            cases.push((Upstream::builder().endpoint(endpoint), "endpoint url", bad.to_owned()));
        }
        for bad in ["", "evil.com/", "Googleapis.com", "a..b", "a.b:443", "a@b"] {
            let builder = with(Endpoint::OpenApi).universe_domain(bad);
            cases.push((builder, "universe domain", shown::value(bad).to_string()));
        }
        for bad in ["v1", "/v1/..", "//v1", "/v1?x", "/a%2fb", "*"] {
            let builder = with(Endpoint::OpenApi).path_prefix(bad);
            cases.push((builder, "path prefix", bad.to_owned()));
        }
        for bad in
            ["", "a b", "Host", "connection", "TE", "x-goog-api-key", "X-HTTP-Method-Override"]
        {
            let builder = with(Endpoint::OpenApi).forward_header(bad);
            cases.push((builder, "header to forward", bad.to_owned()));
        }
        for bad in
            ["", "a b", "a=b", "a&b", "%24a", "key", "$Key", "access_token", "$ct", "$httpMethod"]
        {
            let builder = with(Endpoint::OpenApi).forward_query(bad);
            cases.push((builder, "query parameter to forward", bad.to_owned()));
        }
        for (builder, setting, named) in cases {
            let error = builder.clone().build().expect_err(&format!("{builder:?}"));
            assert_eq!(error.setting(), setting, "{error}");
            assert!(!error.is_missing(), "{error}");
            assert!(error.to_string().contains(&format!("{named:?}")), "{error} has no {named:?}");
        }
    }

    #[test]
    fn a_secret_in_the_place_of_a_setting_is_never_printed() {
        for secret in
            ["{\"private_key\": \"SECRET\"}", "sk-SECRET", "https://u:SECRET@host/?SECRET"]
        {
            let text = || secret.to_owned();
            let builders = [
                Upstream::builder().project(secret).location("eu"),
                Upstream::builder().project("p").location(secret),
                with(Endpoint::Deployed { id: text() }),
                with(Endpoint::Dedicated { id: text(), dns: text() }),
                with(Endpoint::Private { id: text(), address: text() }),
                with(Endpoint::BaseUrl { url: text() }),
                with(Endpoint::OpenApi).universe_domain(secret),
                with(Endpoint::OpenApi).origin(secret),
                with(Endpoint::OpenApi).path_prefix(secret),
                with(Endpoint::OpenApi).forward_header(format!("{secret}\n")),
                with(Endpoint::OpenApi).forward_query(format!("{secret}&")),
            ];
            for builder in builders {
                let debug = format!("{builder:?}");
                // Some of them can be names, too.
                let error = builder.build().err();
                let text = format!("{debug} {error:?}");
                assert!(!text.contains("SECRET") && !text.contains("private_key"), "{text}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        for (builder, advice) in [
            (
                Upstream::builder().location("eu"),
                "no project set: pass a project or set GOOGLE_CLOUD_PROJECT",
            ),
            (
                Upstream::builder().location("eu").project(""),
                "no project set: pass a project or set GOOGLE_CLOUD_PROJECT",
            ),
            (
                Upstream::builder().project("p"),
                "no location set: pass a location or set GOOGLE_CLOUD_LOCATION",
            ),
            (
                Upstream::builder().project("p").location(""),
                "no location set: pass a location or set GOOGLE_CLOUD_LOCATION",
            ),
            (
                Upstream::builder().endpoint(Endpoint::BaseUrl { url: " ".into() }),
                "no endpoint url set: pass a URL such as http://127.0.0.1:9000/v1",
            ),
        ] {
            let error = builder.build().unwrap_err();
            assert!(error.is_missing());
            assert_eq!(error.to_string(), advice);
        }
    }

    #[test]
    fn no_error_and_no_debug_text_holds_a_password_or_a_key() {
        for secret in [
            "https://user:hunter2@host/",
            "http://user:hunter2@host",
            "user:hunter2@host",
            "https://hunter2@host",
            "https://host/?key=hunter2",
            "https://host/x#hunter2",
            "https://user:a/hunter2@host",
        ] {
            let id = || "1".to_owned();
            for builder in [
                with(Endpoint::BaseUrl { url: secret.into() }),
                with(Endpoint::Private { id: id(), address: secret.into() }),
                with(Endpoint::Dedicated { id: id(), dns: secret.into() }),
                with(Endpoint::Deployed { id: secret.into() }),
                with(Endpoint::OpenApi).origin(secret),
                with(Endpoint::OpenApi).project(secret),
                with(Endpoint::OpenApi).location(secret),
                with(Endpoint::OpenApi).universe_domain(secret),
                with(Endpoint::OpenApi).path_prefix(secret),
            ] {
                assert!(!format!("{builder:?}").contains("hunter2"), "{builder:?}");
                let error = builder.build().unwrap_err();
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            }
        }
    }

    #[test]
    fn values_of_64_kilobytes_are_refused_without_a_panic() {
        let long = "a".repeat(70_000);
        for builder in [
            with(Endpoint::OpenApi).project(&long),
            with(Endpoint::OpenApi).location(&long),
            with(Endpoint::Deployed { id: long.clone() }),
            with(Endpoint::BaseUrl { url: format!("http://h/{long}") }),
            with(Endpoint::BaseUrl { url: format!("http://{long}/") }),
            // The base fits, a method behind it does not.
            with(Endpoint::BaseUrl { url: format!("http://h/{}", &long[..65_525]) }),
        ] {
            assert!(builder.build().unwrap_err().to_string().len() < 500);
        }
    }

    #[test]
    fn the_environment_is_read_by_the_first_name_that_is_not_empty() {
        let read = |vars: &[(&str, &str)]| {
            let vars: Vec<(String, String)> =
                vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            UpstreamBuilder::from_lookup(move |name| {
                vars.iter().find(|var| var.0 == name).map(|var| var.1.clone())
            })
            .build()
        };
        let all = [
            ("GOOGLE_CLOUD_PROJECT", "first"),
            ("GCLOUD_PROJECT", "second"),
            ("PROJECT_ID", "third"),
            ("GOOGLE_CLOUD_LOCATION", "eu"),
            ("LOCATION", "us"),
            ("ENDPOINT", "openapi"),
        ];
        let upstream = read(&all).unwrap();
        assert_eq!(upstream.project(), Some("first"));
        assert_eq!(upstream.location().unwrap().as_str(), "eu");
        assert_eq!(upstream.endpoint(), &Endpoint::OpenApi);
        assert_eq!(upstream.api_version(), ApiVersion::V1);

        let upstream =
            read(&all[1..3].iter().chain(&all[4..5]).copied().collect::<Vec<_>>()).unwrap();
        assert_eq!(upstream.project(), Some("second"));
        assert_eq!(upstream.location().unwrap().as_str(), "us");

        let upstream = read(&[
            ("GOOGLE_CLOUD_PROJECT", ""),
            ("PROJECT_ID", "third"),
            ("GOOGLE_CLOUD_LOCATION", ""),
            ("LOCATION", "us"),
            ("ENDPOINT", "123"),
        ])
        .unwrap();
        assert_eq!(upstream.project(), Some("third"));
        assert_eq!(upstream.endpoint(), &Endpoint::Deployed { id: "123".into() });

        let upstream = read(&[("PROJECT_ID", "p"), ("LOCATION", "us"), ("ENDPOINT", "")]).unwrap();
        assert_eq!(upstream.endpoint(), &Endpoint::OpenApi);

        assert_eq!(read(&[]).unwrap_err().setting(), "project");
        assert_eq!(read(&all[..1]).unwrap_err().setting(), "location");
        let error = read(&[("PROJECT_ID", "p\u{fffd}"), ("LOCATION", "us")]).unwrap_err();
        assert_eq!(error.setting(), "project");
        let error =
            read(&[("PROJECT_ID", "p"), ("LOCATION", "us"), ("ENDPOINT", "a/b")]).unwrap_err();
        assert!(error.to_string().starts_with("invalid endpoint id \"a/b\""), "{error}");
    }
}
