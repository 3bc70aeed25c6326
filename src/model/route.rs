//! The settings of a table's entries, before their checks.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    ModelEntry,
    entry::{is_bare, is_openapi},
    pattern::Pattern,
    scan::LONGEST_NAME,
};
use crate::{
    error::ConfigError,
    redact,
    retry::Locations,
    route::{ApiVersion, Endpoint, OwnHeaders, Upstream},
};

/// The settings of an entry of a [`ModelTable`]: the upstream for requests for a model, and the
/// name that the model has there. Every setting is optional. An entry without any gives a bare name
/// the default publisher, as if the entry did not exist, and shows the name in
/// [`ModelTable::entries`].
///
/// [`ModelTableBuilder::build`] checks the settings.
///
/// ```
/// use tower_vertex::model::ModelRoute;
///
/// // Gemini, on provisioned throughput that was bought in one region.
/// let gemini = ModelRoute::new()
///     .model("gemini-2.5-flash")
///     .location("europe-west4")
///     .header("X-Vertex-AI-LLM-Request-Type", "dedicated");
/// // A model of your own; the endpoint ignores the requested name.
/// let mine = ModelRoute::new().location("us-central1").endpoint_id("1234567890");
/// # let _ = (gemini, mine);
/// ```
///
/// [`ModelTable`]: super::ModelTable
/// [`ModelTable::entries`]: super::ModelTable::entries
/// [`ModelTableBuilder::build`]: super::ModelTableBuilder::build
#[derive(Clone, Default)]
#[must_use]
pub struct ModelRoute {
    model: Option<String>,
    publisher: Option<String>,
    upstream: Option<Upstream>,
    location: Option<String>,
    locations: Option<Vec<String>>,
    endpoint_id: Option<String>,
    dedicated_host: Option<String>,
    api_version: Option<ApiVersion>,
    headers: Vec<(String, String)>,
}

impl ModelRoute {
    /// An entry without settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the model upstream: `publisher/name`, or a bare name, which gets the publisher
    /// just as a bare name in a request does. Default: the requested name.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// The publisher that a bare name gets, such as `meta`. Default: the table's. Only models that
    /// Google runs have a publisher; with an endpoint of your own, this setting is an error.
    pub fn publisher(mut self, publisher: impl Into<String>) -> Self {
        self.publisher = Some(publisher.into());
        self
    }

    /// The upstream that the settings below change, for another project, a private endpoint or a
    /// base URL. Default: the table's.
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// The location. Default: the upstream's.
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// The locations in order, instead of [`location`](Self::location). Requests go to the first
    /// one; [`VertexRetry`](crate::retry::VertexRetry), if it is installed, sends a request that
    /// fails there to the others. No request goes to a location that is not listed, such as
    /// `global` or the upstream's own. This setting is an error for an endpoint with a host of its
    /// own and for a base URL. Default: one location.
    pub fn locations<I>(mut self, locations: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.locations = Some(locations.into_iter().map(Into::into).collect());
        self
    }

    /// The id of an endpoint with a model that you deployed, or `openapi` for the models that
    /// Google runs. Default: the upstream's.
    pub fn endpoint_id(mut self, id: impl Into<String>) -> Self {
        self.endpoint_id = Some(id.into());
        self
    }

    /// The endpoint's `dedicatedEndpointDns`, if it has one. This setting requires
    /// [`endpoint_id`](Self::endpoint_id). An origin of the upstream
    /// ([`UpstreamBuilder::origin`](crate::route::UpstreamBuilder::origin)) takes precedence.
    pub fn dedicated_host(mut self, dns: impl Into<String>) -> Self {
        self.dedicated_host = Some(dns.into());
        self
    }

    /// The version of Vertex AI's API. Default: the upstream's.
    pub fn api_version(mut self, version: ApiVersion) -> Self {
        self.api_version = Some(version);
        self
    }

    /// Sets a header of these requests, in place of any header of that name that they have. Each
    /// call adds a header. A header that describes the body or the connection is an error, and so
    /// is `Authorization`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Checks the settings on top of `base`, for requests that match `pattern`.
    pub(super) fn resolve(
        self,
        pattern: &str,
        base: &Upstream,
        publisher: Option<&str>,
    ) -> Result<ModelEntry, ConfigError> {
        let within = |error: ConfigError| error.within(pattern.to_owned());
        let pattern = Pattern::parse(pattern).map_err(within)?;
        let moved = self.moved(base).map_err(within)?;
        let locations = self.located(moved.as_ref().unwrap_or(base)).map_err(within)?;
        let upstream = locations.as_ref().map(|locations| locations.first().clone()).or(moved);
        if let Some(model) = &self.model
            && !is_name(model)
        {
            let advice = "give a name without control characters and without `*`";
            return Err(within(ConfigError::invalid("model", model, advice)));
        }
        if let Some(publisher) = &self.publisher {
            check_publisher(publisher).map_err(within)?;
            let advice = if self.model.as_deref().is_some_and(|model| !is_bare(model)) {
                Some("leave it out: the model has one")
            } else if !is_openapi(upstream.as_ref().unwrap_or(base)) {
                Some("leave it out: the models of this endpoint have none")
            } else {
                None
            };
            if let Some(advice) = advice {
                return Err(within(ConfigError::invalid("publisher", publisher, advice)));
            }
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let (name, value) = checked_header(name, value).map_err(within)?;
            headers.append(name, value);
        }
        Ok(ModelEntry {
            pattern,
            upstream,
            locations,
            model: self.model,
            own_publisher: self.publisher.clone(),
            publisher: self.publisher.or(publisher.map(str::to_owned)),
            own_headers: OwnHeaders::of(&headers),
            headers,
        })
    }

    /// `upstream` in each of the locations, if the entry has a list of them.
    fn located(&self, upstream: &Upstream) -> Result<Option<Locations>, ConfigError> {
        let Some(locations) = &self.locations else { return Ok(None) };
        if let Some(location) = &self.location {
            let advice = "leave it out: the list of locations counts";
            return Err(ConfigError::invalid("location", location, advice));
        }
        Locations::for_locations(upstream, locations).map(Some)
    }

    /// The upstream, if it differs from the table's.
    fn moved(&self, base: &Upstream) -> Result<Option<Upstream>, ConfigError> {
        let Self { upstream, location, endpoint_id, dedicated_host, api_version, .. } = self;
        let mut builder = upstream.as_ref().unwrap_or(base).to_builder();
        let mut endpoint = upstream.as_ref().unwrap_or(base).endpoint().clone();
        match (endpoint_id.clone(), dedicated_host.clone()) {
            (Some(id), Some(dns)) => endpoint = Endpoint::Dedicated { id, dns },
            (Some(id), None) => endpoint = Endpoint::Deployed { id },
            (None, Some(_)) => {
                let advice = "a dedicated host belongs to one endpoint; give its id too";
                return Err(ConfigError::missing("endpoint id", advice));
            }
            (None, None) => {}
        }
        if matches!(endpoint, Endpoint::BaseUrl { .. }) {
            let advice = "leave it out, or give an endpoint id: the upstream is a whole URL";
            if let Some(location) = location {
                return Err(ConfigError::invalid("location", location, advice));
            }
            if let Some(version) = api_version {
                return Err(ConfigError::invalid("API version", version.as_str(), advice));
            }
        }
        builder = builder.endpoint(endpoint);
        if let Some(location) = location {
            builder = builder.location(location);
        }
        if let Some(version) = api_version {
            builder = builder.api_version(*version);
        }
        let moves = upstream.is_some()
            || location.is_some()
            || endpoint_id.is_some()
            || api_version.is_some();
        if moves { builder.build().map(Some) } else { Ok(None) }
    }
}

impl fmt::Debug for ModelRoute {
    /// Shows no value of a header, no host and nothing that could be a secret: the settings have
    /// not been checked yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &String| redact::value(text).into_owned();
        let all = |texts: &Vec<String>| texts.iter().map(shown).collect::<Vec<_>>();
        f.debug_struct("ModelRoute")
            .field("model", &self.model.as_ref().map(shown))
            .field("publisher", &self.publisher.as_ref().map(shown))
            .field("upstream", &self.upstream)
            .field("location", &self.location.as_ref().map(shown))
            .field("locations", &self.locations.as_ref().map(all))
            .field("endpoint_id", &self.endpoint_id.as_ref().map(shown))
            .field("api_version", &self.api_version)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.contains(|c: char| c == '*' || c.is_control())
}

pub(super) fn check_publisher(publisher: &str) -> Result<(), ConfigError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !publisher.is_empty() && publisher.len() <= 100 && publisher.bytes().all(good) {
        return Ok(());
    }
    Err(ConfigError::invalid("publisher", publisher, "give its name alone, such as google or meta"))
}

fn checked_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    // These headers describe the framing and the encoding of the body, or other layers set them.
    const OTHERS: [HeaderName; 10] = [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(ConfigError::invalid("header", name, "give the name of a header"));
    };
    if OTHERS.contains(&header) {
        return Err(ConfigError::invalid(
            "header",
            name,
            "leave it out: it is not for an entry to set",
        ));
    }
    // The value stays out of the text: it may be a secret.
    let Ok(value) = HeaderValue::from_str(value) else {
        return Err(ConfigError::invalid(
            "header",
            name,
            "give it a value of visible ASCII characters",
        ));
    };
    Ok((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_place_of_a_setting_is_never_printed() {
        for secret in ["{\"private_key\": \"SECRET\"}", "sk-SECRET", "https://u:SECRET@host/"] {
            let route = ModelRoute::new()
                .model(secret)
                .publisher(secret)
                .location(secret)
                .locations([secret])
                .endpoint_id(secret)
                .dedicated_host(secret)
                .header("x-name", secret);
            let text = format!("{route:?}");
            assert!(!text.contains("SECRET") && !text.contains("private_key"), "{text}");
        }
    }
}
