//! The upstream of requests, and the hosts to which the token is sent.

mod settings;

use std::path::{Path, PathBuf};

use clap::{Args, builder::FalseyValueParser};

pub(crate) use self::settings::UpstreamSettings;
use super::{
    credentials::CredentialOptions,
    discovered::Discovered,
    layered::Given,
    parse::{ConfigFile, FileOptions},
};
use crate::{
    error::Error,
    values::{non_empty, option_source, shown_debug},
};
use tower_vertex::{
    auth::VertexAuthLayer,
    model::ModelTable,
    redact,
    route::{Endpoint, Upstream},
    token::{CredentialsInfo, StaticToken},
};
use tower_vertex_emulator::Emulator;

/// The source of the location that nothing sets, at a terminal.
pub(crate) const DEFAULT: &str = "the default";

/// The options of every command that sends requests to Vertex AI.
#[derive(Clone, Args)]
pub struct TargetOptions {
    /// Google Cloud project [also env: GOOGLE_CLOUD_PROJECT, GCLOUD_PROJECT or PROJECT_ID] [default:
    /// the project of the credentials]
    #[arg(long, env = "VERTEX_GATEWAY_PROJECT")]
    pub project: Option<String>,

    /// Location of Vertex AI: a region, `global`, `us` or `eu` [also env: GOOGLE_CLOUD_LOCATION or
    /// LOCATION]
    #[arg(long, env = "VERTEX_GATEWAY_LOCATION")]
    pub location: Option<String>,

    /// `openapi` for Gemini and models as a service, or the id of a deployed endpoint [also env:
    /// ENDPOINT] [default: openapi]
    #[arg(long, value_name = "ID", env = "VERTEX_GATEWAY_ENDPOINT")]
    pub endpoint: Option<String>,

    /// DNS name of a dedicated endpoint, as `gcloud ai endpoints describe` shows it
    #[arg(long, value_name = "DNS", env = "VERTEX_GATEWAY_DEDICATED_HOST")]
    pub dedicated_host: Option<String>,

    /// Version of the API: v1 or v1beta1 [default: v1]
    #[arg(long, value_name = "VERSION", env = "VERTEX_GATEWAY_API_VERSION")]
    pub api_version: Option<String>,

    /// Model for chats that name none, or one of OpenAI's or Anthropic's that no model of the
    /// configuration file has, such as gpt-4o [default: none, so that Vertex AI refuses these]
    #[arg(long, value_name = "PUBLISHER/MODEL", env = "VERTEX_GATEWAY_DEFAULT_MODEL")]
    pub default_model: Option<String>,

    /// URL to which requests and the access token are sent instead of to Google: a private address
    /// or a proxy. A URL with a path is the whole base, to which `/chat/completions` is appended;
    /// to one without a path, the path of Vertex AI is appended
    #[arg(long, value_name = "URL", env = "VERTEX_GATEWAY_UPSTREAM")]
    pub upstream: Option<String>,

    /// Allow an http --upstream that is not on this machine, although the access token is then sent
    /// in clear text
    #[arg(long, env = "VERTEX_GATEWAY_ALLOW_INSECURE_UPSTREAM", value_parser = FalseyValueParser::new())]
    pub allow_insecure_upstream: bool,

    /// Serve each endpoint that is deployed in the regions in use under its display name, and list
    /// these endpoints in /v1/models
    #[arg(long, env = "VERTEX_GATEWAY_DISCOVER_ENDPOINTS", value_parser = FalseyValueParser::new())]
    pub discover_endpoints: bool,

    /// Header of clients that is forwarded to Vertex AI, in addition to those that always are;
    /// repeatable
    #[arg(
        long,
        value_name = "NAME",
        env = "VERTEX_GATEWAY_FORWARD_HEADERS",
        value_delimiter = ','
    )]
    pub forward_header: Vec<String>,

    /// Query parameter of clients that is forwarded to Vertex AI, in addition to `alt`; repeatable
    #[arg(long, value_name = "NAME", env = "VERTEX_GATEWAY_FORWARD_QUERY", value_delimiter = ',')]
    pub forward_query: Vec<String>,

    /// Methods of models that clients may call, as in `/models/MODEL:METHOD`, and `responses` for the
    /// paths of publishers; repeatable [default: those that generate, count and embed]
    #[arg(
        long,
        value_name = "METHOD",
        env = "VERTEX_GATEWAY_MODEL_METHODS",
        value_delimiter = ','
    )]
    pub model_methods: Vec<String>,

    /// Location, besides --location, that clients may choose by a path with a project and a location;
    /// repeatable [default: the gateway replaces the location of such a path]
    #[arg(
        long,
        value_name = "LOCATION",
        env = "VERTEX_GATEWAY_CLIENT_LOCATIONS",
        value_delimiter = ','
    )]
    pub client_locations: Vec<String>,

    /// Project, besides --project, that clients may choose by a path with a project and a location;
    /// repeatable [default: the gateway replaces the project of such a path]
    #[arg(
        long,
        value_name = "PROJECT",
        env = "VERTEX_GATEWAY_CLIENT_PROJECTS",
        value_delimiter = ','
    )]
    pub client_projects: Vec<String>,

    /// Credentials for the requests.
    #[command(flatten)]
    pub credentials: CredentialOptions,

    /// Configuration file: defaults of these options, and a table of models with names of your
    /// choice; `gateway.example.toml` has every key
    #[arg(long, value_name = "FILE", env = "VERTEX_GATEWAY_CONFIG")]
    pub config: Option<PathBuf>,

    /// The content of that file.
    #[arg(skip)]
    pub(crate) file: ConfigFile,

    /// Whether a person reads which project and which location were chosen. Then they may come from
    /// gcloud and from a default.
    #[arg(skip)]
    pub(crate) at_a_terminal: bool,
}

shown_debug!(
    TargetOptions: project, location, endpoint, dedicated_host, api_version, default_model, upstream,
    config;
    credentials
);

impl TargetOptions {
    /// Reads the configuration file, if one is set. It may set these options.
    pub(crate) fn load(&mut self, known: &FileOptions) -> Result<(), Error> {
        if let Some(path) = self.config() {
            self.file = ConfigFile::load::<Self>(path, known)?;
        }
        Ok(())
    }

    /// Reads the configuration file again.
    pub(crate) fn reload(&mut self) -> Result<(), Error> {
        let known = self.file.known_options().clone();
        self.load(&known)
    }

    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    fn dedicated_host(&self) -> Option<&str> {
        non_empty(&self.dedicated_host).or(non_empty(&self.file.dedicated_host))
    }

    fn upstream(&self) -> Option<&str> {
        non_empty(&self.upstream).or(non_empty(&self.file.upstream))
    }

    /// The default model, and the place that sets it.
    fn default_model(&self) -> Option<Given> {
        let set = non_empty(&self.default_model).or(non_empty(&self.file.default_model))?;
        Some(Given::new(set, self.place(&self.default_model, "--default-model")))
    }

    pub(crate) fn quota_project(&self) -> Option<&str> {
        non_empty(&self.credentials.quota_project).or(non_empty(&self.file.quota_project))
    }

    /// Refuses hosts and models that are wrong with any credentials.
    pub(crate) fn validate(
        &self,
        upstream: &Upstream,
        emulator: Option<&Emulator>,
    ) -> Result<(), Error> {
        let dummy = StaticToken::new("none").map_err(tower_vertex::Error::from)?;
        let auth = self.trusting(VertexAuthLayer::new(dummy), upstream, emulator, None)?;
        self.models(upstream, &auth, &Discovered::default()).map(drop)
    }

    /// Whether endpoints have to be looked up.
    pub(crate) fn has_names(&self) -> bool {
        self.discovers() || self.file.named().next().is_some()
    }

    pub(crate) fn discovers(&self) -> bool {
        self.discover_endpoints || self.file.discover_endpoints
    }

    /// The models that clients may use, at the endpoints that were found. A model at a host to
    /// which the token would not be sent is an error.
    pub(crate) fn models(
        &self,
        upstream: &Upstream,
        auth: &VertexAuthLayer,
        discovered: &Discovered,
    ) -> Result<ModelTable, Error> {
        let table = self.file.table(upstream.clone(), discovered, self.default_model())?;
        for entry in table.entries() {
            if let Some(upstream) = entry.upstream().filter(|u| auth.check_host(u.uri()).is_err()) {
                return Err(Error::new(format!(
                    "model {:?}: {}",
                    redact::value(entry.pattern()),
                    untrusted(upstream)
                )));
            }
        }
        Ok(table)
    }

    /// The source of a setting that is set by an option or in the configuration file.
    fn place(&self, value: &Option<String>, option: &str) -> String {
        match non_empty(value) {
            Some(_) => option_source::<Self>(option),
            None => {
                let key = option.trim_start_matches("--").replace('-', "_");
                format!("`{key}` of the configuration file")
            }
        }
    }

    /// Makes the layer trust the hosts that the options name. It is an error if the layer does not
    /// trust the upstream then.
    pub(crate) fn trusting(
        &self,
        mut layer: VertexAuthLayer,
        upstream: &Upstream,
        emulator: Option<&Emulator>,
        credentials: Option<&CredentialsInfo>,
    ) -> Result<VertexAuthLayer, Error> {
        // The host of another cloud follows from its domain, and that of a dedicated endpoint does
        // not.
        let other_cloud = credentials.and_then(CredentialsInfo::universe_domain).is_some()
            && !matches!(upstream.endpoint(), Endpoint::Dedicated { .. });
        if emulator.is_some() || self.upstream().is_some() || other_cloud {
            layer = layer.trust_origin(upstream.origin())?;
        }
        if layer.check_host(upstream.uri()).is_err() {
            return Err(Error::new(untrusted(upstream)));
        }
        if let Some(project) = self.quota_project() {
            layer = layer.quota_project(project).map_err(|error| {
                error.given_in(self.place(&self.credentials.quota_project, "--quota-project"))
            })?;
        }
        Ok(layer)
    }
}

fn untrusted(upstream: &Upstream) -> String {
    format!(
        "{} is not one of Vertex AI's hosts, so the access token is not sent to it: give \
         --dedicated-host as `gcloud ai endpoints describe` shows it, or name a host of your own \
         with --upstream",
        redact::value(upstream.origin())
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::Command;

    fn parse(arguments: &[&str]) -> TargetOptions {
        Command::parse_from([&["vertex-gateway"], arguments].concat()).options.serving.target
    }

    #[test]
    fn a_dedicated_host_that_would_not_be_sent_a_token_is_refused_at_the_start() {
        let common = ["--project", "p", "--location", "us-central1", "--endpoint", "1"];
        let refused = |host: &str| {
            let options = parse(&[&common[..], &["--dedicated-host", host]].concat());
            let upstream = options.settings(None, None).unwrap().upstream().unwrap();
            let layer = VertexAuthLayer::new(StaticToken::new("t").unwrap());
            let layer = options.trusting(layer, &upstream, None, None);
            layer.err().map(|failure| failure.to_string())
        };
        assert_eq!(refused("1.us-central1-2.prediction.vertexai.goog"), None);
        let sentence = refused("vertex.example.com").unwrap();
        assert!(sentence.starts_with("https://vertex.example.com is not one of"), "{sentence}");
    }

    #[tokio::test]
    async fn options_that_do_not_fit_the_emulator_are_refused() {
        let emulator = Emulator::start().await.unwrap();
        let options = parse(&["--emulator", "--upstream", "http://127.0.0.1:9"]);
        let failure = options.settings(Some(&emulator), None).err().unwrap().to_string();
        assert_eq!(failure, "--upstream and --emulator exclude each other: remove one of them");
        let settings = parse(&["--emulator"]).settings(Some(&emulator), None).unwrap();
        assert!(settings.upstream().is_ok());
        let options = parse(&["--emulator", "--token-lifetime", "12h"]).credentials;
        let failure = options.start_emulator().await.unwrap_err().to_string();
        assert!(
            failure.starts_with("--token-lifetime and --emulator exclude each other"),
            "{failure}"
        );
    }
}
