//! Federated identities: the Security Token Service and its workforce logins.

use super::*;

mod exchange {
    use super::*;

    #[tokio::test]
    async fn a_subject_token_is_exchanged_by_form_and_by_json() {
        let bench = Bench::new().await;
        let mut fields = bench.exchange_fields();
        fields["options"] = r#"{"userProject":"p"}"#.into();
        for body in [form(&fields), fields.to_string()] {
            let answer = bench.post("/v1/token", body).await;
            assert_eq!(answer.json()["issued_token_type"], format!("{TOKEN_TYPE}:access_token"));
            assert_eq!(answer.json()["token_type"], "Bearer");
            assert_eq!(answer.json()["expires_in"], 3600);
            assert_eq!(bench.principal(&answer.access_token()).await, WORKLOAD_PRINCIPAL);
        }
        for kind in ["id_token", "saml2", "jwt"] {
            fields["subject_token_type"] = format!("{TOKEN_TYPE}:{kind}").into();
            assert_eq!(bench.post("/v1/token", form(&fields)).await.status, StatusCode::OK);
        }
        fields["subject_token_type"] = "urn:ietf:params:aws:token-type:aws4_request".into();
        fields["audience"] = WORKFORCE.into();
        let answer = bench.post("/v1/token", form(&fields)).await;
        assert_eq!(bench.principal(&answer.access_token()).await, WORKFORCE_PRINCIPAL);
        let stats = bench.emulator.stats();
        assert_eq!((stats.token_requests, stats.token_mints), (6, 6));
    }

    #[tokio::test]
    async fn each_wrong_field_is_refused_with_its_own_code() {
        let bench = Bench::new().await;
        let good = bench.exchange_fields();
        for (name, value, error) in [
            ("grant_type", "refresh_token", "unsupported_grant_type"),
            ("audience", "//iam.googleapis.com/projects/1", "invalid_target"),
            ("scope", "https://example.com/other", "invalid_scope"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:jwt", "invalid_request"),
            ("subject_token_type", "jwt", "invalid_request"),
            ("subject_token", "wrong-subject-token", "invalid_grant"),
        ] {
            let mut wrong = good.clone();
            wrong[name] = value.into();
            let answer = bench.post("/v1/token", form(&wrong)).await;
            assert_eq!(answer.refusal(), (400, error.to_owned()), "{name}");
            assert!(!answer.text().contains(value));
            wrong.as_object_mut().unwrap().remove(name);
            let answer = bench.post("/v1/token", form(&wrong)).await;
            assert_eq!(answer.refusal(), (400, "invalid_request".to_owned()), "no {name}");
            assert!(answer.text().contains(name), "{}", answer.text());
        }
        assert_eq!(bench.get("/v1/token").await.status, StatusCode::NOT_FOUND);
        let stats = bench.emulator.stats();
        assert_eq!((stats.token_requests, stats.token_mints, stats.api_requests), (12, 0, 0));
    }
}

mod workforce {
    use super::*;

    #[tokio::test]
    async fn a_login_is_refreshed_by_an_authenticated_client() {
        let bench = Bench::new().await;
        let file = parse(&bench.emulator.external_account_authorized_user());
        let answer = bench.workforce_refresh(&file).await;
        assert_eq!(answer.json()["expires_in"], 3600);
        assert!(answer.json().get("refresh_token").is_none());
        assert_eq!(bench.principal(&answer.access_token()).await, WORKFORCE_PRINCIPAL);

        for name in ["client_id", "client_secret"] {
            let mut wrong = file.clone();
            wrong[name] = "wrong".into();
            let answer = bench.workforce_refresh(&wrong).await;
            assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()));
            assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
        }
        // The client's credentials must not be in the form instead.
        let mut fields = file.clone();
        fields["grant_type"] = "refresh_token".into();
        let answer = bench.post("/v1/oauthtoken", fields).await;
        assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()));

        let mut wrong = file.clone();
        wrong["refresh_token"] = "wrong".into();
        let answer = bench.workforce_refresh(&wrong).await;
        assert_eq!(answer.refusal(), (400, "invalid_grant".to_owned()));
    }

    #[tokio::test]
    async fn a_rotated_refresh_token_ends_the_previous_one() {
        let bench = Bench::new().await;
        bench.behave(TokenBehavior { rotate_refresh_token: true, ..TokenBehavior::default() });
        let first = parse(&bench.emulator.external_account_authorized_user());
        let rotated = bench.workforce_refresh(&first).await.json()["refresh_token"].clone();
        let again = bench.workforce_refresh(&first).await;
        assert_eq!(again.refusal(), (400, "invalid_grant".to_owned()));
        let mut second = first.clone();
        second["refresh_token"] = rotated;
        assert_eq!(second, parse(&bench.emulator.external_account_authorized_user()));
        bench.behave(TokenBehavior::default());
        for _ in 0..2 {
            assert_eq!(bench.workforce_refresh(&second).await.status, StatusCode::OK);
        }
        assert_eq!(bench.emulator.stats().token_mints, 3);
    }
}
