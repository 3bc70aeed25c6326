//! Each setting of the upstream, from the place that takes precedence.

use http::Uri;
use tower_vertex::{
    redact,
    route::{ApiVersion, Endpoint, Upstream, UpstreamBuilder},
    token::{CredentialsInfo, is_loopback},
};
use tower_vertex_emulator::Emulator;

use super::{DEFAULT, TargetOptions};
use crate::{
    config::{
        credentials::not_with_the_emulator,
        gcloud,
        layered::{Given, Layered},
    },
    error::Error,
    values::{non_empty, option_source},
};

/// The settings of the upstream, each from the place that takes precedence.
pub(crate) struct UpstreamSettings {
    builder: UpstreamBuilder,
    project: Option<Given>,
    location: Option<Given>,
    endpoint: Option<Given>,
    dedicated_host: Option<Given>,
    upstream: Option<Given>,
    /// Whether the whole base URL is set, so that no project and no location are needed.
    pub(crate) whole_base: bool,
    /// Whether the host is set, and does not follow from the location.
    pub(crate) own_host: bool,
}

impl UpstreamSettings {
    pub(crate) fn project(&self) -> Option<&Given> {
        self.project.as_ref()
    }

    pub(crate) fn location(&self) -> Option<&Given> {
        self.location.as_ref()
    }

    pub(crate) fn upstream(&self) -> Result<Upstream, Error> {
        self.build(self.builder.clone())
    }

    /// Builds the upstream. An error names the source of the setting.
    fn build(&self, builder: UpstreamBuilder) -> Result<Upstream, Error> {
        builder.build().map_err(|error| {
            let given = match error.setting() {
                "project" => &self.project,
                "location" => &self.location,
                "endpoint id" => &self.endpoint,
                "endpoint dns" => &self.dedicated_host,
                "origin" | "endpoint url" => &self.upstream,
                _ => return error.into(),
            };
            match given {
                Some(given) => error.given_in(given.from.as_str()).into(),
                None => error.into(),
            }
        })
    }

    /// The upstream with a placeholder for a missing project. It shows all other errors before the
    /// search for credentials, which may name the project.
    pub(crate) fn with_some_project(&self) -> Result<Upstream, Error> {
        self.build(self.some_project())
    }

    /// The upstream with placeholders for a missing project and a missing location.
    pub(crate) fn with_some_names(&self) -> Result<Upstream, Error> {
        let builder = self.some_project();
        self.build(match self.location() {
            Some(_) => builder,
            None => builder.location("global"),
        })
    }

    fn some_project(&self) -> UpstreamBuilder {
        match self.project() {
            Some(_) => self.builder.clone(),
            None => self.builder.clone().project("unknown"),
        }
    }
}

impl TargetOptions {
    /// Takes each setting from its option, or else from its variables, the configuration file, and
    /// the emulator or the credentials.
    pub(crate) fn settings(
        &self,
        emulator: Option<&Emulator>,
        credentials: Option<&CredentialsInfo>,
    ) -> Result<UpstreamSettings, Error> {
        if emulator.is_some() {
            self.fit_the_emulator()?;
        }
        let file = &self.file;
        let option = |value, name| Some((non_empty(value)?, option_source::<Self>(name)));
        let of_emulator = |value| emulator.map(|_| (value, "the emulator"));
        let chosen = self.chosen_project(credentials);
        let of_credentials = || chosen.as_ref().map(|given| (&*given.value, &*given.from));
        let project = Layered {
            option: option(&self.project, "--project"),
            variables: &["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "PROJECT_ID"],
            file: non_empty(&file.project),
            fallback: of_emulator("emulator").or_else(of_credentials),
        };
        let endpoint = Layered {
            option: option(&self.endpoint, "--endpoint"),
            variables: &["ENDPOINT"],
            file: non_empty(&file.endpoint),
            fallback: None,
        };
        let (project, endpoint) = (project.first(), endpoint.first());
        // A deployed endpoint is in a region.
        let may_be_global = self.at_a_terminal
            && endpoint.as_ref().is_none_or(|endpoint| endpoint.value == "openapi");
        let by_default = || may_be_global.then_some(("global", DEFAULT));
        let location = Layered {
            option: option(&self.location, "--location"),
            variables: &["GOOGLE_CLOUD_LOCATION", "LOCATION"],
            file: non_empty(&file.location),
            fallback: of_emulator("us-central1").or_else(by_default),
        };
        let location = location.first();
        // The hosts of a configuration file do not apply to the emulator, which has its own.
        let own_host = |own: Option<&str>, option: &Option<String>, name| {
            let own = own.filter(|_| emulator.is_none())?;
            Some(Given::new(own, self.place(option, name)))
        };
        let dedicated_host =
            own_host(self.dedicated_host(), &self.dedicated_host, "--dedicated-host");
        let upstream = own_host(self.upstream(), &self.upstream, "--upstream");

        let mut builder = Upstream::builder();
        if let Some(project) = &project {
            builder = builder.project(&project.value);
        }
        if let Some(location) = &location {
            builder = builder.location(&location.value);
        }
        if let Some(domain) = credentials.and_then(CredentialsInfo::universe_domain) {
            builder = builder.universe_domain(domain);
        }
        let id = endpoint.as_ref().map(|id| &id.value).filter(|id| *id != "openapi");
        builder = match (&dedicated_host, id) {
            (None, None) => builder,
            (None, Some(id)) => builder.endpoint(Endpoint::Deployed { id: id.clone() }),
            (Some(dns), Some(id)) => {
                builder.endpoint(Endpoint::Dedicated { id: id.clone(), dns: dns.value.clone() })
            }
            (Some(dns), None) => {
                return Err(Error::new(format!(
                    "no endpoint set for {}: pass its id with --endpoint or set \
                     VERTEX_GATEWAY_ENDPOINT",
                    dns.from
                )));
            }
        };
        for name in given_or(&self.forward_header, &file.forward_header) {
            builder = builder.forward_header(name);
        }
        for name in given_or(&self.forward_query, &file.forward_query) {
            builder = builder.forward_query(name);
        }
        let methods: Vec<_> = given_or(&self.model_methods, &file.model_methods).collect();
        if !methods.is_empty() {
            builder = builder.model_methods(methods);
        }
        for location in given_or(&self.client_locations, &file.client_locations) {
            builder = builder.allow_location(location);
        }
        for project in given_or(&self.client_projects, &file.client_projects) {
            builder = builder.allow_project(project);
        }
        if let Some(version) = non_empty(&self.api_version).or(non_empty(&file.api_version)) {
            builder =
                builder.api_version(version.parse::<ApiVersion>().map_err(|error| {
                    error.given_in(self.place(&self.api_version, "--api-version"))
                })?);
        }
        let mut whole_base = false;
        if let Some(emulator) = emulator {
            builder = builder.origin(emulator.url());
        } else if let Some(Given { value: url, from }) = &upstream {
            let uri = self.checked_upstream(url, from)?;
            whole_base = !matches!(uri.path(), "" | "/");
            builder = match whole_base {
                true => builder.endpoint(Endpoint::BaseUrl { url: url.clone() }),
                false => builder.origin(url),
            };
        }
        let own_host = emulator.is_some() || dedicated_host.is_some() || upstream.is_some();
        Ok(UpstreamSettings {
            builder,
            project,
            location,
            endpoint,
            dedicated_host,
            upstream,
            whole_base,
            own_host,
        })
    }

    /// The project for requests with these credentials, if none is set: theirs, and at a terminal
    /// that of gcloud, or the one that they name for their quota.
    fn chosen_project(&self, credentials: Option<&CredentialsInfo>) -> Option<Given> {
        let credentials = credentials?;
        let of_quota = || {
            Some(Given::new(credentials.quota_project()?, "the quota project of the credentials"))
        };
        match credentials.project_id() {
            Some(project) => Some(Given::new(project, "the credentials")),
            None if self.at_a_terminal => gcloud::project().or_else(of_quota),
            None => None,
        }
    }

    fn fit_the_emulator(&self) -> Result<(), Error> {
        not_with_the_emulator(&[
            ("--upstream", non_empty(&self.upstream).is_some()),
            ("--dedicated-host", non_empty(&self.dedicated_host).is_some()),
        ])
    }

    fn checked_upstream(&self, url: &str, from: &str) -> Result<Uri, Error> {
        let shown = redact::value(url);
        let uri = url.parse::<Uri>().ok().filter(|uri| !url.contains('@') && uri.host().is_some());
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let Some(uri) = uri else {
            return Err(Error::new(format!(
                "invalid {from} {shown:?}: give a URL without a user name, such as \
                 https://vertex.example.com"
            )));
        };
        let clear_text = uri.scheme_str() == Some("http");
        if clear_text && !self.allow_insecure_upstream && !uri.host().is_some_and(is_loopback) {
            return Err(Error::new(format!(
                "{from} {shown:?} would send the access token in clear text: use https, or pass \
                     --allow-insecure-upstream if you trust the network in between"
            )));
        }
        Ok(uri)
    }
}

/// The names that the options list, or else those of the file. An empty variable lists none.
fn given_or<'a>(options: &'a [String], file: &'a [String]) -> impl Iterator<Item = &'a String> {
    let is_given = options.iter().any(|name| !name.trim().is_empty());
    let names = if is_given { options } else { file };
    names.iter().filter(move |name| !is_given || !name.trim().is_empty())
}
