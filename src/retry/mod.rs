//! What failed for the moment → the same request again, later or elsewhere.
//!
//! [`VertexRetryLayer`] sends a request again, with its whole body, after a status that may pass
//! (408, 429, 500, 502, 503, 504) and after a connection that failed before there was an answer. It
//! decides by the head of an answer, so nothing is retried once a byte of a body has gone to the
//! caller. It changes nothing else: when it sends nothing again, the failure goes to the caller
//! untouched, and [`Attempts`] in its extensions say why.
//!
//! # When
//!
//! Not before the service says, in `Retry-After`; a `RetryInfo` of Google's becomes one in
//! [`VertexErrorLayer`](crate::openai_error::VertexErrorLayer), so this layer belongs outside that
//! one. Never sooner than the [base delay](VertexRetryLayer::base_delay), and at a random time of a
//! span that doubles, so that clients which failed together do not come back together. If the
//! service asks for more than the [longest delay](VertexRetryLayer::max_delay), its answer goes to
//! the caller at once: to come earlier would be in vain, and the caller may know better what to do
//! with the time.
//!
//! Not more often than the [retry budget](VertexRetryLayer::retry_budget) has: an outage is
//! answered by few retries, not by three times the load.
//!
//! A connection that failed may have done so after the service had done its work: the request is
//! then served, and paid for, twice.
//!
//! Errors of this crate are not retried: they are refusals that stay, or, for a token that cannot
//! be fetched, have a back-off of their own. Nor is a request whose body was not kept, because it is
//! [too long](VertexRetryLayer::replay_limit).
//!
//! # Locations
//!
//! Where a request goes is the [`Upstream`](crate::route::Upstream) in its extensions, or the
//! routing layer's, and a retry goes there too. With [`Locations`] in its extensions it goes to
//! the first one of their list. If it fails there, it goes to the next one at once, without a wait;
//! that counts as an attempt and takes from the budget, like any retry. Only when none is left to
//! try, it waits, and goes back to the one that asked for the shortest wait.
//!
//! Each location has a circuit:
//!
//! | circuit | requests | becomes |
//! |---|---|---|
//! | closed | go there | open when another location serves a request that failed here, or after [some failures](VertexRetryLayer::failure_threshold) in a row |
//! | open | go to the next in the list | half-open after [the ejection time](VertexRetryLayer::ejection_time), or later if the location asked for that |
//! | half-open | one goes there, the others to the next | closed if that one succeeds, open if it fails |
//!
//! So the location that served last stays the first choice, and the way back is tried by one
//! request for each pause: if that succeeds, the list counts again from its top. If that one fails,
//! it is served by the next location like any other. When all are open, the one whose pause ends
//! first is asked all the same: this layer never refuses a request.
//!
//! A failure is what is retried. Any other status of 400 and above says nothing about a location, nor does
//! a request whose body broke off.
//! What is known is shared by the clones of a `Locations`, and by nobody else: each entry of a
//! [`ModelTable`](crate::model::ModelTable) has its own, because each model has its own quota.
//! Without a table, tower-http's `AddExtensionLayer` gives one list to all requests.
//!
//! # What the log says
//!
//! `DEBUG` each attempt, `INFO` a retry or why there was none, `WARN` a failover, a location that is
//! left alone, `INFO` one that serves again. Never a body, a header or a URL, unless the text of an error
//! of the client has one; those of this crate's [clients](crate::http_client) have none.
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
//! // From now on the other one is the first choice.
//! let answer = vertex.ready().await?.call(ask().body("{}".to_owned())?).await?;
//! assert_eq!(answer.status(), 200);
//! assert!(answer.extensions().get::<Attempts>().is_none());
//! # Ok(())
//! # }
//! ```

mod attempts;
mod backoff;
mod budget;
mod circuit;
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
    locations::Locations,
    service::VertexRetry,
};
