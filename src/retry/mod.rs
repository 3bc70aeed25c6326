//! Retries requests that failed temporarily, later or at another location.
//!
//! [`VertexRetryLayer`] sends a request again, with its whole body, after a status that may be
//! temporary (408, 429, 500, 502, 503, 504) and after a connection that failed before a response.
//! It decides by the headers of a response, so nothing is retried once a byte of a body has gone to
//! the caller. It changes nothing else: a failure that is not retried goes to the caller unchanged,
//! and [`Attempts`] in its extensions give the reason.
//!
//! # When a retry is sent
//!
//! A retry is never sent before the time that the service names in `Retry-After`. A `RetryInfo` of
//! Google's becomes that header in [`VertexErrorLayer`](crate::error_format::VertexErrorLayer), so
//! this layer belongs outside that one. A retry is also never sent sooner than the
//! [base delay](VertexRetryLayer::base_delay). A random part of a span that doubles each time is
//! added, so that clients that failed together do not return together. If the service names a
//! longer wait than the [longest delay](VertexRetryLayer::max_delay), its response goes to the
//! caller at once: an earlier retry would be in vain, and the caller may have a better use for the
//! time.
//!
//! The [retry budget](VertexRetryLayer::retry_budget) limits the number of retries, so that an
//! outage causes few retries and not three times the load.
//!
//! A connection may fail after the service has done its work. The request is then served, and paid
//! for, twice.
//!
//! Errors of this crate are not retried. They are permanent refusals; only the failure to fetch a
//! token is not, and the token cache has a back-off of its own. A request whose body was not kept,
//! because it is [too long](VertexRetryLayer::replay_limit), is not retried either.
//!
//! # Locations
//!
//! A request goes to the [`Upstream`](crate::route::Upstream) in its extensions, or else to the
//! routing layer's, and so does its retry. With [`Locations`] in its extensions, a request goes to
//! the first one of their list. If it fails there, it goes to the next one at once, without a wait.
//! This counts as an attempt and uses the budget, like any retry. Once it has failed at all of
//! them, it waits, and returns to the location that named the shortest wait.
//!
//! Each location has a circuit:
//!
//! | circuit | requests | becomes |
//! |---|---|---|
//! | closed | go to the location | open when another location serves a request that failed here, or after [some failures](VertexRetryLayer::failure_threshold) in a row |
//! | open | go to the next in the list | half-open after [the ejection time](VertexRetryLayer::ejection_time), or later if the location named a longer wait |
//! | half-open | one goes to the location, the others to the next | closed if that one succeeds, open if it fails |
//!
//! So the location that served last stays the first choice, and after each ejection time one
//! request probes the earlier one. If the probe succeeds, that location is the first choice again.
//! If it fails, the next location serves the probe like any other request. When all circuits are
//! open, the request still goes to the location whose ejection ends first: this layer never refuses
//! a request.
//!
//! A failure is a result that is retried. Any other status of 400 and above leaves the circuit
//! unchanged, and so does a request whose body failed midway.
//! The clones of a `Locations` share the state of their circuits; nothing else does. Each entry of
//! a [`ModelTable`](crate::model::ModelTable) has its own, because each model has its own quota.
//! Without a table, tower-http's `AddExtensionLayer` gives one list to all requests.
//!
//! # Logs
//!
//! Each attempt is logged at `DEBUG`, a retry or the reason against one at `INFO`, a failover and
//! the ejection of a location at `WARN`, and its recovery at `INFO`. The log never contains a body,
//! a header or a URL, unless the text of an error of the client contains one; the errors of this
//! crate's [clients](crate::http_client) contain none.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_vertex::{
//!     BoxError,
//!     replay::ReplayBody,
//!     retry::{Attempts, Locations, VertexRetryLayer},
//!     route::{Upstream, VertexRouteLayer},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Stands in for Vertex AI, where one region has no capacity.
//! let client = service_fn(|request: Request<ReplayBody<String>>| async move {
//!     let full = request.uri().host() == Some("us-central1-aiplatform.googleapis.com");
//!     let status = if full { 429 } else { 200 };
//!     Ok::<_, BoxError>(Response::builder().status(status).body(String::new())?)
//! });
//!
//! let upstream = Upstream::new("my-project", "us-central1")?;
//! let locations = Locations::for_locations(&upstream, ["us-central1", "us-east4"])?;
//! let mut vertex = ServiceBuilder::new()
//!     .layer(VertexRetryLayer::new())
//!     .layer(VertexRouteLayer::new(upstream))
//!     .service(client);
//!
//! // With `VertexModelLayer` outside, `ModelRoute::locations` does this.
//! let ask = || Request::post("/v1/chat/completions").extension(locations.clone());
//! let answer = vertex.ready().await?.call(ask().body("{}".to_owned())?).await?;
//! assert_eq!(answer.status(), 200);
//! assert_eq!(answer.extensions().get::<Attempts>().unwrap().count(), 2);
//!
//! // From now on, the other location is the first choice.
//! let answer = vertex.ready().await?.call(ask().body("{}".to_owned())?).await?;
//! assert_eq!(answer.status(), 200);
//! assert!(answer.extensions().get::<Attempts>().is_none());
//! # Ok(())
//! # }
//! ```

mod attempts;
mod backoff;
mod budget;
mod circuit_breaker;
mod future;
mod layer;
mod locations;
mod run;
mod service;

pub use self::{
    attempts::{Attempt, AttemptOutcome, Attempts, GaveUp},
    budget::RetryBudget,
    future::ResponseFuture,
    layer::VertexRetryLayer,
    locations::{LocationCircuit, Locations},
    service::VertexRetry,
};
