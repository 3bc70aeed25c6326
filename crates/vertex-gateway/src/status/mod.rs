//! The status page: what the gateway does, live, on the admin listener.
//!
//! It shows names, times and counts, and never a prompt, a response, a key or a token. Requests are recorded
//! whether or not a page is open, by [`Recorder`](crate::telemetry::recorder::Recorder). Sums are computed once a
//! second while one is, and every ten seconds otherwise.
//!
//! | file | what it does |
//! |---|---|
//! | `routes` | the paths of the page, and which requests they refuse |
//! | `document` | the page itself, with its policy |
//! | `events` | a stream of events for a page |
//! | `history` | the last ten minutes |
//! | `groups` | sums and percentiles by model, location and key |
//! | `snapshot` | the state as JSON |
//! | `circuits` | the locations of models, and which are ejected |
//! | `actions` | the checks and the request to a model that a visitor may start |

pub(crate) mod actions;
mod circuits;
mod document;
mod events;
mod groups;
mod history;
mod routes;
mod snapshot;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, watch};

use self::{actions::ActionState, events::STREAMS, history::History};
pub(crate) use self::{actions::Actions, routes::Body};
use crate::{
    access::Clients,
    inbound::browser::Browsers,
    telemetry::{Telemetry, recorder::Recorder},
};
use tower_vertex::model::VertexModelLayer;

/// Time between two events of a page.
const WATCHED: Duration = Duration::from_secs(1);
/// Time between two samples while no page is open.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Facts about the gateway that do not change.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Facts {
    /// Address of clients, as it is printed at the start.
    pub(crate) listening_on: String,
    pub(crate) upstream: String,
    pub(crate) project: Option<String>,
    pub(crate) location: Option<String>,
    /// The account, in one line without secrets.
    pub(crate) credentials: String,
    pub(crate) tls: bool,
    /// Whether clients present certificates.
    pub(crate) client_certificates: bool,
    pub(crate) emulator: bool,
    pub(crate) workers: usize,
}

/// The sources of the page, which other parts of the gateway share.
pub(crate) struct Sources {
    pub(crate) facts: Facts,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) clients: Arc<ArcSwap<Clients>>,
    pub(crate) models: VertexModelLayer,
    pub(crate) browsers: Arc<Browsers>,
    pub(crate) actions: Actions,
}

/// The state of the page.
pub(crate) struct Status {
    sources: Sources,
    started: SystemTime,
    history: Mutex<History>,
    actions: Arc<ActionState>,
    /// The latest event, which all streams send.
    latest: watch::Sender<Bytes>,
    /// A permit for each stream that may be opened.
    streams: Arc<Semaphore>,
    opened: Notify,
    ended: watch::Sender<bool>,
}

impl Status {
    /// The state of the page, sampled until the process ends.
    pub(crate) fn start(sources: Sources) -> Arc<Self> {
        let status = Arc::new(Self {
            sources,
            started: SystemTime::now(),
            history: Mutex::default(),
            actions: Arc::default(),
            latest: watch::channel(Bytes::new()).0,
            streams: Arc::new(Semaphore::new(STREAMS)),
            opened: Notify::new(),
            ended: watch::channel(false).0,
        });
        tokio::spawn(Arc::clone(&status).sample());
        status
    }

    async fn sample(self: Arc<Self>) {
        loop {
            if self.is_watched() {
                tokio::time::sleep(WATCHED).await;
            } else {
                let _ = tokio::time::timeout(UNWATCHED, self.opened.notified()).await;
            }
            let event = self.snapshot(snapshot::Part::Latest);
            if self.is_watched() {
                self.latest.send_replace(events::event("latest", &event));
            }
        }
    }

    fn is_watched(&self) -> bool {
        self.streams.available_permits() < STREAMS
    }

    /// Ends the streams of all pages, and waits a moment until they have been sent to their end.
    pub(crate) async fn end(&self) {
        self.ended.send_replace(true);
        let all = u32::try_from(STREAMS).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(events::ENDING, self.streams.acquire_many(all)).await;
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // A reading is stored as a whole.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorder(&self) -> Option<&Recorder> {
        self.sources.telemetry.recorder()
    }
}
