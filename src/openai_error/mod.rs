//! Google's error body → OpenAI's.
//!
//! Vertex AI answers errors as Google does, with an integer `code`, often inside an array, and
//! sometimes with a web page. OpenAI clients read none of these: they lose the message, and some
//! even the retry. [`VertexErrorLayer`] turns such a body into OpenAI's form, and keeps the status
//! and what Google said:
//!
//! ```json
//! {"error": {
//!     "message": "Resource exhausted. Please try again later. …",
//!     "type": "rate_limit_error", "param": null, "code": "429",
//!     "google": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": []}
//! }}
//! ```
//!
//! | what came, with a status that is no success | `x-vertex-error-type` | what goes on |
//! |---|---|---|
//! | Google's error in an array of one | `array` | its message, in OpenAI's form |
//! | Google's error as an object | `object` | the same |
//! | a web page | `html` | a sentence; for a 404 it names location and endpoint, and what to check |
//! | other text, nothing, broken JSON | `other` | a sentence, with the beginning of `text/plain` |
//! | a body that is too long, too late or breaks off | `html` or `other` | a sentence |
//! | OpenAI's form already, or other JSON | (none) | the same bytes |
//! | a compressed body, `HEAD`, 304 | (none) | the same bytes, unread |
//!
//! `type` is what OpenAI answers with the same status: `server_error` from 500 on, and
//! `invalid_request_error` below, for 401 and 403 too, where OpenAI tells the cases apart by `code`.
//! A 429 is a `rate_limit_error`: OpenAI names the limit that was hit there (`tokens`, `requests`),
//! which Google does not say. The SDKs choose their exception by the status and show `type` as it
//! is. A server of your own that gives `type` and `param` with an integer `code`, such as vLLM,
//! keeps both.
//!
//! A `RetryInfo` among the details becomes `Retry-After`, in whole seconds, if there is none yet:
//! so a layer that retries belongs outside this one, and [`VertexRoute`](crate::route::VertexRoute)
//! inside, which tells this one where a request went.
//!
//! # Answers that succeed
//!
//! They are neither read nor changed, with one exception. A stream of server-sent events that
//! breaks off ends with an event which the OpenAI SDKs raise, and then ends cleanly:
//!
//! ```text
//! data: {"error":{"message":"…","type":"server_error","param":null,"code":"stream_interrupted"}}
//! ```
//!
//! What came of an event that is not complete is held back until the rest is there, and is dropped
//! if that never comes, so that it cannot run into this one. No client acts on an event before its
//! end, so nothing comes later than before. A stream that ends cleanly stays as it is, with
//! `[DONE]` or without; after `[DONE]`, a break is a clean end.
//!
//! # Compression
//!
//! A compressed body cannot be translated, and OpenAI's SDKs ask for compression. So this layer
//! removes `Accept-Encoding` from requests, unless
//! [`accept_compressed`](VertexErrorLayer::accept_compressed) says otherwise. A layer further in
//! that asks for compression by itself and undoes it, as tower-http's `Decompression` does, works.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_vertex::{BoxError, openai_error::VertexErrorLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Stands in for the other layers and Vertex AI.
//! let inner = service_fn(|_: Request<()>| async {
//!     let body = r#"[{"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED",
//!         "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}]}}]"#;
//!     Ok::<_, BoxError>(Response::builder().status(429).body(Full::<Bytes>::from(body))?)
//! });
//! let mut vertex = VertexErrorLayer::new().layer(inner);
//!
//! let answer = vertex.ready().await?.call(Request::new(())).await?;
//! assert_eq!(answer.status(), 429);
//! assert_eq!(answer.headers()["retry-after"], "2");
//! assert_eq!(answer.headers()["x-vertex-error-type"], "array");
//! let body = answer.into_body().collect().await?.to_bytes();
//! let body: serde_json::Value = serde_json::from_slice(&body)?;
//! assert_eq!(body["error"]["message"], "Slow down.");
//! assert_eq!(body["error"]["type"], "rate_limit_error");
//! assert_eq!(body["error"]["code"], "429");
//! assert_eq!(body["error"]["google"]["status"], "RESOURCE_EXHAUSTED");
//! # Ok(())
//! # }
//! ```

mod body;
mod chunks;
mod explain_404;
mod future;
mod layer;
mod read_body;
mod service;
mod sse;
pub(crate) mod translate;

pub use self::{
    body::ErrorBody, future::ResponseFuture, layer::VertexErrorLayer, service::VertexError,
};
