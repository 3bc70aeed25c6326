//! ID tokens, and the methods of the IAM credentials API that sign.

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

use super::*;

/// The public key of the emulator, as a client gets it for ID tokens.
async fn verify(bench: &Bench, message: &[u8], signature: &[u8]) {
    let keys = bench.get("/oauth2/v3/certs").await.json();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(text(&keys["keys"][0], name)).unwrap();
    let key = RsaPublicKeyComponents { n: part("n"), e: part("e") };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).unwrap();
}

async fn verify_jwt(bench: &Bench, jwt: &str) -> Value {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    verify(bench, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).await;
    claims(jwt)
}

fn path(method: &str) -> String {
    impersonation_path("-", TARGET).replace("generateAccessToken", method)
}

#[tokio::test]
async fn an_id_token_is_signed_with_the_published_key() {
    let bench = Bench::new().await;
    let audience = "https://example.com";
    let assertion = bench.sign(&json!({
        "iss": ACCOUNT, "aud": "https://oauth2.googleapis.com/token", "target_audience": audience,
        "iat": now(), "exp": now() + 3600,
    }));
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let fields = json!({ "grant_type": grant, "assertion": assertion });
    let of_account = bench.post("/token", form(&fields)).await.json()["id_token"].clone();
    let source = bench.emulator.mint();
    let body = json!({ "audience": audience, "includeEmail": true });
    let impersonated =
        bench.impersonate(Some(&source), &path("generateIdToken"), body).await.json()["token"]
            .clone();
    let identity = "/computeMetadata/v1/instance/service-accounts/default/identity";
    let of_machine = bench.metadata(&format!("{identity}?audience={audience}&format=full")).await;
    for (token, email) in [
        (of_account.as_str().unwrap(), ACCOUNT),
        (impersonated.as_str().unwrap(), TARGET),
        (of_machine.text(), MACHINE),
    ] {
        let claims = verify_jwt(&bench, token).await;
        assert_eq!((&claims["aud"], &claims["email"]), (&audience.into(), &email.into()));
        let facts = bench.get(&format!("/tokeninfo?id_token={token}")).await.json();
        assert_eq!(facts["email_verified"], "true");
    }
    let machine = verify_jwt(&bench, of_machine.text()).await;
    assert_eq!(machine["google"]["compute_engine"]["project_id"], "emulator-project");
    assert_eq!(bench.metadata(identity).await.status, StatusCode::BAD_REQUEST);

    let body = json!({ "audience": audience });
    let answer = bench.impersonate(Some(&source), &path("generateIdToken"), body).await.json();
    assert_eq!(claims(text(&answer, "token")).get("email"), None);
    let certificates = bench.get("/oauth2/v1/certs").await.json();
    let (_, certificate) = certificates.as_object().unwrap().iter().next().unwrap();
    assert!(certificate.as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
}

#[tokio::test]
async fn a_blob_and_a_jwt_are_signed_for_an_account() {
    let bench = Bench::new().await;
    let source = bench.emulator.mint();
    let body = json!({ "payload": STANDARD.encode("a blob"), "delegates": [] });
    let answer = bench.impersonate(Some(&source), &path("signBlob"), body).await.json();
    verify(&bench, b"a blob", &STANDARD.decode(text(&answer, "signedBlob")).unwrap()).await;

    let payload = json!({ "iss": TARGET, "exp": now() + 60 });
    let body = json!({ "payload": payload.to_string() });
    let answer = bench.impersonate(Some(&source), &path("signJwt"), body).await.json();
    assert_eq!(verify_jwt(&bench, text(&answer, "signedJwt")).await, payload);

    let far = json!({ "exp": now() + 50_000 }).to_string();
    for (method, body) in [
        ("signBlob", json!({ "payload": "no base64!" })),
        ("signBlob", json!({})),
        ("signJwt", json!({ "payload": "[]" })),
        ("signJwt", json!({ "payload": far })),
        ("signJwt", json!({ "payload": "{}", "other": 1 })),
        ("generateIdToken", json!({})),
        ("generateIdToken", json!({ "audience": "a", "delegates": 1 })),
    ] {
        let answer = bench.impersonate(Some(&source), &path(method), body.clone()).await;
        assert_eq!(answer.google_error()["status"], "INVALID_ARGUMENT", "{method} {body}");
    }
    bench.behave(TokenBehavior { impersonation_denied: true, ..TokenBehavior::default() });
    for (method, permission) in [
        ("signBlob", "iam.serviceAccounts.signBlob"),
        ("signJwt", "iam.serviceAccounts.signJwt"),
        ("generateIdToken", "iam.serviceAccounts.getOpenIdToken"),
    ] {
        let answer = bench.impersonate(Some(&source), &path(method), json!({})).await;
        let error = answer.google_error();
        assert_eq!(error["details"][0]["metadata"]["permission"], permission);
    }
}
