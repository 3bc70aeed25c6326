//! Traces: the outcome of each request as spans, exported by OTLP (feature `otel`).
//!
//! | file | what it does |
//! |---|---|
//! | `settings` | the variables `OTEL_…` |
//! | `export` | export of spans to the collector, for which no request waits |
//! | `context` | W3C Trace Context: `traceparent` and `tracestate` |
//! | `request` | the span of a request, and the span of its operation on a model |
//! | `attempt` | a span for each time that a request is sent to Vertex AI |
//! | `off` | the same interface without the feature, which does nothing |
//!
//! ```text
//! POST /v1/chat/completions            SERVER   from the request head to the end of the response
//! └─ chat google/gemini-2.5-flash      CLIENT   GenAI: with all its attempts, and the tokens
//!    ├─ POST                           CLIENT   HTTP: got 429
//!    └─ POST                           CLIENT   HTTP: sent again
//! ```
//!
//! A request that is not sampled costs only its context. No span contains any content of requests
//! or responses, a query, a key, a token, or a header other than `Host` and `x-request-id`.

#[cfg(feature = "otel")]
mod attempt;
#[cfg(feature = "otel")]
mod context;
#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod request;
#[cfg(feature = "otel")]
mod settings;

/// Warns that traces are not exported, with the reason, if an endpoint is configured.
#[cfg(any(not(feature = "otel"), feature = "ext-authz"))]
pub(crate) fn warn_of_none(why: &str) {
    let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if let Some(variable) = endpoints.into_iter().find(|name| is_set(name)) {
        tracing::warn!(variable, "traces are not exported: {why}");
    }
}

#[cfg(not(feature = "otel"))]
pub(crate) use self::off::{Trace, Traced, TracedBody, Traces, lost_spans};
#[cfg(feature = "otel")]
pub(crate) use self::{
    attempt::{Traced, TracedBody},
    export::lost_spans,
    request::{Trace, Traces},
};
