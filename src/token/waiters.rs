//! The waiters for a token: a request, a request after a 401, and the task that keeps the cache
//! warm.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    CachedToken, CachedTokenFuture, FetchReason, RefreshOutcome, RejectionFuture,
    cached_token::Rejected, decision::Decision, flight::Flight, state::CacheState,
};
use crate::error::{Error, TokenError};

/// How often a waiter decides again after a flight was lost with its runtime, or took too long.
const ELECTIONS: usize = 3;
/// The longest sleep of `keep_warm`: a suspended machine stops its timer.
const WARM_TICK: Duration = Duration::from_secs(30);
/// The sleep of `keep_warm` during a flight or a pause.
const WARM_RETRY: Duration = Duration::from_secs(1);

/// Returns a token at once if the cache can, or waits for the flight that it decides on.
pub(super) fn get_or_wait(cache: &Arc<CacheState>) -> CachedTokenFuture {
    match cache.decide() {
        Decision::Use(token) => CachedTokenFuture::ready(Ok(token)),
        Decision::Fail(error) => CachedTokenFuture::ready(Err(error.into())),
        Decision::Wait(flight, until) => {
            CachedTokenFuture::waiting(wait(Arc::clone(cache), flight, until))
        }
    }
}

/// Returns a newer token than the one of `generation`, for a request that got a 401.
pub(super) fn reject(cache: &Arc<CacheState>, generation: u64) -> RejectionFuture {
    match cache.reject(generation) {
        Ok(flight) => {
            RejectionFuture::waiting(wait_for_newer(Arc::clone(cache), flight, generation))
        }
        Err(rejection) => RejectionFuture::ready(rejection),
    }
}

/// Waits for the flight, at most until the given time. After that, or if the flight was lost with
/// its runtime, the cache decides again.
async fn wait(
    cache: Arc<CacheState>,
    mut flight: Flight,
    mut until: Option<Instant>,
) -> Result<CachedToken, Error> {
    for _ in 0..ELECTIONS {
        let outcome = match until {
            Some(until) => timeout_at(until, flight.outcome()).await.ok().flatten(),
            None => flight.outcome().await,
        };
        if let Some(outcome) = outcome {
            return Ok(cache.after(outcome)?);
        }
        match cache.decide() {
            Decision::Wait(next, next_until) => (flight, until) = (next, next_until),
            Decision::Use(token) => return Ok(token),
            Decision::Fail(error) => return Err(error.into()),
        }
    }
    Ok(cache.after(Err(TokenError::RuntimeGone))?)
}

/// Like [`wait`], for a request that only another token can help.
async fn wait_for_newer(cache: Arc<CacheState>, mut flight: Flight, generation: u64) -> Rejected {
    let mut reason = flight.reason();
    let newer = || {
        let current = cache.current.load();
        current
            .as_ref()
            .filter(|entry| entry.generation != generation)
            .map(|entry| entry.cached_token())
    };
    let mut outcome = None;
    for _ in 0..ELECTIONS {
        outcome = flight.outcome().await;
        // A flight that started before the 401 may have called a source that returns tokens from
        // memory.
        let in_vain = outcome.as_ref().is_some_and(Result::is_ok) && newer().is_none();
        if outcome.is_some() && !(in_vain && reason != FetchReason::Rejected) {
            break;
        }
        match cache.decide() {
            Decision::Wait(next, _) => (reason, flight) = (next.reason(), next),
            Decision::Use(_) => break,
            Decision::Fail(error) => return Err(RefreshOutcome::Failed(error.into())),
        }
    }
    match (newer(), outcome) {
        (Some(token), _) => Ok(token),
        (None, Some(Ok(()))) => Err(RefreshOutcome::SameToken),
        (None, Some(Err(error))) => Err(RefreshOutcome::Failed(error.into())),
        (None, None) => Err(RefreshOutcome::Failed(TokenError::RuntimeGone.into())),
    }
}

pub(super) async fn keep_warm(cache: Weak<CacheState>, mut alive: watch::Receiver<()>) {
    while let Some(inner) = cache.upgrade() {
        let now = inner.clock.now();
        let fresh_until = inner
            .current
            .load()
            .as_ref()
            .filter(|entry| entry.is_fresh(&now))
            .map(|entry| entry.refresh_at.monotonic);
        let wake = match fresh_until {
            Some(refresh_at) => refresh_at.min(now.monotonic + WARM_TICK),
            None => {
                inner.decide();
                now.monotonic + WARM_RETRY
            }
        };
        drop(inner);
        // The channel never carries a value; it closes with the cache.
        if timeout_at(wake, alive.changed()).await.is_ok() {
            return;
        }
    }
}
