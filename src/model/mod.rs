//! `model` in the body → which upstream, which name.
//!
//! [`VertexModel`] reads the `model` of a request and looks it up in a [`ModelTable`]: an alias
//! becomes the name that Vertex AI knows, a bare name gets its publisher (`gemini-2.5-flash` is
//! sent as `google/gemini-2.5-flash`), and the request is sent to the location, the endpoint or
//! the host that serves the model. The chosen [`Upstream`] goes into the extensions of the request,
//! where [`VertexRouteLayer`] looks first; without a choice it is the one that was there, or the
//! table's. Only the value of `model` is changed; every other byte of the body stays as it was. What
//! was asked for is in the extensions too, as [`RequestedModel`].
//!
//! # What is read
//!
//! POST requests with a body of the type `application/json`, of none, or of the type that `curl -d` gives
//! to everything (`application/x-www-form-urlencoded`), that is not compressed. If such a body is JSON, it
//! is sent as `application/json`.
//! All others go to where they would go anyway, unread, and so does everything while there is no
//! rule. A stored response (`/responses/{id}`) is not found by its model.
//!
//! The body is read to its end before it is sent: a `model` may come last, and may come twice. So
//! the upload no longer overlaps with the sending of it, and its bytes stay in memory meanwhile
//! (see [`body_limit`](VertexModelLayer::body_limit)). Frames of 32 KiB and more are not copied,
//! smaller ones are, together, so that a body takes at most twice its length however it is cut up. They
//! are looked at while they arrive: a body of 20 MiB takes some two milliseconds of processor time.
//!
//! # What counts as the model
//!
//! No request goes somewhere for one name and is served by another:
//!
//! | in the body | what happens |
//! |---|---|
//! | a string, at the top level | it is looked up, with its escapes decoded |
//! | the same again | all are replaced |
//! | another one again, or a key such as `Model` beside it | [`Ambiguous`](crate::error::ModelError::Ambiguous), 400 |
//! | a number, an array, an object, a boolean | [`NotAString`](crate::error::ModelError::NotAString), 400 |
//! | a name of more than 1,024 bytes | [`TooLong`](crate::error::ModelError::TooLong), 400 |
//! | more bytes than the limit | [`TooLarge`](crate::error::ModelError::TooLarge), 413 |
//! | none, `null`, or one that is nested deeper | no rule: unchanged |
//! | anything but one JSON object by the letter of RFC 8259 | no rule: unchanged, whatever a lenient parser makes of it |
//!
//! Strict means: no byte order mark, no comma too many, no text after the end, only UTF-8, no half
//! of a surrogate pair in a key at the top level or in the name, at most 1,024 levels. Vertex AI
//! answers such a request itself. The table is not a fence: what it does not list is sent as it is.
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
//! // Stands in for Vertex AI: answers with the path and the body that it was sent.
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
//! assert_eq!(body, r#"{"model":"mine"}"#); // An endpoint of your own does not look at it.
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
mod entry;
mod future;
mod layer;
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
    service::{ReadModel, RequestedModel, StoredReferences, VertexModel},
    table::{ModelTable, ModelTableBuilder},
};
