//! Explains a web page in place of a response: the URL of the request, and the likely mistake in
//! it.

use crate::route::{Endpoint, Upstream};

/// The sender of the response, for a sentence.
pub(super) fn who(upstream: Option<&Upstream>) -> &str {
    upstream.map_or("Vertex AI", Upstream::origin)
}

/// Why the front end has no page at the URL of a request: the part of a sentence that follows
/// "a web page instead of JSON: ".
pub(super) fn nowhere(upstream: Option<&Upstream>) -> String {
    let Some(upstream) = upstream else {
        return "the URL leads to no method of the API; check that host and location belong \
                together, and the endpoint, the path and the project"
            .into();
    };
    let path = upstream.uri().path();
    let (project, location, endpoint) =
        (after(path, "projects"), after(path, "locations"), after(path, "endpoints"));
    let mut text = match (location, endpoint) {
        (Some(location), Some(endpoint)) => {
            format!("location {location}, endpoint {endpoint}: ")
        }
        _ => String::new(),
    };
    text.push_str(&format!("no API method exists at {upstream} and the requested path; "));
    let host = upstream.uri().host().unwrap_or_default();
    if let (Some(at), Some(location)) = (location_of(host), location)
        && at != location
    {
        text.push_str(&format!(
            "the host is that of location {at} and the path is for {location}: they must be the same"
        ));
        return text;
    }
    if let Some(multi @ ("us" | "eu" | "global")) = host.strip_suffix("-aiplatform.googleapis.com")
    {
        text.push_str(&format!("the location {multi} has no such host: remove the origin"));
        return text;
    }
    text.push_str("check ");
    let id = endpoint.unwrap_or_default();
    match upstream.endpoint() {
        Endpoint::OpenApi => text.push_str("that the path is one of openapi's methods"),
        Endpoint::Dedicated { .. } => text.push_str(&format!(
            "that this is the dedicated DNS name of endpoint {id}, as `gcloud ai endpoints \
             describe` shows it"
        )),
        Endpoint::Private { .. } => {
            text.push_str(&format!("that endpoint {id} is behind this address"));
        }
        Endpoint::Deployed { .. } => text.push_str(&format!(
            "that `gcloud ai endpoints list --region={}` shows {id}, and that it has the path",
            location.unwrap_or_default()
        )),
        Endpoint::Publisher { .. } => {
            text.push_str("that the publisher has this model and this method");
        }
        Endpoint::BaseUrl { .. } => text.push_str("host, location and endpoint of the base URL"),
    }
    match project {
        Some(project) => text.push_str(&format!(", and the project {project}")),
        None => text.push_str(", and its path"),
    }
    text
}

/// The segment of `path` that follows the segment `name`.
fn after<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    path.split('/').skip_while(|segment| *segment != name).nth(1).filter(|next| !next.is_empty())
}

/// The location of a shared host of Google's, by its name.
fn location_of(host: &str) -> Option<&str> {
    match host.strip_suffix(".googleapis.com")? {
        "aiplatform" => Some("global"),
        name => name
            .strip_suffix("-aiplatform")
            .or_else(|| name.strip_prefix("aiplatform.")?.strip_suffix(".rep")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::UpstreamBuilder;

    fn at(location: &str) -> UpstreamBuilder {
        Upstream::builder().project("p").location(location)
    }

    #[test]
    fn the_url_is_named_with_the_likely_mistake() {
        let id = || "123".to_owned();
        let deployed = || Endpoint::Deployed { id: id() };
        let dns = "123.us-central1-9.prediction.vertexai.goog".to_owned();
        let base = |url: &str| Upstream::builder().endpoint(Endpoint::BaseUrl { url: url.into() });
        for (upstream, parts) in [
            (
                at("us-central1"),
                &[
                    "location us-central1, endpoint openapi: ",
                    "https://us-central1-aiplatform.googleapis.com/v1/projects/p/",
                    "that the path is one of openapi's methods, and the project p",
                ][..],
            ),
            (
                at("us-central1").endpoint(deployed()),
                &["endpoint 123", "list --region=us-central1` shows 123", "project p"],
            ),
            (
                at("us-central1").endpoint(Endpoint::Dedicated { id: id(), dns }),
                &["dedicated DNS name of endpoint 123"],
            ),
            (
                at("us-central1")
                    .endpoint(Endpoint::Private { id: id(), address: "10.0.0.1".into() }),
                &["endpoint 123 is behind this address"],
            ),
            (
                at("europe-west4").origin("https://us-central1-aiplatform.googleapis.com"),
                &["location europe-west4", "host is that of location us-central1 and the path"],
            ),
            (
                at("us-central1").origin("https://aiplatform.googleapis.com"),
                &["host is that of location global and the path is for us-central1"],
            ),
            (
                at("eu").origin("https://eu-aiplatform.googleapis.com"),
                &["the location eu has no such host"],
            ),
            (
                base("https://h/v1/projects/q/locations/eu/endpoints/7"),
                &["location eu, endpoint 7", "of the base URL, and the project q"],
            ),
            (base("https://h/x"), &["at https://h/x and", "of the base URL, and its path"]),
        ] {
            let upstream = upstream.build().unwrap();
            let text = nowhere(Some(&upstream));
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in {text:?}");
            }
        }
        assert!(nowhere(None).contains("host and location"));
    }

    #[test]
    fn a_host_has_a_location() {
        for (host, location) in [
            ("aiplatform.googleapis.com", Some("global")),
            ("us-central1-aiplatform.googleapis.com", Some("us-central1")),
            ("aiplatform.eu.rep.googleapis.com", Some("eu")),
            ("us-central1-aiplatform.mtls.googleapis.com", None),
            ("aiplatform-psc.p.googleapis.com", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(location_of(host), location, "{host}");
        }
    }

    #[test]
    fn a_segment_follows_its_name() {
        let path = "/v1/projects/p/locations/eu/endpoints/7/x";
        assert_eq!(after(path, "projects"), Some("p"));
        assert_eq!(after(path, "endpoints"), Some("7"));
        assert_eq!(after(path, "location"), None);
        assert_eq!(after("/locations/", "locations"), None);
        assert_eq!(after("/locations", "locations"), None);
    }
}
