//! `vertex-gateway models`: the models that Vertex AI lists in one or more locations, with the methods
//! that serve each.

use clap::{Args, builder::FalseyValueParser};
use serde::Serialize;

use super::endpoints::{Connected, EndpointsOptions, summary};
use crate::{
    config::{credentials::CredentialOptions, listing::publisher},
    error::Error,
    models::publishers::{Source, charging, fetch_one},
    output::{cell, columns, print_json, print_lines},
    values::{non_empty, parsed, shown_debug},
};
use tower_vertex::{
    discover::{ModelMethod, PublisherModel},
    route::Protocol,
};

/// The options of `vertex-gateway models`.
#[derive(Clone, Args)]
pub struct ModelsOptions {
    /// Location, or several separated by commas, which are requested at the same time [also env:
    /// GOOGLE_CLOUD_LOCATION or LOCATION]
    #[arg(long, value_name = "LOCATION[,LOCATION…]", env = "VERTEX_GATEWAY_LOCATION")]
    pub location: Option<String>,

    /// Publisher of the models, such as google or zai-org; repeatable, or separated by commas
    #[arg(
        long,
        value_name = "PUBLISHER",
        value_delimiter = ',',
        default_values = ["google", "anthropic"],
        value_parser = parsed(publisher)
    )]
    pub publisher: Vec<String>,

    /// Print models that no known method serves, too
    #[arg(long)]
    pub all: bool,

    /// Print one JSON array: [{"id", "publisher", "location", "methods", "protocols", "version",
    /// "launch_stage"}]
    #[arg(long)]
    pub json: bool,

    /// Google Cloud project, whose quota a person's credentials use [also env: GOOGLE_CLOUD_PROJECT,
    /// GCLOUD_PROJECT or PROJECT_ID] [default: the project of the credentials]
    #[arg(long, env = "VERTEX_GATEWAY_PROJECT")]
    pub project: Option<String>,

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

shown_debug!(ModelsOptions: location, project, upstream; all, json, credentials);

/// Lists the models. Exit code 1 means that there is no token or that a list could not be fetched, 2
/// that an option is wrong.
pub(crate) async fn list(options: &ModelsOptions) -> Result<(), Error> {
    let places = EndpointsOptions {
        project: options.project.clone(),
        location: options.location.clone(),
        display_name: None,
        json: false,
        api_version: None,
        upstream: options.upstream.clone(),
        allow_insecure_upstream: options.allow_insecure_upstream,
        credentials: options.credentials.clone(),
    };
    let connected = places.connect("models").await?;
    let Connected { places, info, .. } = &connected;
    let quota_project = non_empty(&options.credentials.quota_project);
    let mut answers = Vec::new();
    for (upstream, auth) in places {
        let auth = charging(auth, info.as_ref(), quota_project, upstream);
        for publisher in &options.publisher {
            let source = Source { upstream: upstream.clone(), publisher: publisher.clone() };
            let auth = auth.clone();
            answers.push(tokio::spawn(async move {
                let answer = fetch_one(&auth, &source).await;
                (source, answer)
            }));
        }
    }
    let (mut found, mut failed, all) = (Vec::new(), Vec::new(), answers.len());
    for answer in answers {
        let (source, answer) = answer.await.map_err(|error| Error::new(error.to_string()))?;
        let location = source.upstream.location().map(|location| location.as_str().to_owned());
        match answer {
            Ok(models) => found.extend(models.into_iter().filter_map(|model| {
                let is_shown = options.all || !model.methods().is_empty();
                is_shown.then(|| (location.clone().unwrap_or_default(), model))
            })),
            Err(reason) => failed.push(format!("{}: {reason}", source.publisher)),
        }
    }
    if options.json {
        let all: Vec<_> = found.iter().map(|(place, model)| Document::of(place, model)).collect();
        print_json(&all);
    } else if failed.len() < all {
        print_lines(&table(&found, places.len() > 1));
    }
    summary(&failed, all, "lists")
}

fn table(models: &[(String, PublisherModel)], with_location: bool) -> Vec<String> {
    let mut header = vec!["MODEL", "METHODS", "STAGE"];
    if with_location {
        header.insert(0, "LOCATION");
    }
    let rows = models.iter().map(|(location, model)| {
        let methods: Vec<_> = model.methods().iter().map(|method| method.as_str()).collect();
        let mut row =
            vec![cell(&model.qualified_id()), cell(&methods.join(", ")), cell(&model.launch_stage)];
        if with_location {
            row.insert(0, cell(location));
        }
        row
    });
    columns(&header, rows)
}

#[derive(Serialize)]
struct Document<'a> {
    /// The name in requests to `openapi`.
    id: String,
    publisher: &'a str,
    location: &'a str,
    methods: Vec<&'static str>,
    protocols: Vec<&'static str>,
    version: &'a str,
    launch_stage: &'a str,
}

impl<'a> Document<'a> {
    fn of(location: &'a str, model: &'a PublisherModel) -> Self {
        let mut protocols: Vec<_> = model.methods().iter().copied().map(protocol).collect();
        protocols.dedup();
        Self {
            id: model.qualified_id(),
            publisher: &model.publisher,
            location,
            methods: model.methods().iter().map(|method| method.as_str()).collect(),
            protocols,
            version: &model.version_id,
            launch_stage: &model.launch_stage,
        }
    }
}

fn protocol(method: ModelMethod) -> &'static str {
    match method.protocol() {
        Protocol::Anthropic => "anthropic",
        Protocol::Gemini => "google",
        _ => "openai",
    }
}
