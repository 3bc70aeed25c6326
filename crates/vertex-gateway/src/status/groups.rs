//! Sums and percentiles by model, by location and by key.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use serde::Serialize;

use crate::telemetry::{
    latencies::LatencyCounts,
    recorder::{Failure, Recorder, RouteCounts},
};

/// Largest number of rows of a table, which are the ones with the most requests.
const MOST_ROWS: usize = 50;

/// The percentiles that are shown.
pub(super) const PERCENT: [u32; 3] = [50, 95, 99];

/// Counts of requests up to one time, or between two times.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) requests: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) failures: BTreeMap<Failure, u64>,
    /// To the first byte, and to the last.
    pub(super) latencies: [LatencyCounts; 2],
}

/// The sums over all routes.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) all: Group,
    pub(super) models: Groups,
    pub(super) locations: Groups,
    pub(super) keys: Groups,
}

pub(super) type Groups = HashMap<Arc<str>, Group>;

/// A row of a table. Requests, failures and tokens are counted since the start; rate and latencies are of
/// the last minute.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// Empty for requests without a model, a location or a key.
    name: Arc<str>,
    requests: u64,
    failed: u64,
    input_tokens: u64,
    output_tokens: u64,
    requests_per_second: f64,
    /// In milliseconds: the 50th, the 95th and the 99th percentile.
    first_byte_ms: Option<[f64; 3]>,
    total_ms: Option<[f64; 3]>,
    failures: Vec<FailureCount>,
}

#[derive(Clone, Debug, Serialize)]
struct FailureCount {
    /// The code of the gateway's error, the status of Vertex AI's, or how the response ended.
    kind: String,
    count: u64,
}

impl Totals {
    pub(super) fn of(recorder: &Recorder) -> Self {
        let mut totals = Self::default();
        for route in recorder.routes() {
            let group = Group::of(&route);
            let of = &route.of;
            totals.all.add(&group);
            totals.models.entry(Arc::clone(&of.model)).or_default().add(&group);
            totals.locations.entry(Arc::clone(&of.location)).or_default().add(&group);
            totals.keys.entry(Arc::clone(&of.client)).or_default().add(&group);
        }
        totals
    }
}

impl Group {
    fn of(route: &RouteCounts) -> Self {
        let mut group = Self {
            requests: route.requests.load(Relaxed),
            input_tokens: route.input_tokens.load(Relaxed),
            output_tokens: route.output_tokens.load(Relaxed),
            failures: route.failures().into_iter().collect(),
            ..Self::default()
        };
        if let Some(latencies) = route.latencies() {
            for (sum, of) in group.latencies.iter_mut().zip(latencies) {
                of.add_to(sum);
            }
        }
        group
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
        for (sum, other) in self.latencies.iter_mut().zip(&other.latencies) {
            sum.add(other);
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The counts since an earlier time, without the kinds of failures.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut since = Self {
            requests: self.requests.saturating_sub(earlier.requests),
            input_tokens: self.input_tokens.saturating_sub(earlier.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(earlier.output_tokens),
            failures: BTreeMap::new(),
            latencies: self.latencies.clone(),
        };
        for (counts, earlier) in since.latencies.iter_mut().zip(&earlier.latencies) {
            counts.subtract(earlier);
        }
        since
    }

    /// `earlier` is the group at the beginning of the last minute, `seconds` ago.
    pub(super) fn row(&self, name: &Arc<str>, earlier: Option<&Self>, seconds: f64) -> Row {
        let recent = match earlier {
            Some(earlier) => self.since(earlier),
            None => self.clone(),
        };
        let failure = |(failure, count): (&Failure, &u64)| {
            let kind = match failure {
                Failure::Code(name) | Failure::End(name) => (*name).to_owned(),
                Failure::Status(status) => status.to_string(),
            };
            FailureCount { kind, count: *count }
        };
        let [first_byte_ms, total_ms] = recent.latencies.map(|counts| counts.percentiles(PERCENT));
        Row {
            name: Arc::clone(name),
            requests: self.requests,
            failed: self.failed(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            requests_per_second: round(recent.requests as f64 / seconds),
            first_byte_ms: first_byte_ms.map(|all| all.map(round)),
            total_ms: total_ms.map(|all| all.map(round)),
            failures: self.failures.iter().map(failure).collect(),
        }
    }
}

/// The rows of a table, those with the most requests first.
pub(super) fn rows(now: &Groups, earlier: &Groups, seconds: f64) -> Vec<Row> {
    let mut all: Vec<_> = now.iter().collect();
    all.sort_by(|(name, one), (other_name, other)| {
        (other.requests, name).cmp(&(one.requests, other_name))
    });
    let row = |(name, group): &(&Arc<str>, &Group)| group.row(name, earlier.get(*name), seconds);
    all.iter().take(MOST_ROWS).map(row).collect()
}

/// Rounds to three digits after the point.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
