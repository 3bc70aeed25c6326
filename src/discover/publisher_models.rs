//! The list of a publisher's models.

use std::{fmt, time::Duration};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{
    DiscoverError, PublisherModel,
    publisher_model::is_name,
    requests::{List, Requests, shared_host},
};
use crate::{
    BoxError,
    error::ConfigError,
    route::{Location, Upstream},
};

const MODELS: List = List { field: "publisherModels", no_array: "`publisherModels` is no array" };

/// The models of publishers, such as `google` and `anthropic`, at one location.
///
/// Vertex AI's `publishers.models.list` is a method of the API v1beta1 alone, and has no project in
/// its path. With the credentials of a user it needs a quota project, and Vertex AI responds with 403
/// otherwise: credentials of `gcloud auth application-default login` usually name one, and
/// [`VertexAuthLayer::quota_project`](crate::auth::VertexAuthLayer::quota_project) sets one.
///
/// Cheap to clone. See [`Endpoints`](super::Endpoints) for the service.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, service_fn};
/// use tower_vertex::{
///     BoxError,
///     auth::VertexAuthLayer,
///     discover::{ModelMethod, PublisherModels},
///     replay::ReplayBody,
///     token::StaticToken,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// // Stands in for Vertex AI and an HTTP client.
/// let client = service_fn(|request: Request<ReplayBody<String>>| async move {
///     assert_eq!(request.uri().host(), Some("aiplatform.googleapis.com"));
///     assert_eq!(request.uri().path(), "/v1beta1/publishers/google/models");
///     Ok::<_, BoxError>(Response::new(r#"{"publisherModels": [{
///         "name": "publishers/google/models/gemini-2.5-flash",
///         "versionId": "default",
///         "launchStage": "GA",
///         "supportedActions": {"openGenerationAiStudio": {}}
///     }]}"#.to_owned()))
/// });
/// let service = VertexAuthLayer::new(StaticToken::new("ya29.example")?).layer(client);
/// let models = PublisherModels::new(service, "global")?;
///
/// let all = models.list("google").await?;
/// assert_eq!(all[0].qualified_id(), "google/gemini-2.5-flash");
/// assert_eq!(all[0].methods(), [ModelMethod::ChatCompletions, ModelMethod::GenerateContent]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "list models")]
#[doc(alias = "model garden")]
#[derive(Clone)]
pub struct PublisherModels {
    requests: Requests,
    origin: String,
    location: Location,
}

impl PublisherModels {
    /// Lists models through `service`, at the host of `location`. The service is one as for
    /// [`Endpoints::new`](super::Endpoints::new).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the location is missing or cannot be part of a URL.
    pub fn new<S, B, R>(service: S, location: impl Into<String>) -> Result<Self, ConfigError>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Default + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        // No request has the project.
        Self::from_upstream(service, &Upstream::new("none", location)?)
    }

    /// Lists models at the location and in the cloud of `upstream`, or at its
    /// [`origin`](crate::route::UpstreamBuilder::origin) if it has one. Its project, its endpoint and
    /// its API version do not matter.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is an [`Endpoint::BaseUrl`](crate::route::Endpoint::BaseUrl) without a project or a location.
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
        let origin = upstream.origin().to_owned();
        Ok(Self { requests: Requests::new(service), origin, location })
    }

    /// Page size of the list request, 1 to 1,000. A number outside is taken as the nearest one
    /// inside. Default: 100. Google's own list has about 130 models.
    #[must_use]
    pub fn page_size(mut self, models: u16) -> Self {
        self.requests.set_page_size(models);
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

    /// The location whose host gets the requests.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// All models of the publisher, in Vertex AI's order, page by page. An entry whose name cannot
    /// be part of a request is left out. Vertex AI returns an empty list for a publisher that it
    /// does not know.
    ///
    /// # Errors
    ///
    /// [`DiscoverError`] for the first page that fails. The models of the other pages are lost.
    /// [`Config`](DiscoverError::Config) if no publisher can have such a name.
    pub async fn list(&self, publisher: &str) -> Result<Vec<PublisherModel>, DiscoverError> {
        if !is_name(publisher) {
            let advice = "give its name alone, such as google or anthropic";
            return Err(ConfigError::invalid("publisher", publisher, advice).into());
        }
        let url = format!("{}/v1beta1/publishers/{publisher}/models", self.origin);
        self.requests.all_pages(&url, &MODELS, None, PublisherModel::parse).await
    }
}

impl fmt::Debug for PublisherModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherModels")
            .field("origin", &self.origin)
            .field("location", &self.location.as_str())
            .field("page_size", &self.requests.page_size)
            .field("body_limit", &self.requests.body_limit)
            .field("timeout", &self.requests.timeout)
            .finish_non_exhaustive()
    }
}
