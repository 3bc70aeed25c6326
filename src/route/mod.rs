//! Rewrites the path of a client's request to the URL of Vertex AI.
//!
//! [`VertexRouteLayer`] takes a request of an OpenAI client (`/v1/chat/completions`), of a Gemini
//! client (`/v1beta/models/gemini-2.5-flash:generateContent`) or of a client of Vertex AI itself, at
//! any host, and sets the host, the path and the version that Vertex AI expects. It forwards only
//! the headers and the query parameters that are on a list, and refuses a method that the path does
//! not have. It never reads or changes the body, and never adds a credential. That is the task of
//! the next layer, which sees the final host and can decide whether to trust it.
//!
//! An [`Upstream`] is the destination: a project, a [`Location`] and an [`Endpoint`]. They are
//! validated when it is built, so that no setting can turn into another host or another path. An
//! upstream in the extensions of a request takes precedence over that of the layer. [`rewrite`] is
//! the whole rule as a pure function.
//!
//! # Which paths
//!
//! | endpoint | OpenAI's paths |
//! |---|---|
//! | [`OpenApi`](Endpoint::OpenApi) | `/chat/completions`, `/completions`, `/embeddings`, `/responses`, `/responses/{id}` |
//! | [`Deployed`](Endpoint::Deployed), [`Dedicated`](Endpoint::Dedicated), [`Private`](Endpoint::Private) | `/chat/completions`, `/responses/{id}`, `/invoke/{route}` |
//! | [`Publisher`](Endpoint::Publisher) | `/responses`, `/responses/{id}`, `/responses/compact` |
//! | [`BaseUrl`](Endpoint::BaseUrl) | those of the first two rows |
//!
//! `/responses/{id}` accepts GET, HEAD and DELETE, `/invoke/{route}` accepts GET, HEAD, POST, PUT,
//! PATCH and DELETE, and the others accept POST. Any other method is
//! [`RouteError::MethodNotAllowed`](crate::error::RouteError::MethodNotAllowed), 405.
//!
//! The paths of models, endpoints and publishers come in these forms, which [`ModelPath`] parses.
//! `v1` may also be `v1beta1`, `v1beta` or `v1alpha`, or be missing.
//!
//! | form | becomes, below the project and the location of the upstream | where |
//! |---|---|---|
//! | `/v1/projects/P/locations/L/publishers/PUB/models/M:METHOD`, `/v1/publishers/PUB/models/M:METHOD` | `/publishers/PUB/models/M:METHOD` | all but hosts of a single endpoint |
//! | `/v1beta/models/M:METHOD` (the Gemini Developer API), `/v1beta/models/PUB/M:METHOD` | `/publishers/google/models/M:METHOD`, or with the name of a [`Publisher`](Endpoint::Publisher) | the same |
//! | `/v1beta/models/M:METHOD` | `/endpoints/ID:METHOD`: the endpoint ignores the name | endpoints of your own |
//! | `/v1/projects/P/locations/L/endpoints/ID:METHOD`, `/v1/endpoints/ID:METHOD` | `/endpoints/ID:METHOD` | the endpoint with this id |
//! | `…/publishers/openai/v1/responses`, `/responses/{id}`, `/responses/compact` | the same | all but hosts of a single endpoint |
//! | `/v1/messages`, `/v1/messages/count_tokens` | `/publishers/anthropic/models/M:rawPredict` and others | [`VertexModelLayer`](crate::model::VertexModelLayer) alone, which reads the model |
//!
//! The project and the location in a path are replaced by those of the upstream, unless it
//! [allows](UpstreamBuilder::allow_location) them. The version is the client's, because the fields
//! of Gemini depend on it; `v1beta` and `v1alpha` of the Developer API are `v1beta1` of Vertex AI.
//! The method is the text after the last colon. It has to be on the list of
//! [`model_methods`](UpstreamBuilder::model_methods), so that a client that may use a model may not
//! use the whole project. The name before it has letters, digits and `@`, `-`, `.`, `_`; its percent
//! escapes are decoded once.
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
//!   `x-goog-user-project`; and `anthropic-beta` for Claude, whose version is in the body there. The
//!   parameters in `x-goog-request-params` are those of the client's path, so a path of a model,
//!   an endpoint or a publisher travels without it;
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
