//! `endpoints.list` and `endpoints.get`.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    api::shape,
    google_errors::GoogleError,
    other_methods::Other,
    paging::Page,
    path::{Call, Target},
    settings::EndpointInfo,
    state::{Shared, lock},
};

/// The number of every project. Resource names contain the number where requests contain the id.
pub(crate) const PROJECT_NUMBER: &str = "123456789012";

/// The endpoints that the emulator lists by default: one of each kind.
pub(crate) fn default_list() -> Vec<EndpointInfo> {
    vec![
        EndpointInfo::shared("1234567890123456789", "emulated-shared"),
        EndpointInfo::dedicated(
            "mg-endpoint-00000000-0000-4000-8000-000000000000",
            "emulated-dedicated",
            "mg-endpoint-00000000-0000-4000-8000-000000000000.us-central1-123456789012\
             .prediction.vertexai.goog",
        ),
    ]
}

/// One page of the endpoints in a location.
pub(crate) fn list(
    known: &[EndpointInfo],
    location: &str,
    query: &str,
) -> Result<Value, GoogleError> {
    let (mut page, mut filter) = (Page::default(), None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        page.read(&name, &value)?;
        if name == "filter" && !value.is_empty() {
            filter = Some(Filter::parse(&value)?);
        }
    }
    let found: Vec<Value> = known
        .iter()
        .filter(|endpoint| endpoint.location == location)
        .filter(|endpoint| filter.as_ref().is_none_or(|filter| filter.accepts(endpoint)))
        .map(describe)
        .collect();
    let (page, next) = page.of(found);
    let mut answer = json!({});
    // Empty fields are omitted, as in every response of this API.
    if !page.is_empty() {
        answer["endpoints"] = page.into();
    }
    if let Some(next) = next {
        answer["nextPageToken"] = next.into();
    }
    Ok(answer)
}

/// Checks that the method, the project and the endpoint of a request exist.
pub(crate) fn check(shared: &Shared, target: &Target<'_>) -> Result<(), GoogleError> {
    if let Some(known) = &shared.projects
        && !target.project.is_empty()
        && !known.iter().any(|project| project == target.project)
    {
        let denied =
            GoogleError::for_status(StatusCode::FORBIDDEN, &target.rpc(), &target.resource());
        return Err(denied.with_shape(shape(target)));
    }
    match target.call {
        Call::Other(Other { method, .. }) => Err(GoogleError::not_emulated(method)),
        Call::ListEndpoints
        | Call::GetEndpoint
        | Call::Model { .. }
        | Call::Provider { .. }
        | Call::ListModels { .. }
        | Call::GetModel { .. } => Ok(()),
        _ if target.is_openapi() && !matches!(target.call, Call::Endpoint(_)) => Ok(()),
        _ => match find(&lock(&shared.endpoints), target.location, target.endpoint) {
            Some(_) => Ok(()),
            None => Err(GoogleError::unknown_endpoint(target)),
        },
    }
}

fn find<'a>(known: &'a [EndpointInfo], location: &str, id: &str) -> Option<&'a EndpointInfo> {
    known.iter().find(|endpoint| endpoint.id == id && endpoint.location == location)
}

/// Describes one endpoint.
pub(crate) fn get(known: &[EndpointInfo], location: &str, id: &str) -> Option<Value> {
    find(known, location, id).map(describe)
}

/// The conditions of a filter. An endpoint must fulfil all of them.
struct Filter(Vec<Condition>);

enum Condition {
    DisplayName(String),
    Endpoint(String),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, GoogleError> {
        conditions(text).into_iter().map(Condition::parse).collect::<Result<_, _>>().map(Self)
    }

    fn accepts(&self, endpoint: &EndpointInfo) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::DisplayName(name) => endpoint.display_name == *name,
            Condition::Endpoint(id) => endpoint.id == *id,
        })
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, GoogleError> {
        let (field, value) = text.split_once('=').unwrap_or((text, ""));
        let value = value.trim().trim_matches('"').to_owned();
        match field.trim() {
            "display_name" => Ok(Self::DisplayName(value)),
            "endpoint" => Ok(Self::Endpoint(value)),
            _ => Err(GoogleError::invalid_argument(
                "Invalid filter: the emulator knows display_name=… and endpoint=…, joined by AND.",
            )),
        }
    }
}

/// The parts of a filter between its `AND`s. Quoted text may contain the word.
pub(crate) fn conditions(filter: &str) -> Vec<&str> {
    const AND: &str = " AND ";
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, character) in filter.char_indices() {
        if character == '"' {
            quoted = !quoted;
        } else if !quoted && at >= start && filter[at..].starts_with(AND) {
            parts.push(&filter[start..at]);
            start = at + AND.len();
        }
    }
    parts.push(&filter[start..]);
    parts
}

fn describe(endpoint: &EndpointInfo) -> Value {
    let EndpointInfo { id, display_name, location, dedicated_dns } = endpoint;
    let model = format!("projects/{PROJECT_NUMBER}/locations/{location}/models/{id}");
    let mut description = json!({
        "name": format!("projects/{PROJECT_NUMBER}/locations/{location}/endpoints/{id}"),
        "displayName": display_name,
        "deployedModels": [{ "id": "1", "model": model, "displayName": display_name }],
        "trafficSplit": { "1": 100 },
        "etag": "AMEw9yPemulated",
        "createTime": "2026-01-01T00:00:00.000000Z",
        "updateTime": "2026-01-01T00:00:00.000000Z",
    });
    if let Some(dns) = dedicated_dns {
        description["dedicatedEndpointEnabled"] = true.into();
        description["dedicatedEndpointDns"] = dns.as_str().into();
    }
    description
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_split_at_its_ands_but_not_within_quotes() {
        for (filter, expected) in [
            ("a=b", vec!["a=b"]),
            ("a=b AND c=d AND e=f", vec!["a=b", "c=d", "e=f"]),
            ("a=\"x AND y\" AND c=d", vec!["a=\"x AND y\"", "c=d"]),
            ("a=b AND  AND c", vec!["a=b", "", "c"]),
            ("", vec![""]),
        ] {
            assert_eq!(conditions(filter), expected);
        }
    }
}
