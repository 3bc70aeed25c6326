//! The records of requests for the status page: counts for each route, and the last hundred requests.
//!
//! A route is a client key, a model and a location. A request adds to the counters of its route, and is
//! written over the oldest of the last hundred. Sums and percentiles are computed only for a page.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::{
    access_log::{End, RequestLog},
    latencies::Latencies,
};

/// Number of requests that are kept.
const RECENT: usize = 100;
/// Largest number of routes. Further ones are one route, [`OTHER`], because each may take 2 KiB.
const MOST_ROUTES: usize = 2000;
const OTHER: &str = "other";

/// The counters of routes, and the last requests.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    routes: Mutex<HashMap<RouteKey, Arc<RouteCounts>>>,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    requests: VecDeque<RecentRequest>,
    /// Number of requests so far.
    number: u64,
}

/// The labels of a route; each may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteKey {
    pub(crate) client: Arc<str>,
    pub(crate) model: Arc<str>,
    pub(crate) location: Arc<str>,
}

/// The counters of a route.
#[derive(Debug)]
pub(crate) struct RouteCounts {
    pub(crate) of: RouteKey,
    pub(crate) requests: AtomicU64,
    pub(crate) input_tokens: AtomicU64,
    pub(crate) output_tokens: AtomicU64,
    /// Latencies of 2xx responses, to the first byte and to the last.
    latencies: OnceLock<Box<[Latencies; 2]>>,
    failures: Mutex<Vec<(Failure, u64)>>,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// The code of the gateway's own error.
    Code(&'static str),
    /// The status of Vertex AI's error.
    Status(u16),
    /// How the response ended early.
    End(&'static str),
}

/// A request without its content.
#[derive(Clone, Debug)]
pub(crate) struct RecentRequest {
    /// Counts all requests, from 1.
    pub(crate) number: u64,
    pub(crate) arrived: Instant,
    pub(crate) route: RouteKey,
    pub(crate) method: &'static str,
    /// The operation on the model; empty for a request that is none.
    pub(crate) operation: &'static str,
    pub(crate) status: u16,
    pub(crate) failure: Option<Failure>,
    /// Microseconds to the last byte and to the first.
    pub(crate) micros: u64,
    pub(crate) first_byte: Option<u64>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
}

impl Recorder {
    /// The counters of a route.
    pub(super) fn route(&self, of: RouteKey) -> Arc<RouteCounts> {
        let mut routes = lock(&self.routes);
        let of = if routes.len() < MOST_ROUTES || routes.contains_key(&of) {
            of
        } else {
            RouteKey { client: OTHER.into(), model: OTHER.into(), location: OTHER.into() }
        };
        let counts = || Arc::new(RouteCounts::new(of.clone()));
        Arc::clone(routes.entry(of.clone()).or_insert_with(counts))
    }

    /// Records a request of this route.
    pub(super) fn record(&self, route: &RouteCounts, log: &RequestLog, status: u16, micros: u64) {
        let failure = failure(log, status);
        let first_byte = log.first_byte.map(|first| first.as_micros() as u64);
        let (input_tokens, output_tokens) =
            log.usage.as_ref().map_or((None, None), |usage| (usage.input, usage.output));
        route.requests.fetch_add(1, Relaxed);
        for (sum, tokens) in
            [(&route.input_tokens, input_tokens), (&route.output_tokens, output_tokens)]
        {
            if let Some(tokens) = tokens {
                sum.fetch_add(tokens, Relaxed);
            }
        }
        if let Some(failure) = failure {
            route.failed(failure);
        }
        if (200..300).contains(&status) {
            let [first, total] = &**route.latencies.get_or_init(Box::default);
            first.observe(first_byte.unwrap_or(micros));
            total.observe(micros);
        }
        let mut request = RecentRequest {
            number: 0,
            arrived: log.arrived,
            route: route.of.clone(),
            method: method(&log.method),
            operation: log.operation.unwrap_or_default(),
            status,
            failure,
            micros,
            first_byte,
            input_tokens,
            output_tokens,
        };
        let mut recent = lock(&self.recent);
        recent.number += 1;
        request.number = recent.number;
        if recent.requests.len() == RECENT {
            recent.requests.pop_front();
        }
        recent.requests.push_back(request);
    }

    /// All routes so far.
    pub(crate) fn routes(&self) -> Vec<Arc<RouteCounts>> {
        lock(&self.routes).values().cloned().collect()
    }

    /// The last requests after the one with this number, the oldest first.
    pub(crate) fn recent(&self, after: u64) -> Vec<RecentRequest> {
        let recent = lock(&self.recent);
        recent.requests.iter().filter(|request| request.number > after).cloned().collect()
    }
}

impl RouteCounts {
    fn new(of: RouteKey) -> Self {
        Self {
            of,
            requests: AtomicU64::new(0),
            input_tokens: AtomicU64::new(0),
            output_tokens: AtomicU64::new(0),
            latencies: OnceLock::new(),
            failures: Mutex::default(),
        }
    }

    fn failed(&self, failure: Failure) {
        let mut failures = lock(&self.failures);
        match failures.iter_mut().find(|(known, _)| *known == failure) {
            Some((_, count)) => *count += 1,
            None => failures.push((failure, 1)),
        }
    }

    /// The failures and their numbers.
    pub(crate) fn failures(&self) -> Vec<(Failure, u64)> {
        lock(&self.failures).clone()
    }

    /// The latencies of 2xx responses, to the first byte and to the last; `None` without such a response.
    pub(crate) fn latencies(&self) -> Option<&[Latencies; 2]> {
        self.latencies.get().map(|latencies| &**latencies)
    }
}

fn failure(log: &RequestLog, status: u16) -> Option<Failure> {
    match log.error_code {
        Some(code) => Some(Failure::Code(code)),
        None if log.status.is_some_and(|status| status >= StatusCode::BAD_REQUEST) => {
            Some(Failure::Status(status))
        }
        None => (log.end != End::Complete).then_some(Failure::End(log.end.as_str())),
    }
}

/// The method as a fixed text, because a client may make up another one.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "PUT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every statement leaves the value consistent, so a poisoned lock is still usable.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::telemetry::usage::Usage;

    fn key(model: &str) -> RouteKey {
        RouteKey { client: "".into(), model: model.into(), location: "".into() }
    }

    fn log(status: u16) -> RequestLog {
        let mut log = RequestLog::new(HeaderValue::from_static("id"), Method::POST, "/v1/models");
        log.status = StatusCode::from_u16(status).ok();
        log.end = End::Complete;
        log
    }

    #[test]
    fn the_last_hundred_requests_are_kept_and_all_are_counted() {
        let recorder = Recorder::default();
        let route = recorder.route(key("m"));
        let usage = Usage { input: Some(2), output: Some(3), ..Usage::default() };
        let log = RequestLog { usage: Some(usage), ..log(200) };
        (0..250).for_each(|_| recorder.record(&route, &log, 200, 5000));
        let numbers = |after| {
            let recent = recorder.recent(after);
            recent.iter().map(|request| request.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(0), (151..=250).collect::<Vec<_>>());
        assert_eq!(numbers(248), [249, 250]);
        assert_eq!(route.requests.load(Relaxed), 250);
        let tokens = (route.input_tokens.load(Relaxed), route.output_tokens.load(Relaxed));
        assert_eq!(tokens, (500, 750));
    }

    #[test]
    fn a_failure_is_a_code_of_the_gateway_a_status_of_vertex_ai_or_an_early_end() {
        let coded = RequestLog { error_code: Some("rate_limit_exceeded"), ..log(429) };
        let reset = RequestLog { end: End::UpstreamReset, ..log(200) };
        let left = RequestLog { status: None, end: End::ClientClosed, ..log(200) };
        let recorder = Recorder::default();
        let route = recorder.route(key("m"));
        for (log, status, expected) in [
            (log(200), 200, None),
            (log(429), 429, Some(Failure::Status(429))),
            (coded, 429, Some(Failure::Code("rate_limit_exceeded"))),
            (reset, 200, Some(Failure::End("upstream_reset"))),
            (left, 499, Some(Failure::End("client_closed"))),
        ] {
            assert_eq!(failure(&log, status), expected);
            (0..2).for_each(|_| recorder.record(&route, &log, status, 1));
        }
        assert_eq!(route.failures().len(), 4);
        assert!(route.failures().iter().all(|(_, count)| *count == 2));
    }

    #[test]
    fn the_number_of_routes_is_limited_and_no_method_is_a_clients_text() {
        let recorder = Recorder::default();
        for number in 0..MOST_ROUTES + 50 {
            let route = recorder.route(key(&number.to_string()));
            assert_eq!(&*route.of.model == OTHER, number >= MOST_ROUTES);
        }
        assert_eq!(recorder.routes().len(), MOST_ROUTES + 1);
        assert_eq!(&*recorder.route(key("7")).of.model, "7");
        let made_up = Method::from_bytes(b"MY-DIARY").unwrap();
        assert_eq!((method(&made_up), method(&Method::PUT)), (OTHER, "PUT"));
    }
}
