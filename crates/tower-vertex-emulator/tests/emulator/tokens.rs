use super::*;

const METADATA_TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn jwt_form(assertion: &str) -> String {
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    form(&[("grant_type", grant), ("assertion", assertion)])
}

#[tokio::test]
async fn gcp_auth_gets_a_token_for_the_service_account() {
    use gcp_auth::{CustomServiceAccount, TokenProvider as _};

    for tls in [false, true] {
        let emulator = Emulator::builder().tls(tls).start().await.unwrap();
        let mut bench = Bench::over(emulator, Version::HTTP_11);
        let key = bench.emulator.service_account_key();
        let account = CustomServiceAccount::from_json(&key).unwrap();
        bench.token = account.token(&[SCOPE]).await.unwrap().as_str().to_owned();
        assert_eq!(bench.chat().await.status, StatusCode::OK);
        assert_eq!(bench.emulator.requests()[0].token_generation, Some(2));
        let other = CustomServiceAccount::from_json(&key).unwrap();
        assert!(other.token(&["https://example.com/other"]).await.is_err());
        assert_eq!(bench.emulator.stats().token_mints, 2);
    }
}

#[tokio::test]
async fn an_assertion_is_accepted_only_with_its_signature_and_valid_claims() {
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

    let bench = Bench::new().await;
    let key: Value = serde_json::from_str(&bench.emulator.service_account_key()).unwrap();
    let account = gcp_auth::CustomServiceAccount::from_json(&key.to_string()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let claims = json!({
        "iss": key["client_email"], "aud": key["token_uri"], "scope": SCOPE,
        "iat": now, "exp": now + 3600,
    });
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key["private_key_id"] });
    let sign = |header: &Value, claims: &Value, pad: bool| {
        let encode = |data: &[u8]| {
            if pad { URL_SAFE.encode(data) } else { URL_SAFE_NO_PAD.encode(data) }
        };
        let header = encode(header.to_string().as_bytes());
        let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
        let signature = account.signer().sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(&signature))
    };
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        sign(&header, &claims, false)
    };
    let ask = async |assertion: &str| bench.ask_for_token(jwt_form(assertion)).await;

    for pad in [false, true] {
        let answer = ask(&sign(&header, &claims, pad)).await.json();
        assert!(answer["access_token"].as_str().unwrap().starts_with("ya29.emulator-"));
        assert_eq!(answer["expires_in"], 3600);
        assert_eq!(answer["token_type"], "Bearer");
    }
    let good = sign(&header, &claims, false);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = changed("scope", json!(format!("{SCOPE} email")));
    let swapped = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    for (why, assertion) in [
        ("signature", swapped),
        ("no signature", format!("{signed}.")),
        ("parts", signed.to_owned()),
        ("alg", sign(&json!({ "alg": "none" }), &claims, false)),
        ("alg", sign(&json!({ "alg": "HS256" }), &claims, false)),
        ("kid", sign(&json!({ "alg": "RS256", "kid": "other" }), &claims, false)),
        ("iss", changed("iss", "someone@else".into())),
        ("aud", changed("aud", "https://oauth2.googleapis.com/".into())),
        ("scope", changed("scope", "https://example.com/other".into())),
        ("scope", changed("scope", Value::Null)),
        ("iat", changed("iat", (now + 600).into())),
        ("exp", changed("exp", (now + 3700).into())),
        ("exp", changed("exp", (now - 1).into())),
        ("nothing", "".into()),
    ] {
        let answer = ask(&assertion).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{why}");
        let expected = if why == "scope" { "invalid_scope" } else { "invalid_grant" };
        assert_eq!(answer.json()["error"], expected, "{why}");
        assert!(answer.json()["error_description"].is_string());
        assert!(assertion.is_empty() || !answer.text().contains(&assertion));
    }
    assert_eq!(bench.emulator.stats().token_mints, 3);
}

#[tokio::test]
async fn the_refresh_grant_is_accepted_as_a_form_and_as_json() {
    let bench = Bench::new().await;
    let mut grant: Value = serde_json::from_str(&bench.emulator.authorized_user()).unwrap();
    assert_eq!(grant["type"], "authorized_user");
    assert_eq!(grant["token_uri"], format!("{}/token", bench.emulator.url()));
    grant["grant_type"] = "refresh_token".into();
    let pairs: Vec<(&str, &str)> = grant
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let as_form = bench.ask_for_token(form(&pairs)).await.json();
    let as_json = bench.ask_for_token(grant.to_string()).await.json();
    assert!(as_form["access_token"].is_string());
    assert_ne!(as_form["access_token"], as_json["access_token"]);
    for (name, status, error) in [
        ("refresh_token", 400, "invalid_grant"),
        ("client_secret", 401, "invalid_client"),
        ("grant_type", 400, "unsupported_grant_type"),
    ] {
        let mut wrong = grant.clone();
        wrong[name] = "wrong".into();
        let answer = bench.ask_for_token(wrong.to_string()).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["error"], error);
    }
    assert_eq!(bench.ask_for_token(String::new()).await.status, 400);
}

#[tokio::test]
async fn the_metadata_server_requires_and_returns_its_flavor_header() {
    let mut bench = Bench::new().await;
    let account = "/computeMetadata/v1/instance/service-accounts/default";
    for (path, body) in [
        ("/computeMetadata/v1/project/project-id", "emulator-project"),
        (&format!("{account}/email"), "123456789012-compute@developer.gserviceaccount.com"),
        (&format!("{account}/scopes"), &format!("{SCOPE}\n")),
    ] {
        let answer = bench.metadata(path).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, body));
        assert_eq!(answer.headers["metadata-flavor"], "Google");
        let plain = bench.get(path).await;
        assert_eq!(plain.status, StatusCode::FORBIDDEN);
        assert_eq!(plain.headers["metadata-flavor"], "Google");
    }
    assert_eq!(bench.get(METADATA_TOKEN).await.status, StatusCode::FORBIDDEN);
    assert_eq!(bench.metadata("/computeMetadata/v1/other").await.status, 404);
    let answer = bench.metadata(METADATA_TOKEN).await.json();
    bench.token = answer["access_token"].as_str().unwrap().to_owned();
    assert_eq!(bench.chat().await.status, StatusCode::OK);
    // Requests for tokens are not counted as requests to the API.
    assert_eq!(bench.emulator.stats().api_requests, 1);
}

#[tokio::test]
async fn the_same_token_is_returned_even_after_its_revocation() {
    let mut bench = Bench::new().await;
    let same = |expires_in| TokenBehavior {
        expires_in,
        same_until_expiry: true,
        ..TokenBehavior::default()
    };
    bench.emulator.set_token_behavior(same("3600".into()));
    let first = bench.metadata(METADATA_TOKEN).await.json();
    assert_eq!(first["expires_in"], "3600");
    bench.emulator.revoke_tokens();
    let second = bench.metadata(METADATA_TOKEN).await.json();
    assert_eq!(first["access_token"], second["access_token"]);
    assert!(second["expires_in"].as_str().unwrap().parse::<u64>().unwrap() < 3600);
    bench.token = second["access_token"].as_str().unwrap().to_owned();
    assert_eq!(bench.chat().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bench.emulator.stats().token_mints, 2);
    assert!(!format!("{:?}", bench.emulator).contains("ya29"));

    // A short-lived token is renewed in the second half of its lifetime.
    bench.emulator.set_token_behavior(same(json!(0.2)));
    let renewed = async {
        while bench.emulator.stats().token_mints < 4 {
            bench.metadata(METADATA_TOKEN).await;
        }
    };
    soon("a new token", renewed).await;
    let stats = bench.emulator.stats();
    assert!(stats.token_requests > stats.token_mints);
}

#[tokio::test]
async fn expires_in_is_returned_verbatim_and_the_token_is_valid() {
    let mut bench = Bench::new().await;
    for value in [
        json!(0),
        json!(-1),
        json!(null),
        json!("3600"),
        json!("soon"),
        json!(10_000_000_000_000_000_000_u64),
        json!({ "a": [1] }),
    ] {
        let set = bench.control("PUT", "token", json!({ "expires_in": value })).await;
        assert_eq!(set.json()["expires_in"], value);
        let answer = bench.metadata(METADATA_TOKEN).await.json();
        assert_eq!(answer["expires_in"], value);
        bench.token = answer["access_token"].as_str().unwrap().to_owned();
        assert_eq!(bench.chat().await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_token_endpoint_returns_the_configured_faults_and_delays() {
    let bench = Bench::new().await;
    let fail = Some(TokenFault { status: 503, times: Some(2) });
    bench.emulator.set_token_behavior(TokenBehavior { fail, ..TokenBehavior::default() });
    for status in [503, 503, 200] {
        assert_eq!(bench.metadata(METADATA_TOKEN).await.status, status);
    }
    bench.control("PUT", "token", json!({ "fail": { "status": 400 } })).await;
    for _ in 0..3 {
        let refused = bench.ask_for_token(jwt_form("x")).await;
        assert_eq!(refused.json()["error"], "invalid_grant");
    }
    let respond = json!({ "respond": {
        "status": 302, "content_type": "text/html", "headers": { "location": "http://x/" },
        "body": "<html>",
    }});
    assert_eq!(bench.control("PUT", "token", respond).await.status, 200);
    let answer = bench.metadata(METADATA_TOKEN).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (302, "<html>"));
    assert_eq!(answer.headers["location"], "http://x/");
    assert_eq!(answer.headers["content-type"], "text/html");

    bench.control("PUT", "token", json!({ "delay_ms": 30 })).await;
    let start = Instant::now();
    bench.metadata(METADATA_TOKEN).await;
    assert!(start.elapsed() >= Duration::from_millis(30));

    bench.control("PUT", "token", json!({ "hang": true })).await;
    let before = bench.emulator.stats().token_requests;
    tokio::select! {
        _ = bench.metadata(METADATA_TOKEN) => panic!("the emulator responded"),
        () = until("the request arrives", || bench.emulator.stats().token_requests > before) => {}
    }
    assert_eq!(bench.emulator.stats().token_mints, 3);
}
