//! Gives errors the form that the client of the request can read.
//!
//! Vertex AI returns errors in Google's form, with an integer `code`, often inside an array, and
//! sometimes as a web page. OpenAI's clients cannot read any of these: they lose the message, and
//! some even the retry. Anthropic's clients lose the type, and Google's own clients cannot read the web
//! page. [`VertexErrorLayer`] turns such a body into the form of the request's protocol, and keeps the
//! status and the rest of Google's error. The path of the request says which protocol that is, by
//! [`Protocol::of`](crate::route::Protocol::of).
//!
//! For OpenAI's clients:
//!
//! ```json
//! {"error": {
//!     "message": "Resource exhausted. Please try again later. …",
//!     "type": "rate_limit_error", "param": null, "code": "429",
//!     "google": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": []}
//! }}
//! ```
//!
//! For Gemini's clients, Google's own form, without the array:
//!
//! ```json
//! {"error": {"code": 429, "message": "Resource exhausted. …", "status": "RESOURCE_EXHAUSTED", "details": []}}
//! ```
//!
//! For Anthropic's clients:
//!
//! ```json
//! {"type": "error",
//!  "error": {"type": "rate_limit_error", "message": "Resource exhausted. …",
//!            "google": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": []}},
//!  "request_id": null}
//! ```
//!
//! | the response, with a status that is not a success | `x-vertex-error-type` | the client gets |
//! |---|---|---|
//! | Google's error in an array of one | `array` | its message, in the client's form |
//! | Google's error as an object | `object`; (none) for Gemini's clients | the same; for Gemini's clients the same bytes |
//! | a web page | `html` | a sentence; for a 404 it names location and endpoint, and what to check |
//! | other text, nothing, broken JSON | `other` | a sentence, with the beginning of `text/plain` |
//! | a body that is too long, too late or ends early | `html` or `other` | a sentence |
//! | OpenAI's or Anthropic's form already, or other JSON | (none) | the same bytes |
//! | a compressed body, `HEAD`, 304 | (none) | the same bytes, unread |
//!
//! OpenAI's `type` is the one that OpenAI uses with the same status: `server_error` from 500 on, and
//! `invalid_request_error` below, for 401 and 403 too, which OpenAI distinguishes by `code`.
//! A 429 is a `rate_limit_error`: OpenAI names the limit that was hit there (`tokens`, `requests`),
//! which Google does not say. The SDKs choose their exception by the status and show `type` as it
//! is. A server of your own that sets `type` and `param` with an integer `code`, such as vLLM,
//! keeps both. Anthropic's `type` follows from the status as Anthropic documents it.
//!
//! Some of Google's sentences get advice, for OpenAI's clients alone. A 404 for a model that Vertex AI does not
//! have, such as a client's default `gpt-4o`, says [how to map](how_to_map) the name.
//!
//! A `RetryInfo` among the details becomes `Retry-After`, in whole seconds, if there is none yet.
//! So a layer that retries belongs outside this one. [`VertexRoute`](crate::route::VertexRoute)
//! belongs inside: it reports the upstream of a request to this layer, and it changes the path.
//!
//! [`refusal`] makes a response in these forms for an error of your own.
//!
//! # Successful responses
//!
//! They are neither read nor changed, with one exception. A stream that fails midway ends with an
//! error that the SDKs raise, and then ends cleanly:
//!
//! ```text
//! data: {"error":{"message":"…","type":"server_error","param":null,"code":"stream_interrupted"}}
//!
//! data: {"error":{"code":503,"message":"…","status":"UNAVAILABLE","details":[…]}}
//!
//! event: error
//! data: {"type":"error","error":{"type":"api_error","message":"…","details":{"error_code":"stream_interrupted"}}}
//! ```
//!
//! These are the last events for the clients of OpenAI, Gemini and Anthropic. A response to
//! `:streamGenerateContent` without `alt=sse` is an array, and the error becomes its last element. The
//! array stays open, because Google's libraries for Python would skip that element otherwise.
//!
//! The bytes of an incomplete event or element are held back until the rest arrives. If it never
//! arrives, they are dropped, so that they cannot run into the error. No client acts on an event
//! before its end, so nothing is delayed. A stream that ends cleanly stays as it is, with
//! `[DONE]` or without. After `[DONE]`, `message_stop` or the end of the array, a failure is taken as
//! a clean end.
//!
//! # Compression
//!
//! A compressed body cannot be translated, and the SDKs accept compression. So this layer
//! removes `Accept-Encoding` from requests, unless
//! [`accept_compressed`](VertexErrorLayer::accept_compressed) is set. A layer further in that
//! requests compression by itself and undoes it, as tower-http's `Decompression` does, works.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_vertex::{BoxError, error_format::VertexErrorLayer};
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

mod advice;
mod anthropic;
mod body;
mod explain_404;
mod future;
mod google;
mod json_array;
mod layer;
mod openai;
mod read_body;
mod refusal;
mod service;
mod stream;
pub(crate) mod translate;
mod unknown_model;

pub use self::{
    body::ErrorBody, future::ResponseFuture, layer::VertexErrorLayer, refusal::refusal,
    service::VertexError, unknown_model::how_to_map,
};
