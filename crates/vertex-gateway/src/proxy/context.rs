//! Facts about a request, collected while it is sent to Vertex AI.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::Extensions;

use crate::{
    access::{Client, concurrency::Permits},
    telemetry::access_log::{End, RequestLog},
};
use tower_vertex::{
    retry::{Attempt, Attempts},
    route::Upstream,
};

/// Facts about a request that its layers record for the log.
#[derive(Debug, Default)]
pub(crate) struct RequestContext {
    /// The authenticated client; unset if no client keys are configured.
    pub(crate) client: OnceLock<Arc<Client>>,
    /// Permits of the concurrency limits. They are returned when the record is dropped, so a
    /// response that is still being sent counts.
    pub(crate) permits: OnceLock<Permits>,
    /// The model as the client wrote it.
    pub(crate) model: OnceLock<Arc<str>>,
    /// The model that the request was sent for, if the table or the default model changed more than the
    /// publisher.
    pub(crate) upstream_model: OnceLock<Arc<str>>,
    /// Each time the request was sent. Replays after a 401 are not counted.
    pub(crate) attempts: OnceLock<Attempts>,
    responses: Mutex<UpstreamResponses>,
}

/// The responses of Vertex AI to one request. The last one is forwarded to the client.
#[derive(Debug, Default)]
pub(crate) struct UpstreamResponses {
    pub(crate) count: usize,
    /// How the last response ended early, if it did.
    pub(crate) reset: Option<End>,
    /// The outcome of the token refresh after the latest 401, if there was one.
    pub(crate) token_replay: Option<&'static str>,
}

impl RequestContext {
    /// Records the permits of an admitted request, which will be sent next.
    pub(crate) fn admit(&self, permits: Permits, extensions: &mut Extensions) {
        let _ = self.permits.set(permits);
        extensions.insert(self.attempts.get_or_init(Attempts::new).clone());
    }

    /// Number of times the request was sent; `None` if it was not.
    pub(crate) fn attempts(&self) -> Option<usize> {
        self.attempts.get().map(Attempts::count).filter(|count| *count > 0)
    }

    pub(crate) fn responses(&self) -> MutexGuard<'_, UpstreamResponses> {
        // Every statement leaves the value consistent, so a poisoned lock is still usable.
        self.responses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upstream of the last attempt; `None` if there was no attempt, or if its upstream is
    /// unknown.
    pub(crate) fn upstream(&self) -> Option<Upstream> {
        self.attempts.get()?.with(|attempts| attempts.last()?.upstream.clone())
    }

    /// Copies the recorded facts to the log entry.
    pub(crate) fn write_to(&self, log: &mut RequestLog) {
        log.client = self.client.get().map(|client| Arc::clone(client.name()));
        log.model = self.model.get().cloned();
        log.upstream_model = self.upstream_model.get().cloned();
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
            // Without a status, the client has left: no one reads the response.
            None => End::ClientClosed,
        };
        log.token_replay = responses.token_replay;
    }
}
