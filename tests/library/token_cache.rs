//! The contract of the cache as scenarios under a paused clock: the token of each request, and the
//! fetches with their reasons.

mod rejected;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, advance};
use tower_vertex::{
    Error,
    error::TokenError,
    token::{AccessToken, FetchReason, RefreshOutcome, TokenCache, TokenFuture, TokenSource},
};

/// The source's behaviour on its next fetch. The last step repeats.
#[derive(Clone, Copy, Debug)]
enum Step {
    Token(&'static str, u64),
    Unknown(&'static str),
    /// A token after some seconds.
    Late(u64, &'static str, u64),
    /// A token of an hour after some milliseconds.
    Soon(u64, &'static str),
    Fail,
    Hang,
    Panic,
    PanicAtOnce,
}
use FetchReason::{Cold, Expired, Proactive, Rejected};
use Step::{Fail, Hang, Late, Panic, PanicAtOnce, Soon, Token, Unknown};

#[derive(Clone)]
struct Script {
    steps: Arc<Mutex<Vec<Step>>>,
    seen: Arc<Mutex<Vec<(u64, FetchReason)>>>,
    started: Instant,
}

impl Script {
    fn new(steps: &[Step]) -> Self {
        Self {
            steps: Arc::new(Mutex::new(steps.to_vec())),
            seen: Arc::default(),
            started: Instant::now(),
        }
    }

    /// The time of each fetch in seconds, and its reason.
    fn fetches(&self) -> Vec<(u64, FetchReason)> {
        self.seen.lock().unwrap().clone()
    }

    fn reasons(&self) -> Vec<FetchReason> {
        self.fetches().into_iter().map(|(_, reason)| reason).collect()
    }

    fn then(&self, steps: &[Step]) {
        *self.steps.lock().unwrap() = steps.to_vec();
    }
}

impl TokenSource for Script {
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_> {
        self.seen.lock().unwrap().push((self.started.elapsed().as_secs(), reason));
        let step = {
            let mut steps = self.steps.lock().unwrap();
            if steps.len() > 1 { steps.remove(0) } else { steps[0] }
        };
        if let PanicAtOnce = step {
            panic!("a source that panics");
        }
        let token = |value, life| Ok(AccessToken::new(value, Some(Duration::from_secs(life)))?);
        Box::pin(async move {
            match step {
                Token(value, life) => token(value, life),
                Unknown(value) => Ok(AccessToken::new(value, None)?),
                Late(after, value, life) => {
                    tokio::time::sleep(Duration::from_secs(after)).await;
                    token(value, life)
                }
                Soon(after, value) => {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    token(value, 3600)
                }
                Fail => Err("the token endpoint is down".into()),
                Hang => std::future::pending().await,
                Panic | PanicAtOnce => panic!("a source that panics"),
            }
        })
    }
}

fn cache(steps: &[Step]) -> (TokenCache, Script) {
    let script = Script::new(steps);
    let cache = TokenCache::builder().refresh_jitter(Duration::ZERO).build(script.clone());
    (cache, script)
}

async fn value(cache: &TokenCache) -> Result<String, Error> {
    let token = cache.get().await?;
    Ok(token.authorization().to_str().unwrap().trim_start_matches("Bearer ").to_owned())
}

/// The token that a request gets without waiting: the future is ready at its first poll.
fn value_at_once(cache: &TokenCache) -> String {
    let token = futures_now(cache.get()).expect("no request waits").expect("no request fails");
    token.authorization().to_str().unwrap().trim_start_matches("Bearer ").to_owned()
}

fn futures_now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// Lets spawned tasks run without moving the clock.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn seconds(n: u64) {
    advance(Duration::from_secs(n)).await;
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_cold_requests_share_one_fetch() {
    let (cache, script) = cache(&[Late(1, "a", 3600)]);
    let waiters: Vec<_> = (0..1000)
        .map(|_| {
            tokio::spawn({
                let cache = cache.clone();
                async move { value(&cache).await }
            })
        })
        .collect();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap(), "a");
    }
    assert_eq!(script.fetches(), [(0, Cold)]);
}

#[tokio::test(start_paused = true)]
async fn no_token_is_fetched_while_the_current_one_is_fresh() {
    let (cache, script) = cache(&[Token("a", 3600), Token("b", 3600)]);
    value(&cache).await.unwrap();
    seconds(3374).await;
    assert_eq!(value_at_once(&cache), "a");
    settle().await;
    assert_eq!(script.reasons(), [Cold]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_token_is_used_while_one_fetch_gets_the_next() {
    let (cache, script) = cache(&[Token("a", 3600), Late(5, "b", 3600)]);
    value(&cache).await.unwrap();
    seconds(3376).await;
    for _ in 0..100 {
        assert_eq!(value_at_once(&cache), "a");
    }
    settle().await;
    assert_eq!(script.reasons(), [Cold, Proactive]);
    seconds(6).await;
    assert_eq!(value_at_once(&cache), "b");
    assert_eq!(cache.stats().generation, 2);
    assert_eq!(script.reasons(), [Cold, Proactive]);
}

#[tokio::test(start_paused = true)]
async fn no_task_refreshes_without_a_request() {
    let (cache, script) = cache(&[Token("a", 3600)]);
    value(&cache).await.unwrap();
    seconds(3 * 3600).await;
    assert_eq!(script.reasons(), [Cold]);
}

#[tokio::test(start_paused = true)]
async fn shortly_before_the_expiry_requests_wait_for_the_next_token() {
    let (cache, script) = cache(&[Token("a", 3600), Late(2, "b", 3600)]);
    value(&cache).await.unwrap();
    seconds(3592).await;
    assert!(futures_now(cache.get()).is_none());
    assert_eq!(value(&cache).await.unwrap(), "b");
    assert_eq!(script.reasons(), [Cold, Expired]);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_request_gets_the_valid_token_if_the_fetch_fails() {
    let (cache, script) = cache(&[Token("a", 3600), Fail]);
    value(&cache).await.unwrap();
    seconds(3592).await;
    assert_eq!(value(&cache).await.unwrap(), "a");
    // During the pause no request waits and no token is fetched.
    assert_eq!(value_at_once(&cache), "a");
    assert_eq!(script.reasons(), [Cold, Expired]);
}

/// The time that a request waited, in seconds, and its token.
async fn waited(cache: &TokenCache) -> (f64, String) {
    let began = Instant::now();
    let value = value(cache).await.expect("no request fails while a token is valid");
    (began.elapsed().as_secs_f64(), value)
}

#[tokio::test(start_paused = true)]
async fn a_request_in_the_last_seconds_of_a_token_waits_a_limited_time_for_a_source_that_hangs() {
    for (life, at, longest) in [(16, 13, 2.0), (3600, 3592, 7.0), (4, 3, 0.5)] {
        let (cache, script) = cache(&[Token("a", life), Hang]);
        value(&cache).await.unwrap();
        seconds(at).await;
        let (time, token) = waited(&cache).await;
        assert_eq!(token, "a");
        assert!((time - longest).abs() < 0.1, "{time} s of a life of {life} s");
        // Later requests do not wait, and an expired token is not used.
        assert_eq!(value_at_once(&cache), "a");
        seconds(1).await;
        assert!(value(&cache).await.is_err());
        assert_eq!(script.reasons()[..2], [Cold, Expired]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_fails_while_the_token_is_valid_and_the_source_hangs() {
    let (cache, script) = cache(&[Token("a", 60), Hang]);
    value(&cache).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(59_900) {
        let request = tokio::spawn({
            let cache = cache.clone();
            async move { value(&cache).await }
        });
        advance(Duration::from_millis(100)).await;
        settle().await;
        if began.elapsed() > Duration::from_secs(59) {
            assert!(request.is_finished(), "at {:?}", began.elapsed());
        }
        if request.is_finished() {
            assert_eq!(request.await.unwrap().unwrap(), "a", "at {:?}", began.elapsed());
        }
    }
    script.then(&[Token("b", 3600)]);
    // The last fetch times out, and the pause after it ends.
    seconds(11).await;
    seconds(75).await;
    assert_eq!(value(&cache).await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_401_while_the_source_hangs_delays_others_by_a_second_in_total() {
    let (cache, script) = cache(&[Token("a", 3600), Hang]);
    value(&cache).await.unwrap();
    let began = Instant::now();
    let rejected = tokio::spawn(cache.rejected(1));
    settle().await;
    let (time, token) = waited(&cache).await;
    assert_eq!(token, "a");
    assert!((time - 1.0).abs() < 0.1, "{time}");
    // Until the fetch times out, no other request waits, and no second fetch is started.
    for _ in 0..8 {
        assert_eq!(value_at_once(&cache), "a");
        seconds(1).await;
    }
    assert!(!rejected.is_finished(), "the request that got the 401 waits for the fetch");
    assert!(matches!(rejected.await.unwrap(), Err(RefreshOutcome::Failed(_))));
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(script.reasons(), [Cold, Rejected]);
}

#[tokio::test(start_paused = true)]
async fn a_401_during_a_fetch_that_hangs_delays_no_other_request() {
    let (cache, script) = cache(&[Token("a", 3600), Hang]);
    value(&cache).await.unwrap();
    seconds(3400).await;
    assert_eq!(value_at_once(&cache), "a", "while a fetch is in progress");
    seconds(2).await;
    drop(cache.rejected(1));
    assert_eq!(value_at_once(&cache), "a");
    assert_eq!(script.reasons(), [Cold, Proactive]);
}

#[tokio::test(start_paused = true)]
async fn a_late_successor_still_heals_the_401() {
    let (cache, script) = cache(&[Token("a", 3600), Late(5, "b", 3600)]);
    value(&cache).await.unwrap();
    let rejected = tokio::spawn(cache.rejected(1));
    settle().await;
    assert_eq!(waited(&cache).await.1, "a");
    let Ok(token) = rejected.await.unwrap() else { panic!("no new token") };
    assert_eq!(token.generation(), 2);
    assert_eq!(value_at_once(&cache), "b");
    assert_eq!(script.reasons(), [Cold, Rejected]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_used() {
    let (cache, script) = cache(&[Token("a", 3600), Fail]);
    value(&cache).await.unwrap();
    seconds(3600).await;
    let error = value(&cache).await.unwrap_err();
    assert!(error.to_string().contains("the token endpoint is down"), "{error}");
    script.then(&[Token("b", 3600)]);
    // Until the pause is over, the last error is returned at once.
    assert!(futures_now(cache.get()).unwrap().is_err());
    seconds(2).await;
    assert_eq!(value(&cache).await.unwrap(), "b");
    assert_eq!(script.reasons(), [Cold, Expired, Expired]);
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_failures_costs_a_fetch_a_minute_and_ends_with_the_first_success() {
    let (cache, script) = cache(&[Fail]);
    for _ in 0..3600 {
        assert!(value(&cache).await.is_err());
        seconds(1).await;
    }
    let fetches = script.fetches().len();
    // The pauses are 1+2+4+8+16+32 s, and then 48 to 72 s (60 s ±20 %, rounded up to a whole
    // second).
    assert!((54..=81).contains(&fetches), "{fetches}");
    script.then(&[Token("a", 3600)]);
    seconds(75).await;
    assert_eq!(value(&cache).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_token_endpoint_affects_no_request() {
    let (cache, script) = cache(&[Token("a", 3600), Fail]);
    value(&cache).await.unwrap();
    seconds(3376).await;
    for _ in 0..60 {
        assert_eq!(value_at_once(&cache), "a");
        seconds(1).await;
    }
    let tries = script.fetches().len() - 1;
    assert!((4..=8).contains(&tries), "{tries} tries in a minute of back-off");
    script.then(&[Token("b", 3600)]);
    for _ in 0..75 {
        value_at_once(&cache);
        seconds(1).await;
    }
    assert_eq!(value_at_once(&cache), "b");
    assert!(script.reasons()[1..].iter().all(|reason| *reason == Proactive));
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_hangs_for_a_minute_affects_no_request() {
    let (cache, _) = cache(&[Token("a", 3600), Hang]);
    value(&cache).await.unwrap();
    seconds(3376).await;
    for _ in 0..60 {
        assert_eq!(value_at_once(&cache), "a");
        seconds(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_from_a_hanging_source_times_out() {
    let (cache, _) = cache(&[Hang]);
    let started = Instant::now();
    let error = value(&cache).await.unwrap_err();
    assert!(matches!(error, Error::Token(TokenError::Timeout(_))), "{error}");
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_source_is_an_error_and_the_next_fetch_succeeds() {
    for panic in [Panic, PanicAtOnce] {
        let (cache, script) = cache(&[panic]);
        let error = value(&cache).await.unwrap_err();
        assert!(matches!(error, Error::Token(TokenError::Panicked)), "{error}");
        script.then(&[Token("a", 3600)]);
        seconds(2).await;
        assert_eq!(value(&cache).await.unwrap(), "a");
    }
}

#[tokio::test(start_paused = true)]
async fn the_request_that_started_a_fetch_can_leave() {
    let (cache, script) = cache(&[Late(3, "a", 3600)]);
    let leader = tokio::spawn({
        let cache = cache.clone();
        async move { value(&cache).await }
    });
    settle().await;
    let follower = tokio::spawn({
        let cache = cache.clone();
        async move { value(&cache).await }
    });
    settle().await;
    leader.abort();
    assert_eq!(follower.await.unwrap().unwrap(), "a");
    assert_eq!(script.fetches(), [(0, Cold)]);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_unknown_lifetime_is_fetched_every_few_minutes() {
    let (cache, script) = cache(&[Unknown("a")]);
    for _ in 0..3600 {
        assert_eq!(value(&cache).await.unwrap(), "a");
        seconds(1).await;
    }
    let fetches = script.fetches().len();
    assert!((24..=30).contains(&fetches), "{fetches}");
    assert_eq!(cache.stats().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_401_costs_three_tokens_and_then_two_per_minute() {
    const NAMES: [&str; 16] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    let (cache, script) = cache(&NAMES.map(|name| Token(name, 3600)));
    for _ in 0..600 {
        let token = cache.get().await.unwrap();
        let _ = cache.rejected(token.generation()).await;
        advance(Duration::from_millis(500)).await;
    }
    let times: Vec<_> = script.fetches().iter().map(|(time, _)| *time).collect();
    assert_eq!(times[..4], [0, 0, 0, 1], "one first fetch and three forced ones");
    for pair in times[3..].windows(2) {
        assert!(pair[1] - pair[0] >= 29, "{times:?}");
    }
    assert!(times.len() >= 12, "the cache keeps trying: {times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_of_expired_tokens_causes_no_busy_loop() {
    let (cache, script) = cache(&[Token("a", 0)]);
    for _ in 0..1000 {
        let error = value(&cache).await.unwrap_err();
        assert!(error.to_string().contains("already expired"), "{error}");
    }
    assert_eq!(script.reasons(), [Cold]);
}

#[tokio::test(start_paused = true)]
async fn an_implausible_lifetime_is_limited_to_a_day() {
    let (cache, script) = cache(&[Token("a", u64::MAX), Token("b", 3600)]);
    value(&cache).await.unwrap();
    assert_eq!(cache.stats().expires_in.unwrap().as_secs_f64().round(), 24.0 * 3600.0);
    seconds(24 * 3600).await;
    assert_eq!(value(&cache).await.unwrap(), "b");
    assert_eq!(script.reasons(), [Cold, Expired]);
}

#[tokio::test(start_paused = true)]
async fn tokens_with_a_lifetime_of_seconds_are_refreshed_ahead() {
    let (cache, script) = cache(&[Late(0, "a", 4), Token("b", 4), Token("c", 4)]);
    assert_eq!(value(&cache).await.unwrap(), "a");
    seconds(1).await;
    assert_eq!(value_at_once(&cache), "a");
    seconds(1).await;
    assert_eq!(value_at_once(&cache), "a");
    settle().await;
    assert_eq!(value_at_once(&cache), "b");
    assert_eq!(script.reasons(), [Cold, Proactive]);
}

#[tokio::test(start_paused = true)]
async fn keep_warm_refreshes_without_requests_until_the_cache_is_dropped() {
    let (cache, script) = cache(&[Token("a", 3600), Token("b", 3600), Token("c", 3600)]);
    cache.keep_warm().unwrap();
    for _ in 0..(2 * 3600 / 10) {
        seconds(10).await;
    }
    assert_eq!(script.reasons(), [Cold, Proactive, Proactive]);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks(), 1);
    drop(cache);
    settle().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn keep_warm_sleeps_while_a_fetch_is_in_progress() {
    let (cache, script) = cache(&[Late(5, "a", 3600)]);
    cache.keep_warm().unwrap();
    // The paused clock advances only if no task is busy.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(value_at_once(&cache), "a");
    assert_eq!(script.reasons(), [Cold]);
}

#[tokio::test(start_paused = true)]
async fn between_refreshes_no_task_exists() {
    let (cache, _) = cache(&[Token("a", 3600)]);
    value(&cache).await.unwrap();
    settle().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[test]
fn a_fetch_lost_with_its_runtime_is_repeated_on_another() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let _guard = first.enter();
    let (cache, script) = cache(&[Hang, Token("a", 3600)]);
    let leader = first.spawn({
        let cache = cache.clone();
        async move { value(&cache).await }
    });
    while script.fetches().is_empty() {
        std::thread::yield_now();
    }
    let follower = second.spawn({
        let cache = cache.clone();
        async move { value(&cache).await }
    });
    drop(_guard);
    first.shutdown_background();
    assert_eq!(second.block_on(follower).unwrap().unwrap(), "a");
    drop(leader);
}

#[test]
fn a_fetch_on_a_blocked_runtime_times_out_and_its_result_is_dropped() {
    let still = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let alive = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let script = Script::new(&[Token("a", 3600), Token("b", 3600)]);
    let cache =
        TokenCache::builder().fetch_timeout(Duration::from_millis(10)).build(script.clone());
    let first = {
        let _guard = still.enter();
        cache.get()
    };
    // The task of this fetch was spawned and is not polled. A waiter on another runtime has a
    // deadline.
    assert_eq!(alive.block_on(value(&cache)).unwrap(), "a");
    assert_eq!(script.reasons(), [Cold]);
    // When the task runs after all, its result is not used any more.
    let token = still.block_on(first).unwrap();
    assert_eq!(script.reasons(), [Cold, Cold]);
    assert_eq!(token.generation(), 1);
    assert_eq!(value_at_once(&cache), "a");
}

#[test]
fn a_request_gets_the_token_of_the_next_fetch_if_its_own_fetch_ended_after_the_deadline() {
    let still = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let alive =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let (cache, script) = cache(&[Token("a", 3600), Token("b", 3600)]);
    let first = {
        let _guard = still.enter();
        cache.get()
    };
    alive.unwrap().block_on(async {
        advance(Duration::from_secs(12)).await;
        // This request gives the fetch up and starts the next one, before the fetch ends after all.
        let second = cache.get();
        std::thread::spawn(move || still.block_on(settle())).join().unwrap();
        assert_eq!(script.reasons(), [Cold]);
        assert_eq!(first.await.unwrap().authorization(), "Bearer b");
        assert_eq!(second.await.unwrap().authorization(), "Bearer b");
    });
    assert_eq!(script.reasons(), [Cold, Cold]);
}

#[test]
fn outside_a_runtime_a_valid_token_is_used_although_none_can_be_fetched() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cache, _) = cache(&[Token("a", 3600)]);
    runtime.block_on(value(&cache)).unwrap();
    assert!(matches!(futures_now(cache.rejected(1)), Some(Err(RefreshOutcome::Failed(_)))));
    assert_eq!(value_at_once(&cache), "a");
}

#[test]
fn outside_a_runtime_a_missing_token_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime.enter();
    let (cache, _) = cache(&[Token("a", 3600)]);
    drop(guard);
    let error = futures_now(cache.get()).unwrap().unwrap_err();
    assert!(matches!(error, Error::Token(TokenError::NoRuntime)), "{error}");
}
