//! What becomes known of a request on its way to Vertex AI.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::Extensions;

use crate::{
    access::{Client, concurrency::Permits},
    telemetry::request_log::{End, RequestLog},
};
use tower_vertex::{
    retry::{Attempt, Attempts},
    route::Upstream,
};

/// What becomes known on the way to Vertex AI.
#[derive(Debug, Default)]
pub(crate) struct RequestContext {
    /// Who asked; nobody where nobody has to say.
    pub(crate) client: OnceLock<Arc<Client>>,
    /// Given back with the record: an answer under way counts.
    pub(crate) permits: OnceLock<Permits>,
    /// As the client wrote it.
    pub(crate) model: OnceLock<Arc<str>>,
    /// Each time that it was sent, replays after a 401 not counted.
    pub(crate) attempts: OnceLock<Attempts>,
    responses: Mutex<UpstreamResponses>,
}

/// The answers of Vertex AI to one request. The last one is passed on.
#[derive(Debug, Default)]
pub(crate) struct UpstreamResponses {
    pub(crate) count: usize,
    /// How Vertex AI broke off the last one, if it did.
    pub(crate) reset: Option<End>,
    /// What came of a 401 to the access token, the last time that there was one.
    pub(crate) token_replay: Option<&'static str>,
}

impl RequestContext {
    /// It may be under way, and is about to be.
    pub(crate) fn admit(&self, permits: Permits, extensions: &mut Extensions) {
        let _ = self.permits.set(permits);
        extensions.insert(self.attempts.get_or_init(Attempts::new).clone());
    }

    /// How often the request was sent; `None` if it was not.
    pub(crate) fn attempts(&self) -> Option<usize> {
        self.attempts.get().map(Attempts::count).filter(|count| *count > 0)
    }

    pub(crate) fn responses(&self) -> MutexGuard<'_, UpstreamResponses> {
        // They are whole between any two statements.
        self.responses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it was sent the last time; `None` if it was not, or if that is not known.
    pub(crate) fn upstream(&self) -> Option<Upstream> {
        self.attempts.get()?.with(|attempts| attempts.last()?.upstream.clone())
    }

    /// Writes down what became known on the way.
    pub(crate) fn write_to(&self, log: &mut RequestLog) {
        log.client = self.client.get().map(|client| Arc::clone(client.name()));
        log.model = self.model.get().cloned();
        let location =
            |attempt: &Attempt| Some(Arc::from(attempt.upstream.as_ref()?.location()?.clone()));
        if let Some(attempts) = self.attempts.get() {
            attempts.with(|attempts| {
                log.location = attempts.last().and_then(location);
                log.attempts = Some(attempts.len()).filter(|count| *count > 0);
                log.failovers = attempts
                    .windows(2)
                    .filter(|two| location(&two[0]) != location(&two[1]))
                    .count();
            });
        }
        let responses = self.responses();
        log.end = match log.status {
            Some(_) => responses.reset.unwrap_or(log.end),
            // What was answered all the same, nobody reads.
            None => End::ClientClosed,
        };
        log.token_replay = responses.token_replay;
    }
}
