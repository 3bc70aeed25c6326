//! Users who log in.

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
