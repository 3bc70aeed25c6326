//! `vertex-gateway endpoints`: the endpoints that are deployed in one or more locations, and their
//! hosts.
//!
//! The list is that of `gcloud ai endpoints list`, and adds the hosts of dedicated endpoints.

use bytes::Bytes;
use clap::{Args, builder::FalseyValueParser};
use http_body_util::Empty;
use serde::Serialize;
use tower::Layer as _;

use crate::{
    config::{
        credentials::{CredentialOptions, fetch_token, find},
        parse::ConfigFile,
        upstream::TargetOptions,
    },
    error::Error,
    models::discovery::describe_error,
    outbound::Outbound,
    output::{cell, columns, print_json, print_lines},
    values::{non_empty, shown_debug},
};
use tower_vertex::{
    auth::VertexAuthLayer,
    discover::{DeployedModel, DiscoverError, EndpointDescription, Endpoints},
    replay::ReplayBody,
    route::Upstream,
    token::{CredentialsInfo, StaticToken},
};
use tower_vertex_emulator::Emulator;

/// The options of `vertex-gateway endpoints`.
#[derive(Clone, Args)]
pub struct EndpointsOptions {
    /// Google Cloud project [also env: GOOGLE_CLOUD_PROJECT, GCLOUD_PROJECT or PROJECT_ID] [default:
    /// the project of the credentials]
    #[arg(long, env = "VERTEX_GATEWAY_PROJECT")]
    pub project: Option<String>,

    /// Location, or several separated by commas, which are requested at the same time [also env:
    /// GOOGLE_CLOUD_LOCATION or LOCATION]
    #[arg(long, value_name = "LOCATION[,LOCATION…]", env = "VERTEX_GATEWAY_LOCATION")]
    pub location: Option<String>,

    /// List only the endpoints with exactly this display name
    #[arg(long, value_name = "NAME")]
    pub display_name: Option<String>,

    /// Print one JSON array: [{"id", "display_name", "location", "project", "models": [{"id",
    /// "model", "display_name"}], "dedicated", "dedicated_host"}]
    #[arg(long)]
    pub json: bool,

    /// Version of the API: v1 or v1beta1 [default: v1]
    #[arg(long, value_name = "VERSION", env = "VERTEX_GATEWAY_API_VERSION")]
    pub api_version: Option<String>,

    /// URL to which requests are sent instead of to Google, for all locations: a private address or
    /// a proxy, without a path
    #[arg(long, value_name = "URL", env = "VERTEX_GATEWAY_UPSTREAM")]
    pub upstream: Option<String>,

    /// Allow an http --upstream that is not on this machine, although the access token is then sent
    /// in clear text
    #[arg(long, env = "VERTEX_GATEWAY_ALLOW_INSECURE_UPSTREAM", value_parser = FalseyValueParser::new())]
    pub allow_insecure_upstream: bool,

    /// Credentials for the requests.
    #[command(flatten)]
    pub credentials: CredentialOptions,
}

shown_debug!(EndpointsOptions: project, location, display_name, api_version, upstream; credentials);

/// Lists the endpoints. Exit code 1 means that there is no token or that a location did not
/// respond, 2 that an option is wrong.
pub(crate) async fn list(options: &EndpointsOptions) -> Result<(), Error> {
    let Connected { places, client, info: _, emulator: _emulator } =
        options.connect("endpoints").await?;
    let mut answers = Vec::new();
    for (upstream, auth) in places {
        let endpoints = Endpoints::from_upstream(auth.layer(client.clone()), &upstream)?;
        let name = options.display_name.clone();
        let answer = tokio::spawn(async move {
            match name.filter(|name| !name.is_empty()) {
                Some(name) => endpoints.list_named(&name).await,
                None => endpoints.list().await,
            }
        });
        answers.push((upstream, answer));
    }
    let (mut found, mut failed, all) = (Vec::new(), Vec::new(), answers.len());
    for (upstream, answer) in answers {
        let answer = answer.await.map_err(|error| Error::new(error.to_string()))?;
        match answer {
            Ok(endpoints) => found.extend(endpoints),
            Err(DiscoverError::Config(error)) => return Err(error.into()),
            Err(error) => failed.push(describe_error(&upstream, error)),
        }
    }
    if options.json {
        print_json(&found.iter().map(Document::of).collect::<Vec<_>>());
    } else if failed.len() < all {
        print_lines(&table(&found, all > 1));
    }
    summary(&failed, all, "locations")
}

/// The error of a command of which some requests failed.
pub(super) fn summary(failed: &[String], all: usize, what: &str) -> Result<(), Error> {
    match failed {
        [] => Ok(()),
        [one] => Err(Error::negative(one.as_str())),
        several => Err(Error::negative(format!(
            "{} of {all} {what} failed:\n{}",
            several.len(),
            several.join("\n")
        ))),
    }
}

/// The hosts that a command sends requests to, each with the layer that adds the token.
pub(super) struct Connected {
    pub(super) places: Vec<(Upstream, VertexAuthLayer)>,
    pub(super) client: Outbound<ReplayBody<Empty<Bytes>>>,
    pub(super) info: Option<CredentialsInfo>,
    /// An emulator in this process, which serves until it is dropped.
    pub(super) emulator: Option<Emulator>,
}

impl EndpointsOptions {
    /// Finds the credentials and gets a token. A wrong option is found before any request is sent;
    /// `what` is the word for what the command lists.
    pub(super) async fn connect(&self, what: &str) -> Result<Connected, Error> {
        let owned_emulator = self.credentials.start_emulator().await?;
        let emulator = owned_emulator.as_ref();
        let targets: Vec<TargetOptions> = self.targets();
        let no_auth =
            VertexAuthLayer::new(StaticToken::new("none").map_err(tower_vertex::Error::from)?);
        for target in &targets {
            let settings = target.settings(emulator, None)?;
            if settings.whole_base {
                return Err(Error::new(format!(
                    "--upstream with a path is the base of one endpoint: to list {what}, set only \
                     the scheme and the host"
                )));
            }
            let upstream = settings.with_some_project()?;
            let _ = target.trusting(no_auth.clone(), &upstream, emulator, None)?;
        }
        let search = self.credentials.search(&ConfigFile::default())?;
        let identity = match find(search, emulator).await {
            Err(error @ tower_vertex::Error::Credentials(_)) => {
                return Err(Error::negative(error.to_string()));
            }
            found => found?,
        };
        let info = identity.info.as_ref();
        let mut upstreams = Vec::new();
        for target in &targets {
            upstreams.push(target.settings(emulator, info)?.upstream()?);
        }
        let fetched = fetch_token(identity.source.clone()).await;
        let cache = fetched.map_err(|error| Error::negative(error.to_string()))?.cache;
        let mut places = Vec::new();
        for (target, upstream) in targets.iter().zip(upstreams) {
            let auth = VertexAuthLayer::with_cache(cache.clone());
            let auth = target.trusting(auth, &upstream, emulator, info)?;
            places.push((upstream, auth));
        }
        let client = Outbound::for_a_while(&self.credentials.network.network()?);
        Ok(Connected { places, client, info: identity.info, emulator: owned_emulator })
    }

    /// The options for each location. Options of a single endpoint are not set, and their variables
    /// have no effect.
    fn targets(&self) -> Vec<TargetOptions> {
        let target = |location: Option<&str>| TargetOptions {
            project: self.project.clone(),
            location: location.map(str::to_owned),
            endpoint: Some("openapi".to_owned()),
            dedicated_host: None,
            api_version: self.api_version.clone(),
            default_model: None,
            upstream: self.upstream.clone(),
            allow_insecure_upstream: self.allow_insecure_upstream,
            discover_endpoints: false,
            forward_header: Vec::new(),
            forward_query: Vec::new(),
            model_methods: Vec::new(),
            client_locations: Vec::new(),
            client_projects: Vec::new(),
            credentials: self.credentials.clone(),
            config: None,
            file: ConfigFile::default(),
            at_a_terminal: false,
        };
        let mut locations: Vec<&str> = Vec::new();
        for location in non_empty(&self.location).unwrap_or_default().split(',').map(str::trim) {
            if !location.is_empty() && !locations.contains(&location) {
                locations.push(location);
            }
        }
        match locations.as_slice() {
            [] => vec![target(None)],
            locations => locations.iter().map(|location| target(Some(location))).collect(),
        }
    }
}

fn table(endpoints: &[EndpointDescription], with_location: bool) -> Vec<String> {
    let mut header = vec!["ENDPOINT_ID", "DISPLAY_NAME", "MODEL", "DEDICATED HOST"];
    if with_location {
        header.insert(0, "LOCATION");
    }
    let rows = endpoints.iter().map(|endpoint| {
        let models: Vec<&str> = endpoint.models.iter().map(DeployedModel::model_id).collect();
        let host = endpoint.dedicated_dns.as_deref().unwrap_or_default();
        let mut row =
            vec![cell(&endpoint.id), cell(&endpoint.display_name), cell(&models.join(","))];
        row.push(cell(host));
        if with_location {
            row.insert(0, cell(endpoint.location.as_str()));
        }
        row
    });
    columns(&header, rows)
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    display_name: &'a str,
    location: &'a str,
    project: &'a str,
    models: Vec<Model<'a>>,
    dedicated: bool,
    /// `null` for an endpoint on the shared host.
    dedicated_host: Option<&'a str>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    model: &'a str,
    display_name: &'a str,
}

impl<'a> Document<'a> {
    fn of(endpoint: &'a EndpointDescription) -> Self {
        let model = |model: &'a DeployedModel| Model {
            id: &model.id,
            model: &model.model,
            display_name: &model.display_name,
        };
        Self {
            id: &endpoint.id,
            display_name: &endpoint.display_name,
            location: endpoint.location.as_str(),
            project: &endpoint.project,
            models: endpoint.models.iter().map(model).collect(),
            dedicated: endpoint.is_dedicated,
            dedicated_host: endpoint.dedicated_dns.as_deref(),
        }
    }
}
