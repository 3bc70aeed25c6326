//! The state of the gateway as JSON, for the page and for scripts. `docs/status.md` describes it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    Facts, Status,
    actions::{CheckState, Offer},
    circuits::{Circuit, circuits},
    groups,
    groups::{Row, Totals, rows},
    history::{COLUMNS, Fetches, Reading, Sample, unix_millis},
};
use crate::telemetry::{
    Telemetry,
    recorder::{Failure, RecentRequest},
};
use tower_vertex::redact;

/// How much of the state is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// The parts that may have changed within a second; of the requests, only new ones.
    Latest,
}

#[derive(Debug, Serialize)]
pub(super) struct Snapshot {
    now_ms: u64,
    started_ms: u64,
    /// `serving`, `not_ready` or `draining`.
    state: &'static str,
    /// Why it is not ready.
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Gateway>,
    token: Token,
    requests_in_flight: i64,
    requests_queued: usize,
    client_connections: i64,
    upstream_connections: i64,
    /// The seconds to which rates and latencies of the tables refer.
    window_seconds: f64,
    total: Row,
    models: Vec<Row>,
    locations: Vec<Row>,
    keys: Vec<Row>,
    circuits: Vec<Circuit>,
    check: CheckState,
    requests: Vec<Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<[&'static str; COLUMNS.len()]>,
    samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
struct Gateway {
    version: &'static str,
    #[serde(flatten)]
    facts: Facts,
    /// Number of client keys.
    keys: usize,
    /// The names of models without a `*` in the table.
    table: Vec<String>,
    can_check: Offer,
    can_try: Offer,
}

#[derive(Debug, Serialize)]
struct Token {
    generation: u64,
    age_seconds: Option<u64>,
    expires_in_seconds: Option<u64>,
    refresh_in_seconds: Option<u64>,
    /// Responses of 401 to an access token.
    rejections: u64,
    /// Numbers of fetches since the start.
    refreshes: Vec<Refreshes>,
    /// The latest fetches, when they were noticed.
    fetches: Vec<Fetches>,
}

#[derive(Debug, Serialize)]
struct Refreshes {
    reason: &'static str,
    outcome: &'static str,
    count: u64,
}

/// One of the last requests.
#[derive(Debug, Serialize)]
struct Request {
    number: u64,
    arrived_ms: u64,
    method: &'static str,
    operation: &'static str,
    key: Arc<str>,
    model: Arc<str>,
    location: Arc<str>,
    status: u16,
    /// The kind of the failure, if it is not the status.
    code: Option<&'static str>,
    ms: f64,
    first_byte_ms: Option<f64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// Number of names that the page suggests for a request to a model.
const SUGGESTED: usize = 100;

impl Status {
    /// Reads the state, and adds it to the history.
    pub(super) fn snapshot(&self, part: Part) -> Snapshot {
        let telemetry = &self.sources.telemetry;
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut history = self.history();
        let reading = Reading::now(telemetry, self.recorder());
        let before = history.recent;
        history.add(&reading, now);
        let requests = |after| {
            let recent = self.recorder().map(|recorder| recorder.recent(after));
            recent.unwrap_or_default()
        };
        let (recent, samples) = match part {
            Part::Whole => (requests(0), history.samples.iter().copied().collect()),
            Part::Latest => {
                let recent = requests(before);
                history.recent = recent.last().map_or(before, |request| request.number);
                (recent, history.unsent())
            }
        };
        let (earlier, window_seconds) = history.minute(now);
        let Reading { totals, load, token } = reading;
        let none = Totals::default();
        let earlier = earlier.unwrap_or(&none);
        let (state, reason) = match telemetry.ready() {
            Ok(()) => ("serving", None),
            Err(reason) if telemetry.is_draining() => ("draining", Some(reason)),
            Err(reason) => ("not_ready", Some(reason)),
        };
        let is_whole = part == Part::Whole;
        let count = |((reason, reason_name), (outcome, outcome_name))| {
            let count = token.refreshes(reason, outcome);
            (count > 0).then_some(Refreshes { reason: reason_name, outcome: outcome_name, count })
        };
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        Snapshot {
            now_ms: unix_millis(wall),
            started_ms: unix_millis(self.started),
            state,
            reason,
            gateway: is_whole.then(|| self.gateway()),
            token: Token {
                generation: token.generation,
                age_seconds: seconds(token.age),
                expires_in_seconds: seconds(token.expires_in),
                refresh_in_seconds: seconds(token.refresh_in),
                rejections: token.rejections,
                refreshes: Telemetry::fetch_kinds().filter_map(count).collect(),
                fetches: history.fetches.iter().cloned().collect(),
            },
            requests_in_flight: load.requests_in_flight,
            requests_queued: load.requests_queued,
            client_connections: load.client_connections,
            upstream_connections: load.upstream_connections,
            window_seconds: groups::round(window_seconds),
            total: totals.all.row(&Arc::default(), Some(&earlier.all), window_seconds),
            models: rows(&totals.models, &earlier.models, window_seconds),
            locations: rows(&totals.locations, &earlier.locations, window_seconds),
            keys: rows(&totals.keys, &earlier.keys, window_seconds),
            circuits: circuits(&self.sources.models.table()),
            check: self.actions.check(),
            requests: recent.iter().map(|request| Request::new(request, now, wall)).collect(),
            columns: is_whole.then_some(COLUMNS),
            samples,
        }
    }

    fn gateway(&self) -> Gateway {
        let Self { sources, .. } = self;
        let table = sources.models.table();
        let names = table.entries().filter(|entry| !entry.is_wildcard());
        let shown = names.map(|entry| redact::value(entry.pattern()).to_string());
        Gateway {
            version: env!("CARGO_PKG_VERSION"),
            facts: sources.facts.clone(),
            keys: sources.clients.load().len(),
            table: shown.take(SUGGESTED).collect(),
            can_check: sources.actions.check.offer(),
            can_try: sources.actions.chat.offer(),
        }
    }
}

impl Request {
    fn new(request: &RecentRequest, now: Instant, wall: SystemTime) -> Self {
        let millis = |micros: u64| micros as f64 / 1000.0;
        let ago = now.saturating_duration_since(request.arrived);
        let code = request.failure.and_then(|failure| match failure {
            Failure::Code(name) | Failure::End(name) => Some(name),
            Failure::Status(_) => None,
        });
        Self {
            number: request.number,
            arrived_ms: unix_millis(wall.checked_sub(ago).unwrap_or(wall)),
            method: request.method,
            operation: request.operation,
            key: Arc::clone(&request.route.client),
            model: Arc::clone(&request.route.model),
            location: Arc::clone(&request.route.location),
            status: request.status,
            code,
            ms: millis(request.micros),
            first_byte_ms: request.first_byte.map(millis),
            input_tokens: request.input_tokens,
            output_tokens: request.output_tokens,
        }
    }
}
