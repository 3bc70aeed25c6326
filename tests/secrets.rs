//! No token, key or assertion is ever printed: not in a log at `trace`, not in `Debug`, an error, a
//! panic message or the emulator's records.
//!
//! This is a single test, because it replaces the logger and the panic hook of the process.
#![cfg(feature = "credentials")]

mod common;

use std::{
    fmt::{Debug, Write as _},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{Http, auth, chat, client, key_source, stack, text, upstream};
use http::StatusCode;
use tower::{Layer, ServiceExt};
use tower_vertex::{
    route::VertexRouteLayer,
    token::{AccessToken, Credentials, FetchReason, GcpAuth, TokenCache, TokenSource, token_fn},
};
use tower_vertex_emulator::{
    ApiFault, Emulator, Faults, LiteralResponse, TokenBehavior, TokenFault,
};

/// Everything that was logged, printed by a panic, or formatted.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    fn show(&self, what: &dyn Debug) {
        writeln!(self.clone(), "{what:?} {what:#?}").unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Write for Seen {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.lock().unwrap().extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_ever_printed() {
    let seen = Seen::default();
    let log = seen.clone();
    // Records of the `log` crate (from rustls and others) arrive at the same subscriber.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || log.clone())
        .init();
    let panics = seen.clone();
    std::panic::set_hook(Box::new(move |panic| {
        writeln!(panics.clone(), "{panic}").unwrap();
        eprintln!("{panic}");
    }));

    let vertex = Emulator::start().await.unwrap();
    let key = vertex.service_account_key();
    let source = key_source(&vertex);
    seen.show(&source);

    // The test sends requests, revokes tokens, and causes every failure of a token.
    for http in [Http::One, Http::Two] {
        let service = stack(&vertex, source.clone(), http);
        seen.show(&service);
        let answer = service.clone().oneshot(chat("hello")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        seen.show(&answer);
        vertex.revoke_tokens();
        let answer = service.clone().oneshot(chat("hello")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        seen.show(&answer);
        vertex.set_faults(Faults { api: Some(ApiFault::new(401)), ..Faults::default() });
        let answer = service.clone().oneshot(chat("hello")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        seen.show(&answer);
        writeln!(seen.clone(), "{}", text(answer).await).unwrap();
        vertex.clear_faults();
        let mut stranger = chat("hello");
        *stranger.uri_mut() =
            "https://user:SECRET-URI@evil.example/?key=SECRET-URI".parse().unwrap();
        let error = auth(&vertex, TokenCache::new(source.clone()))
            .layer(client(http))
            .oneshot(stranger)
            .await
            .unwrap_err();
        seen.show(&error);
        writeln!(seen.clone(), "{error}").unwrap();
    }

    // A token endpoint that echoes the assertion in its errors, or returns tokens in wrong fields.
    let assertion = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.SECRET-ECHO";
    let answer = |status, body: String| LiteralResponse {
        status,
        content_type: Some("application/json".into()),
        headers: Default::default(),
        body,
    };
    let echo =
        answer(400, format!(r#"{{"error":"invalid_grant","error_description":"{assertion}"}}"#));
    for respond in [
        answer(400, format!(r#"{{"error":"invalid_grant","error_description":"{assertion}"}}"#)),
        answer(400, assertion.to_owned()),
        answer(200, format!(r#""{assertion}""#)),
        answer(200, format!(r#"{{"access_token":"{assertion}","expires_in":"SECRET-ECHO"}}"#)),
        answer(200, format!(r#"{{"access_token":"{assertion}","expires_in":-1}}"#)),
        answer(200, format!(r#"{{"access_token":"{assertion}\n","expires_in":3600}}"#)),
        answer(200, format!(r#"{{"access_token":["{assertion}"],"expires_in":3600}}"#)),
    ] {
        vertex.set_token_behavior(TokenBehavior { respond: Some(respond), ..Default::default() });
        let error = stack(&vertex, source.clone(), Http::One).oneshot(chat("x")).await.unwrap_err();
        seen.show(&error);
        writeln!(seen.clone(), "{error}").unwrap();
        let error = error.downcast_ref::<tower_vertex::Error>().unwrap();
        seen.show(&error.to_response());
    }
    let fail = TokenFault { status: 503, times: None };
    vertex.set_token_behavior(TokenBehavior { fail: Some(fail), ..Default::default() });
    seen.show(&stack(&vertex, source.clone(), Http::One).oneshot(chat("x")).await.unwrap_err());
    vertex.set_token_behavior(TokenBehavior::default());

    // A source that panics, and one that fails, while a token is in use.
    let token = vertex.mint();
    let cache = TokenCache::new(token_fn({
        let token = token.clone();
        move |reason| {
            let token = AccessToken::new(&token, Some(Duration::from_secs(3600)));
            async move {
                match reason {
                    FetchReason::Cold => Ok(token?),
                    _ => panic!("a source that panics"),
                }
            }
        }
    }));
    let service = VertexRouteLayer::new(upstream(&vertex))
        .layer(auth(&vertex, cache.clone()).layer(client(Http::One)));
    vertex.revoke_tokens();
    let answer = service.oneshot(chat("x")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    seen.show(&answer);
    seen.show(&cache.get().await);
    seen.show(&cache);
    seen.show(&AccessToken::new(&token, None).unwrap());

    // These keys are invalid.
    let broken = key.replace("BEGIN PRIVATE KEY", "BEGIN RSA PRIVATE KEY");
    for key in [broken, key.replace("client_email", "no_email"), key[..key.len() / 2].to_owned()] {
        seen.show(&GcpAuth::from_service_account_key(key).unwrap_err());
    }

    let others = other_credentials(&vertex, &seen, echo).await;

    seen.show(&vertex);
    seen.show(&vertex.stats());
    seen.show(&vertex.requests());
    seen.show(&serde_json::to_value(vertex.requests()).unwrap());

    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let pem = key["private_key"].as_str().unwrap();
    let secret_line = pem.lines().nth(3).unwrap();
    let seen = seen.text();
    // This proves that the search can find something: the log is a trace, and the panic was
    // printed.
    for expected in ["TRACE", "gcp_auth", "hyper", "a source that panics", "/chat/completions"] {
        assert!(seen.contains(expected), "nothing of {expected:?} in {} bytes", seen.len());
    }
    for secret in [
        // Every token of the emulator begins with this text.
        "ya29.",
        token.trim_start_matches("ya29."),
        // Every assertion begins with this text.
        "eyJhbGciOiJSUzI1NiI",
        "SECRET-ECHO",
        "SECRET-URI",
        "sk-placeholder",
        "PRIVATE KEY---",
        secret_line,
    ] {
        look_for(secret, &seen);
    }
    others.iter().for_each(|secret| look_for(secret, &seen));
}

fn look_for(secret: &str, seen: &str) {
    if let Some(at) = seen.find(secret) {
        let start = at.saturating_sub(300);
        panic!("{secret:?} in: {}", seen.get(start..at + 60).unwrap_or_default());
    }
}

/// Uses every other kind of credential: tokens, a forced refresh, an endpoint that echoes the
/// assertion in its errors, and an endpoint that fails. Returns the secrets in the files.
async fn other_credentials(vertex: &Emulator, seen: &Seen, echo: LiteralResponse) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let subject = folder.path().join("subject");
    std::fs::write(&subject, vertex.subject_token()).unwrap();
    let mut files = vec![vertex.external_account_authorized_user()];
    if cfg!(feature = "credentials-federation") {
        files.extend([
            vertex.service_account_key(),
            vertex.authorized_user(),
            vertex.external_account(&subject),
            vertex.external_account_impersonated(&subject),
            vertex.impersonated_service_account(),
        ]);
    }
    let mut secrets = vec![vertex.subject_token()];
    for (number, text) in files.iter().enumerate() {
        let path = folder.path().join(format!("{number}.json"));
        std::fs::write(&path, text).unwrap();
        let mut search = vec![Credentials::builder().file(&path).detect().await.unwrap()];
        search.push(
            Credentials::builder()
                .file(&path)
                .impersonate("target@p.iam.gserviceaccount.com")
                .iam_endpoint(vertex.url())
                .detect()
                .await
                .unwrap(),
        );
        for source in search {
            seen.show(&source);
            writeln!(seen.clone(), "{}", source.info()).unwrap();
            let down = TokenFault { status: 503, times: None };
            for behavior in [
                TokenBehavior::default(),
                TokenBehavior { respond: Some(echo.clone()), ..Default::default() },
                TokenBehavior { fail: Some(down), ..Default::default() },
            ] {
                vertex.set_token_behavior(behavior);
                for reason in [FetchReason::Cold, FetchReason::Rejected] {
                    match source.fetch(reason).await {
                        Ok(token) => seen.show(&token),
                        Err(error) => writeln!(seen.clone(), "{error} {error:?}").unwrap(),
                    }
                }
            }
            vertex.set_token_behavior(TokenBehavior::default());
        }
        let file: serde_json::Value = serde_json::from_str(text).unwrap();
        for file in [&file, &file["source_credentials"]] {
            secrets.extend(
                ["client_secret", "refresh_token"]
                    .iter()
                    .filter_map(|name| Some(file.get(name)?.as_str()?.to_owned())),
            );
        }
    }
    assert!(secrets.len() >= 3, "there are secrets to search for");
    secrets
}
