//! Users who log in, and the metadata server.

use super::*;

mod user {
    use super::*;

    #[tokio::test]
    async fn the_refresh_grant_is_also_served_at_the_path_of_gcp_auth() {
        let bench = Bench::new().await;
        for path in ["/token", "/o/oauth2/token"] {
            let answer = bench.user_refresh(path).await;
            assert_eq!(bench.principal(&answer.access_token()).await, "developer@example.com");
            let answer = bench.assertion_grant(now(), path).await;
            assert_eq!(bench.principal(&answer.access_token()).await, ACCOUNT);
        }
    }

    #[tokio::test]
    async fn a_login_can_be_revoked_or_require_its_password_again() {
        let bench = Bench::new().await;
        let workforce = parse(&bench.emulator.external_account_authorized_user());
        for (fault, body) in [
            (
                UserGrantFault::Revoked,
                json!({
                    "error": "invalid_grant",
                    "error_description": "Token has been expired or revoked.",
                }),
            ),
            (
                UserGrantFault::ReauthRequired,
                json!({
                    "error": "invalid_grant",
                    "error_description": "reauth related error (invalid_rapt)",
                    "error_uri": "https://support.google.com/a/answer/9368756",
                    "error_subtype": "invalid_rapt",
                }),
            ),
        ] {
            bench.behave(TokenBehavior { user_grant: Some(fault), ..TokenBehavior::default() });
            for answer in [
                bench.user_refresh("/token").await,
                bench.user_refresh("/o/oauth2/token").await,
                bench.workforce_refresh(&workforce).await,
            ] {
                assert_eq!((answer.status.as_u16(), answer.json()), (400, body.clone()));
            }
            // Only people have to log in again.
            bench.post("/v1/token", bench.exchange_fields()).await.access_token();
        }
    }
}

mod metadata {
    use super::*;

    #[tokio::test]
    async fn the_metadata_server_returns_its_account_and_universe() {
        let bench = Bench::new().await;
        let of = |account: &str, what: &str| {
            format!("/computeMetadata/v1/instance/service-accounts/{account}/{what}")
        };
        for (path, body) in [
            ("/computeMetadata/v1/universe/universe-domain", "googleapis.com"),
            (&of("default", "email"), MACHINE),
            (&of(MACHINE, "email"), MACHINE),
        ] {
            let answer = bench.metadata(path).await;
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, body), "{path}");
            assert_eq!(bench.get(path).await.status, StatusCode::FORBIDDEN);
        }
        for path in [
            of("default", "token"),
            of(MACHINE, "token"),
            of(&MACHINE.replace('@', "%40"), &format!("token?scopes={SCOPE},email")),
        ] {
            let token = bench.metadata(&path).await.access_token();
            assert_eq!(bench.principal(&token).await, MACHINE);
        }
        assert_eq!(bench.metadata(&of(ACCOUNT, "token")).await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn too_many_requests_are_refused_in_plain_text() {
        let bench = Bench::new().await;
        let fail = Some(TokenFault { status: 429, times: Some(1) });
        bench.behave(TokenBehavior { fail, ..TokenBehavior::default() });
        let answer = bench.metadata(METADATA_TOKEN).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer.headers["metadata-flavor"], "Google");
        bench.metadata(METADATA_TOKEN).await.access_token();
    }
}
