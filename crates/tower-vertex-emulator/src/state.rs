//! The state of the emulator: settings in force, counters, records and stored responses.

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
    anthropic::PromptCache,
    builder::EmulatorBuilder,
    chat::ChatState,
    clock::UtcTime,
    credentials::Credentials,
    key,
    models::Catalogue,
    refusals::Refusals,
    responses::StoredResponse,
    settings::{ApiFault, EndpointInfo, Faults, StreamBehavior},
    tokens::{TokenStore, Verdict},
};

/// The largest number of request records that are kept.
const RECORDS: usize = 10_000;
/// The largest number of responses of the Responses API that can be fetched again.
const RESPONSES: usize = 1_000;
/// The largest size of either collection in bytes, because clients choose the size of requests.
const LARGEST: usize = 64 << 20;

/// The latest entries of a collection, limited by number and by bytes.
#[derive(Debug)]
struct Latest<T> {
    all: VecDeque<(usize, T)>,
    bytes: usize,
    most: usize,
}

impl<T> Latest<T> {
    fn new(most: usize) -> Self {
        Self { all: VecDeque::new(), bytes: 0, most }
    }

    /// Adds an entry of this size in bytes. The oldest entries are removed until it fits.
    fn push(&mut self, bytes: usize, new: T) {
        while self.all.len() == self.most || self.bytes.saturating_add(bytes) > LARGEST {
            let Some((gone, _)) = self.all.pop_front() else { break };
            self.bytes -= gone;
        }
        self.bytes += bytes;
        self.all.push_back((bytes, new));
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.all.iter().map(|(_, one)| one)
    }

    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.all.retain(|(_, one)| keep(one));
        self.bytes = self.all.iter().map(|(bytes, _)| bytes).sum();
    }
}

/// The approximate size of a value in bytes, without its numbers.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| size_of::<Value>() + bytes_of(item)).sum(),
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| size_of::<Value>() + name.len() + bytes_of(value))
            .sum(),
    }
}

/// The state that all connections of one emulator share.
pub(crate) struct Shared {
    /// The address that the API listens on.
    pub(crate) addr: SocketAddr,
    /// The address that serves tokens and control over plain http; the same address without TLS.
    pub(crate) control_addr: SocketAddr,
    pub(crate) tls: bool,
    /// The certificate (PEM) of the authority, with TLS.
    pub(crate) certificate: Option<String>,
    pub(crate) host_aware: bool,
    pub(crate) endpoints: Mutex<Vec<EndpointInfo>>,
    pub(crate) models: Catalogue,
    /// The projects that exist; `None` means all.
    pub(crate) projects: Option<Vec<String>>,
    pub(crate) tokens: Mutex<TokenStore>,
    pub(crate) credentials: Credentials,
    pub(crate) chat: ChatState,
    pub(crate) prompt_cache: Mutex<PromptCache>,
    faults: Mutex<Faults>,
    refusals: Mutex<Refusals>,
    counters: Mutex<Stats>,
    records: Mutex<Latest<Entry>>,
    responses: Mutex<Latest<(String, StoredResponse)>>,
}

/// A panic elsewhere can leave a wrong counter but breaks no invariant, so the data is still
/// usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        addr: SocketAddr,
        control_addr: SocketAddr,
        certificate: Option<String>,
        settings: EmulatorBuilder,
    ) -> Self {
        let EmulatorBuilder { tls, host_aware, endpoints, models, chat, projects, token, .. } =
            settings;
        let mut tokens = TokenStore::default();
        tokens.set_behavior(token);
        Self {
            addr,
            control_addr,
            tls,
            certificate,
            host_aware,
            endpoints: Mutex::new(endpoints),
            models,
            projects,
            tokens: Mutex::new(tokens),
            credentials: Credentials::new(),
            chat: ChatState::new(chat),
            prompt_cache: Mutex::default(),
            faults: Mutex::default(),
            refusals: Mutex::default(),
            counters: Mutex::default(),
            records: Mutex::new(Latest::new(RECORDS)),
            responses: Mutex::new(Latest::new(RESPONSES)),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }

    pub(crate) fn control_url(&self) -> String {
        format!("http://{}", self.control_addr)
    }

    /// The time of the emulator's clock.
    pub(crate) fn now(&self) -> UtcTime {
        UtcTime::now(lock(&self.tokens).behavior().clock_offset_s)
    }

    /// Whether a token in a request is valid, and whose it is.
    pub(crate) fn judge(&self, token: &str) -> Verdict {
        let verdict = lock(&self.tokens).judge(token);
        // No issued token contains a dot, and every JWT does. Signatures are checked without the
        // lock.
        if verdict != Verdict::Unknown || !token.contains('.') {
            return verdict;
        }
        let own = [self.url(), self.control_url()];
        let Some((rights, life)) = key::self_signed(token, &own, self.now().seconds()) else {
            return verdict;
        };
        let (verdict, new) = lock(&self.tokens).adopt(token, key::EMAIL.into(), rights, life);
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

    pub(crate) fn refusals(&self) -> Refusals {
        lock(&self.refusals).clone()
    }

    pub(crate) fn set_refusals(&self, refusals: Refusals) {
        *lock(&self.refusals) = refusals;
    }

    pub(crate) fn stream_behavior(&self) -> StreamBehavior {
        lock(&self.faults).stream.clone()
    }

    /// Takes one occurrence of the API fault for a location, if `wanted` accepts its status.
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

    /// Sets the counters to zero and drops the records. Open connections and streams stay counted.
    pub(crate) fn reset_stats(&self) {
        let mut counters = lock(&self.counters);
        *counters = Stats {
            connections: counters.connections,
            streams: StreamStats { open: counters.streams.open, ..StreamStats::default() },
            ..Stats::default()
        };
        lock(&self.records).retain(|_| false);
    }

    pub(crate) fn record(&self, entry: Entry) {
        self.count(|stats| *stats.by_status.entry(entry.record.status).or_default() += 1);
        lock(&self.records).push(entry.record.bytes(), entry);
    }

    pub(crate) fn requests(&self) -> Vec<RequestRecord> {
        lock(&self.records).iter().map(Entry::snapshot).collect()
    }

    pub(crate) fn keep_response(&self, id: &str, response: StoredResponse) {
        let messages = response.messages.iter().map(bytes_of).sum::<usize>();
        let bytes = bytes_of(&response.body) + messages;
        lock(&self.responses).push(bytes, (id.to_owned(), response));
    }

    pub(crate) fn response(&self, id: &str) -> Option<StoredResponse> {
        let responses = lock(&self.responses);
        responses.iter().find(|(known, _)| known == id).map(|(_, response)| response.clone())
    }

    pub(crate) fn forget_response(&self, id: &str) -> bool {
        let mut responses = lock(&self.responses);
        let before = responses.all.len();
        responses.retain(|(known, _)| known != id);
        responses.all.len() < before
    }
}

/// Takes one of the remaining `times`. `None` is unlimited.
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

/// Counts since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Tokens that were issued. A token that is returned again is not counted. A self-signed token
    /// of the service account is counted when it is first used.
    pub token_mints: u64,
    /// Requests for a token at the token endpoints, the metadata server and the IAM credentials
    /// API, regardless of their outcome.
    pub token_requests: u64,
    /// Requests that arrived at the API, including those to unknown paths.
    pub api_requests: u64,
    /// Requests to the API by the status of their response.
    pub by_status: BTreeMap<u16, u64>,
    /// Connections open now that have carried a request to the API.
    pub connections: u64,
    /// All connections that have carried a request to the API.
    pub connections_total: u64,
    /// Streamed responses.
    pub streams: StreamStats,
}

/// Streamed responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamStats {
    /// Streams in progress.
    pub open: u64,
    /// Streams that were sent completely.
    pub completed: u64,
    /// Streams that the client or a fault closed early.
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
    /// The query, as sent, except that the values of `key`, `access_token`, `oauth_token` and
    /// `bearer_token`, in any spelling, are removed.
    pub query: Option<String>,
    /// The status of the response.
    pub status: u16,
    /// The generation of its token, counted from 1 in the order of issue; `None` if the token is
    /// missing or unknown.
    pub token_generation: Option<u64>,
    /// The principal of that token: an e-mail address, the name of a federated identity
    /// (`principal://…`), or `emulator` for a token of [`Emulator::mint`](super::Emulator::mint).
    pub principal: Option<String>,
    /// The size of the body in bytes, once the body has been read completely.
    pub body_length: Option<u64>,
    /// SHA-256 of the body, in hexadecimal.
    pub body_sha256: Option<String>,
    /// The names of the headers; a name sent twice is listed twice.
    pub header_names: Vec<String>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub http_version: String,
    /// Chunks of the streamed response passed to the connection so far.
    pub chunks_sent: u64,
    /// The names of the parameters in a chat that Vertex AI ignores, sorted. They are known for
    /// Gemini models alone, by the list on Google's page.
    pub ignored: Vec<String>,
}

impl RequestRecord {
    /// The approximate size of the record in bytes.
    fn bytes(&self) -> usize {
        let texts = [Some(&self.method), self.host.as_ref(), Some(&self.path), self.query.as_ref()];
        let names = self.header_names.iter().chain(&self.ignored);
        let names = names.map(|name| size_of::<String>() + name.len());
        texts.into_iter().flatten().map(String::len).chain(names).sum()
    }
}

/// A record, and the parts of it that are known later.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: RequestRecord,
    pub(crate) live: Arc<Live>,
}

/// Facts about a request that become known after its response was chosen.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) body: OnceLock<(u64, String)>,
    pub(crate) chunks_sent: AtomicU64,
    /// Known before the record is made, unlike the others.
    pub(crate) ignored: OnceLock<Vec<String>>,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_entries_are_removed_when_the_collection_is_full() {
        let mut latest = Latest::new(3);
        (0..5).for_each(|number| latest.push(1, number));
        assert_eq!(latest.iter().collect::<Vec<_>>(), [&2, &3, &4]);
        latest.push(LARGEST - 1, 5);
        assert_eq!(latest.iter().collect::<Vec<_>>(), [&4, &5]);
        latest.retain(|number| *number != 5);
        (6..8).for_each(|number| latest.push(LARGEST / 2 - 1, number));
        assert_eq!(latest.iter().collect::<Vec<_>>(), [&4, &6, &7]);
        latest.push(2 * LARGEST, 8);
        assert_eq!((latest.iter().collect::<Vec<_>>(), latest.bytes), (vec![&8], 2 * LARGEST));
    }

    #[test]
    fn the_size_of_a_value_is_about_that_of_its_texts() {
        let long = "x".repeat(1000);
        for value in
            [json!(long), json!([long]), json!({ "a": { "b": [1, long] } }), json!({ &long: 1 })]
        {
            assert!((1000..1200).contains(&bytes_of(&value)), "{}", bytes_of(&value));
        }
    }
}
