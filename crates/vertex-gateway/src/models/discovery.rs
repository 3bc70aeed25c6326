//! Lookup of endpoints by name: those that the configuration file calls `display-name:…`, and all
//! deployed ones if `--discover-endpoints` is set.

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::Empty;
use tower::Layer as _;

use crate::{
    config::{
        discovered::{Deployed, Discovered},
        upstream::TargetOptions,
    },
    error::{Error, causes},
    outbound::Outbound,
};
use tower_vertex::{
    auth::VertexAuthLayer,
    connect::Network,
    discover::{DiscoverError, EndpointDescription, Endpoints},
    redact,
    replay::ReplayBody,
    route::{Endpoint, Upstream},
};

/// Looks up named and deployed endpoints at Vertex AI. It sends no request if neither are wanted.
///
/// # Errors
///
/// Returns an error that names the model whose endpoint was not found.
pub(crate) async fn look_up(
    target: &TargetOptions,
    base: &Upstream,
    auth: &VertexAuthLayer,
) -> Result<Discovered, Error> {
    let network = &target.credentials.network.network()?;
    let mut discovered = Discovered::default();
    let mut known = HashMap::new();
    for (model, named) in target.file.named() {
        let (upstream, endpoints) = match known.get(&named.location) {
            Some(known) => known,
            None => {
                let asked = endpoints_at(base, named.location.as_deref(), auth, network)?;
                known.entry(named.location.clone()).or_insert(asked)
            }
        };
        let found = endpoints.find(&named.entry).await.map_err(|error| {
            Error::negative(format!(
                "model {:?}: {}",
                redact::value(model),
                describe_error(upstream, error)
            ))
        })?;
        discovered.named.insert(named, found);
    }
    if target.discovers() {
        for location in regions(target, base)? {
            let (upstream, endpoints) = endpoints_at(base, Some(&location), auth, network)?;
            let listed = endpoints.list().await;
            let listed =
                listed.map_err(|error| Error::negative(describe_error(&upstream, error)))?;
            discovered.deployed.extend(deployed(&location, &listed));
        }
    }
    Ok(discovered)
}

/// The regions that requests are sent to, which can have endpoints.
fn regions(target: &TargetOptions, base: &Upstream) -> Result<Vec<String>, Error> {
    let default = base.location().map(|location| location.as_str());
    let mut regions = Vec::new();
    for location in default.into_iter().chain(target.file.locations()) {
        // These three names stand for several regions or all of them, and no endpoint is deployed
        // there.
        let everywhere = matches!(location, "global" | "us" | "eu");
        if !everywhere && !regions.iter().any(|known| known == location) {
            regions.push(location.to_owned());
        }
    }
    if regions.is_empty() {
        return Err(Error::new(
            "no region for --discover-endpoints: endpoints are deployed in regions; set one \
             with --location, or in a [[model]]",
        ));
    }
    Ok(regions)
}

/// Describes an error of a lookup with the location that was queried.
pub(crate) fn describe_error(upstream: &Upstream, error: DiscoverError) -> String {
    let location = upstream.location().map(|location| location.as_str()).unwrap_or_default();
    match error {
        DiscoverError::Transport(_) => {
            format!("{location} at {}: {}", upstream.origin(), causes(&error.into()))
        }
        error => format!("{location}: {error}"),
    }
}

fn endpoints_at(
    base: &Upstream,
    location: Option<&str>,
    auth: &VertexAuthLayer,
    network: &Network,
) -> Result<(Upstream, Endpoints), Error> {
    if matches!(base.endpoint(), Endpoint::BaseUrl { .. }) {
        return Err(Error::new(
            "endpoints cannot be looked up by name behind an --upstream with a path: give its \
             scheme and host alone, or the endpoints by id",
        ));
    }
    let mut builder = base.to_builder().endpoint(Endpoint::OpenApi);
    if let Some(location) = location {
        builder = builder.location(location);
    }
    let upstream = builder.build()?;
    let client = Outbound::<ReplayBody<Empty<Bytes>>>::for_a_while(network);
    let endpoints = Endpoints::from_upstream(auth.layer(client), &upstream)?;
    Ok((upstream, endpoints))
}

/// The endpoints under their display names, or under their ids if they have no name or share one.
fn deployed(location: &str, listed: &[EndpointDescription]) -> Vec<Deployed> {
    let is_name =
        |name: &str| !name.is_empty() && !name.contains(|c: char| c == '*' || c.is_control());
    let alike = |name: &str| listed.iter().filter(|other| other.display_name == name).count();
    let describe = |described: &EndpointDescription| {
        let endpoint = match described.endpoint() {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::warn!(location, %error, "endpoint ignored");
                return None;
            }
        };
        let name = Some(&described.display_name)
            .filter(|name| is_name(name) && alike(name) == 1)
            .unwrap_or(&described.id);
        Some(Deployed { name: name.clone(), location: location.to_owned(), endpoint })
    };
    listed.iter().filter_map(describe).collect()
}
