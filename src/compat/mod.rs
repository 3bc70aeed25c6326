//! Cures what OpenAI clients and Gemini models on Vertex AI cannot read of each other.
//!
//! Vertex AI serves Gemini models at an OpenAI-compatible endpoint. Its responses differ from
//! OpenAI's in ways that break OpenAI's own client libraries, and it refuses requests that OpenAI
//! accepts. [`Cures`] lists the differences that can be cured by small edits of the bodies, and
//! turns each cure on or off.
//!
//! A cure edits the bytes of the members that it is about, and no others. A body that is not as the
//! cure expects stays as it is. No cure renames tools, changes schemas, or puts data into ids.
//!
//! # Which requests are cured
//!
//! [`VertexCompat`] reads POST requests to a path that ends with `/chat/completions`, if they go to an
//! upstream named `openapi` and their model has the publisher `google`; and those to `/embeddings` of
//! `openapi`, with any publisher. All other requests
//! and their responses pass unread, byte for byte. The
//! upstream and the model are those that [`VertexModel`](crate::model::VertexModel) has put into the
//! extensions. Without that layer, the model is found in the body.
//!
//! A body that VertexModel has read is already in memory, and is not copied. It is searched for the few
//! names that a cure is about, such as `"tool_calls"` or `"developer"`. Without any, the bytes pass
//! unparsed, which takes less than a microsecond for a usual request.
//!
//! # Thought signatures
//!
//! Gemini 3 signs the first tool call of each step, and refuses the next request of the turn without
//! the signature. Most clients drop it. So [`Signatures`] remembers the signature of each call, and
//! the layer restores it in the next request, on the call with the same id. The memory is bounded, and
//! its entries belong to a caller ([`SignatureScope`]), a project and a family of models.
//!
//! If a signature is not known, for example after a restart, Vertex AI responds with 400. Then the
//! request is sent once more, with the placeholder that Google documents "as a last resort". This
//! happens before the response begins, and needs no setting of a retry. No other 400 is sent again.
//!
//! # What the caller sees
//!
//! The header `x-vertex-compat` of a response names the cures that changed its request, such as
//! `signatures, developer_role`, and [`AppliedCures`] in its extensions has them too. A response without
//! the header belongs to a request that was sent as it came. Only this layer sets the header: it is
//! removed from requests, and from responses of the inner service.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_vertex::{
//!     BoxError,
//!     compat::{AppliedCures, Cure, Cures, RequestBody, VertexCompatLayer},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Stands in for the other layers and Vertex AI: returns the body of the request.
//! let inner = service_fn(|request: Request<RequestBody<String>>| async move {
//!     let body = request.into_body().collect().await?.to_bytes();
//!     Ok::<_, BoxError>(Response::new(Full::new(body)))
//! });
//! let cures = Cures::default().max_tokens(false);
//! let mut vertex = ServiceBuilder::new().layer(VertexCompatLayer::new(cures)).service(inner);
//!
//! let body = r#"{"model": "google/gemini-2.5-flash", "max_tokens": -1,
//!     "messages": [{"role": "developer", "content": "Be kind."}]}"#;
//! let request = Request::post("/v1/chat/completions")
//!     .header("content-type", "application/json")
//!     .body(body.to_owned())?;
//! let response = vertex.ready().await?.call(request).await?;
//! assert_eq!(response.headers()["x-vertex-compat"], "developer_role");
//! let applied = response.extensions().get::<AppliedCures>();
//! assert!(applied.is_some_and(|applied| applied.contains(Cure::DeveloperRole)));
//! let sent = response.into_body().collect().await?.to_bytes();
//! assert_eq!(sent, body.replace("developer", "system"));
//! # Ok(())
//! # }
//! ```

mod applied;
mod body;
mod canonical;
mod exchange;
mod future;
#[allow(dead_code, reason = "the cures of responses use the rest")]
pub(crate) mod json;
mod layer;
mod request;
mod request_body;
mod service;
mod settings;
mod signatures;

pub use self::{
    applied::AppliedCures,
    body::CompatBody,
    future::ResponseFuture,
    layer::{CompatStats, VertexCompatLayer},
    request_body::RequestBody,
    service::{SignatureScope, VertexCompat},
    settings::{Cure, Cures, UnknownCure},
    signatures::{SignatureOwner, SignatureStats, Signatures},
};
