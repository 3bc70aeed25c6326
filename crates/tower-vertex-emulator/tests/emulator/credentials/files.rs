//! Credential files and settings.

use super::*;

#[tokio::test]
async fn every_file_is_the_same_from_the_method_and_the_control_api() {
    let bench = Bench::new().await;
    let emulator = &bench.emulator;
    let path = "/tmp/a subject & token";
    let query = form(&json!({ "file": path }));
    for (name, file, kind) in [
        ("service_account_key".to_owned(), emulator.service_account_key(), "service_account"),
        ("authorized_user".to_owned(), emulator.authorized_user(), "authorized_user"),
        (
            "external_account_authorized_user".to_owned(),
            emulator.external_account_authorized_user(),
            "external_account_authorized_user",
        ),
        (
            "impersonated_service_account".to_owned(),
            emulator.impersonated_service_account(),
            "impersonated_service_account",
        ),
        (format!("external_account?{query}"), emulator.external_account(path), "external_account"),
        (
            format!("external_account_impersonated?{query}"),
            emulator.external_account_impersonated(path),
            "external_account",
        ),
    ] {
        let file = parse(&file);
        assert_eq!(bench.get(&format!("/__emulator/{name}")).await.json(), file, "{name}");
        assert_eq!(file["type"], kind);
        assert_eq!(file["universe_domain"], "googleapis.com");
        let urls = file
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| name.ends_with("_url") || name.ends_with("_uri"));
        for (name, url) in urls {
            let url = url.as_str().unwrap();
            assert!(url.starts_with(&emulator.control_url()), "{name}: {url}");
        }
    }
    let file = parse(&emulator.external_account(path));
    assert_eq!(file["credential_source"], json!({ "file": path }));
    assert!(file.get("service_account_impersonation_url").is_none());

    let answer = bench.get("/__emulator/subject_token").await;
    assert_eq!(answer.text(), emulator.subject_token());
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    for name in ["external_account", "external_account_impersonated?file="] {
        let answer = bench.get(&format!("/__emulator/{name}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text().contains("?file=PATH"));
    }
    assert_eq!(bench.post("/__emulator/subject_token", "").await.status, 405);
}

#[tokio::test]
async fn a_file_has_googles_addresses_if_they_are_requested() {
    let bench = Bench::new().await;
    let path = "/tmp/subject-token";
    let iam = format!("https://iamcredentials.googleapis.com{}", impersonation_path("-", TARGET));
    let (token, sts) = ("https://oauth2.googleapis.com/token", "https://sts.googleapis.com/v1");
    for (name, kind, addresses) in [
        ("service_account_key", CredentialKind::ServiceAccount, json!({ "token_uri": token })),
        ("authorized_user", CredentialKind::AuthorizedUser, json!({ "token_uri": token })),
        (
            "impersonated_service_account",
            CredentialKind::ImpersonatedServiceAccount,
            json!({ "service_account_impersonation_url": iam }),
        ),
        (
            "external_account",
            CredentialKind::ExternalAccount,
            json!({ "token_url": format!("{sts}/token"),
                    "token_info_url": format!("{sts}/introspect") }),
        ),
        (
            "external_account_impersonated",
            CredentialKind::ExternalAccountImpersonated,
            json!({ "token_url": format!("{sts}/token"),
                    "service_account_impersonation_url": iam }),
        ),
        (
            "external_account_authorized_user",
            CredentialKind::ExternalAccountAuthorizedUser,
            json!({ "token_url": format!("{sts}/oauthtoken") }),
        ),
    ] {
        let file = parse(&bench.emulator.credential_at_google(kind, path));
        for (name, address) in addresses.as_object().unwrap() {
            assert_eq!(&file[name], address);
        }
        let control = format!("/__emulator/{name}?at=google&file={path}");
        assert_eq!(bench.get(&control).await.json(), file);
    }
    let answer = bench.get("/__emulator/authorized_user?at=home").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn each_credential_file_leads_to_a_valid_token() {
    let bench = Bench::new().await;
    let file = parse(&bench.emulator.external_account_impersonated("unread"));
    let mut fields = bench.exchange_fields();
    fields["audience"] = file["audience"].clone();
    fields["subject_token_type"] = file["subject_token_type"].clone();
    let url = Request::post(text(&file, "token_url"));
    let federated = bench.send(url, form(&fields)).await.access_token();
    let impersonated = parse(&bench.emulator.impersonated_service_account());
    let mut source = impersonated["source_credentials"].clone();
    source["grant_type"] = "refresh_token".into();
    let url = Request::post(text(&source, "token_uri"));
    let user = bench.send(url, source.to_string()).await.access_token();
    for (source, file) in [(federated, file), (user, impersonated)] {
        let request = Request::post(text(&file, "service_account_impersonation_url"))
            .header("authorization", format!("Bearer {source}"));
        let body = json!({ "scope": [SCOPE], "lifetime": "3600s", "delegates": [] });
        let answer = bench.send(request, body.to_string()).await.json();
        assert_eq!(bench.principal(text(&answer, "accessToken")).await, TARGET);
    }
}

#[tokio::test]
async fn settings_in_json_are_checked() {
    let bench = Bench::new().await;
    let put = async |what: &str, body: Value| {
        let request = Request::put(bench.url(&format!("/__emulator/{what}")));
        bench.send(request, body.to_string()).await
    };
    let all = json!({
        "user_grant": "reauth_required", "rotate_refresh_token": true,
        "impersonation_denied": true, "allow_long_lifetimes": true, "clock_offset_s": -60,
        "token_length": "longest",
    });
    let shown = put("token", all.clone()).await.json();
    for (name, value) in all.as_object().unwrap() {
        assert_eq!(&shown[name], value);
    }
    let faults = json!({ "api": { "status": 403, "reason": "SERVICE_DISABLED" } });
    assert_eq!(put("faults", faults).await.json()["api"]["reason"], "SERVICE_DISABLED");
    for (what, body) in [
        ("token", json!({ "user_grant": "Revoked" })),
        ("token", json!({ "clock_offset_s": 1_000_000_001 })),
        ("token", json!({ "clock_offset_s": 0.5 })),
        ("token", json!({ "clock_offset_ms": 1 })),
        ("token", json!({ "token_length": 2048 })),
        ("faults", json!({ "api": { "status": 403, "reason": "" } })),
        ("faults", json!({ "api": { "status": 403, "reason": "service disabled" } })),
        ("faults", json!({ "api": { "status": 403, "reasons": "X" } })),
    ] {
        assert_eq!(put(what, body.clone()).await.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let token = bench.get("/__emulator/token").await.json();
    assert_eq!(token["user_grant"], "reauth_required");
}
