//! What operators see of requests: a line of the log each, and the metrics.
//!
//! | file | what it does |
//! |---|---|
//! | `request_log` | the record of a request, and its line in the log |
//! | `metrics` | what is counted of requests |
//! | `scrape` | metrics that are looked up when they are asked for |
//! | `exposition` | the forms of the metrics page |
//! | `connections` | open connections, counted |
//! | `log` | the log, which holds nobody up |
//! | `trace` | the same requests as spans, for a collector of traces |
//! | `usage` | the tokens that a response cost |
//! | `operation` | what a model is asked to do |
//! | `reason` | why Vertex AI replied with an error |

mod connections;
mod exposition;
pub(crate) mod log;
mod metrics;
pub(crate) mod operation;
pub(crate) mod reason;
pub(crate) mod request_log;
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

pub(crate) use self::{
    connections::{Connections, CountConnections},
    exposition::Form,
};
use self::{metrics::Metrics, request_log::RequestLog};
use tower_vertex::{
    model::{ModelEntry, ModelTable},
    token::TokenCache,
};

/// Where records end.
#[derive(Debug)]
pub(crate) struct Telemetry {
    metrics: Metrics,
    tokens: TokenCache,
    draining: AtomicBool,
}

impl Telemetry {
    /// `queued` is how many requests wait for their turn.
    pub(crate) fn new(tokens: TokenCache, queued: Arc<AtomicUsize>) -> Self {
        let metrics = Metrics::new(tokens.clone(), queued);
        Self { metrics, tokens, draining: AtomicBool::new(false) }
    }

    /// The models of a table have names of their own in the metrics, before any answer of theirs.
    pub(crate) fn register_models(&self, table: &ModelTable) {
        let names = table.entries().filter(|entry| !entry.is_wildcard()).map(ModelEntry::pattern);
        names.for_each(|name| self.metrics.register_model(name));
    }

    /// A request has come.
    pub(crate) fn request_started(&self) {
        self.metrics.request_started();
    }

    /// Its record is complete.
    pub(crate) fn request_finished(&self, record: &RequestLog) {
        // 499 is what nginx made of a client that did not wait.
        let left = if thread::panicking() { 500 } else { 499 };
        let status = record.status.map_or(left, |status| status.as_u16());
        let seconds = record.arrived.elapsed().as_secs_f64();
        self.metrics.request_finished(record, status, seconds);
        record.write(status, seconds);
    }

    /// A 401 asked for a new token, in a request whose record is another one.
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

    /// The end is near: whoever asks for readiness is to send clients elsewhere.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the end is near.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether requests can be served.
    ///
    /// # Errors
    ///
    /// Why not.
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

    /// All metrics.
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

    /// The fields of a request's line, those without a value too.
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
    fn the_manual_has_the_fields_of_a_request_and_no_others() {
        let fields = Fields::default();
        tracing::subscriber::with_default(registry().with(fields.clone()), || {
            let tokens = TokenCache::new(StaticToken::new("t").unwrap());
            let telemetry = Telemetry::new(tokens, Arc::default());
            let id = HeaderValue::from_static("id");
            for _ in 0..2 {
                telemetry.request_started();
                telemetry.request_finished(&RequestLog::new(id.clone(), Method::POST, ""));
                // A test in another thread may have come to this callsite first, where nobody
                // listens. From now on it is known, and who listens is asked anew.
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
