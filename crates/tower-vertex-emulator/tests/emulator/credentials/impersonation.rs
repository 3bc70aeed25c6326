//! `generateAccessToken`.

use super::*;

#[tokio::test]
async fn an_impersonated_token_has_the_account_and_the_requested_lifetime() {
    let bench = Bench::new().await;
    let source = bench.emulator.mint();
    bench.behave(TokenBehavior { allow_long_lifetimes: true, ..TokenBehavior::default() });
    for (lifetime, seconds) in [
        (Value::Null, 3600),
        (json!("3600s"), 3600),
        (json!("600.5s"), 600),
        (json!("43200s"), 43_200),
    ] {
        let body = json!({ "scope": [SCOPE], "lifetime": lifetime, "delegates": [] });
        let earliest = rfc3339(now() + seconds);
        for account in [TARGET, &TARGET.replace('@', "%40"), "123456789012345678901"] {
            let path = impersonation_path("-", account);
            let answer = bench.impersonate(Some(&source), &path, body.clone()).await;
            let token = text(&answer.json(), "accessToken").to_owned();
            assert_eq!(bench.principal(&token).await, account.replace("%40", "@"));
            let expire_time = text(&answer.json(), "expireTime").to_owned();
            assert!(expire_time >= earliest && expire_time <= rfc3339(now() + seconds + 1));
        }
    }
}

#[tokio::test]
async fn an_invalid_request_gets_googles_error() {
    let bench = Bench::new().await;
    let source = bench.emulator.mint();
    let good = json!({ "scope": [SCOPE] });
    let path = impersonation_path("-", TARGET);
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (path, body) in [
        (impersonation_path("emulator-project", TARGET), good.clone()),
        (impersonation_path("-", "nobody"), good.clone()),
        (path.clone(), json!({})),
        (path.clone(), json!([])),
        (path.clone(), with("scope", json!([]))),
        (path.clone(), with("scope", json!(SCOPE))),
        (path.clone(), with("delegates", json!("someone"))),
        (path.clone(), with("lifeTime", json!("60s"))),
        (path.clone(), with("lifetime", json!(3600))),
        (path.clone(), with("lifetime", json!("3600"))),
        (path.clone(), with("lifetime", json!("-1s"))),
        (path.clone(), with("lifetime", json!("0s"))),
    ] {
        let answer = bench.impersonate(Some(&source), &path, body.clone()).await;
        assert_eq!(answer.google_error()["status"], "INVALID_ARGUMENT", "{path} {body}");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    for (bearer, reason) in
        [(None, "CREDENTIALS_MISSING"), (Some("other"), "ACCESS_TOKEN_TYPE_UNSUPPORTED")]
    {
        let answer = bench.impersonate(bearer, &path, good.clone()).await;
        let error = answer.google_error();
        assert_eq!((answer.status.as_u16(), &error["status"]), (401, &json!("UNAUTHENTICATED")));
        assert_eq!(error["details"][0]["reason"], reason);
        assert_eq!(error["details"][0]["metadata"]["service"], "iamcredentials.googleapis.com");
    }
    let unknown = path.replace("generateAccessToken", "generateOther");
    assert_eq!(bench.impersonate(Some(&source), &unknown, good).await.status, 404);
    assert_eq!(bench.get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.emulator.stats().token_mints, 1);
    assert_eq!(bench.emulator.stats().api_requests, 0);
}

#[tokio::test]
async fn the_policies_of_the_organization_apply() {
    let bench = Bench::new().await;
    let source = bench.emulator.mint();
    let path = impersonation_path("-", TARGET);
    let ask = async |lifetime: &str| {
        let body = json!({ "scope": [SCOPE], "lifetime": lifetime });
        bench.impersonate(Some(&source), &path, body).await
    };
    for (allow_long_lifetimes, lifetime, longest) in
        [(false, "3600.5s", 3600), (false, "43200s", 3600), (true, "43201s", 43_200)]
    {
        bench.behave(TokenBehavior { allow_long_lifetimes, ..TokenBehavior::default() });
        let error = ask(lifetime).await.google_error();
        assert_eq!(error["status"], "INVALID_ARGUMENT");
        let message = format!("The access token lifetime cannot exceed {longest} seconds.");
        assert_eq!(error["message"], message);
    }
    bench.behave(TokenBehavior { impersonation_denied: true, ..TokenBehavior::default() });
    let answer = ask("60s").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let permission = "iam.serviceAccounts.getAccessToken";
    let expected = json!({
        "code": 403,
        "message":
            format!("Permission '{permission}' denied on resource (or it may not exist)."),
        "status": "PERMISSION_DENIED",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "IAM_PERMISSION_DENIED",
            "domain": "iam.googleapis.com",
            "metadata": { "permission": permission },
        }],
    });
    assert_eq!(answer.google_error(), expected);
}

#[tokio::test]
async fn an_impersonated_token_lives_for_the_shorter_of_both_lifetimes() {
    let bench = Bench::new().await;
    let source = bench.emulator.mint();
    let path = impersonation_path("-", TARGET);
    for (expires_in, lifetime) in [(json!(3600), "0.05s"), (json!(0.05), "3600s")] {
        bench.behave(TokenBehavior { expires_in, ..TokenBehavior::default() });
        let body = json!({ "scope": [SCOPE], "lifetime": lifetime });
        let answer = bench.impersonate(Some(&source), &path, body).await.json();
        assert!(text(&answer, "expireTime") <= rfc3339(now() + 1).as_str());
        let token = text(&answer, "accessToken");
        let dead = async { while bench.chat(token).await.status != StatusCode::UNAUTHORIZED {} };
        tokio::time::timeout(Duration::from_secs(20), dead).await.unwrap();
        assert_eq!(bench.emulator.requests().pop().unwrap().principal.unwrap(), TARGET);
    }
}

#[tokio::test]
async fn a_token_with_the_iam_scope_can_only_impersonate() {
    let bench = Bench::new().await;
    let path = impersonation_path("-", TARGET);
    let iam = "https://www.googleapis.com/auth/iam";
    let mut fields = bench.exchange_fields();
    // `google-cloud-auth` requests this scope before it impersonates.
    fields["scope"] = iam.into();
    let federated = bench.post("/v1/token", form(&fields)).await.access_token();
    let impersonate = async |bearer: &str, scope: &str| {
        let answer = bench.impersonate(Some(bearer), &path, json!({ "scope": [scope] })).await;
        text(&answer.json(), "accessToken").to_owned()
    };
    let whole = impersonate(&federated, SCOPE).await;
    assert_eq!(bench.principal(&whole).await, TARGET);
    let email = impersonate(&federated, "email").await;
    let refused = bench.impersonate(Some(&email), &path, json!({ "scope": [SCOPE] })).await;
    for answer in [bench.chat(&federated).await, bench.chat(&email).await, refused] {
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        let error = answer.google_error();
        assert_eq!(error["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.ends_with(r#"error="insufficient_scope""#), "{challenge}");
    }
}
