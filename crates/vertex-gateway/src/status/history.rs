//! The last ten minutes: samples for the curves, and the fetches of tokens.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::time::Instant;

use super::groups::{Group, PERCENT, Totals, round};
use crate::telemetry::{Load, Telemetry, recorder::Recorder};
use tower_vertex::token::TokenStats;

/// Age of the oldest sample.
const LONGEST: Duration = Duration::from_secs(600);
/// Rates and latencies of a table are of between 30 and 60 seconds.
const MARK: Duration = Duration::from_secs(30);
/// Largest number of fetches that are listed.
const FETCHES: usize = 50;

/// The names of a sample's numbers.
pub(super) const COLUMNS: [&str; 12] = [
    "time_ms",
    "requests_per_second",
    "failures_per_second",
    "input_tokens_per_second",
    "output_tokens_per_second",
    "first_byte_p50_ms",
    "first_byte_p95_ms",
    "first_byte_p99_ms",
    "total_p50_ms",
    "total_p95_ms",
    "total_p99_ms",
    "requests_in_flight",
];

/// The numbers of [`COLUMNS`]. A time without a 2xx response has no latencies.
pub(super) type Sample = [Option<f64>; COLUMNS.len()];

/// Fetches of a token that ended between two samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fetches {
    at_ms: u64,
    reason: &'static str,
    outcome: &'static str,
    count: u64,
}

#[derive(Debug)]
pub(super) struct History {
    pub(super) samples: VecDeque<Sample>,
    pub(super) fetches: VecDeque<Fetches>,
    /// The totals now and then; the first are of the beginning of the last minute.
    marks: VecDeque<(Instant, Totals)>,
    last: (Instant, Group),
    last_stats: TokenStats,
    /// The number of the last request in the latest event.
    pub(super) recent: u64,
    /// The time of the last sample in the latest event.
    sent_ms: f64,
}

/// A reading of all counters.
pub(super) struct Reading {
    pub(super) totals: Totals,
    pub(super) load: Load,
    pub(super) token: TokenStats,
}

impl Reading {
    pub(super) fn now(telemetry: &Telemetry, recorder: Option<&Recorder>) -> Self {
        Self {
            totals: recorder.map(Totals::of).unwrap_or_default(),
            load: telemetry.load(),
            token: telemetry.token_stats(),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            samples: VecDeque::new(),
            fetches: VecDeque::new(),
            marks: VecDeque::from([(now, Totals::default())]),
            last: (now, Group::default()),
            last_stats: TokenStats::default(),
            recent: 0,
            sent_ms: 0.0,
        }
    }
}

impl History {
    /// Adds a sample, if some time has passed since the last one.
    pub(super) fn add(&mut self, reading: &Reading, now: Instant) {
        let (last, before) = &self.last;
        let seconds = now.saturating_duration_since(*last).as_secs_f64();
        if seconds < 0.2 {
            return;
        }
        let all = &reading.totals.all;
        let recent = all.since(before);
        let failed = all.failed().saturating_sub(before.failed());
        let rate = |count: u64| Some(round(count as f64 / seconds));
        let percentiles = |of: usize| match recent.latencies[of].percentiles(PERCENT) {
            Some(all) => all.map(|millis| Some(round(millis))),
            None => [None; 3],
        };
        let ([first_50, first_95, first_99], [total_50, total_95, total_99]) =
            (percentiles(0), percentiles(1));
        let at_ms = unix_millis(SystemTime::now());
        self.samples.push_back([
            Some(at_ms as f64),
            rate(recent.requests),
            rate(failed),
            rate(recent.input_tokens),
            rate(recent.output_tokens),
            first_50,
            first_95,
            first_99,
            total_50,
            total_95,
            total_99,
            Some(reading.load.requests_in_flight as f64),
        ]);
        let oldest = at_ms.saturating_sub(LONGEST.as_millis() as u64) as f64;
        while self.samples.front().is_some_and(|sample| sample[0] < Some(oldest)) {
            self.samples.pop_front();
        }
        self.last = (now, all.clone());
        self.add_fetches(&reading.token, at_ms);
        self.mark(&reading.totals, now);
    }

    /// The samples since the latest event.
    pub(super) fn unsent(&mut self) -> Vec<Sample> {
        let sent = self.sent_ms;
        let new = self.samples.iter().filter(|sample| sample[0] > Some(sent));
        let new: Vec<_> = new.copied().collect();
        self.sent_ms = new.last().and_then(|sample| sample[0]).unwrap_or(sent);
        new
    }

    fn add_fetches(&mut self, stats: &TokenStats, at_ms: u64) {
        for ((reason, reason_name), (outcome, outcome_name)) in Telemetry::fetch_kinds() {
            let before = self.last_stats.refreshes(reason, outcome);
            let count = stats.refreshes(reason, outcome).saturating_sub(before);
            if count > 0 {
                let (reason, outcome) = (reason_name, outcome_name);
                self.fetches.push_back(Fetches { at_ms, reason, outcome, count });
            }
        }
        while self.fetches.len() > FETCHES {
            self.fetches.pop_front();
        }
        self.last_stats = stats.clone();
    }

    fn mark(&mut self, totals: &Totals, now: Instant) {
        let is_old = |(at, _): &(Instant, Totals)| now.saturating_duration_since(*at) >= MARK;
        if self.marks.back().is_none_or(is_old) {
            self.marks.push_back((now, totals.clone()));
        }
        while self.marks.get(1).is_some_and(is_old) {
            self.marks.pop_front();
        }
    }

    /// The totals at the beginning of the last minute, and the seconds since then.
    pub(super) fn minute(&self, now: Instant) -> (Option<&Totals>, f64) {
        let mark = self.marks.front();
        let seconds = mark.map_or(0.0, |(at, _)| now.saturating_duration_since(*at).as_secs_f64());
        (mark.map(|(_, totals)| totals), seconds.max(0.001))
    }
}

pub(super) fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(requests: u64) -> Reading {
        let mut totals = Totals::default();
        totals.all.requests = requests;
        Reading { totals, load: Load::default(), token: TokenStats::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_that_of_the_time_since_the_last_sample() {
        let mut history = History::default();
        for (seconds, requests, rate) in [(2.0, 100, 50.0), (0.5, 110, 20.0), (10.0, 110, 0.0)] {
            tokio::time::advance(Duration::from_secs_f64(seconds)).await;
            history.add(&reading(requests), Instant::now());
            let sample = history.samples.back().unwrap();
            assert_eq!((sample[1], sample[5]), (Some(rate), None));
        }
        // Two pages that open together make one sample.
        tokio::time::advance(Duration::from_millis(10)).await;
        history.add(&reading(111), Instant::now());
        assert_eq!(history.samples.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_minute_begins_between_thirty_and_sixty_seconds_ago() {
        let mut history = History::default();
        assert!(history.minute(Instant::now()).0.is_some());
        for second in 1..=300_u64 {
            tokio::time::advance(Duration::from_secs(1)).await;
            history.add(&reading(second), Instant::now());
            let (earlier, seconds) = history.minute(Instant::now());
            let requests = second - earlier.unwrap().all.requests;
            assert_eq!(requests as f64, seconds.round());
            assert!(seconds <= 60.5 && (second < 30 || seconds >= 29.5), "{second}: {seconds}");
        }
        assert!(history.marks.len() <= 3);
    }
}
