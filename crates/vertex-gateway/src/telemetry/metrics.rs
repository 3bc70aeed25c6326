//! The metrics of requests. `docs/operations.md` lists them.
//!
//! The only text of a client in a label is the name of a model that was served, and the number of
//! such names is limited. Each combination of labels takes memory, here and in Prometheus.

mod models;
mod token_usage;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text::encode},
    metrics::{
        MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};

use self::{
    models::Models,
    token_usage::{GenAi, GenAiUsage},
};
use super::{
    Connections,
    access_log::RequestLog,
    exposition::Form,
    recorder::{Recorder, RouteCounts, RouteKey},
    scrape::Scraped,
    usage::Usage,
};

/// The buckets range from a cached response to a model that computes for a long time.
const FIRST_BYTE: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0,
    600.0, 3600.0,
];
/// The same for the whole response, which takes up to an hour from a dedicated endpoint.
const DURATION: [f64; 19] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0,
    600.0, 1800.0, 3600.0,
];

const OTHER: &str = "other";
/// The values of Vertex AI's `UsageMetadata.TrafficType`.
const TRAFFIC_TYPES: [&str; 5] = [
    "ON_DEMAND",
    "ON_DEMAND_PRIORITY",
    "ON_DEMAND_FLEX",
    "PROVISIONED_THROUGHPUT",
    "TRAFFIC_TYPE_UNSPECIFIED",
];

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    models: Models,
    series: RwLock<HashMap<SeriesKey, Arc<Series>>>,
    pub(super) in_flight: Gauge,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    first_bytes: Family<RouteLabels, Histogram, fn() -> Histogram>,
    retries: Family<RouteLabels, Counter>,
    failovers: Family<RouteLabels, Counter>,
    token_replays: Family<OutcomeLabels, Counter>,
    local_replies: Family<ErrorCodeLabels, Counter>,
    input_tokens: Family<TokenLabels, Counter>,
    output_tokens: Family<TokenLabels, Counter>,
    usage: GenAiUsage,
    pub(super) inbound: Connections,
    pub(super) upstream: Connections,
    /// `None` without a status page.
    pub(super) recorder: Option<Recorder>,
}

/// The metrics of requests with the same labels, looked up once instead of in each family. A metric
/// that not every request has is created by the first request that has it. So no metric is shown
/// that never had a value.
#[derive(Debug)]
struct Series {
    of: SeriesKey,
    requests: Counter,
    duration: Histogram,
    first_byte: OnceLock<Histogram>,
    /// Retries and failovers.
    sent: OnceLock<(Counter, Counter)>,
    /// Input and output tokens.
    tokens: OnceLock<(Counter, Counter)>,
    usage: GenAi<OnceLock<Counter>>,
    /// For the status page.
    route: Option<Arc<RouteCounts>>,
}

impl Series {
    fn route(&self) -> RouteLabels {
        let RequestLabels { model, location, .. } = &self.of.request;
        RouteLabels { model: model.clone(), location: location.clone() }
    }
}

/// The labels of a request's series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SeriesKey {
    request: RequestLabels,
    operation: &'static str,
    traffic_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    client: Arc<str>,
    model: Arc<str>,
    location: Arc<str>,
    status: u16,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    model: Arc<str>,
    location: Arc<str>,
    status_class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    model: Arc<str>,
    location: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    client: Arc<str>,
    model: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorCodeLabels {
    error_code: &'static str,
}

impl Metrics {
    pub(super) fn new(scraped: Scraped) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            models: Models::default(),
            series: RwLock::default(),
            in_flight: Gauge::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION)),
            first_bytes: Family::new_with_constructor(|| Histogram::new(FIRST_BYTE)),
            retries: Family::default(),
            failovers: Family::default(),
            token_replays: Family::default(),
            local_replies: Family::default(),
            input_tokens: Family::default(),
            output_tokens: Family::default(),
            usage: GenAi::default(),
            inbound: Connections::default(),
            upstream: Connections::default(),
            recorder: None,
        };
        metrics.register(scraped);
        metrics
    }

    fn register(&mut self, scraped: Scraped) {
        self.usage.register(&mut self.registry);
        let registry = self.registry.sub_registry_with_prefix("vertex_gateway");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the gateway", build);
        let help = "Requests in flight, until the last byte of their responses";
        registry.register("requests_in_flight", help, self.in_flight.clone());
        let help = "Requests whose responses have ended; status 499 if the client closed the \
             connection before";
        registry.register("requests", help, AlwaysEncoded(self.requests.clone()));
        let help = "Time from the request head to the last byte of the response";
        let durations = AlwaysEncoded(self.durations.clone());
        registry.register_with_unit("request_duration", help, Unit::Seconds, durations);
        let help = "Time from the request head to the first byte of the body of a 2xx response";
        let first_bytes = AlwaysEncoded(self.first_bytes.clone());
        registry.register_with_unit("time_to_first_byte", help, Unit::Seconds, first_bytes);
        let help = "Retries: how often requests were sent to Vertex AI again";
        registry.register("upstream_retries", help, AlwaysEncoded(self.retries.clone()));
        let help = "Failovers: retries at another location than the attempt before";
        registry.register("upstream_failovers", help, AlwaysEncoded(self.failovers.clone()));
        let help = "Requests whose access token got 401, by the outcome of the refresh and replay";
        registry.register("token_replays", help, AlwaysEncoded(self.token_replays.clone()));
        let help = "Error responses that the gateway made itself";
        registry.register("local_replies", help, AlwaysEncoded(self.local_replies.clone()));
        let help = "Input tokens, as Google bills them";
        registry.register("input_tokens", help, AlwaysEncoded(self.input_tokens.clone()));
        let help = "Output tokens, as Google bills them";
        registry.register("output_tokens", help, AlwaysEncoded(self.output_tokens.clone()));
        let help = "Open connections of clients";
        registry.register("client_connections", help, self.inbound.open.clone());
        let help = "Connections of clients that were accepted";
        registry.register("client_connections_opened", help, self.inbound.opened.clone());
        let help = "Open connections to Vertex AI, including idle ones";
        registry.register("upstream_connections", help, self.upstream.open.clone());
        let help = "Connections to Vertex AI that were opened";
        registry.register("upstream_connections_opened", help, self.upstream.opened.clone());
        registry.register_collector(Box::new(scraped));
    }

    pub(super) fn register_model(&self, model: &str) {
        self.models.list(model);
    }

    pub(super) fn request_started(&self) {
        self.in_flight.inc();
    }

    pub(super) fn request_finished(&self, record: &RequestLog, status: u16, seconds: f64) {
        self.in_flight.dec();
        let good = (200..300).contains(&status);
        let model = match &record.model {
            Some(model) => self.models.label(model, good),
            None => Arc::default(),
        };
        let location = record.location.clone().unwrap_or_default();
        let client = record.client.clone().unwrap_or_default();
        let of = SeriesKey {
            request: RequestLabels { client, model, location, status, end: record.end.as_str() },
            operation: record.operation.unwrap_or(OTHER),
            traffic_type: traffic_type(record.usage.as_ref()),
        };
        let series = self.series(of);
        if let (Some(recorder), Some(route)) = (&self.recorder, &series.route) {
            recorder.record(route, record, status, (seconds * 1e6) as u64);
        }

        series.requests.inc();
        series.duration.observe(seconds);
        if let Some(first) = record.first_byte.filter(|_| good) {
            let first_byte = series
                .first_byte
                .get_or_init(|| self.first_bytes.get_or_create_owned(&series.route()));
            first_byte.observe(first.as_secs_f64());
        }
        if let Some(attempts) = record.attempts {
            let (retried, failed_over) = series.sent.get_or_init(|| {
                let route = series.route();
                (
                    self.retries.get_or_create_owned(&route),
                    self.failovers.get_or_create_owned(&route),
                )
            });
            retried.inc_by((attempts - 1) as u64);
            failed_over.inc_by(record.failovers as u64);
        }
        if let Some(outcome) = record.token_replay {
            self.token_replayed(outcome);
        }
        if let Some(error_code) = record.error_code {
            self.local_replies.get_or_create(&ErrorCodeLabels { error_code }).inc();
        }
        if let Some(usage) = &record.usage {
            let (input, output) = series.tokens.get_or_init(|| {
                let RequestLabels { client, model, .. } = &series.of.request;
                let labels = TokenLabels { client: client.clone(), model: model.clone() };
                (
                    self.input_tokens.get_or_create_owned(&labels),
                    self.output_tokens.get_or_create_owned(&labels),
                )
            });
            input.inc_by(usage.input.unwrap_or(0));
            output.inc_by(usage.output.unwrap_or(0));
            self.usage.count(&series, usage);
        }
    }

    /// Returns the metrics that requests with these labels increment.
    fn series(&self, of: SeriesKey) -> Arc<Series> {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(&of) {
            return Arc::clone(series);
        }
        drop(known);
        let request = &of.request;
        let class = usize::from(request.status / 100);
        let duration = DurationLabels {
            model: request.model.clone(),
            location: request.location.clone(),
            status_class: CLASSES.get(class).copied().unwrap_or(OTHER),
        };
        let route = self.recorder.as_ref().map(|recorder| {
            let RequestLabels { client, model, location, .. } = request.clone();
            recorder.route(RouteKey { client, model, location })
        });
        let series = Arc::new(Series {
            route,
            requests: self.requests.get_or_create_owned(request),
            duration: self.durations.get_or_create_owned(&duration),
            first_byte: OnceLock::new(),
            sent: OnceLock::new(),
            tokens: OnceLock::new(),
            usage: GenAi::default(),
            of: of.clone(),
        });
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(of).or_insert(series))
    }

    pub(super) fn token_replayed(&self, outcome: &'static str) {
        self.token_replays.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(super) fn show(&self, form: Form) -> String {
        let mut text = String::with_capacity(16 << 10);
        // Writing to a `String` cannot fail.
        let _ = encode(&mut text, &self.registry);
        form.of(text)
    }
}

const CLASSES: [&str; 6] = [OTHER, "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The traffic type of Vertex AI, limited to the known values.
fn traffic_type(usage: Option<&Usage>) -> &'static str {
    let Some(told) = usage.and_then(|usage| usage.traffic_type.as_deref()) else { return "" };
    TRAFFIC_TYPES.into_iter().find(|known| *known == told).unwrap_or(OTHER)
}

/// A family that is shown before its first member, so that dashboards and alerts find it.
#[derive(Debug)]
struct AlwaysEncoded<F>(F);

impl<F: EncodeMetric> EncodeMetric for AlwaysEncoded<F> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}
