//! Clients that send requests while something breaks and is mended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    LONGEST, chat, chat_stream, echo, gateway::Gateway, in_time, said, said_until_the_break, text,
};

/// The number of clients. They send requests without a pause, every second client for streams.
pub(crate) const CLIENTS: usize = 8;
/// The number of responses to wait for in each part of a row.
const ENOUGH: usize = 40;

/// The outcomes of the requests of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Complete responses and clean errors, by status.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// Streams that ended with an error event.
    pub(crate) interrupted: usize,
}

impl Seen {
    /// Whether there are complete responses, and nothing else.
    pub(crate) fn all_succeeded(&self) -> bool {
        self.interrupted == 0 && self.statuses.keys().eq([&200])
    }

    /// Whether no response had another status.
    pub(crate) fn has_only(&self, statuses: &[u16]) -> bool {
        self.statuses.keys().all(|status| statuses.contains(status))
    }

    /// No status means that a stream ended with an error event.
    fn add(&mut self, status: Option<StatusCode>) {
        match status {
            Some(status) => *self.statuses.entry(status.as_u16()).or_default() += 1,
            None => self.interrupted += 1,
        }
    }

    fn count(&self, wanted: impl Fn(u16) -> bool) -> usize {
        self.statuses.iter().filter(|(status, _)| wanted(**status)).map(|(_, count)| count).sum()
    }
}

/// Clients that send requests.
pub(crate) struct Load {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(gateway: &Arc<Gateway>) -> Self {
        Self::of(gateway, |_, question, stream| match stream {
            true => chat_stream(question),
            false => chat(question),
        })
    }

    /// `ask` builds the request of a client from the client's number, the message, and whether it
    /// is for a stream.
    pub(crate) fn of(
        gateway: &Arc<Gateway>,
        ask: impl Fn(usize, &str, bool) -> Request<Full<Bytes>> + Copy + Send + 'static,
    ) -> Self {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (gateway, seen) = (Arc::clone(gateway), Arc::clone(&seen));
            let stop = Arc::clone(&stop);
            clients.spawn(async move {
                let streams = client % 2 == 1;
                for number in 0.. {
                    if stop.load(Relaxed) {
                        return;
                    }
                    let question = format!("client {client}, question {number}");
                    let request = ask(client, &question, streams);
                    let status = answer(&gateway, request, &question, streams).await;
                    seen.lock().unwrap().add(status);
                    if status != Some(StatusCode::OK) {
                        // A client pauses after an error.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            });
        }
        Self { seen, stop, clients }
    }

    /// Waits for [`ENOUGH`] more responses with these statuses.
    pub(crate) async fn more(&mut self, what: &str, wanted: impl Fn(u16) -> bool) {
        self.wait_for(ENOUGH, what, wanted).await;
    }

    pub(crate) async fn wait_for(
        &mut self,
        number: usize,
        what: &str,
        wanted: impl Fn(u16) -> bool,
    ) {
        let count = || self.seen.lock().unwrap().count(&wanted);
        let before = count();
        let deadline = Instant::now() + LONGEST;
        while count() < before + number {
            if let Some(ended) = self.clients.try_join_next() {
                ended.unwrap();
            }
            assert!(Instant::now() < deadline, "{what}: {:?} in time", self.seen.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the condition holds, one good response at a time.
    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn() -> bool) {
        in_time(what, async {
            while !condition() {
                self.wait_for(1, what, |status| status == 200).await;
            }
        })
        .await;
    }

    /// Stops the clients, and returns all outcomes.
    pub(crate) async fn end(mut self) -> Seen {
        self.stop.store(true, Relaxed);
        while let Some(ended) = in_time("the last responses", self.clients.join_next()).await {
            ended.unwrap();
        }
        self.seen.lock().unwrap().clone()
    }

    /// Runs clients for a while, and checks that all of them get complete responses.
    pub(crate) async fn check_all_succeed(gateway: &Arc<Gateway>, what: &str) {
        let mut load = Self::start(gateway);
        load.more(what, |status| status == 200).await;
        let seen = load.end().await;
        assert!(seen.all_succeeded(), "{what}: {seen:?}");
    }
}

/// Sends a request and checks the response. Returns the status of a complete response or of a clean
/// error, and none for a stream that ended with an error event. Any other response fails the test.
async fn answer(
    gateway: &Gateway,
    request: Request<Full<Bytes>>,
    question: &str,
    streams: bool,
) -> Option<StatusCode> {
    let answer = gateway.call(request).await;
    let status = answer.status();
    let body = text(answer).await;
    if status == StatusCode::OK && streams {
        if let Some(begun) = said_until_the_break(&body) {
            assert!(echo(question).starts_with(&begun), "{body}");
            return None;
        }
        // The text is complete, and not another client's.
        assert_eq!(said(&body), Some(echo(question)), "{body}");
        return Some(status);
    }
    let body: Value = serde_json::from_str(&body).expect(&body);
    if status == StatusCode::OK {
        assert_eq!(body["choices"][0]["message"]["content"], echo(question));
    } else {
        assert!(body["error"]["code"].is_string(), "{body}");
    }
    Some(status)
}

/// A row of the matrix: requests succeed, something breaks, `statuses` are seen, it is mended, and
/// then requests succeed again and keep succeeding.
pub(crate) async fn row(
    name: &str,
    gateway: &Arc<Gateway>,
    statuses: &[u16],
    breaks: impl AsyncFnOnce(),
    mends: impl AsyncFnOnce(),
) -> Seen {
    let mut load = Load::start(gateway);
    load.more(&format!("{name}: before"), |status| status == 200).await;
    breaks().await;
    load.more(&format!("{name}: broken"), |status| statuses.contains(&status)).await;
    mends().await;
    load.more(&format!("{name}: mended"), |status| status == 200).await;
    let seen = load.end().await;
    assert!(seen.has_only(&[&[200], statuses].concat()), "{name}: {seen:?}");
    Load::check_all_succeed(gateway, &format!("{name}: afterwards")).await;
    println!("{name}: complete responses or clean errors, and then recovery: {seen:?}");
    seen
}
