//! An hour of mixed traffic, compressed: tokens live for 5 s and are revoked, one request in a
//! hundred meets each kind of trouble, and each request must have the outcome of its kind.
//!
//! By default the test takes about a minute; `GATEWAY_HOUR_SECONDS` makes it longer.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower_vertex::replay::ReplayBody;
use tower_vertex_emulator::{Emulator, StreamBehavior, TokenBehavior};

use super::troubled::Troubled;
use crate::common::{
    Http, HttpClient, client, echo,
    gateway::{Gateway, before},
    in_time, pace, said, said_until_the_break,
    vitals::{Admin, Vitals},
};

/// The lifetime of a token. A token is replaced at half of its lifetime, or up to an eighth later.
const LIFE: Duration = Duration::from_secs(5);
/// The number of SDKs at work, each on connections of its own.
const CLIENTS: usize = 12;
const MODEL: &str = "google/gemini-2.5-flash";
const ALICE: &str = "sk-alice-0123456789abcdef";
const BOB: &str = "sk-bob-0123456789abcdef";
const CONFIG: &str = "[[client]]\nname = \"bob\"\nmodels = [\"google/gemini-*\"]\n";

/// The kind of a request, which determines its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    Chat,
    Stream,
    Embeddings,
    /// Requests of this kind meet one trouble, the same on each attempt unless its name ends with
    /// `-once`.
    Trouble(&'static str),
    /// A stream that the upstream aborts.
    Cut,
    Stranger,
    /// A model that the rules of the key do not allow.
    Forbidden,
    /// A model that does not exist.
    Unknown,
    Garbage,
}

impl Ask {
    /// Each kind of trouble and of mistake occurs once in a hundred requests in a row.
    fn of(number: usize) -> Self {
        // The product mixes the kinds: each of the hundred remainders occurs once.
        match number * 37 % 100 {
            0 => Self::Trouble("busy"),
            1 => Self::Trouble("busy-once"),
            2 => Self::Trouble("unavailable"),
            3 => Self::Trouble("unavailable-once"),
            4 => Self::Trouble("reset"),
            5 => Self::Trouble("reset-once"),
            6 => Self::Trouble("slow"),
            7 => Self::Cut,
            8 => Self::Stranger,
            9 => Self::Forbidden,
            10 => Self::Unknown,
            11 => Self::Garbage,
            12..40 => Self::Stream,
            40..60 => Self::Embeddings,
            _ => Self::Chat,
        }
    }

    /// The status, the code of the error, and the number of attempts.
    fn outcome(self) -> (u16, &'static str, Option<&'static str>) {
        match self {
            Self::Chat | Self::Stream | Self::Embeddings | Self::Cut => (200, "", Some("1")),
            Self::Trouble("slow") => (200, "", Some("1")),
            Self::Trouble("busy") => (429, "429", Some("2")),
            Self::Trouble("unavailable") => (503, "503", Some("2")),
            Self::Trouble("reset") => (502, "upstream_reset", Some("2")),
            Self::Trouble(_) => (200, "", Some("2")),
            Self::Stranger => (401, "invalid_api_key", None),
            Self::Forbidden => (403, "model_not_allowed", None),
            Self::Unknown => (404, "404", Some("1")),
            Self::Garbage => (400, "400", Some("1")),
        }
    }
}

struct Sdk {
    number: usize,
    client: HttpClient<Full<Bytes>>,
    addr: SocketAddr,
    asked: usize,
    seen: BTreeMap<Ask, u64>,
    /// Descriptions of the responses that differ from the expected outcome.
    wrong: Vec<String>,
}

impl Sdk {
    fn new(number: usize, addr: SocketAddr) -> Self {
        let http = if number.is_multiple_of(3) { Http::Two } else { Http::One };
        let client = client(http);
        Self { number, client, addr, asked: number * 8, seen: BTreeMap::new(), wrong: Vec::new() }
    }

    async fn work(mut self, until: Instant) -> Self {
        while Instant::now() < until {
            let ask = Ask::of(self.asked);
            let id = format!("{}-{}", self.number, self.asked);
            if let Err(wrong) = self.ask(ask, &id).await {
                self.wrong.push(format!("{id} {ask:?}: {wrong}"));
            }
            *self.seen.entry(ask).or_default() += 1;
            self.asked += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self
    }

    async fn ask(&self, ask: Ask, id: &str) -> Result<(), String> {
        let question = format!("client {}, question {}", self.number, self.asked);
        let content = match ask {
            Ask::Trouble(trouble) => format!("[{trouble}] {question}"),
            Ask::Cut => format!("[cut] {question}"),
            _ => question,
        };
        // Bob may use only some models. A stranger has no valid key.
        let key = match ask {
            Ask::Stranger => "sk-nobody-0123456789abcdef",
            Ask::Forbidden => BOB,
            Ask::Unknown | Ask::Garbage => ALICE,
            _ if self.number.is_multiple_of(2) => ALICE,
            _ => BOB,
        };
        let model = match ask {
            Ask::Forbidden => "meta/llama-4-maas",
            Ask::Unknown => "google/nothing",
            _ => MODEL,
        };
        let (path, body) = match ask {
            Ask::Embeddings => (
                "embeddings",
                json!({ "model": "google/gemini-embedding-001", "input": content, "dimensions": 16 }),
            ),
            _ => (
                "chat/completions",
                json!({
                    "model": model,
                    "stream": matches!(ask, Ask::Stream | Ask::Cut),
                    "messages": [{ "role": "user", "content": content }],
                }),
            ),
        };
        let body = body.to_string();
        let body = if ask == Ask::Garbage { body[..body.len() - 1].to_owned() } else { body };
        let request = Request::post(format!("http://{}/v1/{path}", self.addr))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .header("x-request-id", id)
            .body(ReplayBody::plain(Full::from(body)))
            .unwrap();
        let answer = in_time("a response", self.client.request(request)).await;
        let (head, body) = answer.map_err(|error| format!("{error:?}"))?.into_parts();
        let body = in_time("the rest of a response", body.collect()).await;
        let body = body.map_err(|error| format!("{error:?}"))?.to_bytes();
        let body = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
        let attempts = head.headers.get("x-vertex-gateway-attempts");
        let attempts = attempts.map(|attempts| attempts.to_str().unwrap());
        let (status, code, sent) = ask.outcome();
        if (head.status.as_u16(), attempts) != (status, sent) {
            return Err(format!("{} after {attempts:?} attempts: {body}", head.status));
        }
        let right = match ask {
            // The beginning of the right text, and then an error in OpenAI's form.
            Ask::Cut => said_until_the_break(body)
                .is_some_and(|begun| !begun.is_empty() && echo(&content).starts_with(&begun)),
            Ask::Stream => said(body) == Some(echo(&content)),
            _ => {
                let answer: Value =
                    serde_json::from_str(body).map_err(|error| error.to_string())?;
                match ask {
                    Ask::Embeddings => is_embedding(&answer, &content),
                    _ if status == 200 => {
                        answer["choices"][0]["message"]["content"] == echo(&content)
                    }
                    _ => answer["error"]["code"] == code,
                }
            }
        };
        if right { Ok(()) } else { Err(body.to_owned()) }
    }
}

/// Whether this is a vector of length 1 with the usage of the text that was sent.
fn is_embedding(answer: &Value, content: &str) -> bool {
    let vector: Vec<f64> =
        serde_json::from_value(answer["data"][0]["embedding"].clone()).unwrap_or_default();
    let length: f64 = vector.iter().map(|x| x * x).sum();
    let tokens = content.len().div_ceil(4);
    vector.len() == 16 && (length - 1.0).abs() < 1e-3 && answer["usage"]["prompt_tokens"] == tokens
}

/// Tokens that were minted or revoked, according to the emulator.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Mint,
    Revocation,
}

/// Records both, and revokes tokens: three times soon after the start, then every 32 s, because one
/// forced refresh is earned in 30 s. The token revoked is always one that was just minted and is
/// not yet due for replacement.
async fn watch_tokens(vertex: Arc<Emulator>, events: Arc<Mutex<Vec<(Instant, Event)>>>) {
    let began = Instant::now();
    let mut revoke_at = (1..=3).map(|n| n * 7).chain((1..).map(|n| 21 + n * 32));
    let mut next = Duration::from_secs(revoke_at.next().unwrap());
    let mut mints = 0;
    loop {
        let now = vertex.stats().token_mints;
        for _ in mints..now {
            events.lock().unwrap().push((Instant::now(), Event::Mint));
        }
        if now > mints && began.elapsed() > next {
            // By now the token is in use, and no request still waits for it.
            tokio::time::sleep(Duration::from_millis(300)).await;
            vertex.revoke_tokens();
            events.lock().unwrap().push((Instant::now(), Event::Revocation));
            next = Duration::from_secs(revoke_at.next().unwrap());
        }
        mints = now;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_of_mixed_traffic_gets_the_expected_responses_and_leaks_nothing() {
    let seconds = std::env::var("GATEWAY_HOUR_SECONDS").ok();
    let length = Duration::from_secs(seconds.map_or(65, |seconds| seconds.parse().unwrap()));
    let vertex = Arc::new(Emulator::start().await.unwrap());
    vertex.set_token_behavior(TokenBehavior {
        expires_in: LIFE.as_secs().into(),
        ..TokenBehavior::default()
    });
    let stream =
        StreamBehavior { chunk_delay: Duration::from_millis(20), ..StreamBehavior::default() };
    pace(&vertex, stream);
    let events = Arc::default();
    let watching = tokio::spawn(watch_tokens(Arc::clone(&vertex), Arc::clone(&events)));

    let way = Troubled::before(&vertex).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let keys = file("keys", &format!("alice:{ALICE}\nbob:{BOB}\n"));
    let config = file("gateway.toml", CONFIG);
    let options = ["--admin-listen", "127.0.0.1:0", "--max-attempts", "2", "--config", &config];
    // The number of workers is fixed because the memory of a sidecar depends on it.
    let options = [&options[..], &["--client-key-file", &keys, "--workers", "2"]].concat();
    let (mut command, _key) = before(&vertex, &format!("http://{}", way.addr), &options);
    let log = folder.path().join("log");
    command.stderr(fs::File::create(&log).unwrap());
    let mut gateway = Gateway::start(command).await;
    let admin = Admin::of(&mut gateway).await;

    let mut sdks: Vec<Sdk> = (0..CLIENTS).map(|number| Sdk::new(number, gateway.addr)).collect();
    let mut vitals = Vec::new();
    // The sidecar is warm after a quarter. If it grows from then on, it would grow for months.
    for part in [length / 4, length / 2, length / 4] {
        let until = Instant::now() + part;
        let mut work: JoinSet<Sdk> = sdks.into_iter().map(|sdk| sdk.work(until)).collect();
        let mut back = Vec::new();
        while let Some(sdk) = work.join_next().await {
            back.push(sdk.unwrap());
        }
        sdks = back;
        admin.until("vertex_gateway_requests_in_flight", |number| number == 0.0).await;
        let connections = admin.metrics().await.sum("vertex_gateway_upstream_connections", "");
        vitals.push((Vitals::of(&gateway), connections));
    }
    watching.abort();

    // Every response is the expected one.
    let wrong: Vec<_> = sdks.iter().flat_map(|sdk| &sdk.wrong).collect();
    if !wrong.is_empty() {
        let log = fs::read_to_string(log).unwrap();
        for wrong in wrong.iter().take(5) {
            let id = wrong.split_whitespace().next().unwrap();
            let line = log.lines().find(|line| line.contains(&format!("id=\"{id}\"")));
            println!("{wrong}\n{}", line.unwrap_or("not in the log"));
        }
        log.lines()
            .filter(|line| line.contains("WARN"))
            .take(20)
            .for_each(|line| println!("{line}"));
        panic!("{} wrong responses", wrong.len());
    }
    let mut seen = BTreeMap::<Ask, u64>::new();
    for (ask, number) in sdks.iter().flat_map(|sdk| &sdk.seen) {
        *seen.entry(*ask).or_default() += number;
    }
    let all: u64 = seen.values().sum();
    assert_eq!(seen.len(), 15, "each kind occurred: {seen:?}");
    // The sidecar still replaces its token, so the counts are read until none is replaced in between.
    let (mints, metrics) = loop {
        let mints = vertex.stats().token_mints;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let metrics = admin.metrics().await;
        if vertex.stats().token_mints == mints {
            break (mints, metrics);
        }
    };
    // The sidecar has counted the same numbers.
    let mut statuses = BTreeMap::<u16, u64>::new();
    for (ask, number) in &seen {
        *statuses.entry(ask.outcome().0).or_default() += number;
    }
    for (status, number) in &statuses {
        let label = format!("status=\"{status}\"");
        let counted = metrics.sum("vertex_gateway_requests_total", &label);
        assert_eq!(counted, *number as f64, "{status}");
    }
    assert_eq!(metrics.sum("vertex_gateway_requests_total", ""), all as f64);

    // Each mint has its reason: the first request, a token at half of its lifetime, or a
    // revocation. No token was used until its expiry.
    let mut events = events.lock().unwrap().clone();
    let seen = events.iter().filter(|(_, event)| *event == Event::Mint).count() as u64;
    // Tokens that were minted after the last look.
    events.extend((seen..mints).map(|_| (Instant::now(), Event::Mint)));
    let revocations = events.iter().filter(|(_, event)| *event == Event::Revocation).count() as u64;
    let mut due = 0;
    for pair in events.windows(2) {
        if let [(earlier, Event::Mint), (later, Event::Mint)] = pair {
            let age = *later - *earlier;
            assert!((LIFE * 2 / 5..LIFE).contains(&age), "replaced at the age of {age:?}");
            due += 1;
        }
    }
    let refreshes =
        |labels: &str| metrics.sum("vertex_gateway_token_refreshes_total", labels) as u64;
    assert_eq!(mints, 1 + due + revocations, "{events:?}");
    assert_eq!(
        [refreshes("cold"), refreshes("proactive"), refreshes("rejected"), refreshes("expired")],
        [1, due, revocations, 0]
    );
    assert_eq!(refreshes("new_token"), mints);
    assert!(revocations >= 3 && mints > length.as_secs() / LIFE.as_secs(), "{mints} tokens");

    // Nothing is left behind.
    let [(warm, first), .., (end, last)] = vitals[..] else { unreachable!() };
    println!(
        "{all} requests in {length:?}: {statuses:?}; {mints} tokens = 1 + {due} due + {revocations} \
         revoked; memory {} KiB, then {} KiB; descriptors {}, then {}; connections to Vertex AI \
         {first}, then {last}",
        warm.memory >> 10,
        end.memory >> 10,
        warm.files,
        end.files,
    );
    // Buffers of connections and of the allocator come and go, about a MiB of them. A leak of one
    // KiB for each request would exceed this limit: the two measurements are some 3,900 requests
    // apart.
    assert!(end.memory < warm.memory + (3 << 20), "{vitals:?}");
    // There are as many connections to Vertex AI as there were concurrent requests, which depends
    // on the machine.
    assert!(last <= CLIENTS as f64, "{last} connections");
    let besides = |files: usize, connections: f64| files as f64 - connections;
    assert!(besides(end.files, last) <= besides(warm.files, first) + 4.0, "{vitals:?}");
}
