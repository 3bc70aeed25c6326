//! Behaviour that all token sources share.

use super::*;

/// The credential files whose sources call a token endpoint, with their names.
fn files(vertex: &Emulator, folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let subject = folder.join("subject");
    fs::write(&subject, vertex.subject_token()).unwrap();
    let files = [
        ("key", vertex.service_account_key()),
        ("user", vertex.authorized_user()),
        ("workforce", vertex.external_account_authorized_user()),
        ("federation", vertex.external_account(&subject)),
    ];
    let write = |(name, text): (&'static str, String)| {
        let path = folder.join(format!("{name}.json"));
        fs::write(&path, text).unwrap();
        (name, path)
    };
    files.into_iter().map(write).collect()
}

/// The result of each source for a response: the lifetime of its token, or the error.
async fn each_with(body: &str) -> Vec<(&'static str, Result<Option<u64>, String>)> {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    vertex.set_token_behavior(TokenBehavior { respond: Some(literal(body)), ..Default::default() });
    let mut all = Vec::new();
    for (name, path) in files(&vertex, folder.path()) {
        let found = Credentials::builder().file(path).detect().await.unwrap();
        let token = found.fetch(FetchReason::Cold).await;
        let life = token.map(|token| token.expires_in().map(|life| life.as_secs()));
        all.push((name, life.map_err(|error| error.to_string())));
    }
    all
}

#[tokio::test]
async fn every_source_accepts_an_expires_in_that_is_a_string() {
    for (expires_in, life) in
        [("\"3600\"", Some(3600)), ("3600", Some(3600)), ("3599.5", Some(3599)), ("null", None)]
    {
        let body = format!(r#"{{"access_token":"ya29.x","expires_in":{expires_in}}}"#);
        for (name, found) in each_with(&body).await {
            assert_eq!(found, Ok(life), "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn every_source_names_the_invalid_field_of_a_token_response() {
    for (body, why) in [
        (r#"{"access_token":"SECRET","expires_in":"SECRET"}"#, "\"expires_in\""),
        (r#"{"access_token":"SECRET","expires_in":-1}"#, "\"expires_in\""),
        (r#"{"access_token":["SECRET"]}"#, "\"access_token\""),
        (r#"{"expires_in":3600}"#, "\"access_token\""),
        (r#"["SECRET"]"#, "not a JSON object"),
        ("SECRET", "not a JSON object"),
        (r#"{"access_token":"SECRET SECRET","expires_in":3600}"#, "a space"),
    ] {
        for (name, found) in each_with(body).await {
            let error = found.unwrap_err();
            assert!(error.contains(why) && !error.contains("SECRET"), "{name}: {body}: {error}");
        }
    }
}

#[tokio::test]
async fn every_source_refuses_an_oversized_token_and_an_oversized_response() {
    let token = "a".repeat(16 * 1024 + 1);
    let body = format!(r#"{{"access_token":"{token}","expires_in":3600}}"#);
    for (name, found) in each_with(&body).await {
        assert!(found.clone().unwrap_err().contains("more than 16 KiB"), "{name}: {found:?}");
    }
    let body = format!(r#"{{"access_token":"{}","expires_in":3600}}"#, "a".repeat(3 << 20));
    for (name, found) in each_with(&body).await {
        let error = found.unwrap_err();
        assert!(error.contains("too long for a token"), "{name}: {error}");
    }
}

/// This is the case behind a proxy that intercepts TLS.
#[tokio::test]
async fn every_source_reports_a_certificate_of_an_unknown_authority() {
    let vertex = Emulator::builder().tls(true).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, path) in files(&vertex, folder.path()) {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&vertex.control_url(), &vertex.url())).unwrap();
        let mut sources: Vec<Box<dyn TokenSource>> =
            vec![Box::new(Credentials::builder().file(&path).detect().await.unwrap())];
        if ["user", "federation"].contains(&name) {
            sources.push(Box::new(GoogleCloudAuth::from_file(&path).unwrap()));
        }
        for (number, source) in sources.into_iter().enumerate() {
            let error = TokenCache::new(source).get().await.unwrap_err();
            assert!(error.to_string().contains("UnknownIssuer"), "{name}, {number}: {error}");
            let remedy = error.remedy().unwrap();
            assert!(remedy.contains("SSL_CERT_FILE"), "{name}, {number}: {remedy}");
        }
    }
}

#[tokio::test]
async fn a_source_provides_the_quota_project_of_its_file() {
    if !bare().enter(module_path!(), "a_source_provides_the_quota_project_of_its_file") {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let mut user: Value = serde_json::from_str(&vertex.authorized_user()).unwrap();
    user["quota_project_id"] = "payer".into();
    write(".config/gcloud/application_default_credentials.json", user.to_string());
    let source = Credentials::detect().await.unwrap();
    assert_eq!(source.quota_project(), Some("payer"));
    let source = GoogleCloudAuth::from_json(user.to_string()).unwrap();
    assert_eq!(source.quota_project(), Some("payer"));

    // The quota project reaches the service.
    let layer = VertexAuthLayer::new(source).trust_origin(vertex.url()).unwrap();
    let stack = VertexRouteLayer::new(upstream(&vertex))
        .layer(layer.layer(client(crate::common::Http::One)));
    assert_eq!(stack.oneshot(chat("hello")).await.unwrap().status(), StatusCode::OK);
    let request = vertex.requests().pop().unwrap();
    assert!(request.header_names.iter().any(|name| name == "x-goog-user-project"));
}

#[tokio::test]
async fn the_variable_for_the_quota_project_applies_to_each_source() {
    let name = "the_variable_for_the_quota_project_applies_to_each_source";
    if !bare().variable("GOOGLE_CLOUD_QUOTA_PROJECT", "payer").enter(module_path!(), name) {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let key = vertex.service_account_key();
    let source = tower_vertex::token::GcpAuth::from_service_account_key(key).unwrap();
    assert_eq!(source.quota_project(), Some("payer"));
    assert_eq!(GoogleCloudAuth::metadata_server().quota_project(), Some("payer"));
}

#[tokio::test]
async fn the_error_of_an_aws_source_names_the_failed_step() {
    let name = "the_error_of_an_aws_source_names_the_failed_step";
    if !bare().enter(module_path!(), name) {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let mut file: Value = serde_json::from_str(&vertex.external_account("unused")).unwrap();
    let metadata = format!("{}/latest/meta-data", vertex.url());
    file["credential_source"] = json!({
        "environment_id": "aws1",
        "region_url": format!("{metadata}/placement/availability-zone"),
        "url": format!("{metadata}/iam/security-credentials"),
        "regional_cred_verification_url":
            "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
    });
    let fetch = async |file: &Value| {
        let path = write("aws.json", file.to_string());
        let found = Credentials::builder().file(path).detect().await.unwrap();
        assert_eq!(found.info().backend(), "google-cloud-auth");
        found.fetch(FetchReason::Cold).await.unwrap_err().to_string()
    };
    let error = fetch(&file).await;
    assert!(error.contains("availability-zone, returned 4"), "{error}");
    assert!(error.contains("AWS_REGION"), "{error}");
    file["credential_source"].as_object_mut().unwrap().remove("region_url");
    let error = fetch(&file).await;
    assert!(error.contains("no region") && error.contains("AWS_REGION"), "{error}");
}

#[tokio::test]
async fn a_fifo_in_the_place_of_a_file_blocks_nothing() {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let error = Credentials::builder().file(&fifo).detect().await.unwrap_err().to_string();
    assert!(error.contains("a pipe, a socket or a device"), "{error}");
    let path = folder.path().join("external.json");
    fs::write(&path, vertex.external_account(&fifo)).unwrap();
    let found = Credentials::builder().file(&path).detect().await.unwrap();
    let error = found.fetch(FetchReason::Cold).await.unwrap_err().to_string();
    assert!(error.contains("a pipe, a socket or a device"), "{error}");
}

#[tokio::test]
async fn a_file_that_would_send_secrets_in_clear_text_is_refused_unless_that_is_allowed() {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("user.json");
    let text = vertex.authorized_user().replace("127.0.0.1", "tokens.example");
    fs::write(&path, text).unwrap();
    let search = || Credentials::builder().file(&path);
    let error = search().detect().await.unwrap_err();
    assert!(
        error.to_string().contains("\"token_uri\" would send secrets in clear text"),
        "{error}"
    );
    assert!(error.remedy().unwrap().contains("--allow-insecure-token-endpoints"), "{error}");
    assert!(search().allow_insecure_token_endpoints(true).detect().await.is_ok());
}

/// Configurations of other libraries pass such a key in a variable.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_key_of_two_fields_without_line_breaks_yields_tokens() {
    let world =
        World::new().hosts("127.0.0.1 oauth2.googleapis.com").variable("SSL_CERT_FILE", "ca.pem");
    if !world.enter(module_path!(), "a_key_of_two_fields_without_line_breaks_yields_tokens") {
        return;
    }
    let vertex = Emulator::builder().tls(true).listen(([127, 0, 0, 1], 443).into());
    let vertex = vertex.start().await.unwrap();
    write("ca.pem", vertex.certificate_pem().unwrap());
    let key: Value = serde_json::from_str(&vertex.service_account_key()).unwrap();
    for lost in ["\\n", "\\r\\n", " ", "", "\n    "] {
        let pem = key["private_key"].as_str().unwrap().replace('\n', lost);
        let two = json!({ "client_email": key["client_email"], "private_key": pem });
        let path = write("key.json", two.to_string());
        let found = Credentials::builder().file(path).detect().await.unwrap();
        found.fetch(FetchReason::Cold).await.unwrap();
    }
}
