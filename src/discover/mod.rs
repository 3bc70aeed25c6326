//! Lists and describes endpoints with Vertex AI's `endpoints.list` and `endpoints.get`, and finds
//! an endpoint by its display name. Lists the models of publishers with `publishers.models.list`.
//!
//! A deployed model is addressed by an id, and often by a host that only Vertex AI knows.
//! [`Endpoints`] looks up both through the services that requests use anyway: an HTTP client with
//! [`VertexAuth`](crate::auth::VertexAuth) around it. `VertexRoute` is not needed: the URLs
//! here are Vertex AI's own. [`find`](Endpoints::find) turns an entry of a configuration into an
//! [`Endpoint`], and caches it:
//!
//! | entry | meaning |
//! |---|---|
//! | `1234567890`, `mg-endpoint-…` | an endpoint's id |
//! | `display-name:my-llama` | the one endpoint with this display name |
//! | `openapi` | the models that Google runs; no request is sent for it |
//!
//! [`PublisherModels`] lists the models that Google and its partners run, with the
//! [methods](ModelMethod) that serve each.
//!
//! Ids, names and page tokens are checked or encoded before they become part of a URL. This module
//! never repeats a request that was refused; a retry layer below may.
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
mod model_method;
mod publisher_model;
mod publisher_models;
mod query;
mod requests;
mod transport;

use std::{fmt, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body::Body;
use tower::Service;

pub use self::{
    description::{DeployedModel, EndpointDescription},
    error::DiscoverError,
    model_method::ModelMethod,
    publisher_model::PublisherModel,
    publisher_models::PublisherModels,
};
use self::{
    find::Known,
    requests::{List, Requests, shared_host},
};
use crate::{
    BoxError,
    error::ConfigError,
    route::{Endpoint, Location, Upstream},
};

/// Five minutes. The host of an endpoint changes only if the endpoint is created again, and its
/// name if a person changes it.
const TTL: Duration = Duration::from_secs(300);
/// Long enough that a burst of requests causes one lookup, and short enough that a name that was
/// just assigned is found without a noticeable wait.
const FAILURE_TTL: Duration = Duration::from_secs(5);
/// Google's limit, in characters.
const LONGEST_DISPLAY_NAME: usize = 128;
const ENDPOINTS: List = List { field: "endpoints", no_array: "`endpoints` is no array" };

/// The endpoints of one project at one location. See the [module's documentation](self).
///
/// Cheap to clone; clones share the cache of [`find`](Self::find). The type of the service is not
/// part of this type, so that it can be kept anywhere. This costs an allocation for each lookup,
/// and lookups are rare. Needs a Tokio runtime with its timer, as the token cache does.
#[doc(alias = "list endpoints")]
#[doc(alias = "model garden")]
#[derive(Clone)]
pub struct Endpoints {
    requests: Requests,
    /// Has the endpoint `openapi`, which does not matter.
    upstream: Upstream,
    location: Location,
    ttl: Duration,
    failure_ttl: Duration,
    known: Arc<Known>,
}

impl Endpoints {
    /// Looks up endpoints through `service`, at the host of `location`.
    ///
    /// The service is any that takes `http` requests with a body that has a default, which is the
    /// empty body for `http_body_util`'s `Full` and `Empty`. It has to add the access token, so it
    /// is a client in a [`VertexAuth`](crate::auth::VertexAuth), maybe with more layers around it.
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

    /// Looks up endpoints for the project, location, API version and cloud of `upstream`. Requests
    /// go to its [`origin`](crate::route::UpstreamBuilder::origin) if it has one, such as an
    /// emulator's or that of Private Service Connect for Google APIs. Its endpoint does not matter:
    /// only the shared host describes endpoints, including dedicated ones.
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
        let (upstream, location) = shared_host(upstream)?;
        Ok(Self {
            requests: Requests::new(service),
            upstream,
            location,
            ttl: TTL,
            failure_ttl: FAILURE_TTL,
            known: Arc::default(),
        })
    }

    /// Page size of the list request, 1 to 1,000. A number outside is taken as the nearest one
    /// inside. Default: 100, as in Vertex AI.
    #[must_use]
    pub fn page_size(mut self, endpoints: u16) -> Self {
        self.requests.set_page_size(endpoints);
        self
    }

    /// The longest response that is read, in bytes. Default: 8 MiB.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.requests.body_limit = bytes;
        self
    }

    /// The time limit of one request with its complete response. Default: 30 s. It includes the
    /// wait for a token and any other work of the service.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.requests.timeout = timeout;
        self
    }

    /// How long [`find`](Self::find) caches an endpoint. This is the time to live of an entry of
    /// the cache, not the lifetime of a token. Default: 5 min. Zero: no caching. More than a year
    /// counts as a year.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long [`find`](Self::find) caches a failure. Default: 5 s. Zero: no caching. More than a
    /// year counts as a year.
    #[must_use]
    pub fn failure_ttl(mut self, ttl: Duration) -> Self {
        self.failure_ttl = ttl;
        self
    }

    /// The project of the endpoints.
    pub fn project(&self) -> &str {
        self.upstream.project().unwrap_or_default()
    }

    /// The location of the endpoints.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// All endpoints, in Vertex AI's order, page by page. An entry whose name has no id is left
    /// out.
    ///
    /// # Errors
    ///
    /// [`DiscoverError`] for the first page that fails. The endpoints of the other pages are lost.
    pub async fn list(&self) -> Result<Vec<EndpointDescription>, DiscoverError> {
        self.all_pages(None).await
    }

    /// The endpoints with exactly this display name: none, one or several.
    ///
    /// Vertex AI filters. Google does not document how a filter reads a quotation mark or a
    /// backslash. So for a name with one of these, an empty result or a 400 is not trusted: all
    /// endpoints are listed and compared.
    ///
    /// # Errors
    ///
    /// The errors of [`list`](Self::list), and [`DiscoverError::Config`] if no endpoint can have
    /// such a name, because it is empty or longer than 128 characters.
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
    /// [`DiscoverError`]. [`Config`](DiscoverError::Config) if the id is invalid;
    /// [`Api`](DiscoverError::Api) with a 404 if there is no such endpoint.
    pub async fn get(&self, id: &str) -> Result<EndpointDescription, DiscoverError> {
        let endpoint = Endpoint::Deployed { id: id.to_owned() };
        let named = self.upstream.to_builder().endpoint(endpoint).build()?;
        let answer = self.requests.get(named.uri().clone()).await?;
        let endpoint = EndpointDescription::parse(&answer, &self.location);
        endpoint.filter(|endpoint| endpoint.id == id).ok_or(DiscoverError::Unreadable {
            reason: "it does not describe the requested endpoint",
        })
    }

    async fn all_pages(
        &self,
        filter: Option<&str>,
    ) -> Result<Vec<EndpointDescription>, DiscoverError> {
        let parse = |value: &_| EndpointDescription::parse(value, &self.location);
        self.requests.all_pages(&self.url(), &ENDPOINTS, filter, parse).await
    }

    async fn first_page(&self) -> Result<Vec<EndpointDescription>, DiscoverError> {
        let parse = |value: &_| EndpointDescription::parse(value, &self.location);
        let page = self.requests.page(&self.url(), &ENDPOINTS, None, None, parse).await;
        Ok(page?.items)
    }

    /// The URL of the list.
    fn url(&self) -> String {
        let openapi = self.upstream.uri().to_string();
        openapi.strip_suffix("/openapi").unwrap_or(&openapi).to_owned()
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("origin", &self.upstream.origin())
            .field("project", &self.project())
            .field("location", &self.location.as_str())
            .field("page_size", &self.requests.page_size)
            .field("body_limit", &self.requests.body_limit)
            .field("timeout", &self.requests.timeout)
            .field("ttl", &self.ttl)
            .field("failure_ttl", &self.failure_ttl)
            .finish_non_exhaustive()
    }
}
