//! OpenAI path → Vertex AI URL.
//!
//! [`VertexRouteLayer`] takes a request as an OpenAI client sends it (`/v1/chat/completions`, at
//! whatever host) and gives it the host, the path and the version that Vertex AI expects. Of its
//! headers and its query it lets through what is on a list, and it refuses a method that the path has
//! not. It never reads or changes the body, and it never adds a credential: that is the next layer's
//! work, which sees the final host and can decide whether to trust it.
//!
//! An [`Upstream`] says where to: a project, a [`Location`] and an [`Endpoint`], validated when it
//! is built, so that no setting can turn into another host or another path. One in the extensions
//! of a request wins over the layer's. [`rewrite`] is the whole rule as a pure function.
//!
//! | endpoint | paths |
//! |---|---|
//! | [`OpenApi`](Endpoint::OpenApi) | `/chat/completions`, `/completions`, `/embeddings`, `/responses`, `/responses/{id}` |
//! | [`Deployed`](Endpoint::Deployed), [`Dedicated`](Endpoint::Dedicated), [`Private`](Endpoint::Private) | `/chat/completions`, `/responses/{id}`, `/invoke/{route}` |
//! | [`BaseUrl`](Endpoint::BaseUrl) | all of these |
//!
//! `/responses/{id}` takes GET and DELETE, `/invoke/{route}` GET, HEAD, POST, PUT, PATCH and DELETE, the
//! others POST. Any other method is
//! [`RouteError::MethodNotAllowed`](crate::error::RouteError::MethodNotAllowed), 405.
//!
//! # Which headers travel
//!
//! - what describes the body: `content-type`, `content-length`, `content-encoding`; and the answer that is
//!   wanted: `accept`, `accept-encoding`;
//! - `authorization`, which [`VertexAuth`](crate::auth::VertexAuth) overwrites;
//! - who asks, in general: `user-agent`, `x-goog-api-client`, and what the SDKs of OpenAI tell of their
//!   program, `x-stainless-…`, which the sidecar takes out; and which request it is: `idempotency-key`,
//!   `x-request-id`, `traceparent`, `tracestate`;
//! - what is for Vertex AI: `x-vertex-ai-…`, `x-server-timeout`, `x-goog-request-params`,
//!   `x-goog-user-project`;
//! - what an entry of a [`ModelTable`](crate::model::ModelTable) sets, and what
//!   [`forward_header`](UpstreamBuilder::forward_header) names.
//!
//! All others stay here: cookies, addresses and credentials of clients, whatever they are called; other
//! system parameters of Google's, which choose who pays, or another method; and what only OpenAI
//! understands.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_vertex::{BoxError, route::{Upstream, VertexRouteLayer}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Any HTTP service of Tower goes here; this one answers with the URL that it was asked for.
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
mod path;
mod query;
mod rewrite;
mod service;
mod upstream;

pub(crate) use self::{builder::OPENAPI, headers::OwnHeaders};
pub use self::{
    builder::UpstreamBuilder,
    endpoint::{ApiVersion, Endpoint, Location},
    future::ResponseFuture,
    layer::VertexRouteLayer,
    rewrite::{check_method_for_path, resource_of, rewrite, sub_path, without_prefix},
    service::VertexRoute,
    upstream::Upstream,
};
