//! The cache that users hold: the public methods over [`CacheState`].

use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::task::AbortHandle;

use super::{
    AccessToken, CachedTokenFuture, FetchReason, RejectionFuture, TokenCacheBuilder, TokenSource,
    builder::CacheSettings, clock::Schedule, counters::Ended, state::CacheState, waiters,
};
use crate::error::{Error, TokenError};

/// A valid access token, shared by all clones. See the [module's docs](super).
///
/// There is no task and no timer between two refreshes, unless [`keep_warm`](Self::keep_warm) is
/// called. Waiting for a token needs a Tokio runtime with its time driver.
#[doc(alias = "bearer")]
#[doc(alias = "oauth")]
#[doc(alias = "refresh")]
#[derive(Clone)]
pub struct TokenCache {
    state: Arc<CacheState>,
}

/// A snapshot of a cache, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenStats {
    /// The current token's number; 0 if there is none.
    pub generation: u64,
    /// Time since the current token was fetched.
    pub age: Option<Duration>,
    /// Time until the current token expires; zero if it has expired.
    pub expires_in: Option<Duration>,
    /// Time until the current token is due for a refresh; zero if it is due. A refresh then needs a
    /// request, or [`keep_warm`](TokenCache::keep_warm).
    pub refresh_in: Option<Duration>,
    /// Number of flights started.
    pub fetches: u64,
    /// Number of flights that failed.
    pub failures: u64,
    /// Number of 401s reported; one flight may serve several of them.
    pub rejections: u64,
    ended: Ended<u64>,
}

/// The outcome of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchOutcome {
    /// The source returned a token that was not the current one.
    NewToken,
    /// The source returned the current token again, like a metadata server until shortly before the
    /// token expires.
    SameToken,
    /// The source returned no token, or an expired one.
    Failed,
}

impl TokenStats {
    /// Number of flights that were started for `reason` and ended with `outcome`.
    pub fn refreshes(&self, reason: FetchReason, outcome: FetchOutcome) -> u64 {
        *self.ended.of(reason, outcome)
    }
}

impl TokenCache {
    /// Creates a cache over `source` with the default settings.
    pub fn new(source: impl TokenSource) -> Self {
        Self::builder().build(source)
    }

    /// Sets the times of a cache.
    pub fn builder() -> TokenCacheBuilder {
        TokenCacheBuilder::new()
    }

    pub(super) fn from_parts(source: Arc<dyn TokenSource>, settings: CacheSettings) -> Self {
        Self { state: Arc::new(CacheState::new(source, settings)) }
    }

    /// Returns a token for one request: at once if a valid one is cached, otherwise after the
    /// flight that fetches it.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] if no valid token is cached and none could be fetched. After a failure,
    /// callers get the error at once until the back-off is over.
    #[doc(alias = "token")]
    #[doc(alias = "access_token")]
    pub fn get(&self) -> CachedTokenFuture {
        match self.state.get_at_once() {
            Some(token) => CachedTokenFuture::ready(Ok(token)),
            None => waiters::get_or_wait(&self.state),
        }
    }

    /// Passes the token to `take` if a valid one can be read without a lock, and returns its
    /// generation.
    #[inline]
    pub(crate) fn at_once(&self, take: impl FnOnce(&AccessToken)) -> Option<u64> {
        self.state.at_once(|entry| {
            take(&entry.token);
            entry.generation
        })
    }

    /// Reports that the service rejected the token of `generation` with a 401, and requests a newer
    /// one.
    ///
    /// The refresh starts with this call, not with the first poll of the returned future.
    ///
    /// # Errors
    ///
    /// The future returns the reason why there is no newer token.
    #[doc(alias = "401")]
    #[doc(alias = "unauthorized")]
    #[doc(alias = "invalidate")]
    pub fn rejected(&self, generation: u64) -> RejectionFuture {
        waiters::reject(&self.state, generation)
    }

    /// Fetches the first token, so that the first request does not wait for it.
    ///
    /// # Errors
    ///
    /// The errors of [`get`](Self::get).
    pub async fn warm_up(&self) -> Result<(), Error> {
        self.get().await.map(drop)
    }

    /// Refreshes the token ahead of time even if no requests arrive, until the last clone of this
    /// cache is dropped. It is meant for processes whose first request after an idle hour must not
    /// wait. It costs one task, however often this method is called.
    ///
    /// # Errors
    ///
    /// [`TokenError::NoRuntime`] outside a Tokio runtime.
    pub fn keep_warm(&self) -> Result<(), Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| TokenError::NoRuntime)?;
        let mut task = self.state.warm_task.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that has finished was lost with its runtime.
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            let (state, alive) = (Arc::downgrade(&self.state), self.state.alive.subscribe());
            *task = Some(runtime.spawn(waiters::keep_warm(state, alive)).abort_handle());
        }
        Ok(())
    }

    /// The project that pays for requests with these tokens, if the credentials name one.
    pub fn quota_project(&self) -> Option<&str> {
        self.state.source.quota_project()
    }

    /// The only service that the tokens are for, if there is one.
    pub fn audience(&self) -> Option<&str> {
        self.state.source.audience()
    }

    /// Returns a snapshot of the cache, for metrics.
    pub fn stats(&self) -> TokenStats {
        let state = &self.state;
        let entry = state.current.load();
        let ended = state.counters.ended.map(|count| count.load(Relaxed));
        let age = entry.as_ref().map(|entry| state.clock.now().since(&entry.obtained));
        let left = |of: fn(&Schedule) -> Duration| {
            let (entry, age) = entry.as_ref().zip(age)?;
            Some(of(&entry.schedule).saturating_sub(age))
        };
        TokenStats {
            generation: entry.as_ref().map_or(0, |entry| entry.generation),
            age,
            expires_in: left(|schedule| schedule.death),
            refresh_in: left(|schedule| schedule.refresh),
            fetches: state.counters.fetches.load(Relaxed),
            failures: ended.total(FetchOutcome::Failed),
            rejections: state.counters.rejections.load(Relaxed),
            ended,
        }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::token::token_fn;

    /// Tokens of an hour: `t1`, `t2`, …
    fn counted() -> TokenCache {
        let count = AtomicU32::new(0);
        TokenCache::new(token_fn(move |_| {
            let number = count.fetch_add(1, Relaxed) + 1;
            async move { Ok(AccessToken::new(format!("t{number}"), Some(Duration::from_secs(3600)))?) }
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_expires_by_the_wall_clock_when_the_machine_slept() {
        let cache = counted();
        cache.warm_up().await.unwrap();
        cache.state.clock.wall_step.store(3601, Relaxed);
        assert!(cache.state.get_at_once().is_none());
        assert_eq!(cache.get().await.unwrap().generation(), 2);
        assert_eq!(cache.state.get_at_once().unwrap().generation(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_expires_by_the_monotonic_clock_when_the_wall_clock_was_set_back() {
        let cache = counted();
        cache.state.clock.wall_step.store(7200, Relaxed);
        cache.warm_up().await.unwrap();
        cache.state.clock.wall_step.store(0, Relaxed);
        assert_eq!(cache.state.get_at_once().unwrap().generation(), 1);
        tokio::time::advance(Duration::from_secs(3601)).await;
        assert_eq!(cache.get().await.unwrap().generation(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_expired_by_the_wall_clock_alone_serves_when_there_is_no_other() {
        let count = AtomicU32::new(0);
        let cache = TokenCache::new(token_fn(move |_| {
            let first = count.fetch_add(1, Relaxed) == 0;
            async move {
                if !first {
                    return Err("signed in the future".into());
                }
                Ok(AccessToken::new("t1", Some(Duration::from_secs(3600)))?)
            }
        }));
        cache.warm_up().await.unwrap();
        cache.state.clock.wall_step.store(7200, Relaxed);
        // This is after the flight that the call starts, and within the pause that the failure
        // causes.
        for _ in 0..2 {
            assert_eq!(cache.get().await.unwrap().generation(), 1);
        }
        assert_eq!(cache.stats().fetches, 2);
        tokio::time::advance(Duration::from_secs(3601)).await;
        assert!(cache.get().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_stats_have_the_time_until_the_refresh_and_until_the_expiry() {
        let cache = counted();
        assert_eq!((cache.stats().refresh_in, cache.stats().expires_in), (None, None));
        cache.warm_up().await.unwrap();
        let at_first = cache.stats().refresh_in.unwrap();
        assert!(at_first < Duration::from_secs(3600) && !at_first.is_zero(), "{at_first:?}");
        tokio::time::advance(at_first - Duration::from_secs(1)).await;
        assert_eq!(cache.stats().refresh_in, Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(cache.stats().refresh_in, Some(Duration::ZERO));
        assert!(!cache.stats().expires_in.unwrap().is_zero());
    }

    fn hanging_after_the_first_token() -> TokenCache {
        let count = AtomicU32::new(0);
        TokenCache::new(token_fn(move |_| {
            let first = count.fetch_add(1, Relaxed) == 0;
            async move {
                if !first {
                    std::future::pending::<()>().await;
                }
                Ok(AccessToken::new("t1", Some(Duration::from_secs(3600)))?)
            }
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_expired_by_the_wall_clock_alone_outlives_a_source_that_hangs() {
        let cache = hanging_after_the_first_token();
        cache.warm_up().await.unwrap();
        tokio::time::advance(Duration::from_secs(3370)).await;
        cache.state.clock.wall_step.store(7200, Relaxed);
        // The call waits for the flight, whose deadline is before the token's expiry by the other
        // clock.
        let began = tokio::time::Instant::now();
        assert_eq!(cache.get().await.unwrap().generation(), 1);
        assert_eq!(began.elapsed().as_secs(), 10);
        tokio::time::advance(Duration::from_secs(3595) - Duration::from_secs(3380)).await;
        let began = tokio::time::Instant::now();
        assert_eq!(cache.get().await.unwrap().generation(), 1);
        assert_eq!(began.elapsed().as_secs(), 4, "until a second before the expiry");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_token_lives_on_after_a_step_of_the_wall_clock() {
        let cache = TokenCache::new(token_fn(|_| async {
            Ok(AccessToken::new("same", Some(Duration::from_secs(3600)))?)
        }));
        cache.warm_up().await.unwrap();
        cache.state.clock.wall_step.store(7200, Relaxed);
        assert_eq!(cache.get().await.unwrap().generation(), 1);
        assert!(cache.state.get_at_once().is_some(), "its lifetime starts at the new time");
        let stats = cache.stats();
        assert_eq!(stats.refreshes(FetchReason::Cold, FetchOutcome::NewToken), 1);
        assert_eq!(stats.refreshes(FetchReason::Expired, FetchOutcome::SameToken), 1);
        assert_eq!(stats.refreshes(FetchReason::Expired, FetchOutcome::NewToken), 0);
        assert_eq!((stats.fetches, stats.failures), (2, 0));
    }

    #[test]
    fn a_cache_is_kept_warm_by_one_task_and_by_another_one_after_its_runtime_has_gone() {
        let cache = counted();
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for _ in 0..2 {
            let runtime = runtime();
            runtime.block_on(async {
                for _ in 0..3 {
                    cache.keep_warm().unwrap();
                }
            });
            assert_eq!(runtime.metrics().num_alive_tasks(), 1);
        }
        assert!(matches!(cache.keep_warm(), Err(Error::Token(TokenError::NoRuntime))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_token_needs_no_lock_while_its_refresh_is_in_flight() {
        let cache = hanging_after_the_first_token();
        assert_eq!(cache.at_once(|_| ()), None);
        cache.warm_up().await.unwrap();
        assert_eq!(cache.at_once(|_| ()), Some(1));
        tokio::time::advance(Duration::from_secs(3500)).await;
        assert_eq!(cache.at_once(|_| ()), None, "this request starts the refresh");
        assert_eq!(cache.get().await.unwrap().generation(), 1);
        assert_eq!(cache.at_once(|_| ()), Some(1));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(cache.at_once(|_| ()), None, "the flight was given up");
        cache.get().await.unwrap();
        assert_eq!(cache.at_once(|_| ()), Some(1));
        tokio::time::advance(Duration::from_secs(80)).await;
        assert_eq!(cache.at_once(|_| ()), None, "the token is about to expire");
    }

    #[tokio::test]
    async fn debug_shows_the_numbers_and_no_token() {
        let cache = counted();
        let token = cache.get().await.unwrap();
        assert!(
            format!("{cache:?}").starts_with("TokenCache { stats: TokenStats { generation: 1,")
        );
        assert_eq!(format!("{token:?}"), "CachedToken { generation: 1, .. }");
    }

    #[test]
    fn the_cache_is_sync_and_clone_and_its_futures_are_send() {
        fn check<T: Send + Sync + Clone + 'static>() {}
        check::<TokenCache>();
        fn check_future<T: Send + Unpin + 'static>() {}
        check_future::<CachedTokenFuture>();
        check_future::<RejectionFuture>();
    }
}
