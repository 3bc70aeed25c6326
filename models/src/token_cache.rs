//! The token: many requests, one flight.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::model::{advance, begin_at, block_on, lose_runtime, pause, poll_once, run_ready_tasks};

use crate::{
    error::{Error, TokenError},
    runner::{Actor, EXHAUSTIVE, Model, act},
    token::{AccessToken, CachedToken, RefreshOutcome, TokenCache, token_fn},
};

pub(crate) const MODELS: &[Model] = &[
    Model {
        name: "token: cold requests share one mint",
        threads: 3,
        run: cold_requests_share_one_mint::<2>,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: cold requests share one mint",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(3),
        run: cold_requests_share_one_mint::<3>,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: a flight survives the request that started it",
        threads: 3,
        run: a_flight_survives_the_request_that_started_it::<1>,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: a flight survives the request that started it",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(3),
        run: a_flight_survives_the_request_that_started_it::<2>,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: requests share one failure",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(3),
        run: requests_share_one_failure,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: after a 401 the token is not used again",
        threads: 3,
        preemptions: Some(3),
        run: after_a_401_the_token_is_not_used_again,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: 401s cause one mint",
        threads: 3,
        preemptions: Some(3),
        run: two_401s_cause_one_mint::<0>,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: 401s and a request cause one mint",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(3),
        run: two_401s_cause_one_mint::<1>,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: 401s share a refresh that returns the same token",
        threads: 4,
        preemptions: Some(1),
        preemptions_long: Some(3),
        run: two_401s_share_a_refresh_that_returns_the_same_token,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: requests refresh a stale token once",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(3),
        run: requests_refresh_a_stale_token_once,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: a lost runtime is replaced by one new flight",
        threads: 3,
        runtimes_are_lost: true,
        preemptions: Some(3),
        run: a_lost_runtime_is_replaced_by_one_new_flight::<1>,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: a lost runtime is replaced by one new flight",
        threads: 4,
        runtimes_are_lost: true,
        preemptions: Some(2),
        preemptions_long: Some(3),
        run: a_lost_runtime_is_replaced_by_one_new_flight::<2>,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: a 401 while the runtime is lost gets the next token",
        threads: 4,
        runtimes_are_lost: true,
        preemptions: Some(1),
        preemptions_long: Some(3),
        run: a_401_while_the_runtime_is_lost_gets_the_next_token,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: a flight that lands after its deadline fails no request",
        threads: 3,
        time_passes: true,
        preemptions: Some(2),
        run: a_flight_that_lands_after_its_deadline_fails_no_request,
        ..EXHAUSTIVE
    },
    Model {
        name: "token: the warm task ends with the last clone",
        threads: 3,
        run: the_warm_task_ends_with_the_last_clone,
        ..EXHAUSTIVE
    },
];

const HOUR: Duration = Duration::from_secs(3600);

/// A cache over a source that counts its mints. Their tokens are `t1`, `t2`, and so on, of an hour.
fn cache() -> (TokenCache, Arc<AtomicUsize>) {
    cache_of(numbered)
}

fn numbered(number: usize) -> Result<AccessToken, crate::BoxError> {
    Ok(AccessToken::new(format!("t{number}"), Some(HOUR)).expect("a token"))
}

fn cache_of(
    mint: fn(usize) -> Result<AccessToken, crate::BoxError>,
) -> (TokenCache, Arc<AtomicUsize>) {
    counted(pause, mint)
}

fn counted<P: Future + Send + 'static>(
    before: fn() -> P,
    mint: fn(usize) -> Result<AccessToken, crate::BoxError>,
) -> (TokenCache, Arc<AtomicUsize>) {
    let mints = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&mints);
    let source = token_fn(move |_| {
        let number = counted.fetch_add(1, Relaxed) + 1;
        async move {
            before().await;
            mint(number)
        }
    });
    (TokenCache::builder().refresh_jitter(Duration::ZERO).build(source), mints)
}

/// The same with its first token.
fn warm(cache: &TokenCache) {
    let first = cache.get();
    run_ready_tasks();
    assert_eq!(generation(block_on(first)), 1);
}

fn generation(result: Result<CachedToken, Error>) -> u64 {
    result.expect("a token").generation()
}

/// An actor that gets a token.
fn get(
    cache: &TokenCache,
    check: impl FnOnce(Result<CachedToken, Error>) + Send + 'static,
) -> Actor {
    let cache = cache.clone();
    Box::new(move || check(block_on(cache.get())))
}

/// An actor that reports a 401 for the first token.
fn reject(
    cache: &TokenCache,
    check: impl FnOnce(Result<CachedToken, RefreshOutcome>) + Send + 'static,
) -> Actor {
    let cache = cache.clone();
    Box::new(move || check(block_on(cache.rejected(1))))
}

fn cold_requests_share_one_mint<const REQUESTS: usize>() {
    let (cache, mints) = cache();
    act((0..REQUESTS).map(|_| get(&cache, |got| assert_eq!(generation(got), 1))).collect());
    assert_eq!(mints.load(Relaxed), 1);
}

fn a_flight_survives_the_request_that_started_it<const OTHERS: usize>() {
    let (cache, mints) = cache();
    let left = cache.clone();
    let mut actors: Vec<Actor> = vec![Box::new(move || drop(poll_once(left.get())))];
    actors.extend((0..OTHERS).map(|_| get(&cache, |got| assert_eq!(generation(got), 1))));
    act(actors);
    assert_eq!(mints.load(Relaxed), 1);
}

fn requests_share_one_failure() {
    let (cache, mints) = cache_of(|_| Err("no token today".into()));
    let failed = |got: Result<CachedToken, Error>| {
        assert!(matches!(got, Err(Error::Token(TokenError::Fetch(_)))), "{got:?}");
    };
    act((0..3).map(|_| get(&cache, failed)).collect());
    assert_eq!(mints.load(Relaxed), 1, "the pause has begun");
}

fn newer(got: Result<CachedToken, RefreshOutcome>) {
    assert_eq!(got.expect("a newer token").generation(), 2);
}

fn after_a_401_the_token_is_not_used_again() {
    let (cache, mints) = cache();
    warm(&cache);
    let reported = Arc::new(AtomicBool::new(false));
    let (other, report) = (cache.clone(), Arc::clone(&reported));
    act(vec![
        Box::new(move || {
            let waiting = cache.rejected(1);
            report.store(true, SeqCst);
            newer(block_on(waiting));
        }),
        Box::new(move || {
            let is_reported = reported.load(SeqCst);
            let used = generation(block_on(other.get()));
            assert!(used == 2 || !is_reported, "a rejected token was used");
        }),
    ]);
    assert_eq!(mints.load(Relaxed), 2);
}

fn two_401s_cause_one_mint<const REQUESTS: usize>() {
    let (cache, mints) = cache();
    warm(&cache);
    let mut actors = vec![reject(&cache, newer), reject(&cache, newer)];
    actors.extend((0..REQUESTS).map(|_| get(&cache, |got| assert!(generation(got) <= 2))));
    act(actors);
    assert_eq!(mints.load(Relaxed), 2);
}

fn two_401s_share_a_refresh_that_returns_the_same_token() {
    let (cache, mints) = cache_of(|_| Ok(AccessToken::new("same", Some(HOUR)).expect("a token")));
    warm(&cache);
    let same = |got: Result<CachedToken, RefreshOutcome>| {
        assert!(matches!(got, Err(RefreshOutcome::SameToken)), "{got:?}");
    };
    act(vec![
        reject(&cache, same),
        reject(&cache, same),
        get(&cache, |got| assert_eq!(generation(got), 1)),
    ]);
    assert_eq!(mints.load(Relaxed), 2);
}

fn requests_refresh_a_stale_token_once() {
    let (cache, mints) = cache();
    warm(&cache);
    begin_at(HOUR - Duration::from_secs(100));
    act((0..3).map(|_| get(&cache, |got| assert!(generation(got) <= 2))).collect());
    assert_eq!((mints.load(Relaxed), cache.stats().generation), (2, 2));
}

fn a_lost_runtime_is_replaced_by_one_new_flight<const REQUESTS: usize>() {
    let (cache, mints) = cache();
    let mut actors: Vec<Actor> = vec![Box::new(lose_runtime)];
    actors.extend((0..REQUESTS).map(|_| get(&cache, |got| assert_eq!(generation(got), 1))));
    act(actors);
    assert!(mints.load(Relaxed) <= 2);
}

fn a_401_while_the_runtime_is_lost_gets_the_next_token() {
    let (cache, mints) = cache();
    warm(&cache);
    act(vec![reject(&cache, newer), reject(&cache, newer), Box::new(lose_runtime)]);
    assert!(mints.load(Relaxed) <= 3);
}

fn a_flight_that_lands_after_its_deadline_fails_no_request() {
    // The source is never late, but its runtime may be.
    let (cache, mints) = counted(|| std::future::ready(()), numbered);
    let other = cache.clone();
    act(vec![
        get(&cache, |got| assert_eq!(generation(got), 1)),
        Box::new(move || {
            advance(Duration::from_secs(12));
            assert_eq!(generation(block_on(other.get())), 1);
        }),
    ]);
    assert!(mints.load(Relaxed) <= 2);
    assert_eq!(cache.stats().generation, 1, "a flight that was given up installs nothing");
}

fn the_warm_task_ends_with_the_last_clone() {
    let (cache, mints) = cache();
    warm(&cache);
    cache.keep_warm().expect("a runtime");
    let other = cache.clone();
    act(vec![Box::new(move || drop(cache)), Box::new(move || drop(other))]);
    assert_eq!(mints.load(Relaxed), 1);
}
