//! The project and the location of an upstream, below which its publishers are, and the other ones
//! that clients may name.

use super::{
    ApiVersion, Location, OPENAPI, Upstream, UpstreamBuilder,
    model_path::{GOOGLE, is_publisher},
};
use crate::error::ConfigError;

/// The most combinations of projects and locations that clients may name.
const MOST: usize = 1_000;

/// The part of an upstream's path up to its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The path before the version; empty except for some base URLs.
    pub(super) before: String,
    /// `None` for a base URL without a version.
    pub(super) version: Option<ApiVersion>,
    /// `/projects/P/locations/L`.
    pub(super) location: String,
    /// The path of the endpoint below it, such as `/endpoints/openapi`; may be empty.
    pub(super) endpoint: String,
    /// Whether the host has the models of publishers. Hosts of a single endpoint have none.
    pub(super) has_publishers: bool,
    /// The destination of a path that names a model without a publisher.
    pub(super) bare: Bare,
}

/// The destination of `/models/M:METHOD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bare {
    /// The models of this publisher.
    Publisher(String),
    /// The endpoint itself.
    Endpoint,
    /// There is none.
    Nothing,
}

impl Place {
    /// Finds `/projects/P/locations/L` in the path of an upstream; `None` without it.
    pub(super) fn find(base: &str, has_publishers: bool) -> Option<Self> {
        let at = base.find("/projects/")?;
        let (before, resource) = (base.get(..at)?, base.get(at..)?);
        let mut segments = resource.get(1..)?.splitn(5, '/');
        let (_, project) = (segments.next()?, segments.next()?);
        let (kind, location) = (segments.next()?, segments.next()?);
        if kind != "locations" || project.is_empty() || location.is_empty() {
            return None;
        }
        let rest = segments.next().unwrap_or_default();
        let end = resource.len() - if rest.is_empty() { 0 } else { rest.len() + 1 };
        let version = [ApiVersion::V1, ApiVersion::V1Beta1]
            .into_iter()
            .find(|version| before.ends_with(&format!("/{version}")));
        let before = before.len() - version.map_or(0, |version| version.as_str().len() + 1);
        Some(Self {
            before: base.get(..before)?.to_owned(),
            version,
            location: resource.get(..end)?.to_owned(),
            endpoint: resource.get(end..)?.to_owned(),
            has_publishers,
            bare: Bare::of(rest),
        })
    }
}

impl Bare {
    /// `rest` is the path of the endpoint below its location.
    fn of(rest: &str) -> Self {
        match rest.split_once('/') {
            None | Some(("endpoints", OPENAPI)) => Self::Publisher(GOOGLE.to_owned()),
            Some(("endpoints", id)) if !id.contains('/') => Self::Endpoint,
            Some(("publishers", name)) if is_publisher(name) => Self::Publisher(name.to_owned()),
            Some(_) => Self::Nothing,
        }
    }
}

/// The same upstream in a project and a location that clients may name in a path.
pub(super) struct Alternative {
    project: String,
    location: Location,
    pub(super) upstream: Upstream,
}

impl Alternative {
    /// Builds all combinations of the own and the allowed projects and locations, except the own one.
    pub(super) fn all(
        settings: &UpstreamBuilder,
        project: &str,
        location: &Location,
        allowed_projects: &[String],
        allowed_locations: &[String],
    ) -> Result<Vec<Self>, ConfigError> {
        let projects = with_own(project, allowed_projects);
        let locations = with_own(location.as_str(), allowed_locations);
        if projects.len().saturating_mul(locations.len()) > MOST {
            let advice = "allow fewer: there may be 1,000 combinations of a project and a location";
            let count = format!("{} projects, {} locations", projects.len(), locations.len());
            return Err(ConfigError::invalid("projects and locations of clients", &count, advice));
        }
        let mut all = Vec::new();
        for other in &projects {
            for place in &locations {
                if *other == project && *place == location.as_str() {
                    continue;
                }
                let builder = settings.clone().without_alternatives();
                let upstream = builder.project(*other).location(*place).build()?;
                let (project, location) = ((*other).to_owned(), Location::try_from(*place)?);
                all.push(Self { project, location, upstream });
            }
        }
        Ok(all)
    }
}

fn with_own<'a>(own: &'a str, allowed: &'a [String]) -> Vec<&'a str> {
    let mut all = vec![own];
    for other in allowed {
        if !all.contains(&other.as_str()) {
            all.push(other);
        }
    }
    all
}

/// Finds the upstream for the project and the location that a client names. Each one that is not
/// allowed is replaced by the upstream's own.
pub(super) fn choose<'a>(
    alternatives: &'a [Alternative],
    own: (&str, &str),
    named: (&str, &str),
) -> Option<&'a Upstream> {
    let project = alternatives.iter().map(|other| other.project.as_str()).find(|p| *p == named.0);
    let location = alternatives.iter().map(|other| other.location.as_str()).find(|l| *l == named.1);
    let (project, location) = (project.unwrap_or(own.0), location.unwrap_or(own.1));
    let is_meant = |other: &&Alternative| other.project == project && other.location == location;
    alternatives.iter().find(is_meant).map(|other| &other.upstream)
}
