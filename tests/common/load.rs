//! Clients at work while something breaks, and is mended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::task::JoinSet;

use super::{chat, gateway::Gateway, text};

/// Clients that ask without a pause.
pub(crate) const CLIENTS: usize = 8;
/// Answers that are waited for in each part of a row.
const ENOUGH: usize = 40;

/// Clients at work.
pub(crate) struct Load {
    seen: Arc<Mutex<BTreeMap<u16, usize>>>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(gateway: &Arc<Gateway>) -> Self {
        let (seen, stop) = (Arc::<Mutex<BTreeMap<u16, usize>>>::default(), Arc::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (gateway, seen) = (Arc::clone(gateway), Arc::clone(&seen));
            let stop: Arc<AtomicBool> = Arc::clone(&stop);
            clients.spawn(async move {
                for number in 0.. {
                    if stop.load(Relaxed) {
                        return;
                    }
                    let question = format!("client {client}, question {number}");
                    let answer = gateway.call(chat(&question)).await;
                    let status = answer.status();
                    let body = text(answer).await;
                    if status == StatusCode::OK {
                        // Not another's, and not a part of it.
                        assert!(body.contains(&format!("You said: {question}\"")), "{body}");
                        serde_json::from_str::<serde_json::Value>(&body).expect(&body);
                    } else {
                        let error: serde_json::Value = serde_json::from_str(&body).expect(&body);
                        assert!(error["error"]["code"].is_string(), "{body}");
                        // A client that is refused waits a little.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    *seen.lock().unwrap().entry(status.as_u16()).or_default() += 1;
                }
            });
        }
        Self { seen, stop, clients }
    }

    /// Waits for [`ENOUGH`] more answers of these statuses.
    pub(crate) async fn more(&mut self, what: &str, wanted: impl Fn(u16) -> bool) {
        self.so_many_more(ENOUGH, what, wanted).await;
    }

    pub(crate) async fn so_many_more(
        &mut self,
        number: usize,
        what: &str,
        wanted: impl Fn(u16) -> bool,
    ) {
        let count = |seen: &BTreeMap<u16, usize>| {
            seen.iter()
                .filter(|(status, _)| wanted(**status))
                .map(|(_, count)| count)
                .sum::<usize>()
        };
        let before = count(&self.seen.lock().unwrap());
        for _ in 0..12_000 {
            if let Some(ended) = self.clients.try_join_next() {
                ended.unwrap();
            }
            if count(&self.seen.lock().unwrap()) >= before + number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what}: {:?} after a minute", self.seen.lock().unwrap());
    }

    /// What was answered in all.
    pub(crate) async fn end(mut self) -> BTreeMap<u16, usize> {
        self.stop.store(true, Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.seen.lock().unwrap().clone()
    }
}

/// A row of the matrix: all is well, something breaks, `statuses` are seen, it is mended, all is
/// well again, and for good.
pub(crate) async fn row(
    name: &str,
    gateway: &Arc<Gateway>,
    statuses: &[u16],
    breaks: impl AsyncFnOnce(),
    mends: impl AsyncFnOnce(),
) {
    let mut load = Load::start(gateway);
    load.more(&format!("{name}: before"), |status| status == 200).await;
    breaks().await;
    load.more(&format!("{name}: broken"), |status| statuses.contains(&status)).await;
    mends().await;
    load.more(&format!("{name}: mended"), |status| status == 200).await;
    let seen = load.end().await;
    assert!(seen.keys().all(|s| *s == 200 || statuses.contains(s)), "{name}: {seen:?}");
    let mut after = Load::start(gateway);
    after.more(&format!("{name}: afterwards"), |status| status == 200).await;
    let seen = after.end().await;
    assert!(seen.keys().eq([&200]), "{name}: {seen:?} afterwards");
    println!("{name}: whole answers or clean errors, and back");
}
