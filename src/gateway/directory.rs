//! Endpoints that go by their names: those that the configuration file calls
//! `display-name:…`, and all that are deployed, if that was asked for.

use std::{collections::HashMap, fmt};

use bytes::Bytes;
use http_body_util::Empty;
use tower::Layer as _;

use super::{endpoints::told, error::Failure, outbound::Outbound, target::TargetOptions};
use crate::{
    auth::VertexAuthLayer,
    discover::{EndpointDescription, Endpoints},
    model::{ModelRoute, ModelTableBuilder},
    replay::ReplayBody,
    route::{Endpoint, Upstream},
    shown,
};

/// How an entry of the file says that it has no id.
pub(crate) const BY_NAME: &str = "display-name:";

/// What Vertex AI said of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    /// By what the file says of it.
    named: HashMap<Named, Endpoint>,
    deployed: Vec<Deployed>,
}

/// An endpoint that the file knows by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    /// `None` is that of all requests.
    pub(crate) location: Option<String>,
    /// With its `display-name:`.
    pub(crate) entry: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Deployed {
    name: String,
    location: String,
    endpoint: Endpoint,
}

/// How many were found.
impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} found by name", self.named.len())?;
        match self.deployed.len() {
            0 => Ok(()),
            deployed => write!(f, "; {deployed} deployed"),
        }
    }
}

impl Directory {
    pub(crate) fn named(&self, named: &Named) -> Option<&Endpoint> {
        self.named.get(named)
    }

    /// Adds what is deployed and has no name in `taken`.
    pub(crate) fn add_deployed(
        &self,
        mut table: ModelTableBuilder,
        taken: impl Fn(&str) -> bool,
    ) -> ModelTableBuilder {
        for Deployed { name, location, endpoint } in &self.deployed {
            if !taken(name) {
                table = table.route(name, at(ModelRoute::new().location(location), endpoint));
            }
        }
        table
    }
}

/// The route to this endpoint.
pub(crate) fn at(route: ModelRoute, endpoint: &Endpoint) -> ModelRoute {
    match endpoint {
        Endpoint::Deployed { id } => route.endpoint_id(id),
        Endpoint::Dedicated { id, dns } => route.endpoint_id(id).dedicated_host(dns),
        // Vertex AI describes no others.
        _ => route,
    }
}

impl TargetOptions {
    /// Asks Vertex AI about the endpoints that go by name; about none, if there are none.
    ///
    /// # Errors
    ///
    /// A sentence, with the model whose endpoint was not found.
    pub(crate) async fn look_up(
        &self,
        base: &Upstream,
        auth: &VertexAuthLayer,
    ) -> Result<Directory, Failure> {
        let mut directory = Directory::default();
        let mut known = HashMap::new();
        for (model, named) in self.file.named() {
            let (upstream, endpoints) = match known.get(&named.location) {
                Some(known) => known,
                None => {
                    let asked = endpoints_at(base, named.location.as_deref(), auth)?;
                    known.entry(named.location.clone()).or_insert(asked)
                }
            };
            let found = endpoints.find(&named.entry).await.map_err(|error| {
                Failure::negative(format!(
                    "model {:?}: {}",
                    shown::value(model),
                    told(upstream, error)
                ))
            })?;
            directory.named.insert(named, found);
        }
        if self.discovers() {
            for location in self.regions(base)? {
                let (upstream, endpoints) = endpoints_at(base, Some(&location), auth)?;
                let listed = endpoints.list().await;
                let listed = listed.map_err(|error| Failure::negative(told(&upstream, error)))?;
                directory.deployed.extend(deployed(&location, &listed));
            }
        }
        Ok(directory)
    }

    /// Whether there is anything to look up.
    pub(crate) fn has_names(&self) -> bool {
        self.discovers() || self.file.named().next().is_some()
    }

    /// Where endpoints can be: the regions that requests go to.
    fn regions(&self, base: &Upstream) -> Result<Vec<String>, Failure> {
        let default = base.location().map(|location| location.as_str());
        let mut regions = Vec::new();
        for location in default.into_iter().chain(self.file.locations()) {
            // These three are served by all regions together, and nothing is deployed there.
            let everywhere = matches!(location, "global" | "us" | "eu");
            if !everywhere && !regions.iter().any(|known| known == location) {
                regions.push(location.to_owned());
            }
        }
        if regions.is_empty() {
            return Err(Failure::new(
                "no region for --discover-endpoints: endpoints are deployed in regions; give one \
                 with --location, or in a [[model]]",
            ));
        }
        Ok(regions)
    }
}

fn endpoints_at(
    base: &Upstream,
    location: Option<&str>,
    auth: &VertexAuthLayer,
) -> Result<(Upstream, Endpoints), Failure> {
    if matches!(base.endpoint(), Endpoint::BaseUrl { .. }) {
        return Err(Failure::new(
            "endpoints cannot be looked up by name behind an --upstream with a path: give its \
             scheme and host alone, or the endpoints by id",
        ));
    }
    let mut builder = base.to_builder().endpoint(Endpoint::OpenApi);
    if let Some(location) = location {
        builder = builder.location(location);
    }
    let upstream = builder.build()?;
    let client = Outbound::<ReplayBody<Empty<Bytes>>>::for_a_while()?;
    let endpoints = Endpoints::of(auth.layer(client), &upstream)?;
    Ok((upstream, endpoints))
}

/// By their display names; by their ids where they have none, or share one.
fn deployed(location: &str, listed: &[EndpointDescription]) -> Vec<Deployed> {
    let is_name =
        |name: &str| !name.is_empty() && !name.contains(|c: char| c == '*' || c.is_control());
    let alike = |name: &str| listed.iter().filter(|other| other.display_name == name).count();
    let describe = |described: &EndpointDescription| {
        let endpoint = match described.endpoint() {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::warn!(location, %error, "an endpoint is left out");
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
