//! Rewrites the path of an OpenAI request to the URL of Vertex AI.
//!
//! [`VertexRouteLayer`] takes a request of an OpenAI client (`/v1/chat/completions`, at any host)
//! and sets the host, the path and the version that Vertex AI expects. It forwards only the headers
//! and the query parameters that are on a list, and refuses a method that the path does not have.
//! It never reads or changes the body, and never adds a credential. That is the task of the next
//! layer, which sees the final host and can decide whether to trust it.
//!
//! An [`Upstream`] is the destination: a project, a [`Location`] and an [`Endpoint`]. They are
//! validated when it is built, so that no setting can turn into another host or another path. An
//! upstream in the extensions of a request takes precedence over that of the layer. [`rewrite`] is
//! the whole rule as a pure function.
//!
//! | endpoint | paths |
//! |---|---|
//! | [`OpenApi`](Endpoint::OpenApi) | `/chat/completions`, `/completions`, `/embeddings`, `/responses`, `/responses/{id}` |
//! | [`Deployed`](Endpoint::Deployed), [`Dedicated`](Endpoint::Dedicated), [`Private`](Endpoint::Private) | `/chat/completions`, `/responses/{id}`, `/invoke/{route}` |
//! | [`BaseUrl`](Endpoint::BaseUrl) | all of these |
//!
//! `/responses/{id}` accepts GET, HEAD and DELETE, `/invoke/{route}` accepts GET, HEAD, POST, PUT,
//! PATCH and DELETE, and the others accept POST. Any other method is
//! [`RouteError::MethodNotAllowed`](crate::error::RouteError::MethodNotAllowed), 405.
//!
//! # Which headers travel
//!
//! - headers that describe the body: `content-type`, `content-length`, `content-encoding`; and
//!   those about the response: `accept`, `accept-encoding`;
//! - `authorization`, which [`VertexAuth`](crate::auth::VertexAuth) overwrites;
//! - headers that describe the client in general: `user-agent`, `x-goog-api-client`, and
//!   `x-stainless-…`, in which the SDKs of OpenAI describe their program and which the sidecar
//!   removes; and those that identify the request: `idempotency-key`, `x-request-id`,
//!   `traceparent`, `tracestate`;
//! - headers for Vertex AI: `x-vertex-ai-…`, `x-server-timeout`, `x-goog-request-params`,
//!   `x-goog-user-project`;
//! - headers that an entry of a [`ModelTable`](crate::model::ModelTable) sets, and those that
//!   [`forward_header`](UpstreamBuilder::forward_header) names.
//!
//! All other headers are removed: cookies, addresses and credentials of clients, under any name;
//! the other system parameters of Google's APIs, which select the billed project or another method;
//! and headers that only OpenAI understands.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_vertex::{BoxError, route::{Upstream, VertexRouteLayer}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Any HTTP service of Tower goes here; this one returns the URL of the request.
//! let client = service_fn(|request: Request<String>| async move {
//!     Ok::<_, BoxError>(Response::new(request.uri().to_string()))
//! });
//!
//! let upstream = Upstream::new("my-project", "europe-west4")?;
//! let mut vertex = VertexRouteLayer::new(upstream).layer(client);
//!
//! let request = Request::post("https://api.openai.com/v1/chat/completions").body(String::new())?;
//! let response = vertex.ready().await?.call(request).await?;
//! assert_eq!(
//!     response.body(),
//!     "https://europe-west4-aiplatform.googleapis.com/v1/projects/my-project/locations/europe-west4\
//!      /endpoints/openapi/chat/completions",
//! );
//!
//! // A path that Vertex AI does not have is an error, and nothing is sent.
//! let request = Request::get("/v1/models").body(String::new())?;
//! let error = vertex.ready().await?.call(request).await.unwrap_err();
//! assert_eq!(error.downcast_ref::<tower_vertex::Error>().unwrap().status(), 404);
//! # Ok(())
//! # }
//! ```

mod builder;
mod endpoint;
mod future;
pub mod headers;
mod host;
mod layer;
mod methods;
mod model_methods;
mod model_path;
mod origin;
mod path;
mod place;
mod protocol;
mod query;
mod rewrite;
mod service;
mod upstream;

pub(crate) use self::{
    builder::OPENAPI,
    headers::OwnHeaders,
    model_path::{ANTHROPIC, COUNT_TOKENS, GOOGLE, decoded, is_model, is_publisher},
    rewrite::model_path,
};
pub use self::{
    builder::UpstreamBuilder,
    endpoint::{ApiVersion, Endpoint, Location},
    future::ResponseFuture,
    layer::VertexRouteLayer,
    model_methods::DEFAULT_MODEL_METHODS,
    model_path::{ModelPath, PathTarget},
    protocol::Protocol,
    rewrite::{check_method_for_path, resource_of, rewrite, sub_path, without_prefix},
    service::VertexRoute,
    upstream::Upstream,
};
