//! Traces: what became of each request, as spans that are exported by OTLP (feature `otel`).
//!
//! | room | what it does |
//! |---|---|
//! | `settings` | the variables `OTEL_…` |
//! | `export` | the way of spans to the collector, which nobody waits for |
//! | `context` | W3C Trace Context: `traceparent` and `tracestate` |
//! | `request` | a request's own span, and that of the model's operation |
//! | `attempt` | a span for each time that a request is sent to Vertex AI |
//! | `off` | the same without the feature: nothing |
//!
//! ```text
//! POST /v1/chat/completions            SERVER   from the request's head to the last byte of its answer
//! └─ chat google/gemini-2.5-flash      CLIENT   GenAI: with all its attempts, and the tokens
//!    ├─ POST                           CLIENT   HTTP: answered with 429
//!    └─ POST                           CLIENT   HTTP: sent again
//! ```
//!
//! What is not sampled costs its context alone. No span has anything of what was asked or answered, a
//! header but `Host` and `x-request-id`, a query, a key or a token.

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

/// Says that nothing is exported, and why, if somebody expects it.
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
