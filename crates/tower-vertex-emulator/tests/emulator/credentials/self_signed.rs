//! Tokens that the service account signs itself.

use super::*;

#[tokio::test]
async fn a_self_signed_token_counts_as_minted_at_its_first_use() {
    let bench = Bench::new().await;
    let token = bench.self_signed(now());
    assert_eq!(bench.emulator.stats().token_mints, 0);
    for _ in 0..2 {
        assert_eq!(bench.principal(&token).await, ACCOUNT);
    }
    let stats = bench.emulator.stats();
    assert_eq!((stats.token_mints, stats.token_requests), (1, 0));
    assert_eq!(bench.emulator.requests()[1].token_generation, Some(1));
    let path = impersonation_path("-", TARGET);
    let answer = bench.impersonate(Some(&token), &path, json!({ "scope": [SCOPE] })).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn revocation_ends_used_tokens_and_not_those_signed_later() {
    let bench = Bench::new().await;
    let at = now();
    let first = bench.self_signed(at);
    assert_eq!(bench.chat(&first).await.status, StatusCode::OK);
    bench.emulator.revoke_tokens();
    for again in [&first, &bench.self_signed(at)] {
        assert_eq!(bench.chat(again).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(bench.chat(&bench.self_signed(at + 1)).await.status, StatusCode::OK);
    let generations: Vec<_> =
        bench.emulator.requests().iter().map(|record| record.token_generation).collect();
    assert_eq!(generations, [Some(1), Some(1), Some(1), Some(2)]);
}

#[tokio::test]
async fn a_token_is_accepted_only_with_its_signature_and_valid_claims() {
    let bench = Bench::new().await;
    let at = now();
    let good = bench.self_signed(at);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let swapped = bench.self_signed(at + 1);
    let swapped = format!("{}.{signature}", swapped.rsplit_once('.').unwrap().0);
    let mut wrong = vec![swapped, signed.to_owned(), format!("{signed}."), "a.b.c".to_owned()];
    for (name, value) in [
        ("iss", json!("someone@else")),
        ("sub", json!("someone@else")),
        ("aud", json!(bench.url("/token"))),
        ("scope", json!("https://example.com/other")),
        ("scope", Value::Null),
        ("iat", json!(at + 600)),
        ("exp", json!(at)),
        ("exp", json!(at + 7200)),
    ] {
        let mut claims = self_signed_claims(at);
        claims[name] = value;
        wrong.push(bench.sign(&claims));
    }
    for token in wrong {
        let answer = bench.chat(&token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let reason = &answer.google_error()["details"][0]["reason"];
        assert_eq!(reason, "ACCESS_TOKEN_TYPE_UNSUPPORTED");
    }
    assert_eq!(bench.emulator.stats().token_mints, 0);
    assert!(bench.emulator.requests().iter().all(|record| record.principal.is_none()));
}

#[tokio::test]
async fn concurrent_first_uses_count_as_one_mint() {
    let bench = Bench::new().await;
    let token = bench.self_signed(now());
    let (a, b, c, d) = tokio::join!(
        bench.chat(&token),
        bench.chat(&token),
        bench.chat(&token),
        bench.chat(&token),
    );
    for answer in [a, b, c, d] {
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert_eq!(bench.emulator.stats().token_mints, 1);
}
