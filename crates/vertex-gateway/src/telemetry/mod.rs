//! Telemetry of requests: the log, the metrics and the traces.
//!
//! | file | what it does |
//! |---|---|
//! | `access_log` | the record of a request, and its line in the log |
//! | `metrics` | the metrics of requests |
//! | `scrape` | metrics that are computed for each scrape |
//! | `exposition` | the formats of the metrics page |
//! | `recorder` | the counts and the last requests that the status page shows |
//! | `latencies` | a histogram of latencies, for percentiles |
//! | `connections` | open connections, counted |
//! | `log` | the log, for which no request waits |
//! | `trace` | requests as spans, for a collector of traces |
//! | `usage` | the tokens that a response cost |
//! | `operation` | the name of an operation on a model |
//! | `reason` | why Vertex AI replied with an error |

pub(crate) mod access_log;
mod connections;
mod exposition;
pub(crate) mod latencies;
pub(crate) mod log;
mod metrics;
pub(crate) mod operation;
pub(crate) mod reason;
pub(crate) mod recorder;
mod scrape;
pub(crate) mod trace;
pub(crate) mod usage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use self::{access_log::RequestLog, metrics::Metrics, recorder::Recorder, scrape::Scraped};
pub(crate) use self::{
    connections::{Connections, CountConnections},
    exposition::Form,
};
use tower_vertex::{
    compat::VertexCompatLayer,
    model::{ModelEntry, ModelTable},
    token::{FetchOutcome, FetchReason, TokenCache, TokenStats},
};

/// Receives the records of requests, and provides the metrics and the readiness.
#[derive(Debug)]
pub(crate) struct Telemetry {
    metrics: Metrics,
    tokens: TokenCache,
    queued: Arc<AtomicUsize>,
    draining: AtomicBool,
}

/// The load of the gateway at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) requests_in_flight: i64,
    pub(crate) requests_queued: usize,
    pub(crate) client_connections: i64,
    pub(crate) upstream_connections: i64,
}

impl Telemetry {
    /// `queued` is the number of requests that wait in the queue. `compat` has the thought signatures;
    /// `None` if bodies are not forwarded here.
    pub(crate) fn new(
        tokens: TokenCache,
        queued: Arc<AtomicUsize>,
        compat: Option<VertexCompatLayer>,
    ) -> Self {
        let (cache, waiting) = (tokens.clone(), Arc::clone(&queued));
        let metrics = Metrics::new(Scraped { tokens: cache, queued: waiting, compat });
        Self { metrics, tokens, queued, draining: AtomicBool::new(false) }
    }

    /// Records requests for the status page too, if there is one.
    pub(crate) fn recording(mut self, page: bool) -> Self {
        self.metrics.recorder = page.then(Recorder::default);
        self
    }

    /// The records of requests for the status page.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.metrics.recorder.as_ref()
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            requests_in_flight: self.metrics.in_flight.get(),
            requests_queued: self.queued.load(Relaxed),
            client_connections: self.inbound().open.get(),
            upstream_connections: self.upstream().open.get(),
        }
    }

    pub(crate) fn token_stats(&self) -> TokenStats {
        self.tokens.stats()
    }

    /// The models of a table have their own labels in the metrics, even before their first
    /// response.
    pub(crate) fn register_models(&self, table: &ModelTable) {
        let names = table.entries().filter(|entry| !entry.is_wildcard()).map(ModelEntry::pattern);
        names.for_each(|name| self.metrics.register_model(name));
    }

    /// A request has arrived.
    pub(crate) fn request_started(&self) {
        self.metrics.request_started();
    }

    /// The record of a request is complete.
    pub(crate) fn request_finished(&self, record: &RequestLog) {
        // nginx logs 499 for a client that closed the connection early.
        let left = if thread::panicking() { 500 } else { 499 };
        let status = record.status.map_or(left, |status| status.as_u16());
        let seconds = record.arrived.elapsed().as_secs_f64();
        self.metrics.request_finished(record, status, seconds);
        record.write(status, seconds);
    }

    /// A 401 caused a token refresh in a request that has a separate record.
    #[cfg(feature = "ext-authz")]
    pub(crate) fn token_replayed(&self, outcome: &'static str) {
        self.metrics.token_replayed(outcome);
    }

    /// Connections of clients.
    pub(crate) fn inbound(&self) -> &Connections {
        &self.metrics.inbound
    }

    /// Connections to Vertex AI.
    pub(crate) fn upstream(&self) -> &Connections {
        &self.metrics.upstream
    }

    /// Starts the shutdown: readiness fails from now on, so that load balancers use other
    /// instances.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// The kinds of token fetches, each with its names in the metrics.
    pub(crate) fn fetch_kinds()
    -> impl Iterator<Item = ((FetchReason, &'static str), (FetchOutcome, &'static str))> {
        let kinds = |reason| scrape::OUTCOMES.map(|outcome| (reason, outcome));
        scrape::REASONS.into_iter().flat_map(kinds)
    }

    /// Whether the process is shutting down.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether requests can be served.
    ///
    /// # Errors
    ///
    /// Returns the reason why requests cannot be served.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        if self.is_draining() {
            return Err("draining: the process is shutting down");
        }
        match self.tokens.stats().expires_in {
            None => Err("no access token yet: see the log"),
            Some(left) if left.is_zero() => {
                Err("the access token has expired and could not be refreshed: see the log")
            }
            Some(_) => Ok(()),
        }
    }

    /// All metrics in this format.
    pub(crate) fn metrics(&self, form: Form) -> String {
        self.metrics.show(form)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex},
    };

    use http::{HeaderValue, Method};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::{
        layer::{Context, Layer, SubscriberExt as _},
        registry,
    };

    use super::*;
    use tower_vertex::token::StaticToken;

    /// The field names of a request's log line, including fields without a value.
    #[derive(Clone, Default)]
    struct Fields(Arc<Mutex<BTreeSet<&'static str>>>);

    impl<S: Subscriber> Layer<S> for Fields {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let metadata = event.metadata();
            if metadata.target() == "vertex_gateway::access_log" {
                let names = metadata.fields().iter().map(|field| field.name());
                self.0.lock().unwrap().extend(names.filter(|name| *name != "message"));
            }
        }
    }

    #[test]
    fn the_manual_lists_exactly_the_log_fields_of_a_request() {
        let fields = Fields::default();
        tracing::subscriber::with_default(registry().with(fields.clone()), || {
            let tokens = TokenCache::new(StaticToken::new("t").unwrap());
            let telemetry = Telemetry::new(tokens, Arc::default(), None);
            let id = HeaderValue::from_static("id");
            for _ in 0..2 {
                telemetry.request_started();
                telemetry.request_finished(&RequestLog::new(id.clone(), Method::POST, ""));
                // A test in another thread may have reached this callsite first, without a
                // subscriber. The callsite is registered now, so the interest of subscribers can be
                // computed again.
                tracing::callsite::rebuild_interest_cache();
            }
        });
        let manual = include_str!("../../../../docs/operations.md");
        let (_, table) = manual.split_once("| field | |\n|---|---|\n").unwrap();
        let rows = table.lines().map_while(|line| line.strip_prefix("| `"));
        let documented: BTreeSet<_> = rows
            .flat_map(|row| row.split('|').next().unwrap().trim_end_matches("` ").split("`, `"))
            .collect();
        assert_eq!(*fields.0.lock().unwrap(), documented);
    }
}
