use std::fmt;

use http::HeaderName;

use super::{
    ApiVersion, Endpoint, Location, Upstream,
    headers::is_forbidden,
    host::is_host_name,
    methods::Methods,
    model_methods::ModelMethods,
    model_path::is_publisher,
    origin::{Origin, base_url, dedicated},
    path::check_path,
    place::{Alternative, Place},
    query::may_be_forwarded,
    upstream::{Checked, Forward},
};
use crate::{error::ConfigError, redact};

/// The id of the endpoint at which Vertex AI serves the models that Google runs.
pub(crate) const OPENAPI: &str = "openapi";

/// The settings of an [`Upstream`]. Nothing is checked before [`build`](Self::build).
#[derive(Clone)]
#[must_use]
pub struct UpstreamBuilder {
    pub(super) project: Option<String>,
    location: Option<String>,
    pub(super) endpoint: Endpoint,
    pub(super) api_version: ApiVersion,
    universe_domain: String,
    pub(super) origin: Option<String>,
    path_prefix: String,
    pub(super) pass_through: bool,
    forward_headers: Vec<String>,
    forward_query: Vec<String>,
    model_methods: Option<Vec<String>>,
    allowed_locations: Vec<String>,
    allowed_projects: Vec<String>,
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
            model_methods: None,
            allowed_locations: Vec::new(),
            allowed_projects: Vec::new(),
        }
    }
}

impl UpstreamBuilder {
    /// The settings in the environment. See [`Upstream::from_env`].
    pub fn from_env() -> Self {
        // Each part that is not Unicode becomes a replacement character, which `build` refuses.
        Self::from_lookup(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// [`from_env`](Self::from_env) with any source of variables.
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

    /// Whether a project is set.
    #[cfg(feature = "client")]
    pub(crate) fn has_project(&self) -> bool {
        self.project.is_some()
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

    /// The endpoint at the location. Default: [`Endpoint::OpenApi`].
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// The version of the API. Default: [`ApiVersion::V1`].
    pub fn api_version(mut self, version: ApiVersion) -> Self {
        self.api_version = version;
        self
    }

    /// The domain of Google's services. Default: `googleapis.com`. Only sovereign and air-gapped
    /// clouds have another one.
    pub fn universe_domain(mut self, domain: impl Into<String>) -> Self {
        self.universe_domain = domain.into();
        self
    }

    /// Another scheme, host and port for the same paths of any endpoint: Private Service Connect
    /// for Google APIs (`https://aiplatform-NAME.p.googleapis.com`), mutual TLS
    /// (`https://us-central1-aiplatform.mtls.googleapis.com`), or an emulator.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// The prefix that OpenAI clients put before the path of a method; it is removed. Default:
    /// `/v1`. A path without the prefix is accepted too. An empty text means no prefix.
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.path_prefix = prefix.into();
        self
    }

    /// Whether a path that the endpoint is not known to have is appended to the base too, if it
    /// cannot leave the base. Default: no, because Vertex AI would return a page of HTML. It does not
    /// apply to [`Endpoint::Publisher`], and no path with a colon gets around the
    /// [list of methods](Self::model_methods).
    pub fn pass_through(mut self, pass_through: bool) -> Self {
        self.pass_through = pass_through;
        self
    }

    /// Forwards a request header to Vertex AI besides [those that are always
    /// forwarded](super#which-headers-travel), such as one that your container reads. Each call
    /// adds a header. Refused are `Host`, the headers of the connection, `x-goog-api-key` and the
    /// headers that override the method of a request.
    pub fn forward_header(mut self, name: impl Into<String>) -> Self {
        self.forward_headers.push(name.into());
        self
    }

    /// Forwards a query parameter besides `alt`; see [`rewrite`](super::rewrite). Each call adds a
    /// parameter. Refused are credentials, and parameters that change the method or the type of a
    /// request.
    pub fn forward_query(mut self, name: impl Into<String>) -> Self {
        self.forward_query.push(name.into());
        self
    }

    /// The methods of models, endpoints and publishers that are let through: the names after the
    /// colon, and `responses` for the Responses of a publisher. Default:
    /// [`DEFAULT_MODEL_METHODS`](super::DEFAULT_MODEL_METHODS), which generate, count and embed. A
    /// request for any other method is
    /// [`RouteError::ModelMethodNotAllowed`](crate::error::RouteError::ModelMethodNotAllowed), 403. An
    /// empty list lets no such request through. OpenAI's paths are not affected.
    pub fn model_methods<I>(mut self, methods: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.model_methods = Some(methods.into_iter().map(Into::into).collect());
        self
    }

    /// Allows a client to choose this location in a path that has one,
    /// `/v1/projects/P/locations/L/publishers/…`. Host and path change together. Each call adds a
    /// location. Default: none; the location in a path is replaced by the upstream's. An endpoint
    /// with a host of its own is at one location, so this does not apply to it. With a base URL it is
    /// an error.
    pub fn allow_location(mut self, location: impl Into<String>) -> Self {
        self.allowed_locations.push(location.into());
        self
    }

    /// Allows a client to choose this project in a path that has one, like
    /// [`allow_location`](Self::allow_location). The tokens must be valid for the project.
    pub fn allow_project(mut self, project: impl Into<String>) -> Self {
        self.allowed_projects.push(project.into());
        self
    }

    /// The same settings for a project and a location that clients cannot change.
    pub(super) fn without_alternatives(mut self) -> Self {
        (self.allowed_locations, self.allowed_projects) = (Vec::new(), Vec::new());
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is missing or cannot be used, with its value. The text does not
    /// contain a value that could be a secret.
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

        let model_methods = ModelMethods::build(self.model_methods.as_deref())?;
        let (mut origin, base_path, methods) = if let Endpoint::BaseUrl { url } = &self.endpoint {
            let (origin, path) = base_url(url)?;
            (origin, path, Methods::All)
        } else if let Endpoint::Publisher { name } = &self.endpoint {
            let (project, location) = required(project, location.as_ref())?;
            if !is_publisher(name) {
                let advice = "give its name alone, such as google or anthropic";
                return Err(ConfigError::invalid("publisher", name, advice));
            }
            let version = self.api_version;
            let path =
                format!("/{version}/projects/{project}/locations/{location}/publishers/{name}");
            let origin = Origin::https(location.shared_host(&self.universe_domain));
            (origin, path, Methods::Publisher)
        } else {
            let (project, location) = required(project, location.as_ref())?;
            let shared = || Origin::https(location.shared_host(&self.universe_domain));
            let (id, origin) = match &self.endpoint {
                Endpoint::OpenApi | Endpoint::BaseUrl { .. } | Endpoint::Publisher { .. } => {
                    (OPENAPI, shared())
                }
                Endpoint::Deployed { id } => (id.as_str(), shared()),
                Endpoint::Dedicated { id, dns } => (id.as_str(), dedicated(dns)?),
                Endpoint::Private { id, address } => {
                    (id.as_str(), Origin::parse("endpoint address", address)?)
                }
            };
            if !is_endpoint_id(id) {
                let advice = "set only the id, such as 1234567890: letters, digits, hyphens and \
                              underscores";
                return Err(ConfigError::invalid("endpoint id", id, advice));
            }
            let version = self.api_version;
            let path = format!("/{version}/projects/{project}/locations/{location}/endpoints/{id}");
            // The id alone decides which methods the endpoint has, at any host.
            (origin, path, if id == OPENAPI { Methods::OpenApi } else { Methods::Deployed })
        };
        let forward = self.forward()?;
        if let Some(other) = &self.origin {
            origin = Origin::parse("origin", other)?;
        }
        let has_own_host =
            matches!(self.endpoint, Endpoint::Dedicated { .. } | Endpoint::Private { .. });
        let alternatives = match (project, &location) {
            (Some(project), Some(location)) if !has_own_host => {
                self.alternatives(project, location)?
            }
            _ => Vec::new(),
        };
        let Origin { scheme, authority } = origin;
        Upstream::assemble(Checked {
            place: Place::find(&base_path, !has_own_host),
            alternatives,
            model_methods,
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

    /// The upstreams in the other projects and locations that clients may name.
    fn alternatives(
        &self,
        project: &str,
        location: &Location,
    ) -> Result<Vec<Alternative>, ConfigError> {
        let (projects, locations) = (&self.allowed_projects, &self.allowed_locations);
        if let Some(first) = projects.iter().chain(locations).next()
            && matches!(self.endpoint, Endpoint::BaseUrl { .. })
        {
            let advice = "leave them out: the upstream is a whole URL";
            return Err(ConfigError::invalid("projects and locations of clients", first, advice));
        }
        Alternative::all(self, project, location, projects, locations)
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
    /// Shows no value that could be a secret, because no value has been checked yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |texts: &[String]| {
            texts.iter().map(|text| redact::value(text).into_owned()).collect::<Vec<_>>()
        };
        f.debug_struct("UpstreamBuilder")
            .field("project", &self.project.as_deref().map(redact::value))
            .field("location", &self.location.as_deref().map(redact::value))
            .field("endpoint", &self.endpoint)
            .field("api_version", &self.api_version)
            .field("universe_domain", &redact::value(&self.universe_domain))
            .field("origin", &self.origin.as_deref().map(redact::value))
            .field("path_prefix", &redact::value(&self.path_prefix))
            .field("pass_through", &self.pass_through)
            .field("forward_headers", &all(&self.forward_headers))
            .field("forward_query", &all(&self.forward_query))
            .field("model_methods", &self.model_methods.as_deref().map(all))
            .field("allowed_locations", &all(&self.allowed_locations))
            .field("allowed_projects", &all(&self.allowed_projects))
            .finish()
    }
}

fn required<'a>(
    project: Option<&'a str>,
    location: Option<&'a Location>,
) -> Result<(&'a str, &'a Location), ConfigError> {
    let advice = "pass a project or set GOOGLE_CLOUD_PROJECT";
    let project = project.ok_or(ConfigError::missing("project", advice))?;
    let advice = "pass a location or set GOOGLE_CLOUD_LOCATION";
    let location = location.ok_or(ConfigError::missing("location", advice))?;
    Ok((project, location))
}

/// The project of a domain, `example.com:project`, is valid too.
fn is_project(project: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    project.bytes().next().is_some_and(first)
        && project.bytes().all(|b| first(b) || matches!(b, b'.' | b':'))
}

fn is_endpoint_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests;
