//! `GcpAuth` with the real `gcp_auth`, against the emulator's token endpoint.

use std::path::Path;

use tower_vertex::token::{FetchReason, GcpAuth, TokenSource};
use tower_vertex_emulator::Emulator;

async fn emulators() -> (Emulator, Emulator) {
    (Emulator::start().await.unwrap(), Emulator::start().await.unwrap())
}

fn mints(emulators: &(Emulator, Emulator)) -> (u64, u64) {
    (emulators.0.stats().token_mints, emulators.1.stats().token_mints)
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn every_fetch_is_a_new_token() {
    let vertex = Emulator::start().await.unwrap();
    let source = GcpAuth::from_service_account_key(vertex.service_account_key()).unwrap();
    let mut seen = std::collections::HashSet::new();
    for reason in [FetchReason::Cold, FetchReason::Rejected, FetchReason::Proactive] {
        let token = source.fetch(reason).await.unwrap();
        assert!(token.expires_in().unwrap().as_secs() > 3500);
        assert!(seen.insert(token.authorization().clone()));
    }
    assert_eq!(vertex.stats().token_mints, 3);
}

#[tokio::test]
async fn a_rotated_key_file_is_used_and_a_broken_one_is_not() {
    let both = emulators().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.json");
    write(&path, &both.0.service_account_key());
    let source = GcpAuth::from_service_account_file(&path).unwrap();
    source.fetch(FetchReason::Cold).await.unwrap();
    assert_eq!(mints(&both), (1, 0));

    write(&path, &both.1.service_account_key());
    source.fetch(FetchReason::Proactive).await.unwrap();
    assert_eq!(mints(&both), (1, 1));

    // While the file is broken or missing, the last good key is used.
    for broken in ["", "{}", "not JSON", &both.0.service_account_key()[..900]] {
        write(&path, broken);
        source.fetch(FetchReason::Proactive).await.unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    source.fetch(FetchReason::Proactive).await.unwrap();
    assert_eq!(mints(&both), (1, 6));

    write(&path, &both.0.service_account_key());
    source.fetch(FetchReason::Proactive).await.unwrap();
    assert_eq!(mints(&both), (2, 6));
}

#[tokio::test]
async fn a_file_that_is_no_key_is_refused_with_the_reason() {
    let vertex = Emulator::start().await.unwrap();
    let key: serde_json::Value = serde_json::from_str(&vertex.service_account_key()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut key = key.clone();
        key[field] = value;
        key.to_string()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.json");
    for (text, why) in [
        (String::new(), "it is not JSON"),
        ("[]".into(), "no \"type\""),
        (vertex.authorized_user(), r#""type" is not "service_account""#),
        (with("client_email", "".into()), "client_email"),
        (with("client_email", 7.into()), "client_email"),
        (with("private_key", serde_json::Value::Null), "private_key"),
        (with("private_key", "SECRET".into()), "PKCS#8"),
        (with("private_key", 7.into()), "private_key"),
        (
            with(
                "private_key",
                "-----BEGIN PRIVATE KEY-----\nU0VDUkVU\n-----END PRIVATE KEY-----\n".into(),
            ),
            "PKCS#8",
        ),
        (with("private_key", "-----BEGIN RSA PRIVATE KEY-----".into()), "openssl pkcs8"),
        (with("token_uri", "not a uri".into()), "token_uri"),
        (with("token_uri", "/token".into()), "token_uri"),
        (with("token_uri", "ftp://x/".into()), "token_uri"),
        (with("project_id", 7.into()), "\"project_id\" is not text but a number"),
    ] {
        let error = GcpAuth::from_service_account_key(text.clone()).unwrap_err();
        assert!(!error.is_missing(), "{error}");
        let error = error.to_string();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("SECRET") && !error.contains("U0VDUkVU"), "{error}");
        write(&path, &text);
        let error = GcpAuth::from_service_account_file(&path).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("key.json"), "{error}");
        assert!(!error.contains("SECRET") && !error.contains("U0VDUkVU"), "{error}");
    }
    for (path, why) in [("/nowhere/key.json", "no such file"), ("/", "directory")] {
        let error = GcpAuth::from_service_account_file(path).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn debug_shows_only_the_origin_of_the_credentials() {
    let vertex = Emulator::start().await.unwrap();
    let source = GcpAuth::from_service_account_key(vertex.service_account_key()).unwrap();
    assert_eq!(format!("{source:?}"), r#"GcpAuth { from: "service-account key", .. }"#);
}
