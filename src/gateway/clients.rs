//! Who may ask, which models, and how often.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::Semaphore;

use super::refusal::Refusal;

/// All clients that are known. Without any, nobody has to say who asks.
#[derive(Debug, Default)]
pub(super) struct Clients {}

/// One of them: whoever has its key.
#[derive(Debug)]
pub(super) struct Client {
    name: String,
    concurrency: Option<Arc<Semaphore>>,
}

impl Clients {
    /// Who asks, by the key in `Authorization`.
    ///
    /// # Errors
    ///
    /// 401 without a key that is known.
    pub(super) fn authenticate(
        &self,
        _headers: &HeaderMap,
    ) -> Result<Option<Arc<Client>>, Refusal> {
        Ok(None)
    }
}

impl Client {
    /// For the log and the metrics.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Counts a request.
    ///
    /// # Errors
    ///
    /// 429, with the time until the next one may come.
    pub(super) fn count_request(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// # Errors
    ///
    /// 403 if it may not ask for this model. `None` is a request without one that could be read.
    pub(super) fn allow(&self, _model: Option<&str>) -> Result<(), Refusal> {
        Ok(())
    }

    /// How many of its requests may be under way.
    pub(super) fn concurrency(&self) -> Option<&Arc<Semaphore>> {
        self.concurrency.as_ref()
    }
}
