//! The token that requests carry, and its replacement.
//!
//! | state | when | a new request | and |
//! |---|---|---|---|
//! | empty | no token yet | waits for the flight | a flight is started |
//! | fresh | until shortly before its expiry | gets the token | nothing |
//! | stale | shortly before its expiry | gets the token | one flight is started |
//! | suspect | the service returned 401 for it | waits; gets the token if the flight fails or takes a second | a flight is forced |
//! | blocked | seconds before its expiry | waits; gets the token if the flight fails, or just before its expiry | a flight is started |
//! | expired (`Dead`) | after its expiry | waits; fails if the flight fails | a flight is started |
//! | doubtful | after its expiry by the wall clock alone | as if blocked, by the other clock | a flight is started |
//! | pausing | after a failed flight, or one that returned the same token | gets the token, or the last error if it has expired, at once | nothing |
//!
//! While a token is valid, a source that hangs fails no request: each wait ends before the token
//! expires. Only the request that got the 401 waits for the whole flight, because the current token
//! is of no use to it.
//!
//! A token is doubtful in two cases, which only the service can distinguish. After a sleep of the
//! machine, the token has expired. After a step of the clock, the token is still valid, and Google
//! would reject any assertion signed with a key.
//!
//! The fresh state, and the stale one during a flight or a pause, read two clocks and a few
//! atomics: no lock, no allocation. Everything else is decided under one lock that is never held
//! across an `await`.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use super::{
    AccessToken, CachedToken, FetchOutcome, FetchReason, RefreshOutcome, TokenSource,
    bucket::Bucket,
    builder::CacheSettings,
    cached_token::Rejected,
    clock::{Clock, Now, Phase},
    control::{Control, Pause},
    counters::Counters,
    decision::Decision,
    entry::Entry,
    flight::{Flight, FlightOutcome},
};
use crate::error::TokenError;

pub(super) struct CacheState {
    pub(super) source: Arc<dyn TokenSource>,
    settings: CacheSettings,
    pub(super) clock: Clock,
    pub(super) current: ArcSwapOption<Entry>,
    /// No flight can start before this time, because one is in flight or a pause is on. In
    /// nanoseconds since `started`; written under the lock, read without it.
    quiet_until: AtomicU64,
    started: Instant,
    control: Mutex<Control>,
    pub(super) counters: Counters,
    /// Closes when the last clone is dropped, so that `keep_warm` ends then.
    pub(super) alive: watch::Sender<()>,
    /// The task of `keep_warm`.
    pub(super) warm_task: Mutex<Option<AbortHandle>>,
}

impl CacheState {
    pub(super) fn new(source: Arc<dyn TokenSource>, settings: CacheSettings) -> Self {
        let started = Instant::now();
        Self {
            control: Mutex::new(Control::new(Bucket::full(&settings, started))),
            source,
            clock: Clock::new(settings.wall_clock),
            settings,
            current: ArcSwapOption::empty(),
            quiet_until: AtomicU64::new(0),
            started,
            counters: Counters::default(),
            alive: watch::channel(()).0,
            warm_task: Mutex::default(),
        }
    }
}

impl CacheState {
    pub(super) fn get_at_once(&self) -> Option<CachedToken> {
        self.at_once(Entry::cached_token)
    }

    /// Applies `take` to the token, if no lock is needed for it. Moving a token costs more than
    /// cloning the header in it.
    #[inline]
    pub(super) fn at_once<T>(&self, take: impl FnOnce(&Entry) -> T) -> Option<T> {
        let entry = self.current.load();
        let entry = entry.as_ref()?;
        if entry.rejected.load(Relaxed) {
            return None;
        }
        let now = self.clock.now();
        let quiet = || self.nanos(now.monotonic) < self.quiet_until.load(Relaxed);
        (entry.is_fresh(&now) || entry.phase(&now) == Phase::Stale && quiet()).then(|| take(entry))
    }

    /// Decides according to the table in this module's docs.
    pub(super) fn decide(self: &Arc<Self>) -> Decision {
        let now = self.clock.now();
        let mut control = self.control();
        let Some(entry) = self.current.load_full() else {
            return match control.pause_error(&now) {
                Some(error) => Decision::Fail(error),
                None => self.join(&mut control, &now, FetchReason::Cold),
            };
        };
        let phase = entry.phase(&now);
        match phase {
            // A source that succeeded but had no newer token is called again, because this token
            // has expired.
            Phase::Dead => match control.pause_error(&now) {
                Some(error) if entry.is_surely_dead(&now) => Decision::Fail(error),
                Some(_) => Decision::Use(entry.cached_token()),
                None => self.join_or_use(&mut control, &now, FetchReason::Expired, &entry),
            },
            _ if control.pausing(&now) => Decision::Use(entry.cached_token()),
            Phase::Blocked => self.join_or_use(&mut control, &now, FetchReason::Expired, &entry),
            _ if entry.rejected.load(Relaxed)
                && (control.under_way(&now).is_some()
                    || control.bucket.take(&self.settings, now.monotonic)) =>
            {
                self.join_or_use(&mut control, &now, FetchReason::Rejected, &entry)
            }
            Phase::Stale => {
                // A failure is recorded in the pause; this request does not wait for the flight.
                self.join(&mut control, &now, FetchReason::Proactive);
                Decision::Use(entry.cached_token())
            }
            Phase::Fresh => Decision::Use(entry.cached_token()),
        }
    }

    /// Joins the current flight or starts one, for a request that can use the token of `entry`
    /// unless that has expired by both clocks.
    fn join_or_use(
        self: &Arc<Self>,
        control: &mut Control,
        now: &Now,
        reason: FetchReason,
        entry: &Entry,
    ) -> Decision {
        let decision = self.join(control, now, reason);
        if entry.is_surely_dead(now) {
            return decision;
        }
        match decision {
            Decision::Wait(flight, _) => match entry.patience(now, &flight) {
                until if now.monotonic < until => Decision::Wait(flight, Some(until)),
                _ => Decision::Use(entry.cached_token()),
            },
            Decision::Use(_) | Decision::Fail(_) => Decision::Use(entry.cached_token()),
        }
    }

    /// Joins the current flight or starts one.
    fn join(self: &Arc<Self>, control: &mut Control, now: &Now, reason: FetchReason) -> Decision {
        if let Some(flight) = control.under_way(now) {
            return Decision::Wait(flight.clone(), None);
        }
        control.flight_number += 1;
        let (number, cache) = (control.flight_number, Arc::downgrade(self));
        let flight = Flight::start(
            Arc::clone(&self.source),
            reason,
            self.settings.fetch_timeout,
            // Without a cache there is no waiter.
            move |result| cache.upgrade()?.land(number, reason, result),
        );
        match flight {
            Ok(flight) => {
                self.counters.fetches.fetch_add(1, Relaxed);
                control.pause = None;
                self.quiet_until(flight.deadline());
                control.flight = Some(flight.clone());
                Decision::Wait(flight, None)
            }
            Err(error) => Decision::Fail(error),
        }
    }

    /// Stores the result of a flight. A failure never replaces a valid token. Returns `None` for a
    /// flight that was given up at its deadline: a later flight decides, also for those that still wait
    /// for this one.
    fn land(
        &self,
        number: u64,
        reason: FetchReason,
        result: Result<AccessToken, TokenError>,
    ) -> Option<FlightOutcome> {
        let now = self.clock.now();
        let mut control = self.control();
        if control.flight_number != number {
            return None;
        }
        control.flight = None;
        let result = result.and_then(|token| {
            let lifetime = self.settings.lifetime(token.expires_in());
            if lifetime.is_zero() {
                return Err(TokenError::Invalid("an access token that has already expired"));
            }
            Ok((token, lifetime))
        });
        let (until, outcome) = match result {
            Ok((token, lifetime)) => {
                control.failures = 0;
                (self.install(&mut control, &now, reason, token, lifetime), Ok(()))
            }
            Err(error) => {
                self.counters.count(reason, FetchOutcome::Failed);
                control.failures = control.failures.saturating_add(1);
                let pause = self.settings.backoff(control.failures);
                tracing::warn!(?reason, ?pause, %error, "could not fetch an access token");
                let until = now.monotonic + pause;
                control.pause = Some(Pause { until, error: Some(error.clone()) });
                (until, Err(error))
            }
        };
        self.quiet_until(until);
        Some(outcome)
    }

    /// Installs the token, and returns the time before which no flight is needed.
    fn install(
        &self,
        control: &mut Control,
        now: &Now,
        reason: FetchReason,
        token: AccessToken,
        lifetime: Duration,
    ) -> Instant {
        let current = self.current.load_full();
        let same =
            current.as_ref().filter(|entry| entry.token.authorization() == token.authorization());
        let unknown_lifetime = token.expires_in().is_none();
        let outcome = if same.is_some() { FetchOutcome::SameToken } else { FetchOutcome::NewToken };
        self.counters.count(reason, outcome);
        let (schedule, generation, rejected) = match same {
            Some(entry) => (
                // A source that knows no lifetime indicates with each token that the token still
                // has one.
                if unknown_lifetime {
                    self.settings.schedule(lifetime)
                } else {
                    self.settings.schedule_again(lifetime)
                },
                entry.generation,
                entry.rejected.load(Relaxed),
            ),
            None => {
                control.last_generation += 1;
                (self.settings.schedule(lifetime), control.last_generation, false)
            }
        };
        let entry = Entry {
            token,
            generation,
            obtained: *now,
            refresh_at: Now {
                monotonic: now.monotonic + schedule.refresh,
                wall: now.wall + schedule.refresh,
            },
            schedule,
            rejected: AtomicBool::new(rejected),
        };
        // A flight that was in flight before the 401 was not meant to return another token.
        let forced = rejected && reason == FetchReason::Rejected;
        let wanted_another = forced || schedule.refresh.is_zero();
        self.current.store(Some(Arc::new(entry)));
        if same.is_some() && wanted_another {
            control.repeats = control.repeats.saturating_add(1);
            let pause = self.settings.same_token_pause(control.repeats);
            tracing::debug!(generation, ?pause, "the source returned the same access token again");
            let until = now.monotonic + pause;
            control.pause = Some(Pause { until, error: None });
            until
        } else {
            control.repeats = 0;
            control.pause = None;
            tracing::debug!(generation, ?lifetime, "access token fetched");
            now.monotonic
        }
    }

    /// Records a 401 for the token of `generation`. Returns the flight that fetches a newer token,
    /// or the outcome if it is known already.
    pub(super) fn reject(self: &Arc<Self>, generation: u64) -> Result<Flight, Rejected> {
        self.counters.rejections.fetch_add(1, Relaxed);
        let now = self.clock.now();
        let mut control = self.control();
        let Some(entry) = self.current.load_full() else {
            return Err(Err(RefreshOutcome::Throttled));
        };
        if entry.generation != generation {
            return Err(Ok(entry.cached_token()));
        }
        entry.rejected.store(true, Relaxed);
        if control.pausing(&now) {
            return Err(Err(match control.pause_error(&now) {
                Some(error) => RefreshOutcome::Failed(error.into()),
                None => RefreshOutcome::SameToken,
            }));
        }
        if control.under_way(&now).is_none() && !control.bucket.take(&self.settings, now.monotonic)
        {
            return Err(Err(RefreshOutcome::Throttled));
        }
        match self.join(&mut control, &now, FetchReason::Rejected) {
            Decision::Wait(flight, _) => Ok(flight),
            Decision::Fail(error) => Err(Err(RefreshOutcome::Failed(error.into()))),
            Decision::Use(token) => Err(Ok(token)),
        }
    }

    /// The lock is only ever held for arithmetic; a panic under it leaves no partial change.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, at: Instant) -> u64 {
        // An `u64` holds 584 years.
        u64::try_from(at.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }

    fn quiet_until(&self, until: Instant) {
        self.quiet_until.store(self.nanos(until), Relaxed);
    }

    /// The result for a waiter after its flight: the token, or an error if it has expired by both
    /// clocks.
    pub(super) fn after(&self, outcome: FlightOutcome) -> Result<CachedToken, TokenError> {
        let now = self.clock.now();
        match self.current.load().as_ref().filter(|entry| !entry.is_surely_dead(&now)) {
            Some(entry) => Ok(entry.cached_token()),
            None => Err(outcome
                .err()
                .unwrap_or(TokenError::Invalid("an access token that has already expired"))),
        }
    }
}
