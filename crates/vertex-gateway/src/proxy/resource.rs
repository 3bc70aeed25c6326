//! Full paths of endpoints, `/v1/projects/P/locations/L/endpoints/E/chat/completions`. A client
//! sends them if its base URL was Google's and only the host was replaced.

use std::iter;

use http::{Extensions, Request, StatusCode, Uri, uri::PathAndQuery};

use crate::local_reply::{LocalReply, clip};
use tower_vertex::{
    error::RouteError,
    model::{ModelTable, RequestedModel},
    retry::Locations,
    route::{Upstream, resource_of, sub_path, without_prefix},
};

/// The prefix that clients put before the path of a method.
pub(crate) const PREFIX: &str = "/v1";

/// Largest number of endpoints that an error lists.
const SHOWN: usize = 5;

/// The upstream that the path of a request names, if it is not the default upstream.
#[derive(Clone, Debug)]
struct Named(Upstream);

/// Rewrites the path to the short form that clients usually send, so inner layers see only one
/// form, and returns whether it changed. If the path names an endpoint of an entry of the table, the request is sent to that
/// endpoint.
///
/// # Errors
///
/// Returns 400 for a path that another parser could read differently, and 404 for an endpoint that
/// is not served.
pub(crate) fn shorten<B>(request: &mut Request<B>, table: &ModelTable) -> Result<bool, LocalReply> {
    let path = request.uri().path();
    if !path.ends_with('/') && !path.contains("/projects/") {
        return Ok(false);
    }
    let usual = without_prefix(path, PREFIX);
    let resource = resource_of(path, usual);
    let upstream = match resource {
        None => table.base(),
        Some(resource) => {
            upstreams(table).find(|upstream| is_at(upstream, resource)).unwrap_or(table.base())
        }
    };
    let sub = sub_path(upstream, path).map_err(|error| not_served(error, table))?;
    if sub == usual {
        return Ok(false);
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let short = PathAndQuery::try_from(format!("{PREFIX}{sub}{query}"));
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = short.ok();
    // A part of a valid path is valid.
    let uri = Uri::from_parts(parts).map_err(|_| LocalReply::failed())?;
    let upstream = upstream.clone();
    *request.uri_mut() = uri;
    if upstream != *table.base() {
        request.extensions_mut().insert(upstream.clone());
        request.extensions_mut().insert(Named(upstream));
    }
    Ok(true)
}

/// Checks that a request is sent to the endpoint that its path names. The model has been resolved
/// by now.
///
/// # Errors
///
/// Returns 404 if the entry of the model has another endpoint: it is unknown which of the two the
/// client means.
pub(crate) fn check_named(extensions: &Extensions) -> Result<(), LocalReply> {
    let Some(Named(named)) = extensions.get() else { return Ok(()) };
    let listed = extensions.get::<Locations>();
    let is_there = match listed {
        Some(locations) => locations.upstreams().any(|upstream| upstream == named),
        None => extensions.get::<Upstream>() == Some(named),
    };
    if is_there {
        return Ok(());
    }
    let model = extensions.get::<RequestedModel>().map_or("", RequestedModel::as_str);
    let model = clip(model);
    Err(refused(format!(
        "the path names {}, but the model {model:?} is served elsewhere: remove the resource from \
             the path, as in /v1/chat/completions",
        shown(named)
    )))
}

/// All upstreams of the table.
fn upstreams(table: &ModelTable) -> impl Iterator<Item = &Upstream> {
    let entries = table.entries().flat_map(|entry| {
        let listed = entry.locations().into_iter().flat_map(Locations::upstreams);
        entry.upstream().into_iter().chain(listed)
    });
    iter::once(table.base()).chain(entries)
}

/// Whether `resource`, a resource name followed by a path, belongs to `upstream`.
fn is_at(upstream: &Upstream, resource: &str) -> bool {
    let rest = upstream.resource().and_then(|own| resource.strip_prefix(own));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn shown(upstream: &Upstream) -> &str {
    upstream.resource().unwrap_or_default().trim_start_matches('/')
}

/// The response for a path with a `RouteError`. For the path of another endpoint it lists the
/// endpoints that are served.
fn not_served(error: RouteError, table: &ModelTable) -> LocalReply {
    let mut served: Vec<&str> = Vec::new();
    for name in upstreams(table).map(shown).filter(|name| !name.is_empty()) {
        if served.len() < SHOWN && !served.contains(&name) {
            served.push(name);
        }
    }
    match error {
        RouteError::OtherResource { asked, .. } if served.len() > 1 => refused(format!(
            "{asked:?} is not served here: use one of {}, or remove the resource from the path, \
                 as in /v1/chat/completions",
            served.join(", ")
        )),
        error => LocalReply::from(error),
    }
}

fn refused(message: String) -> LocalReply {
    LocalReply::new(StatusCode::NOT_FOUND, "resource_not_served", message)
}
