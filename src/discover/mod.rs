//! Which endpoints there are: Vertex AI's `endpoints.list` and `endpoints.get`, and an endpoint by
//! the name that people gave it.
//!
//! A deployed model is addressed by an id, and often by a host that only Vertex AI knows.
//! [`Endpoints`] asks for both through the services that requests take anyway: an HTTP client with
//! [`VertexAuth`](crate::auth::VertexAuth) around it. `VertexRoute` has no part in it: the URLs
//! here are Vertex AI's own. [`find`](Endpoints::find) turns an entry of a configuration into an
//! [`Endpoint`], and remembers it:
//!
//! | entry | what it is |
//! |---|---|
//! | `1234567890`, `mg-endpoint-…` | an endpoint's id |
//! | `display-name:my-llama` | the one endpoint with this display name |
//! | `openapi` | the models that Google runs, about which nobody is asked |
//!
//! Ids, names and page tokens are checked or encoded before they are part of a URL. Nothing here
//! repeats a request that was refused; a retry layer below may.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, service_fn};
//! use tower_vertex::{
//!     BoxError,
//!     auth::VertexAuthLayer,
//!     discover::Endpoints,
//!     replay::ReplayBody,
//!     route::{Endpoint, Upstream},
//!     token::StaticToken,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Stands in for Vertex AI and an HTTP client.
//! let client = service_fn(|request: Request<ReplayBody<String>>| async move {
//!     assert_eq!(request.uri().host(), Some("us-central1-aiplatform.googleapis.com"));
//!     assert_eq!(request.uri().path(), "/v1/projects/my-project/locations/us-central1/endpoints");
//!     Ok::<_, BoxError>(Response::new(r#"{"endpoints": [{
//!         "name": "projects/123456789012/locations/us-central1/endpoints/1234567890",
//!         "displayName": "my-llama",
//!         "dedicatedEndpointEnabled": true,
//!         "dedicatedEndpointDns": "1234567890.us-central1-123456789012.prediction.vertexai.goog"
//!     }]}"#.to_owned()))
//! });
//! let service = VertexAuthLayer::new(StaticToken::new("ya29.example")?).layer(client);
//! let endpoints = Endpoints::new(service, "my-project", "us-central1")?;
//!
//! let all = endpoints.list().await?;
//! assert_eq!((all[0].id.as_str(), all[0].display_name.as_str()), ("1234567890", "my-llama"));
//!
//! let endpoint = endpoints.find("display-name:my-llama").await?;
//! assert!(matches!(endpoint, Endpoint::Dedicated { .. }));
//! let upstream = Upstream::new("my-project", "us-central1")?.to_builder().endpoint(endpoint).build()?;
//! assert_eq!(upstream.origin(), "https://1234567890.us-central1-123456789012.prediction.vertexai.goog");
//! # Ok(())
//! # }
//! ```

mod description;
mod error;
mod find;
mod query;
mod transport;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use serde_json::Value;
use tower::Service;

pub use self::{
    description::{DeployedModel, EndpointDescription},
    error::DiscoverError,
};
use self::{
    find::Known,
    transport::{ServiceTransport, Transport},
};
use crate::{
    BoxError,
    error::ConfigError,
    route::{Endpoint, Location, Upstream},
};

/// What Vertex AI gives unless it is asked for another size.
const PAGE_SIZE: u16 = 100;
const LARGEST_PAGE: u16 = 1000;
/// Far more than a project may have.
const MOST_PAGES: usize = 1000;
/// 8 MiB: a page of a thousand endpoints with several models each.
const PAGE_BYTES: usize = 8 << 20;
/// As long as Google's clients wait for methods of management, and longer than these take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Five minutes: the host of an endpoint changes when it is made anew, its name when people say so.
const TTL: Duration = Duration::from_secs(300);
/// Long enough that a burst of requests asks once, short enough that nobody waits for a name that
/// was just given.
const FAILURE_TTL: Duration = Duration::from_secs(5);
/// What Google allows, in characters.
const LONGEST_DISPLAY_NAME: usize = 128;
/// Google's are some hundred bytes.
const LONGEST_PAGE_TOKEN: usize = 8192;

/// The endpoints of one project at one location. See the [module's documentation](self).
///
/// Cheap to clone; clones share what [`find`](Self::find) remembers. The type of the service is not
/// part of this one, so that it can be kept anywhere: what is asked rarely may cost an allocation.
/// Needs a Tokio runtime with its timer, as the token cache does.
#[doc(alias = "list endpoints")]
#[doc(alias = "model garden")]
#[derive(Clone)]
pub struct Endpoints {
    transport: Arc<dyn Transport>,
    /// With the endpoint `openapi`, which does not matter.
    upstream: Upstream,
    location: Location,
    page_size: u16,
    body_limit: usize,
    timeout: Duration,
    ttl: Duration,
    failure_ttl: Duration,
    known: Arc<Known>,
}

impl Endpoints {
    /// Asks through `service`, at the host of `location`.
    ///
    /// The service is any that takes `http` requests with a body that has a default, which is the
    /// empty one for `http_body_util`'s `Full` and `Empty`. It has to put the access token on, so
    /// it is a client in a [`VertexAuth`](crate::auth::VertexAuth), maybe with more around.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the project or the location is missing or cannot be part of a URL.
    pub fn new<S, B, R>(
        service: S,
        project: impl Into<String>,
        location: impl Into<String>,
    ) -> Result<Self, ConfigError>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Default + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Self::from_upstream(service, &Upstream::new(project, location)?)
    }

    /// Asks where `upstream` is: by its project, location, API version and cloud, and at its
    /// [`origin`](crate::route::UpstreamBuilder::origin) if it has one, such as an emulator's or
    /// that of Private Service Connect for Google APIs. Its endpoint does not matter: descriptions
    /// are given at the shared host alone, those of dedicated endpoints too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is an [`Endpoint::BaseUrl`] without a project or a location.
    pub fn from_upstream<S, B, R>(service: S, upstream: &Upstream) -> Result<Self, ConfigError>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Default + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let upstream = upstream.to_builder().endpoint(Endpoint::OpenApi).build()?;
        // Every upstream but a base URL has one.
        let location = upstream.location().cloned().ok_or(ConfigError::missing(
            "location",
            "pass a location or set GOOGLE_CLOUD_LOCATION",
        ))?;
        Ok(Self {
            transport: Arc::new(ServiceTransport::new(service)),
            upstream,
            location,
            page_size: PAGE_SIZE,
            body_limit: PAGE_BYTES,
            timeout: TIMEOUT,
            ttl: TTL,
            failure_ttl: FAILURE_TTL,
            known: Arc::default(),
        })
    }

    /// How many endpoints are asked for at once, 1 to 1,000; a number outside is taken as the nearest
    /// one inside. Default: 100, as Vertex AI does.
    #[must_use]
    pub fn page_size(mut self, endpoints: u16) -> Self {
        self.page_size = endpoints.clamp(1, LARGEST_PAGE);
        self
    }

    /// The longest answer that is read, in bytes. Default: 8 MiB.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How long one request may take, with its whole answer. Default: 30 s. It includes the wait
    /// for a token and whatever else the service does.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long [`find`](Self::find) remembers what it found: the time to live of an entry of its
    /// cache, not the lifetime of a token. Default: 5 min. Zero: not at all. More than a year counts as a
    /// year.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long [`find`](Self::find) remembers that it failed. Default: 5 s. Zero: not at all. More than
    /// a year counts as a year.
    #[must_use]
    pub fn failure_ttl(mut self, ttl: Duration) -> Self {
        self.failure_ttl = ttl;
        self
    }

    /// The project that is asked about.
    pub fn project(&self) -> &str {
        self.upstream.project().unwrap_or_default()
    }

    /// The location that is asked about.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// All endpoints, in Vertex AI's order, page by page. What has no name with an id in it is left
    /// out.
    ///
    /// # Errors
    ///
    /// [`DiscoverError`]: whatever goes wrong with one page. What the others had is lost.
    pub async fn list(&self) -> Result<Vec<EndpointDescription>, DiscoverError> {
        self.all_pages(None).await
    }

    /// The endpoints with exactly this display name: none, one or several.
    ///
    /// Vertex AI filters. How it reads a quotation mark or a backslash in a filter is not
    /// documented, so for a name with one of these an empty answer or a 400 is not believed: then
    /// all endpoints are looked at.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list), and [`DiscoverError::Config`] if no endpoint can have such a name,
    /// because it is empty or longer than 128 characters.
    pub async fn list_named(
        &self,
        display_name: &str,
    ) -> Result<Vec<EndpointDescription>, DiscoverError> {
        if display_name.is_empty() || display_name.chars().nth(LONGEST_DISPLAY_NAME).is_some() {
            let shown: String = display_name.chars().take(LONGEST_DISPLAY_NAME).collect();
            let advice = "give a name of 1 to 128 characters";
            return Err(ConfigError::invalid("display name", &shown, advice).into());
        }
        let exact = |endpoint: &EndpointDescription| endpoint.display_name == display_name;
        let filter = query::display_name_filter(display_name);
        let filtered = match self.all_pages(Some(&filter)).await {
            Ok(mut found) => {
                found.retain(exact);
                found
            }
            Err(error) if error.status_code() != Some(StatusCode::BAD_REQUEST) => {
                return Err(error);
            }
            Err(error) if !query::has_escapes(display_name) => return Err(error),
            Err(_not_understood) => Vec::new(),
        };
        if !filtered.is_empty() || !query::has_escapes(display_name) {
            return Ok(filtered);
        }
        let mut all = self.all_pages(None).await?;
        all.retain(exact);
        Ok(all)
    }

    /// The endpoint with this id.
    ///
    /// # Errors
    ///
    /// [`DiscoverError`]. [`Config`](DiscoverError::Config) if it is no id;
    /// [`Api`](DiscoverError::Api) with a 404 if there is no such endpoint.
    pub async fn get(&self, id: &str) -> Result<EndpointDescription, DiscoverError> {
        let endpoint = Endpoint::Deployed { id: id.to_owned() };
        let named = self.upstream.to_builder().endpoint(endpoint).build()?;
        let answer = self.ask(named.uri().clone()).await?;
        let endpoint = EndpointDescription::parse(&answer, &self.location);
        endpoint.filter(|endpoint| endpoint.id == id).ok_or(DiscoverError::Unreadable {
            reason: "it does not describe the endpoint that was asked for",
        })
    }

    async fn all_pages(
        &self,
        filter: Option<&str>,
    ) -> Result<Vec<EndpointDescription>, DiscoverError> {
        let (mut all, mut seen, mut token) = (Vec::new(), HashSet::new(), None);
        for pages in 1..=MOST_PAGES {
            let page = self.page(filter, token.as_deref()).await?;
            all.extend(page.endpoints);
            let Some(next) = page.next else { return Ok(all) };
            if !seen.insert(next.clone()) {
                return Err(DiscoverError::PaginationLoop { pages });
            }
            token = Some(next);
        }
        Err(DiscoverError::PaginationLoop { pages: MOST_PAGES })
    }

    async fn page(&self, filter: Option<&str>, token: Option<&str>) -> Result<Page, DiscoverError> {
        let size = self.page_size.to_string();
        let mut pairs = vec![("pageSize", size.as_str())];
        pairs.extend(filter.map(|filter| ("filter", filter)));
        pairs.extend(token.map(|token| ("pageToken", token)));
        let openapi = self.upstream.uri().to_string();
        let parent = openapi.strip_suffix("/openapi").unwrap_or(&openapi);
        let uri = format!("{parent}?{}", query::query(&pairs));
        let uri = uri.parse::<Uri>();
        let uri =
            uri.map_err(|_| DiscoverError::Unreadable { reason: "its page token is none" })?;
        let answer = self.ask(uri).await?;
        let list = answer.get("endpoints").map(|list| {
            list.as_array().ok_or(DiscoverError::Unreadable { reason: "`endpoints` is no array" })
        });
        let list = list.transpose()?.into_iter().flatten();
        let parse = |value| EndpointDescription::parse(value, &self.location);
        let next = answer.get("nextPageToken").and_then(Value::as_str);
        let next = next.filter(|token| !token.is_empty());
        if next.is_some_and(|token| token.len() > LONGEST_PAGE_TOKEN) {
            return Err(DiscoverError::Unreadable { reason: "its page token is none" });
        }
        Ok(Page { endpoints: list.filter_map(parse).collect(), next: next.map(str::to_owned) })
    }

    /// The JSON object that a GET of `uri` gets.
    async fn ask(&self, uri: Uri) -> Result<Value, DiscoverError> {
        let answer = self.transport.get(uri, self.body_limit);
        let answer = tokio::time::timeout(self.timeout, answer).await;
        let (status, body) = answer.map_err(|_| DiscoverError::TimedOut(self.timeout))??;
        if status != StatusCode::OK {
            return Err(DiscoverError::api(status, &body));
        }
        let answer = serde_json::from_slice::<Value>(&body);
        let answer = answer.map_err(|_| DiscoverError::Unreadable { reason: "it is not JSON" })?;
        if !answer.is_object() {
            return Err(DiscoverError::Unreadable { reason: "it is not an object" });
        }
        Ok(answer)
    }
}

struct Page {
    endpoints: Vec<EndpointDescription>,
    next: Option<String>,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("origin", &self.upstream.origin())
            .field("project", &self.project())
            .field("location", &self.location.as_str())
            .field("page_size", &self.page_size)
            .field("body_limit", &self.body_limit)
            .field("timeout", &self.timeout)
            .field("ttl", &self.ttl)
            .field("failure_ttl", &self.failure_ttl)
            .finish_non_exhaustive()
    }
}
