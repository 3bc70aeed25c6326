//! A wrong clock of the client.

use super::*;

#[tokio::test]
async fn a_client_with_a_wrong_clock_is_refused_and_gets_the_time() {
    let bench = Bench::new().await;
    let description = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a \
        reasonable timeframe. Check your iat and exp values in the JWT claim.";
    let offsets = [(0, true), (240, true), (-240, true), (-7200, false), (7200, false)];
    for (turn, (clock_offset_s, good)) in (0..).zip(offsets) {
        bench.behave(TokenBehavior { clock_offset_s, ..TokenBehavior::default() });
        let answer = bench.assertion_grant(now(), "/token").await;
        let self_signed = bench.chat(&bench.self_signed(now() + turn)).await;
        if good {
            answer.access_token();
            assert_eq!(self_signed.status, StatusCode::OK);
        } else {
            assert_eq!(answer.refusal(), (400, "invalid_grant".to_owned()));
            assert_eq!(answer.json()["error_description"], description);
            assert_eq!(self_signed.status, StatusCode::UNAUTHORIZED);
        }
        // With the time of the emulator's clock, which this `Date` contains, the client is
        // accepted.
        let theirs = now() + clock_offset_s;
        bench.assertion_grant(theirs, "/token").await.access_token();
        let date = answer.headers["date"].to_str().unwrap();
        let shown = rfc3339(theirs);
        assert!(date.contains(&shown[..4]) && date.ends_with(" GMT"), "{date}");
        let minutes = |time: &str| time.split(':').nth(1).unwrap().parse::<i64>().unwrap();
        assert!((minutes(&shown) - minutes(date)).rem_euclid(60) <= 1, "{date} {shown}");
        assert_eq!(self_signed.headers["date"].len(), date.len());
    }
}

#[tokio::test]
async fn an_impersonated_token_expires_by_the_emulators_clock() {
    let bench = Bench::new().await;
    let source = bench.emulator.mint();
    bench.behave(TokenBehavior { clock_offset_s: -86_400, ..TokenBehavior::default() });
    let path = impersonation_path("-", TARGET);
    let earliest = now() - 86_400 + 3600;
    let answer = bench.impersonate(Some(&source), &path, json!({ "scope": [SCOPE] })).await;
    let answer = answer.json();
    let expire_time = text(&answer, "expireTime");
    assert!((rfc3339(earliest).as_str()..=&rfc3339(earliest + 2)).contains(&expire_time));
    // The token is valid regardless of that time.
    assert_eq!(bench.principal(text(&answer, "accessToken")).await, TARGET);
}
