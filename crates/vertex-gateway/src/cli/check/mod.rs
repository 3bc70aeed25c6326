//! `vertex-gateway check`: every step from the credentials to a response of the model, one line
//! each, with the remedy for each failure.
//!
//! A step that fails stops only the steps that depend on it, so one run reports all faults.
//!
//! | file | what it does |
//! |---|---|
//! | `advice` | errors of credentials and tokens, split into fault and remedy |
//! | `connect` | the host's name and certificate |
//! | `model` | a request on the path of every request, and the server's clock |
//! | `models` | a request to each model on the lists |
//! | `explain` | the meaning of Vertex AI's response |
//! | `report` | lines, or JSON |

mod advice;
mod connect;
mod explain;
mod model;
mod models;
mod report;

use std::{sync::Arc, time::Duration};

use clap::Args;
use http::uri::Scheme;
use serde_json::{Value, json};

use self::{
    connect::Egress,
    explain::Facts,
    report::{Check, Output, Report},
};
use crate::{
    config::{
        credentials::{FetchedToken, Identity, fetch_token, find},
        layered::Given,
        listing::ListingOptions,
        upstream::{TargetOptions, UpstreamSettings},
    },
    error::{Error, NO_LOCATION, NO_PROJECT},
    models::{discovery, publishers::charging},
    values::{non_empty, shown_debug},
};
use tower_vertex::{
    auth::VertexAuthLayer,
    model::{ModelEntry, ModelTable},
    redact,
    route::{Endpoint, Upstream},
};
use tower_vertex_emulator::Emulator;

/// The options of `vertex-gateway check`.
#[derive(Clone, Args)]
pub struct CheckOptions {
    /// The upstream and the credentials of the request.
    #[command(flatten)]
    pub target: TargetOptions,

    /// Model to which a request for one token is sent [default: google/gemini-2.5-flash; none for a
    /// deployed endpoint, which ignores it]
    #[arg(long, value_name = "PUBLISHER/MODEL")]
    pub model: Option<String>,

    /// Also request one token of each model that clients see on a list, or its protocol's smallest
    /// response
    #[arg(long)]
    pub models: bool,

    /// The publishers whose models are listed.
    #[command(flatten)]
    pub listing: ListingOptions,

    /// Print one JSON document: {"ok", "checks": [{"name", "ok", "detail", "remedy"}]}
    #[arg(long)]
    pub json: bool,
}

shown_debug!(CheckOptions: model; target, models, listing, json);

const DEFAULT_MODEL: &str = "google/gemini-2.5-flash";

/// Runs the checks. Exit code 1 says that one failed, 2 that an option is wrong.
pub(crate) async fn check(options: CheckOptions) -> Result<(), Error> {
    let emulator = options.target.credentials.start_emulator().await?;
    let output = if options.json { Output::Json } else { Output::Lines };
    let mut report = Report::new(output);
    run(&options, emulator.as_ref(), &mut report).await?;
    report.end()
}

/// Runs the checks of a gateway that serves with these options, and returns their report, for the status
/// page. `emulator` is that of the gateway.
pub(crate) async fn check_serving(
    target: TargetOptions,
    listing: ListingOptions,
    emulator: Option<Arc<Emulator>>,
) -> Value {
    let options = CheckOptions { target, model: None, models: false, listing, json: true };
    let mut report = Report::new(Output::None);
    match run(&options, emulator.as_deref(), &mut report).await {
        Ok(()) => report.document(),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

async fn run(
    options: &CheckOptions,
    emulator: Option<&Emulator>,
    report: &mut Report,
) -> Result<(), Error> {
    let target = &options.target;
    // A wrong option is an error and not a finding.
    let guess = target.settings(emulator, None)?.with_some_names()?;
    target.validate(&guess, emulator)?;
    let search = target.credentials.search(&target.file)?;
    let egress = Egress::of(&target.credentials.network)?;

    let identity = match find(search, emulator).await {
        Ok(identity) => Some(identity),
        Err(tower_vertex::Error::Credentials(error)) => {
            report.add(advice::no_credentials(&error));
            None
        }
        Err(error) => return Err(error.into()),
    };
    let info = identity.as_ref().and_then(|identity| identity.info.as_ref());
    let settings = target.settings(emulator, info)?;
    let guess = settings.with_some_names()?;
    if let Some(identity) = &identity {
        report.add(credentials(identity));
    }
    let fetched = check_token(report, identity.as_ref()).await;
    let upstream = check_names(report, &settings);
    let reachable = if settings.location().is_none() && !settings.own_host {
        for name in ["DNS", "TLS"] {
            report.add(Check::not_tried(name, "the host follows from the location"));
        }
        false
    } else {
        check_host(report, &guess, settings.own_host, &egress).await
    };

    let (base, fetched) = match (upstream, fetched, reachable) {
        (_, None, _) => return model_not_tried(report, "there is no token"),
        (None, ..) => return model_not_tried(report, "there is no upstream"),
        (.., false) => return model_not_tried(report, "the host cannot be reached"),
        (Some(upstream), Some(fetched), true) => (upstream, fetched),
    };
    let auth = VertexAuthLayer::with_cache(fetched.cache.clone());
    let auth = target.trusting(auth, &base, emulator, info)?;
    let Some(table) = table_of(report, target, &base, &auth).await? else {
        return model_not_tried(report, "there is no table of models");
    };
    let asked = match (non_empty(&options.model), base.endpoint()) {
        (Some(model), _) => model,
        (None, Endpoint::OpenApi | Endpoint::BaseUrl { .. }) => {
            table.default_model().unwrap_or(DEFAULT_MODEL)
        }
        // The endpoint has a model of its own, and ignores the name.
        (None, _) => "",
    };
    let served = match table.default_for(asked).filter(|_| has_publishers(&base)) {
        Some(default) => {
            let detail = format!(
                "{}: served by the default model {}",
                redact::value(asked),
                redact::value(default)
            );
            report.add(Check::passed("default", detail));
            default
        }
        None => asked,
    };
    let entry = table.find(served);
    let upstream = entry.and_then(ModelEntry::upstream).unwrap_or(&base);
    let sent = table.upstream_model(served, upstream);
    let own_host = settings.own_host || matches!(upstream.endpoint(), Endpoint::Dedicated { .. });
    if *upstream != base {
        let url = format!("{upstream}/chat/completions");
        let detail = format!("{}: {}", redact::value(served), redact::value(&url));
        report.add(Check::passed("entry", detail));
        if upstream.origin() != base.origin()
            && !check_host(report, upstream, own_host, &egress).await
        {
            return model_not_tried(report, "its host cannot be reached");
        }
    }
    let quota_project = target.quota_project();
    let show = |text: &str| redact::value(text).to_string();
    let (project, model) = (upstream.project().map(show), show(&sent));
    let endpoint = match upstream.endpoint() {
        Endpoint::Deployed { id }
        | Endpoint::Dedicated { id, .. }
        | Endpoint::Private { id, .. } => Some(show(id)),
        _ => None,
    };
    let quota_project = quota_project.or(info.and_then(|info| info.quota_project())).map(show);
    let facts = Facts {
        project: project.as_deref(),
        location: upstream.location().map(|location| location.as_str()),
        endpoint: endpoint.as_deref(),
        asked,
        model: &model,
        origin: upstream.origin(),
        own_host,
        principal: info.and_then(|info| info.impersonates().or(info.principal())),
        quota_project: quota_project.as_deref(),
        token: fetched.in_clear(),
    };
    let (answer, clock) = model::request_model(asked, &table, &auth, &facts, &egress.network).await;
    report.add(answer);
    if let Some(clock) = clock {
        report.add(clock);
    }
    if options.models {
        let charging = charging(&auth, info, target.quota_project(), &base);
        let auth = (&auth, &charging);
        models::request_all(report, &options.listing, &table, auth, &egress.network, &facts).await;
    }
    Ok(())
}

/// Whether the models at `upstream` have publishers, so that the default model may serve requests there.
fn has_publishers(upstream: &Upstream) -> bool {
    upstream.uri().path().ends_with("/endpoints/openapi")
}

fn model_not_tried(report: &mut Report, because: &str) -> Result<(), Error> {
    report.add(Check::not_tried("model", because));
    Ok(())
}

fn credentials(identity: &Identity) -> Check {
    let detail = match &identity.info {
        Some(info) => format!("{identity}; tokens by {}", info.backend()),
        None => identity.to_string(),
    };
    let warnings = identity.info.as_ref().map(|info| info.warnings()).unwrap_or_default();
    Check::passed("credentials", detail).advised(warnings)
}

async fn check_token(report: &mut Report, identity: Option<&Identity>) -> Option<FetchedToken> {
    let Some(identity) = identity else {
        report.add(Check::not_tried("token", "there are no credentials"));
        return None;
    };
    match fetch_token(identity.source.clone()).await {
        Ok(fetched) => {
            report.add(Check::passed(
                "token",
                match fetched.life {
                    Some(life) => format!("fetched; valid for {}", format_duration(life)),
                    None => "fetched; its lifetime is unknown".to_owned(),
                },
            ));
            Some(fetched)
        }
        Err(error) => {
            report.add(advice::no_token(&error, identity));
            None
        }
    }
}

/// Checks the project, the location, and the URL that they make.
fn check_names(report: &mut Report, settings: &UpstreamSettings) -> Option<Upstream> {
    for (name, taken, missing) in [
        ("project", settings.project(), NO_PROJECT),
        ("location", settings.location(), NO_LOCATION),
    ] {
        report.add(match (taken, missing.split_once(": ")) {
            (Some(Given { value, from }), _) => {
                Check::passed(name, format!("{}, from {from}", redact::value(value)))
            }
            (None, _) if settings.whole_base => {
                Check::passed(name, "not needed: --upstream has a path")
            }
            (None, Some((detail, remedy))) => Check::failed(name, detail, remedy),
            (None, None) => Check::failed(name, "not set", missing),
        });
    }
    match settings.upstream() {
        Ok(upstream) => {
            let url = format!("{upstream}/chat/completions");
            report.add(Check::passed("upstream", redact::value(&url).to_string()));
            Some(upstream)
        }
        Err(_missing) => {
            report.add(Check::not_tried("upstream", "project or location is missing"));
            None
        }
    }
}

/// The table of models, after the lookup of the endpoints that are set by name. Without such
/// endpoints, the report has no line about them.
async fn table_of(
    report: &mut Report,
    target: &TargetOptions,
    base: &Upstream,
    auth: &VertexAuthLayer,
) -> Result<Option<ModelTable>, Error> {
    let discovered = match discovery::look_up(target, base, auth).await {
        Ok(discovered) => discovered,
        Err(failure) if failure.exit_code() == 1 => {
            let remedy = "`vertex-gateway endpoints` lists the endpoints by ID and by name";
            report.add(Check::failed("endpoints", failure.to_string(), remedy));
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let table = target.models(base, auth, &discovered)?;
    if target.has_names() {
        report.add(Check::passed("endpoints", discovered.to_string()));
    }
    Ok(Some(table))
}

/// Checks whether the host can be reached, which does not depend on the project. With a proxy, the
/// report has a line about it.
async fn check_host(
    report: &mut Report,
    upstream: &Upstream,
    own_host: bool,
    egress: &Egress,
) -> bool {
    let for_mtls = egress.network.mtls_uri(upstream.uri());
    let uri = for_mtls.as_ref().unwrap_or(upstream.uri());
    let host = uri.host().unwrap_or_default();
    let https = uri.scheme() == Some(&Scheme::HTTPS);
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let proxy = egress.network.proxy_for(uri);
    let dns = match &proxy {
        None => connect::dns(host, port, own_host).await,
        Some(proxy) => Check::passed("DNS", format!("not used: {proxy} connects to {host}")),
    };
    let found = dns.is_passed();
    report.add(dns);
    if !found {
        report.add(match https {
            true => Check::not_tried("TLS", "the host has no address"),
            false => Check::passed("TLS", "not used (http)"),
        });
        return false;
    }
    if proxy.is_none() && !https {
        report.add(Check::passed("TLS", "not used (http)"));
        return true;
    }
    let connected = connect::connect(uri, egress, proxy.as_deref(), own_host).await;
    let is_open = connected.iter().all(Check::is_passed);
    connected.into_iter().for_each(|check| report.add(check));
    is_open
}

fn format_duration(life: Duration) -> String {
    match life.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
