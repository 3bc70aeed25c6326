//! Endpoints that were looked up by their names, as data: [`ConfigFile::table`] needs their ids and
//! hosts.
//!
//! [`ConfigFile::table`]: super::parse::ConfigFile::table

use std::{collections::HashMap, fmt};

use super::parse::Named;
use tower_vertex::{
    model::{ModelRoute, ModelTableBuilder},
    route::Endpoint,
};

/// Endpoints as Vertex AI describes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// The endpoints that the configuration file names.
    pub(crate) named: HashMap<Named, Endpoint>,
    pub(crate) deployed: Vec<Deployed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployed {
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) endpoint: Endpoint,
}

/// Writes how many endpoints were found.
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

    /// Adds a route for each deployed endpoint whose name is not `taken`.
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

/// Adds the endpoint to a route.
pub(crate) fn at(route: ModelRoute, endpoint: &Endpoint) -> ModelRoute {
    match endpoint {
        Endpoint::Deployed { id } => route.endpoint_id(id),
        Endpoint::Dedicated { id, dns } => route.endpoint_id(id).dedicated_host(dns),
        // Vertex AI describes no other kinds of endpoints.
        _ => route,
    }
}
