//! Vertex AI's description of an endpoint. A missing field is empty, and an unknown field is
//! ignored: both come with versions of the API.

use serde_json::Value;

use super::DiscoverError;
use crate::route::{Endpoint, Location, Upstream};

/// An endpoint, as `endpoints.get` and `endpoints.list` describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointDescription {
    /// The last segment of its name: a number, or a text such as `mg-endpoint-…`. Letters, digits,
    /// hyphens and underscores.
    pub id: String,
    /// The display name, which need not be unique. Empty if there is none.
    pub display_name: String,
    /// The project in its name. This is the project's number, even if the request had its id. Empty
    /// if it is missing.
    pub project: String,
    /// The location in its name; if it is missing, the location of the request.
    pub location: Location,
    /// The deployed models, in Vertex AI's order. Often one; none before the first deployment.
    pub models: Vec<DeployedModel>,
    /// Whether it is dedicated: it serves at a host of its own and not at the shared one.
    pub is_dedicated: bool,
    /// `dedicatedEndpointDns`, without blanks, a scheme and a slash at its end. `None` for an
    /// endpoint on the shared host, and for a dedicated one before its first deployment. The value
    /// is not checked; [`endpoint`](Self::endpoint) does that.
    pub dedicated_dns: Option<String>,
}

/// A model on an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeployedModel {
    /// The id of the deployment.
    pub id: String,
    /// The model's resource name, `projects/NUMBER/locations/L/models/ID`, maybe with `@VERSION`.
    pub model: String,
    /// The display name of the deployment. Empty if there is none.
    pub display_name: String,
}

impl DeployedModel {
    /// The last segment of [`model`](Self::model): the model's id, maybe with `@VERSION`.
    pub fn model_id(&self) -> &str {
        self.model.rsplit('/').next().unwrap_or_default()
    }
}

impl EndpointDescription {
    /// The endpoint as an [`Upstream`] takes it: [`Endpoint::Dedicated`] if it has a host of its
    /// own, else [`Endpoint::Deployed`].
    ///
    /// # Errors
    ///
    /// - [`DiscoverError::NotDeployed`] if it is dedicated and its host is missing.
    /// - [`DiscoverError::UntrustedHost`] if the host is not one of Vertex AI's for endpoints, at
    ///   which an access token would not be safe.
    pub fn endpoint(&self) -> Result<Endpoint, DiscoverError> {
        let id = self.id.clone();
        let Some(dns) = &self.dedicated_dns else {
            return match self.is_dedicated {
                true => Err(DiscoverError::NotDeployed { id }),
                false => Ok(Endpoint::Deployed { id }),
            };
        };
        let dns = dns.to_ascii_lowercase();
        let endpoint = Endpoint::Dedicated { id, dns: dns.clone() };
        // The suffix is compared only if the host is valid as a setting.
        let built = Upstream::builder().project("p").location(self.location.as_str());
        if built.endpoint(endpoint.clone()).build().is_err() || !is_prediction_host(&dns) {
            let host = super::error::line(&dns);
            return Err(DiscoverError::UntrustedHost { id: self.id.clone(), host });
        }
        Ok(endpoint)
    }

    /// Parses a description. `None` if its name has no id.
    pub(super) fn parse(value: &Value, asked: &Location) -> Option<Self> {
        // projects/NUMBER/locations/L/endpoints/ID
        let name: Vec<&str> = value.get("name")?.as_str()?.split('/').collect();
        let after = |word: &str| {
            let at = name.iter().position(|segment| *segment == word)?;
            name.get(at + 1).copied()
        };
        let id = after("endpoints").filter(|id| is_id(id))?.to_owned();
        let location = after("locations").and_then(|location| location.parse().ok());
        let dns = text(value, "dedicatedEndpointDns");
        let dns = bare_host(&dns);
        let dedicated_dns = (!dns.is_empty()).then(|| dns.to_owned());
        let enabled = value.get("dedicatedEndpointEnabled").and_then(Value::as_bool);
        let models = value.get("deployedModels").and_then(Value::as_array);
        Some(Self {
            id,
            display_name: text(value, "displayName"),
            project: after("projects").unwrap_or_default().to_owned(),
            location: location.unwrap_or_else(|| asked.clone()),
            models: models.into_iter().flatten().map(DeployedModel::parse).collect(),
            is_dedicated: enabled.unwrap_or(dedicated_dns.is_some()),
            dedicated_dns,
        })
    }
}

impl DeployedModel {
    fn parse(value: &Value) -> Self {
        Self {
            id: text(value, "id"),
            model: text(value, "model"),
            display_name: text(value, "displayName"),
        }
    }
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn bare_host(dns: &str) -> &str {
    let dns = dns.trim();
    let dns = dns.split_once("://").map_or(dns, |(_scheme, host)| host);
    dns.trim_end_matches('/').trim()
}

/// Whether the id is one that a request may name, so that a listed endpoint can be requested.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Whether the host is `{endpoint}.{region}-{uid}.prediction.vertexai.goog`, or one label under
/// `prediction.p.vertexai.goog` for Private Service Connect. The layer `auth` trusts the same two.
/// None of Vertex AI's shared hosts is an endpoint's own.
fn is_prediction_host(host: &str) -> bool {
    let labels = |suffix| host.strip_suffix(suffix).map(|name| name.split('.').count());
    labels(".prediction.p.vertexai.goog") == Some(1)
        || labels(".prediction.vertexai.goog") == Some(2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Option<EndpointDescription> {
        EndpointDescription::parse(value, &"eu".parse().unwrap())
    }

    #[test]
    fn missing_fields_are_empty_and_unknown_fields_are_ignored() {
        let whole = parse(&json!({
            "name": "projects/123/locations/us-central1/endpoints/mg-endpoint-1",
            "displayName": "my-llama",
            "deployedModels": [
                { "id": "7", "model": "projects/123/locations/us-central1/models/llama@2" },
                { "displayName": "b", "dedicatedResources": { "minReplicaCount": 1 } },
                null,
            ],
            "trafficSplit": { "7": 100 },
            "dedicatedEndpointEnabled": true,
            "dedicatedEndpointDns": "a.b",
            "somethingNew": [1],
        }));
        let whole = whole.unwrap();
        assert_eq!((whole.id.as_str(), whole.project.as_str()), ("mg-endpoint-1", "123"));
        assert_eq!((whole.location.as_str(), &*whole.display_name), ("us-central1", "my-llama"));
        assert_eq!(whole.models.len(), 3);
        assert_eq!(whole.models[0].model_id(), "llama@2");
        assert_eq!((&*whole.models[1].display_name, whole.models[1].model_id()), ("b", ""));
        assert_eq!(whole.models[2], DeployedModel::default());
        assert!(whole.is_dedicated);

        let bare = parse(&json!({ "name": "endpoints/1", "displayName": 7 })).unwrap();
        assert_eq!((bare.location.as_str(), &*bare.project, &*bare.display_name), ("eu", "", ""));
        assert!(bare.models.is_empty() && !bare.is_dedicated && bare.dedicated_dns.is_none());
        assert_eq!(bare.endpoint().unwrap(), Endpoint::Deployed { id: "1".into() });
    }

    #[test]
    fn a_description_without_a_valid_id_is_left_out() {
        for name in [
            json!(null),
            json!(1),
            json!(""),
            json!("projects/1/locations/eu"),
            json!("projects/1/locations/eu/endpoints"),
            json!("projects/1/locations/eu/endpoints/"),
            json!("projects/1/locations/eu/endpoints/.."),
            json!("projects/1/locations/eu/endpoints/a b"),
            json!("projects/1/locations/eu/endpoints/1?x"),
        ] {
            assert_eq!(parse(&json!({ "name": name })), None, "{name}");
        }
        assert_eq!(parse(&json!([])), None);
        let name = "projects/1/locations/evil.com/endpoints/1";
        assert_eq!(parse(&json!({ "name": name })).unwrap().location.as_str(), "eu");
    }

    #[test]
    fn a_dedicated_host_is_trimmed_and_must_be_vertex_ais() {
        let with = |dns: &str| {
            let value = json!({ "name": "endpoints/1", "dedicatedEndpointDns": dns });
            parse(&value).unwrap()
        };
        let good = "1.us-central1-2.prediction.vertexai.goog";
        for dns in [
            good,
            " 1.us-central1-2.prediction.vertexai.goog\n",
            "https://1.us-central1-2.prediction.vertexai.goog/",
            "http://1.US-central1-2.prediction.VertexAI.goog//",
        ] {
            let endpoint = with(dns).endpoint().unwrap();
            assert_eq!(endpoint, Endpoint::Dedicated { id: "1".into(), dns: good.into() }, "{dns}");
        }
        assert!(with("1-us-central1-2.prediction.p.vertexai.goog").endpoint().is_ok());
        for dns in [
            "evil.com",
            "1.us-central1-2.prediction.vertexai.goog.evil.com",
            "evil.com/1.us-central1-2.prediction.vertexai.goog",
            "evil.com#1.us-central1-2.prediction.vertexai.goog",
            "evil.com?1.us-central1-2.prediction.vertexai.goog",
            "user@1.us-central1-2.prediction.vertexai.goog",
            "1.us-central1-2.prediction.vertexai.goog:8443",
            "1.us-central1-2.prediction.vertexai.goog/x",
            "prediction.vertexai.goog",
            ".prediction.vertexai.goog",
            "x.prediction.vertexai.goog",
            "a.b.c.prediction.vertexai.goog",
            "a..prediction.vertexai.goog",
            "a.b.prediction.p.vertexai.goog",
            "aiplatform.googleapis.com",
            "127.0.0.1",
        ] {
            let error = with(dns).endpoint().unwrap_err();
            assert!(matches!(error, DiscoverError::UntrustedHost { .. }), "{dns}: {error}");
        }
    }

    #[test]
    fn a_dedicated_endpoint_without_a_host_is_not_taken_for_a_shared_one() {
        let value = json!({ "name": "endpoints/1", "dedicatedEndpointEnabled": true });
        let error = parse(&value).unwrap().endpoint().unwrap_err();
        assert!(error.to_string().contains("deploy a model"), "{error}");
    }
}
