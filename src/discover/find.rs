//! Finds an endpoint by its id or its name, and caches the result.
//!
//! Each entry of the cache has a lock that is held during its lookup. A concurrent call for the
//! same entry waits and gets the same result. If the call that looks up is dropped, the next one in
//! line looks up: no call depends on one that was dropped. A lookup always ends, because each of
//! its requests has a time-out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

use super::{DiscoverError, Endpoints};
use crate::{
    error::ConfigError,
    route::{Endpoint, OPENAPI},
};

const BY_NAME: &str = "display-name:";
/// The most existing endpoints that an error names.
const PRESENT_SHOWN: usize = 10;
/// Entries come from configurations, which have a few. If they came from requests, this limit would
/// bound the memory.
const MOST_KNOWN: usize = 1024;
/// A year. A much longer time to live would overflow some clocks.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 86_400);

type Slot = Arc<tokio::sync::Mutex<Option<Lookup>>>;

/// The results of lookups, by entry.
#[derive(Default)]
pub(super) struct Known {
    slots: Mutex<HashMap<String, Slot>>,
}

#[derive(Clone)]
struct Lookup {
    outcome: Result<Endpoint, DiscoverError>,
    until: Instant,
}

impl Known {
    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, entry: &str) -> Slot {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(entry) {
            return Arc::clone(slot);
        }
        if slots.len() >= MOST_KNOWN {
            let now = Instant::now();
            // A locked entry is being looked up, so it is kept.
            slots.retain(|_, slot| {
                slot.try_lock()
                    .map_or(true, |known| known.as_ref().is_some_and(|lookup| now < lookup.until))
            });
        }
        if slots.len() >= MOST_KNOWN {
            slots.clear();
        }
        Arc::clone(slots.entry(entry.to_owned()).or_default())
    }
}

impl Endpoints {
    /// The endpoint that `entry` names: an id, `display-name:` and a display name, or `openapi`.
    /// White space around it is ignored.
    ///
    /// An endpoint is cached for [`ttl`](Self::ttl), a failure for
    /// [`failure_ttl`](Self::failure_ttl). One lookup serves all concurrent calls for the same
    /// entry.
    ///
    /// # Errors
    ///
    /// [`DiscoverError`]: [`NotFound`](DiscoverError::NotFound) with existing endpoints,
    /// [`Ambiguous`](DiscoverError::Ambiguous) with the ids, [`Config`](DiscoverError::Config) if
    /// the entry is neither an id nor a display name, and the errors of a request and of
    /// [`EndpointDescription::endpoint`](super::EndpointDescription::endpoint).
    pub async fn find(&self, entry: &str) -> Result<Endpoint, DiscoverError> {
        let entry = entry.trim();
        if entry == OPENAPI {
            return Ok(Endpoint::OpenApi);
        }
        let slot = self.known.slot(entry);
        let mut known = slot.lock().await;
        if let Some(lookup) = known.as_ref().filter(|lookup| Instant::now() < lookup.until) {
            return lookup.outcome.clone();
        }
        let outcome = self.look_up(entry).await;
        if let Err(DiscoverError::Config(error)) = &outcome {
            // This failure needed no request, so it is not cached.
            self.forget(entry);
            return Err(error.clone().into());
        }
        let ttl = if outcome.is_ok() { self.ttl } else { self.failure_ttl };
        let until = Instant::now() + ttl.min(LONGEST_TTL);
        *known = Some(Lookup { outcome: outcome.clone(), until });
        outcome
    }

    /// Removes `entry` from the cache of [`find`](Self::find), for when an endpoint turns out not
    /// to exist any more. A lookup in progress continues for the calls that wait for it.
    pub fn forget(&self, entry: &str) {
        self.known.slots().remove(entry.trim());
    }

    async fn look_up(&self, entry: &str) -> Result<Endpoint, DiscoverError> {
        let Some(name) = entry.strip_prefix(BY_NAME) else {
            return match self.get(entry).await {
                Err(error) if is_no_such_endpoint(&error) => {
                    Err(self.not_found(entry, false).await)
                }
                Err(DiscoverError::Config(_)) => {
                    let advice = "give an endpoint's id, or display-name: and its display name";
                    Err(ConfigError::invalid("endpoint", &super::error::line(entry), advice).into())
                }
                described => described?.endpoint(),
            };
        };
        let found = self.list_named(name.trim()).await?;
        match found.as_slice() {
            [] => Err(self.not_found(entry, true).await),
            [one] => one.endpoint(),
            several => Err(DiscoverError::Ambiguous {
                wanted: entry.to_owned(),
                ids: several.iter().map(|endpoint| endpoint.id.clone()).collect(),
            }),
        }
    }

    /// The error with existing endpoints, if they can be listed; one page is enough.
    async fn not_found(&self, entry: &str, by_name: bool) -> DiscoverError {
        let endpoints = self.first_page().await.unwrap_or_default();
        let present = endpoints.into_iter().map(|endpoint| match by_name {
            true => endpoint.display_name,
            false => endpoint.id,
        });
        DiscoverError::NotFound {
            wanted: entry.to_owned(),
            location: self.location.clone(),
            present: present.filter(|name| !name.is_empty()).take(PRESENT_SHOWN).collect(),
        }
    }
}

/// Whether this is a 404 in Google's form. A web page comes from a host without any endpoints.
fn is_no_such_endpoint(error: &DiscoverError) -> bool {
    let is_googles = matches!(error, DiscoverError::Api { status: Some(_), .. });
    is_googles && error.status_code() == Some(StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_cache_has_a_bound() {
        let known = Known::default();
        let remember = async |entry: String, life: u64| {
            let until = Instant::now() + Duration::from_secs(life);
            let outcome = Ok(Endpoint::OpenApi);
            *known.slot(&entry).lock().await = Some(Lookup { outcome, until });
        };
        for number in 0..MOST_KNOWN as u64 {
            remember(number.to_string(), 10 + number % 2 * 10).await;
        }
        let held = known.slot("0");
        let looking = held.lock().await;
        tokio::time::advance(Duration::from_secs(15)).await;
        known.slot("new");
        assert_eq!(known.slots().len(), MOST_KNOWN / 2 + 2);
        assert!(known.slots().contains_key("0"), "it is being looked up");
        drop(looking);
        for number in 0..2 * MOST_KNOWN {
            remember(format!("more {number}"), 10).await;
            assert!(known.slots().len() <= MOST_KNOWN);
        }
    }
}
