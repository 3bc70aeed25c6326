//! What the emulator remembers: settings in force, counters, records and stored responses.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde::Serialize;
use serde_json::Value;

use super::{
    builder::EmulatorBuilder,
    clock::UtcTime,
    credentials::Credentials,
    key,
    settings::{ApiFault, EndpointInfo, Faults, StreamBehavior},
    tokens::{TokenStore, Verdict},
};

/// As many records as are kept.
const RECORDS: usize = 10_000;
/// As many responses of the Responses API as can be fetched again.
const RESPONSES: usize = 1_000;

/// What all connections of one emulator share.
pub(crate) struct Shared {
    /// Where the API listens.
    pub(crate) addr: SocketAddr,
    /// Where tokens and control are served over plain http; the same address without TLS.
    pub(crate) control_addr: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) host_aware: bool,
    pub(crate) endpoints: Mutex<Vec<EndpointInfo>>,
    /// What `openapi` serves, as `publisher/model`; `None` is every model.
    pub(crate) models: Option<Vec<String>>,
    pub(crate) tokens: Mutex<TokenStore>,
    pub(crate) credentials: Credentials,
    faults: Mutex<Faults>,
    counters: Mutex<Stats>,
    records: Mutex<VecDeque<Entry>>,
    responses: Mutex<VecDeque<(String, Value)>>,
}

/// A panic elsewhere leaves counters, not invariants: the data is still good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        addr: SocketAddr,
        control_addr: SocketAddr,
        settings: EmulatorBuilder,
    ) -> Self {
        let EmulatorBuilder { listen: _, tls, host_aware, endpoints, models } = settings;
        Self {
            addr,
            control_addr,
            tls,
            host_aware,
            endpoints: Mutex::new(endpoints),
            models,
            tokens: Mutex::default(),
            credentials: Credentials::new(),
            faults: Mutex::default(),
            counters: Mutex::default(),
            records: Mutex::default(),
            responses: Mutex::default(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }

    pub(crate) fn control_url(&self) -> String {
        format!("http://{}", self.control_addr)
    }

    /// What the emulator's clock shows.
    pub(crate) fn now(&self) -> UtcTime {
        UtcTime::now(lock(&self.tokens).behavior().clock_offset_s)
    }

    /// What a token is worth that a request shows.
    pub(crate) fn judge(&self, token: &str) -> Verdict {
        let verdict = lock(&self.tokens).judge(token);
        // No issued token has a dot, every JWT has. Signatures are checked without the lock.
        if verdict != Verdict::Unknown || !token.contains('.') {
            return verdict;
        }
        let Some(life) = key::self_signed_life(token, self.now().seconds()) else {
            return verdict;
        };
        let (verdict, new) = lock(&self.tokens).adopt(token, key::EMAIL.into(), life);
        if new {
            self.count(|stats| stats.token_mints += 1);
        }
        verdict
    }

    pub(crate) fn faults(&self) -> Faults {
        lock(&self.faults).clone()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *lock(&self.faults) = faults;
    }

    pub(crate) fn stream_behavior(&self) -> StreamBehavior {
        lock(&self.faults).stream.clone()
    }

    /// Takes one occurrence of the API fault in force for a location, if its status is as asked.
    pub(crate) fn take_fault(
        &self,
        location: &str,
        wanted: impl Fn(u16) -> bool,
    ) -> Option<ApiFault> {
        let mut faults = lock(&self.faults);
        let fault = faults.api.as_mut().filter(|fault| wanted(fault.status))?;
        if fault.location.as_deref().is_some_and(|only| only != location) {
            return None;
        }
        take_one(&mut fault.times).then(|| fault.clone())
    }

    pub(crate) fn stats(&self) -> Stats {
        lock(&self.counters).clone()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut lock(&self.counters));
    }

    /// Counters to zero, records away; what is open now stays open.
    pub(crate) fn reset_stats(&self) {
        let mut counters = lock(&self.counters);
        *counters = Stats {
            connections: counters.connections,
            streams: StreamStats { open: counters.streams.open, ..StreamStats::default() },
            ..Stats::default()
        };
        lock(&self.records).clear();
    }

    pub(crate) fn record(&self, entry: Entry) {
        self.count(|stats| *stats.by_status.entry(entry.record.status).or_default() += 1);
        let mut records = lock(&self.records);
        if records.len() == RECORDS {
            records.pop_front();
        }
        records.push_back(entry);
    }

    pub(crate) fn requests(&self) -> Vec<RequestRecord> {
        lock(&self.records).iter().map(Entry::snapshot).collect()
    }

    pub(crate) fn keep_response(&self, id: &str, response: Value) {
        let mut responses = lock(&self.responses);
        if responses.len() == RESPONSES {
            responses.pop_front();
        }
        responses.push_back((id.to_owned(), response));
    }

    pub(crate) fn response(&self, id: &str) -> Option<Value> {
        let responses = lock(&self.responses);
        responses.iter().find(|(known, _)| known == id).map(|(_, response)| response.clone())
    }

    pub(crate) fn forget_response(&self, id: &str) -> bool {
        let mut responses = lock(&self.responses);
        let before = responses.len();
        responses.retain(|(known, _)| known != id);
        responses.len() < before
    }
}

/// Counts down to nothing; `None` never ends.
pub(crate) fn take_one(times: &mut Option<u64>) -> bool {
    match times {
        None => true,
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
    }
}

/// What has happened since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Tokens really issued; one handed out again is not counted. One that the service account
    /// signed itself counts when it is first shown.
    pub token_mints: u64,
    /// Requests for a token, at the token endpoints, the metadata server and the IAM credentials
    /// API, whatever came of them.
    pub token_requests: u64,
    /// Requests that arrived at the API, unknown paths included.
    pub api_requests: u64,
    /// How those were answered.
    pub by_status: BTreeMap<u16, u64>,
    /// Connections open now that have carried a request to the API.
    pub connections: u64,
    /// Connections that began to carry requests to the API.
    pub connections_total: u64,
    /// Answers over server-sent events.
    pub streams: StreamStats,
}

/// Answers over server-sent events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamStats {
    /// Being sent now.
    pub open: u64,
    /// Sent to the end.
    pub completed: u64,
    /// Given up by the client, or cut by a fault.
    pub aborted: u64,
}

/// One request to the API. It holds no credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RequestRecord {
    /// The HTTP method.
    pub method: String,
    /// `:authority` or `Host`, as sent.
    pub host: Option<String>,
    /// The path, as sent.
    pub path: String,
    /// The query, as sent, but for the values of `key`, `access_token`, `oauth_token` and
    /// `bearer_token`, however they are spelled.
    pub query: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// Which token it carried, counted from 1 in the order of issue; `None` if none that is known.
    pub token_generation: Option<u64>,
    /// Whose token that was: an e-mail address, the name of a federated identity
    /// (`principal://…`), or `emulator` for one of [`Emulator::mint`](super::Emulator::mint).
    pub principal: Option<String>,
    /// Bytes of the body, once it has been read to its end.
    pub body_length: Option<u64>,
    /// SHA-256 of those, in hexadecimal.
    pub body_sha256: Option<String>,
    /// The names of the headers; a name sent twice is listed twice.
    pub header_names: Vec<String>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub http_version: String,
    /// Chunks of the streamed answer handed to the connection so far.
    pub chunks_sent: u64,
}

/// A record and what is still to come of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: RequestRecord,
    pub(crate) live: Arc<Live>,
}

/// What becomes known of a request after its answer was decided.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) body: OnceLock<(u64, String)>,
    pub(crate) chunks_sent: AtomicU64,
}

impl Entry {
    fn snapshot(&self) -> RequestRecord {
        let body = self.live.body.get();
        RequestRecord {
            body_length: body.map(|(length, _)| *length),
            body_sha256: body.map(|(_, hash)| hash.clone()),
            chunks_sent: self.live.chunks_sent.load(Ordering::Relaxed),
            ..self.record.clone()
        }
    }
}

/// Counts a connection from its first request to the API until it is dropped.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    counted: AtomicBool,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, counted: AtomicBool::new(false) }
    }

    pub(crate) fn carries_a_request(&self) {
        let first = !self.counted.swap(true, Ordering::Relaxed);
        self.shared.count(|stats| {
            stats.api_requests += 1;
            if first {
                stats.connections += 1;
                stats.connections_total += 1;
            }
        });
    }

    pub(crate) fn closed(&self) {
        if self.counted.swap(false, Ordering::Relaxed) {
            self.shared.count(|stats| stats.connections -= 1);
        }
    }
}
