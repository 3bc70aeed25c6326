//! `endpoints.list` and `endpoints.get`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{google_errors::GoogleError, settings::EndpointInfo};

/// The number of every project. Resource names contain the number where requests contain the id.
pub(crate) const PROJECT_NUMBER: &str = "123456789012";
const MOST_PER_PAGE: usize = 1000;
const PER_PAGE: usize = 100;

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
    let (mut size, mut start, mut filter) = (PER_PAGE, 0, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "pageSize" => match value.parse::<usize>() {
                Ok(0) => {}
                Ok(asked) => size = asked.min(MOST_PER_PAGE),
                Err(_) => {
                    return Err(GoogleError::invalid_argument(
                        "Invalid value at 'page_size' (TYPE_INT32)",
                    ));
                }
            },
            "pageToken" if !value.is_empty() => {
                start = parse_page_token(&value)
                    .ok_or_else(|| GoogleError::invalid_argument("The page token is not valid."))?;
            }
            "filter" if !value.is_empty() => filter = Some(Filter::parse(&value)?),
            _ => {}
        }
    }
    let found: Vec<&EndpointInfo> = known
        .iter()
        .filter(|endpoint| endpoint.location == location)
        .filter(|endpoint| filter.as_ref().is_none_or(|filter| filter.accepts(endpoint)))
        .collect();
    let page: Vec<Value> =
        found.iter().skip(start).take(size).map(|endpoint| describe(endpoint)).collect();
    let mut answer = json!({});
    // Empty fields are omitted, as in every response of this API.
    if !page.is_empty() {
        answer["endpoints"] = page.into();
    }
    let end = start.saturating_add(size);
    if end < found.len() {
        answer["nextPageToken"] = URL_SAFE_NO_PAD.encode(format!("offset:{end}")).into();
    }
    Ok(answer)
}

fn parse_page_token(token: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix("offset:")?.parse().ok()
}

/// Describes one endpoint. An unlisted id is treated as a shared endpoint, as it is for
/// predictions.
pub(crate) fn get(known: &[EndpointInfo], location: &str, id: &str) -> Option<Value> {
    if id == "openapi" {
        return None;
    }
    let listed = known.iter().find(|endpoint| endpoint.id == id);
    Some(listed.map_or_else(
        || describe(&EndpointInfo::shared(id, format!("endpoint-{id}")).location(location)),
        describe,
    ))
}

enum Filter {
    DisplayName(String),
    Endpoint(String),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, GoogleError> {
        let (field, value) = text.split_once('=').unwrap_or((text, ""));
        let value = value.trim().trim_matches('"').to_owned();
        match field.trim() {
            "display_name" => Ok(Self::DisplayName(value)),
            "endpoint" => Ok(Self::Endpoint(value)),
            _ => Err(GoogleError::invalid_argument(
                "Invalid filter: the emulator knows display_name=… and endpoint=….",
            )),
        }
    }

    fn accepts(&self, endpoint: &EndpointInfo) -> bool {
        match self {
            Self::DisplayName(name) => endpoint.display_name == *name,
            Self::Endpoint(id) => endpoint.id == *id,
        }
    }
}

fn describe(endpoint: &EndpointInfo) -> Value {
    let EndpointInfo { id, display_name, location, dedicated_dns } = endpoint;
    let model = format!("projects/{PROJECT_NUMBER}/locations/{location}/models/{id}");
    let mut description = json!({
        "name": format!("projects/{PROJECT_NUMBER}/locations/{location}/endpoints/{id}"),
        "displayName": display_name,
        "deployedModels": [{ "id": "1", "model": model, "displayName": display_name }],
        "trafficSplit": { "1": 100 },
    });
    if let Some(dns) = dedicated_dns {
        description["dedicatedEndpointEnabled"] = true.into();
        description["dedicatedEndpointDns"] = dns.as_str().into();
    }
    description
}
