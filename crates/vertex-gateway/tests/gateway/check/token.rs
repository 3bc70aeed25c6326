//! `vertex-gateway token`.

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tower_vertex::replay::ReplayBody;
use tower_vertex_emulator::{Emulator, LiteralResponse, TokenBehavior, UserGrantFault};

use super::{ACCOUNT, world::World};
use crate::common::{Http, client};

#[tokio::test]
async fn the_token_is_the_only_output() {
    let mut world = World::new().await;
    let key = world.key();
    let run = world.run(&["token", "--credentials", &key]).await;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let token = run.stdout.strip_suffix('\n').unwrap();
    assert!(!token.contains(char::is_whitespace), "{token}");
    assert_eq!(status_with(&world.vertex, token).await, StatusCode::OK);

    // With --json, and for the account to impersonate that the environment names.
    let mut command = world.command(&["token", "--json"]);
    let chain = format!("first@p1.iam.gserviceaccount.com, {ACCOUNT}");
    command
        .env("GOOGLE_APPLICATION_CREDENTIALS", &key)
        .env("VERTEX_GATEWAY_IMPERSONATE_SERVICE_ACCOUNT", chain)
        .env("VERTEX_GATEWAY_TOKEN_LIFETIME", "30m")
        .env("VERTEX_GATEWAY_IAM_ENDPOINT", world.vertex.url());
    let run = world.end(command).await;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["token_type"], "Bearer");
    let seconds = document["expires_in"].as_u64().unwrap();
    assert!((1700..=1800).contains(&seconds), "{seconds}");
    let end = document["expires_at"].as_str().unwrap();
    assert!(end.len() == 20 && end.ends_with('Z'), "{end}");
    let token = document["access_token"].as_str().unwrap();
    assert_eq!(status_with(&world.vertex, token).await, StatusCode::OK);
    let asked = world.vertex.requests();
    assert_eq!(asked.last().unwrap().principal.as_deref(), Some(ACCOUNT));

    // Some servers do not report when a token expires.
    let user = world.user();
    let body = r#"{"access_token":"ya29.without-an-end","token_type":"Bearer"}"#;
    let literal = LiteralResponse { body: body.to_owned(), ..LiteralResponse::default() };
    let behavior = TokenBehavior { respond: Some(literal), ..TokenBehavior::default() };
    world.vertex.set_token_behavior(behavior);
    let run = world.run(&["token", "--json", "--credentials", &user]).await;
    world.vertex.set_token_behavior(TokenBehavior::default());
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&document["expires_in"], &document["expires_at"]), (&Value::Null, &Value::Null));

    let run = world.run(&["token", "--emulator"]).await;
    assert!(run.code == 0 && run.stdout.starts_with("ya29."), "{}", run.stderr);
}

async fn status_with(vertex: &Emulator, token: &str) -> StatusCode {
    let path = "v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions";
    let (parts, body) = crate::common::chat("x").into_parts();
    let mut request = Request::from_parts(parts, ReplayBody::plain(body));
    *request.uri_mut() = format!("{}/{path}", vertex.url()).parse().unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    client::<Full<bytes::Bytes>>(Http::One).request(request).await.unwrap().status()
}

#[tokio::test]
async fn without_a_token_the_reason_is_on_standard_error() {
    let mut world = World::new().await;
    let run = world.run(&["token"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("vertex-gateway: no Google credentials found:\n- "));

    let user = world.user();
    let revoked = Some(UserGrantFault::Revoked);
    let behavior = TokenBehavior { user_grant: revoked, ..TokenBehavior::default() };
    world.vertex.set_token_behavior(behavior);
    let run = world.run(&["token", "--json", "--credentials", &user]).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("gcloud auth application-default login"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}
