//! Routes a request by its model: picks the upstream, and the name of the model there.
//!
//! [`VertexModel`] finds the model of a request, in its path or in its body, and looks it up in a
//! [`ModelTable`]. An alias
//! becomes the name that Vertex AI knows, and a bare name gets its publisher (`gemini-2.5-flash` is
//! sent as `google/gemini-2.5-flash`). The request is sent to the location, the endpoint or the
//! host that serves the model. The chosen [`Upstream`] goes into the extensions of the request,
//! where [`VertexRouteLayer`] looks first. If no entry chooses one, the upstream that is already in
//! the extensions is used, or else the table's. Only the value of `model` is changed; every other
//! byte of the body stays as it was. The requested name is in the extensions too, as
//! [`RequestedModel`], and so is the name of the model at the upstream, as [`UpstreamModel`].
//!
//! # Where the model is
//!
//! | request | model | changes |
//! |---|---|---|
//! | OpenAI's: `/v1/chat/completions`, … | in the body | its value in the body |
//! | `…/models/M:METHOD`, in each [form](crate::route#which-paths) | in the path | the path; the body is not read, and streams through |
//! | `…/endpoints/ID:METHOD` | none | none; the request goes to the upstream, the table's or an entry's, that has the endpoint |
//! | `…/publishers/openai/v1/responses`, `…/models/count-tokens:rawPredict` | in the body | its value in the body, if an entry has another name |
//! | Anthropic's `/v1/messages` | in the body | the path becomes `/publishers/anthropic/models/M:rawPredict`, or `:streamRawPredict` with `"stream": true`; the body loses `model` |
//! | Anthropic's `/v1/messages/count_tokens` | in the body | the path becomes `/publishers/anthropic/models/count-tokens:rawPredict`; the value in the body |
//!
//! The publisher of a bare name is the one in the path, `anthropic` for Anthropic's paths, or the table's. The
//! table is searched for `publisher/name` and for `name`: see [`find_published`](ModelTable::find_published). If the
//! entry has an endpoint of its own, the path becomes `/models/M:METHOD`, which
//! [`VertexRoute`](crate::route::VertexRoute) sends to that endpoint.
//!
//! An Anthropic request gets `"anthropic_version": "vertex-2023-10-16"` at the end of its object, if it has
//! no version. A header `anthropic-version` with a later date than `2023-06-01` is used instead.
//!
//! A date at the end of a bare name is written in the way of Vertex AI, `@20250929` for `-20250929`, unless
//! an entry has another name for the model. To count tokens, Vertex AI takes only a name without a date, so
//! it is removed. All other bytes stay.
//!
//! Because Vertex AI takes the model and the kind of response from the path, such a request is refused
//! unless every parser reads the same `model`, `stream` and `anthropic_version`:
//!
//! | in the body of an Anthropic request | what happens |
//! |---|---|
//! | no JSON object, or one that does not strictly follow RFC 8259 | [`NotJson`](crate::error::ModelError::NotJson), 400 |
//! | no `model`, `null`, or an empty one | [`Missing`](crate::error::ModelError::Missing), 400 |
//! | a name with other characters than letters, digits and `@`, `-`, `.`, `_` that no entry maps | [`NotForAPath`](crate::error::ModelError::NotForAPath), 400 |
//! | two different `stream`, two `anthropic_version`, or a key such as `Stream` | [`AmbiguousMember`](crate::error::ModelError::AmbiguousMember), 400 |
//! | a `stream` that is neither a boolean nor `null` | [`NotABoolean`](crate::error::ModelError::NotABoolean), 400 |
//!
//! # Which requests are read
//!
//! [`VertexModel`] reads POST requests with a model in the body, and whose body has the type
//! `application/json`, no type, or the type that `curl -d` sets by default
//! (`application/x-www-form-urlencoded`). If such a body is JSON, it is sent as `application/json`.
//! If such a body is compressed, it is refused with 415
//! ([`Compressed`](crate::error::ModelError::Compressed)), because a rule that was not applied could
//! send it to an upstream that does not serve its model; tower-http's `RequestDecompressionLayer`,
//! further out, decompresses it. Any other request is sent unread to its upstream, and so is every request
//! while the table has no rule that could apply to it. A stored response (`/responses/{id}`) is not found by its model.
//!
//! The body is read to its end before it is sent: a `model` may come last, and may come twice. So
//! the upload from the client no longer overlaps with the upload to Vertex AI, and the bytes stay
//! in memory meanwhile (see [`body_limit`](VertexModelLayer::body_limit)). Frames of 32 KiB and
//! more are not copied. Smaller ones are copied together, so that a body takes at most twice its
//! length regardless of the size of its frames. The frames are scanned while they arrive: a body of
//! 20 MiB takes some two milliseconds of processor time.
//!
//! # What counts as the model
//!
//! No request is routed by one name and served under another:
//!
//! | in the body | what happens |
//! |---|---|
//! | a string, at the top level | it is looked up, with its escapes decoded |
//! | the same again | all are replaced |
//! | a different value again, or a key such as `Model` beside it | [`Ambiguous`](crate::error::ModelError::Ambiguous), 400 |
//! | a number, an array, an object, a boolean | [`NotAString`](crate::error::ModelError::NotAString), 400 |
//! | a name of more than 1,024 bytes | [`TooLong`](crate::error::ModelError::TooLong), 400 |
//! | more bytes than the limit | [`TooLarge`](crate::error::ModelError::TooLarge), 413 |
//! | no `model`, `null`, or a `model` only at a deeper level | no rule: unchanged, or the [default model](ModelTableBuilder::default_model) |
//! | anything but one JSON object that strictly follows RFC 8259 | no rule: unchanged, even if a lenient parser accepts it |
//!
//! Strict means: no byte order mark, no superfluous comma, no text after the end, only UTF-8, no
//! half of a surrogate pair in a key at the top level or in the name, at most 1,024 levels. Vertex
//! AI itself responds to such a request. The table is not an access control: a model that it does
//! not list is sent unchanged.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use http_body_util::BodyExt;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_vertex::{
//!     BoxError,
//!     model::{ModelBody, ModelRoute, ModelTable, VertexModelLayer},
//!     route::{Upstream, VertexRouteLayer},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Stands in for Vertex AI: returns the path and the body of the request.
//! let client = service_fn(|request: Request<ModelBody<String>>| async move {
//!     let path = request.uri().path().to_owned();
//!     let body = request.into_body().collect().await?.to_bytes();
//!     Ok::<_, BoxError>(Response::new((path, body)))
//! });
//!
//! let upstream = Upstream::new("p", "global")?;
//! let table = ModelTable::builder(upstream.clone())
//!     .route("mine", ModelRoute::new().location("us-central1").endpoint_id("123"))
//!     .build()?;
//! let mut vertex = ServiceBuilder::new()
//!     .layer(VertexModelLayer::new(table))
//!     .layer(VertexRouteLayer::new(upstream))
//!     .service(client);
//!
//! let chat = |body: &str| Request::post("/v1/chat/completions").body(body.to_owned());
//! let request = chat(r#"{ "n": 1.0, "model": "gemini-2.5-flash" }"#)?;
//! let (path, body) = vertex.ready().await?.call(request).await?.into_body();
//! assert_eq!(path, "/v1/projects/p/locations/global/endpoints/openapi/chat/completions");
//! assert_eq!(body, r#"{ "n": 1.0, "model": "google/gemini-2.5-flash" }"#);
//!
//! let (path, body) = vertex.ready().await?.call(chat(r#"{"model":"mine"}"#)?).await?.into_body();
//! assert_eq!(path, "/v1/projects/p/locations/us-central1/endpoints/123/chat/completions");
//! assert_eq!(body, r#"{"model":"mine"}"#); // An endpoint of your own ignores the name.
//!
//! let request = chat(r#"{"model":"mine","model":"another"}"#)?;
//! let error = vertex.ready().await?.call(request).await.unwrap_err();
//! assert_eq!(error.downcast_ref::<tower_vertex::Error>().unwrap().status(), 400);
//! # Ok(())
//! # }
//! ```
//!
//! [`Upstream`]: crate::route::Upstream
//! [`VertexRouteLayer`]: crate::route::VertexRouteLayer

mod body;
mod default;
mod entry;
mod future;
mod layer;
mod message;
mod named;
mod pattern;
mod route;
mod scan;
mod service;
mod table;

pub use self::{
    body::ModelBody,
    entry::ModelEntry,
    future::ResponseFuture,
    layer::VertexModelLayer,
    pattern::Pattern,
    route::ModelRoute,
    service::{ReadModel, RequestedModel, StoredReferences, UpstreamModel, VertexModel},
    table::{ModelTable, ModelTableBuilder},
};
pub(crate) use self::{
    body::find_model, default::is_foreign, entry::is_openapi, service::may_have_model,
};
