//! Tokens that Vertex AI has rejected, and sources that return the same token again.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_401_of_many_requests_forces_one_refresh() {
    let (cache, script) = cache(&[Token("a", 3600), Late(1, "b", 3600)]);
    value(&cache).await.unwrap();
    let rejections: Vec<_> = (0..1000).map(|_| tokio::spawn(cache.rejected(1))).collect();
    for rejection in rejections {
        let Ok(token) = rejection.await.unwrap() else { panic!("no new token") };
        assert_eq!(token.generation(), 2);
    }
    assert_eq!(script.reasons(), [Cold, Rejected]);
}

#[tokio::test(start_paused = true)]
async fn a_401_for_an_old_generation_replays_without_a_fetch() {
    let (cache, script) = cache(&[Token("a", 3600), Token("b", 3600)]);
    value(&cache).await.unwrap();
    assert!(cache.rejected(1).await.is_ok());
    assert!(futures_now(cache.rejected(1)).unwrap().is_ok());
    assert_eq!(script.reasons(), [Cold, Rejected]);
}

#[tokio::test(start_paused = true)]
async fn a_401_that_joins_a_fetch_of_the_same_token_forces_another_fetch() {
    let (cache, script) = cache(&[Token("a", 3600), Late(3, "a", 3600), Late(1, "b", 3600), Fail]);
    value(&cache).await.unwrap();
    seconds(3400).await;
    assert_eq!(value_at_once(&cache), "a", "while a fetch is in progress");
    settle().await;
    let rejections: Vec<_> = (0..64).map(|_| cache.rejected(1)).collect();
    for rejection in rejections {
        assert!(matches!(rejection.await, Ok(token) if token.generation() == 2));
    }
    assert_eq!(script.reasons(), [Cold, Proactive, Rejected]);
}

#[tokio::test(start_paused = true)]
async fn a_401_that_joins_a_fetch_that_fails_forces_no_other_fetch() {
    let script = Script::new(&[Token("a", 3600), Hang, Token("b", 3600)]);
    // Without a pause, nothing but the rule itself prevents another fetch.
    let settings = TokenCache::builder().refresh_jitter(Duration::ZERO);
    let cache = settings.backoff(Duration::ZERO, Duration::ZERO).build(script.clone());
    value(&cache).await.unwrap();
    seconds(3400).await;
    assert_eq!(value_at_once(&cache), "a");
    settle().await;
    assert!(matches!(cache.rejected(1).await, Err(RefreshOutcome::Failed(_))));
    assert_eq!(script.reasons(), [Cold, Proactive]);
}

#[tokio::test(start_paused = true)]
async fn a_new_request_waits_for_the_successor_of_a_suspect_token() {
    let (cache, script) = cache(&[Token("a", 3600), Soon(900, "b")]);
    value(&cache).await.unwrap();
    drop(cache.rejected(1));
    assert_eq!(value(&cache).await.unwrap(), "b");
    assert_eq!(script.reasons(), [Cold, Rejected]);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_token_is_used_if_no_other_can_be_fetched() {
    let (cache, script) = cache(&[Token("a", 3600), Fail]);
    value(&cache).await.unwrap();
    assert!(matches!(cache.rejected(1).await, Err(RefreshOutcome::Failed(_))));
    assert_eq!(value_at_once(&cache), "a");
    script.then(&[Token("b", 3600)]);
    seconds(2).await;
    assert_eq!(value(&cache).await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_token_keeps_its_generation_and_is_fetched_less_often() {
    let (cache, script) = cache(&[Token("a", 3600)]);
    value(&cache).await.unwrap();
    assert!(matches!(cache.rejected(1).await, Err(RefreshOutcome::SameToken)));
    assert!(matches!(futures_now(cache.rejected(1)), Some(Err(RefreshOutcome::SameToken))));
    assert_eq!(cache.stats().generation, 1);
    for _ in 0..29 {
        seconds(1).await;
        value(&cache).await.unwrap();
    }
    // The pauses are 2 s and 4 s. After that, the bucket of forced refreshes is empty.
    assert_eq!(script.fetches(), [(0, Cold), (0, Rejected), (2, Rejected), (6, Rejected)]);
    assert_eq!(cache.stats().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_metadata_server_repeats_is_polled_until_a_new_one_comes() {
    // The first refresh is at 3375 s, and the server repeats the token until 3420 s.
    let (cache, script) = cache(&[Token("a", 3600), Token("a", 224)]);
    value(&cache).await.unwrap();
    seconds(3375).await;
    for tenth in 0..600 {
        if tenth == 450 {
            script.then(&[Token("b", 3600)]);
        }
        value_at_once(&cache);
        advance(Duration::from_millis(100)).await;
        settle().await;
    }
    assert_eq!(value_at_once(&cache), "b");
    let times: Vec<_> = script.fetches().iter().map(|(time, _)| *time).collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The last fetch gets the new token. A tick of the test is at most a tenth of a second late.
    let expected = [3375, 2, 4, 8, 15, 15, 15];
    assert_eq!(gaps.len(), expected.len(), "{times:?}");
    for (gap, expected) in gaps.iter().zip(expected) {
        assert!((expected..=expected + 1).contains(gap), "{times:?}");
    }
}
