//! Names of the token endpoint, scopes and audiences.

use super::*;

const AUTH: &str = "https://www.googleapis.com/auth";
const ENDPOINTS: &str = "/v1/projects/p1/locations/us-central1/endpoints";

impl Bench {
    async fn grant_for(&self, changes: Value) -> Answer {
        let mut claims = json!({
            "iss": ACCOUNT, "aud": self.url("/token"), "scope": SCOPE,
            "iat": now(), "exp": now() + 3600,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let fields = json!({ "grant_type": grant, "assertion": self.sign(&claims) });
        self.post("/token", form(&fields)).await
    }

    async fn get_with(&self, token: &str, path: &str) -> Answer {
        let request =
            Request::get(self.url(path)).header("authorization", format!("Bearer {token}"));
        self.send(request, String::new()).await
    }
}

#[tokio::test]
async fn the_token_endpoint_is_an_audience_by_each_of_its_names() {
    let bench = Bench::new().await;
    for audience in [
        "https://oauth2.googleapis.com/token",
        "https://www.googleapis.com/oauth2/v4/token",
        "https://accounts.google.com/o/oauth2/token",
        &bench.url("/token"),
    ] {
        let token = bench.grant_for(json!({ "aud": audience })).await.access_token();
        assert_eq!(bench.principal(&token).await, ACCOUNT, "{audience}");
    }
    for audience in ["https://oauth2.googleapis.com/", "https://example.com/token"] {
        let answer = bench.grant_for(json!({ "aud": audience })).await;
        assert_eq!(answer.refusal(), (400, "invalid_grant".to_owned()), "{audience}");
    }
    let answer = bench.assertion_grant(now(), "/oauth2/v4/token").await;
    assert_eq!(bench.principal(&answer.access_token()).await, ACCOUNT);
}

#[tokio::test]
async fn a_token_of_any_scope_is_issued_and_each_service_checks_it() {
    let bench = Bench::new().await;
    let impersonation = impersonation_path("-", TARGET);
    for (scope, chat, list, impersonate, project) in [
        ("cloud-platform", 200, 200, 200, 200),
        ("cloud-platform.read-only", 200, 403, 403, 200),
        ("aiplatform", 200, 200, 403, 403),
        ("iam", 403, 403, 200, 403),
        ("devstorage.read_write", 403, 403, 403, 403),
    ] {
        let scopes = format!("openid {AUTH}/{scope}");
        let token = bench.grant_for(json!({ "scope": scopes })).await.access_token();
        let body = json!({ "scope": [SCOPE] });
        for (what, answer, status) in [
            ("chat", bench.chat(&token).await, chat),
            ("list", bench.get_with(&token, ENDPOINTS).await, list),
            (
                "impersonate",
                bench.impersonate(Some(&token), &impersonation, body).await,
                impersonate,
            ),
            ("project", bench.get_with(&token, "/v1/projects/123456789012").await, project),
        ] {
            assert_eq!(answer.status.as_u16(), status, "{scope}: {what}");
            if status == 403 {
                let error = answer.google_error();
                assert_eq!(error["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
                assert_eq!(error["status"], "PERMISSION_DENIED");
            }
        }
    }
    for scope in ["", "https://example.com/other", "cloud-platform"] {
        let answer = bench.grant_for(json!({ "scope": scope })).await;
        assert_eq!(answer.refusal(), (400, "invalid_scope".to_owned()), "{scope}");
    }
}

#[tokio::test]
async fn a_self_signed_token_with_an_audience_is_for_that_service() {
    let bench = Bench::new().await;
    let impersonation = impersonation_path("-", TARGET);
    for (audience, chat, impersonate) in [
        ("https://aiplatform.googleapis.com/", 200, 401),
        ("https://us-central1-aiplatform.googleapis.com/", 200, 401),
        ("https://iamcredentials.googleapis.com/", 401, 200),
        (&bench.url("/"), 200, 401),
        ("https://storage.googleapis.com/", 401, 401),
        ("https://example.com/", 401, 401),
    ] {
        let mut claims = self_signed_claims(now());
        claims["scope"].take();
        claims["aud"] = audience.into();
        let token = bench.sign(&claims);
        assert_eq!(bench.chat(&token).await.status.as_u16(), chat, "{audience}");
        let body = json!({ "scope": [SCOPE] });
        let answer = bench.impersonate(Some(&token), &impersonation, body).await;
        assert_eq!(answer.status.as_u16(), impersonate, "{audience}");
    }
}

#[tokio::test]
async fn a_user_gets_the_scopes_of_the_login_and_an_id_token() {
    let bench = Bench::new().await;
    let refresh = async |scope: Option<&str>| {
        let mut fields = parse(&bench.emulator.authorized_user());
        fields["grant_type"] = "refresh_token".into();
        if let Some(scope) = scope {
            fields["scope"] = scope.into();
        }
        bench.post("/token", fields).await
    };
    let email = format!("{AUTH}/userinfo.email");
    let answer = refresh(None).await.json();
    assert_eq!(answer["scope"], format!("openid {email} {SCOPE}"));
    let claims = claims(text(&answer, "id_token"));
    assert_eq!(claims["iss"], "https://accounts.google.com");
    assert_eq!(claims["email"], "developer@example.com");
    assert_eq!(claims["aud"], "emulator.apps.googleusercontent.com");

    let answer = refresh(Some(&email)).await;
    assert_eq!(answer.json()["scope"], email);
    assert!(answer.json().get("id_token").is_none());
    assert_eq!(bench.chat(&answer.access_token()).await.status, StatusCode::FORBIDDEN);
    let answer = refresh(Some(&format!("{AUTH}/iam"))).await;
    assert_eq!(answer.refusal(), (400, "invalid_scope".to_owned()));
}

#[tokio::test]
async fn tokens_are_as_long_as_the_setting_says() {
    let longest = TokenBehavior { token_length: TokenLength::Longest, ..TokenBehavior::default() };
    let emulator = Emulator::builder().token_behavior(longest).start().await.unwrap();
    let bench = Bench::over(emulator);
    let usual = TokenBehavior { token_length: TokenLength::Usual, ..TokenBehavior::default() };
    for (behavior, grant, exchange) in
        [(None, 2048, 12_288), (Some(usual), 1024, 1024), (Some(TokenBehavior::default()), 57, 57)]
    {
        if let Some(behavior) = behavior {
            bench.behave(behavior);
        }
        let token = bench.grant_for(json!({})).await.access_token();
        let federated = bench.post("/v1/token", bench.exchange_fields()).await.access_token();
        assert_eq!((token.len(), federated.len()), (grant, exchange));
        for token in [token, federated] {
            assert_eq!(bench.chat(&token).await.status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn facts_about_a_token_are_served_where_the_credential_files_lead() {
    let bench = Bench::new().await;
    let token = bench.grant_for(json!({ "scope": format!("{AUTH}/iam") })).await.access_token();
    let bearer =
        Request::post(bench.url("/tokeninfo")).header("authorization", format!("Bearer {token}"));
    let query = format!("access_token={token}");
    for answer in [
        bench.get(&format!("/tokeninfo?{query}")).await,
        bench.get(&format!("/oauth2/v3/tokeninfo?{query}")).await,
        bench.post("/tokeninfo", &query).await,
        bench.send(bearer, String::new()).await,
    ] {
        let facts = answer.json();
        assert_eq!(
            (&facts["email"], &facts["scope"]),
            (&ACCOUNT.into(), &format!("{AUTH}/iam").into())
        );
        assert!((3590..=3600).contains(&text(&facts, "expires_in").parse::<u64>().unwrap()));
    }
    let answer = bench.get("/tokeninfo?access_token=other").await;
    assert_eq!(answer.refusal(), (400, "invalid_token".to_owned()));

    let file = parse(&bench.emulator.external_account_authorized_user());
    let basic = format!("{}:{}", text(&file, "client_id"), text(&file, "client_secret"));
    for (token, active) in [(token.as_str(), true), ("other", false)] {
        let request = Request::post(text(&file, "token_info_url"))
            .header("authorization", format!("Basic {}", STANDARD.encode(&basic)));
        let answer = bench.send(request, format!("token={token}")).await.json();
        assert_eq!((&answer["active"], answer["username"] == ACCOUNT), (&active.into(), active));
    }
    let answer = bench.post("/v1/introspect", format!("token={token}")).await;
    assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn the_number_of_a_project_leads_to_its_id() {
    let bench = Bench::new().await;
    let token = bench.grant_for(json!({})).await.access_token();
    for (project, id) in [("123456789012", "emulator-project"), ("p1", "p1")] {
        let answer = bench.get_with(&token, &format!("/v1/projects/{project}")).await.json();
        assert_eq!(answer["projectId"], id);
        assert_eq!(answer["projectNumber"], "123456789012");
    }
    let answer = bench.get_with(&token, "/v1/projects/1").await;
    assert_eq!(answer.google_error()["status"], "PERMISSION_DENIED");
    let answer = bench.get("/v1/projects/p1").await;
    assert_eq!(
        answer.google_error()["details"][0]["metadata"]["service"],
        "cloudresourcemanager.googleapis.com"
    );
}
