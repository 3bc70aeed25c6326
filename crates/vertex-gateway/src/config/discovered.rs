//! Endpoints that were looked up by their names, as data: [`ConfigFile::table`] needs their ids and hosts.
//!
//! [`ConfigFile::table`]: super::file::ConfigFile::table

use std::{collections::HashMap, fmt};

use super::file::Named;
use tower_vertex::{
    model::{ModelRoute, ModelTableBuilder},
    route::Endpoint,
};

/// What Vertex AI said of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// By what the file says of it.
    pub(crate) named: HashMap<Named, Endpoint>,
    pub(crate) deployed: Vec<Deployed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployed {
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) endpoint: Endpoint,
}

/// How many were found.
impl fmt::Display for Discovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} found by name", self.named.len())?;
        match self.deployed.len() {
            0 => Ok(()),
            deployed => write!(f, "; {deployed} deployed"),
        }
    }
}

impl Discovered {
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
