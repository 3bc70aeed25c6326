//! `check --models`: a request for one token of each model that a client can see on a list.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use http::header;
use serde_json::Value;

use super::{
    explain::{Facts, ResponseSummary, explain},
    model::{TIMEOUT, explain_no_response, send},
    report::{Check, Report},
};
use crate::{
    config::listing::ListingOptions,
    models::{
        list::{Probe, probes},
        publishers::{Listed, fetch_all, sources},
    },
};
use tower_vertex::{auth::VertexAuthLayer, connect::Network, model::ModelTable, redact};

const LISTS: &str = "models";
const MODEL: &str = "model";
/// The number of requests at a time. More could exhaust the quota of a minute, and each is short.
const AT_A_TIME: usize = 4;

/// Fetches the lists, and sends the requests. `charging` is the layer for requests without a project.
pub(super) async fn request_all(
    report: &mut Report,
    options: &ListingOptions,
    table: &ModelTable,
    (auth, charging): (&VertexAuthLayer, &VertexAuthLayer),
    network: &Network,
    facts: &Facts<'_>,
) {
    let listed = fetch_all(charging, network, sources(options, table), &Listed::default()).await;
    for (source, reason) in listed.failures() {
        let remedy = "the gateway serves all the same, but does not list these models: \
             --list-models names the publishers, and --list-models off lists none";
        report.add(Check::failed(LISTS, format!("{}: {reason}", source.publisher), remedy));
    }
    for (source, models) in &listed.lists {
        let location = source.upstream.location().map(|location| location.as_str());
        let served = models.iter().filter(|model| !model.methods().is_empty()).count();
        let detail = format!(
            "{} in {}: {} listed, {served} with a known method",
            source.publisher,
            location.unwrap_or_default(),
            models.len()
        );
        report.add(Check::passed(LISTS, detail));
    }
    let requests =
        probes(table, &listed).into_iter().map(|probe| ask(probe, table, auth, network, facts));
    let mut checks = stream::iter(requests).buffered(AT_A_TIME);
    while let Some(check) = checks.next().await {
        report.add(check);
    }
}

async fn ask(
    probe: Probe,
    table: &ModelTable,
    auth: &VertexAuthLayer,
    network: &Network,
    facts: &Facts<'_>,
) -> Check {
    let Probe { name, method, path, body } = probe;
    let name = redact::value(&name).to_string();
    let facts = Facts { asked: &name, model: &name, ..*facts };
    let started = Instant::now();
    let answer = match tokio::time::timeout(TIMEOUT, send(&path, &body, table, auth, network)).await
    {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return explain_no_response(&error, &facts).about(&name),
        Err(_elapsed) => {
            let detail = format!("{name}: no response to {method} within {TIMEOUT:?}");
            return Check::failed(MODEL, detail, "check the model's load, and try again later");
        }
    };
    let is_json = serde_json::from_slice::<Value>(&answer.body).is_ok();
    if answer.status.is_success() && is_json {
        let seconds = started.elapsed().as_secs_f64();
        return Check::passed(MODEL, format!("{name} responded to {method} in {seconds:.1} s"));
    }
    let html = |value: &http::HeaderValue| value.as_bytes().starts_with(b"text/html");
    let summary = ResponseSummary {
        status: answer.status,
        is_html: answer.headers.get(header::CONTENT_TYPE).is_some_and(html),
        body: &answer.body,
    };
    match explain(&summary, &facts) {
        Some((detail, remedy)) => {
            Check::failed(MODEL, format!("{name} by {method}: {detail}"), remedy)
        }
        // Only a chat's response of 200 has no explanation, and it is JSON.
        None => Check::passed(MODEL, name),
    }
}
