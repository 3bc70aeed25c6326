//! The credentials of the machine, and a start before they are available.

use super::*;

#[tokio::test]
async fn a_service_account_is_impersonated_and_the_credentials_name_the_project() {
    let vertex = Emulator::start().await.unwrap();
    let long = TokenBehavior { allow_long_lifetimes: true, ..TokenBehavior::default() };
    vertex.set_token_behavior(long);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut key: serde_json::Value = serde_json::from_str(&vertex.service_account_key()).unwrap();
    key["quota_project_id"] = "payer".into();
    file.write_all(key.to_string().as_bytes()).unwrap();
    let mut command = command(&["--listen", "127.0.0.1:0", "--location", "global"]);
    command
        .env("VERTEX_GATEWAY_UPSTREAM", vertex.url())
        .env("GOOGLE_APPLICATION_CREDENTIALS", file.path())
        .env("VERTEX_GATEWAY_IMPERSONATE_SERVICE_ACCOUNT", "first@p.example.com,last@p.example.com")
        .env("VERTEX_GATEWAY_TOKEN_LIFETIME", "43200")
        .env("VERTEX_GATEWAY_IAM_ENDPOINT", vertex.url());
    let gateway = Gateway::start(command).await;
    assert_eq!(gateway.call(chat("x")).await.status(), StatusCode::OK);
    let seen = &vertex.requests()[0];
    assert!(seen.path.starts_with("/v1/projects/emulator-project/locations/global/"), "{seen:?}");
    assert_eq!(seen.principal.as_deref(), Some("last@p.example.com"));
    assert!(seen.header_names.iter().any(|name| name == "x-goog-user-project"));
}

#[tokio::test]
async fn the_token_is_sent_to_the_cloud_of_the_credentials() {
    let vertex = Emulator::start().await.unwrap();
    let mut key: serde_json::Value = serde_json::from_str(&vertex.service_account_key()).unwrap();
    key["universe_domain"] = "cloud.invalid".into();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(key.to_string().as_bytes()).unwrap();
    let mut command = command(&["--listen", "127.0.0.1:0", "--location", "us-central1"]);
    command.env("GOOGLE_APPLICATION_CREDENTIALS", file.path());
    let gateway = Gateway::start(command).await;
    // The host is trusted, but does not exist.
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, code.as_str()), (502, "upstream_unreachable"));
    assert!(message.contains("https://us-central1-aiplatform.cloud.invalid"), "{message}");
}

/// Starts a sidecar whose metadata server first refuses, until the sidecar waits for it, and then
/// replies as `reply` says.
async fn started_before_its_metadata_server(
    vertex: &Emulator,
    options: &[&str],
    reply: impl Fn(usize, &str) -> Reply + Send + 'static,
) -> (Gateway, tokio::task::AbortHandle) {
    // A socket that is bound and does not listen refuses connections.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let nothing = tempfile::tempdir().unwrap();
    let mut command = command(&["--listen", "127.0.0.1:0", "--location", "us-central1"]);
    command.args(["--upstream", &vertex.url()]).args(options);
    command.env("HOME", nothing.path()).env("PATH", nothing.path());
    command.env("GCE_METADATA_HOST", socket.local_addr().unwrap().to_string());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line = String::new();
    while !line.contains("waiting for the metadata server") {
        line = in_time("the line that it waits", log.next_line())
            .await
            .unwrap()
            .expect("the sidecar waits");
    }
    let server = metadata::serve(socket.listen(64).unwrap(), vertex.addr(), reply);
    let server = tokio::spawn(server).abort_handle();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = in_time("the line with the address", stdout.next_line()).await.unwrap();
    let addr = line.unwrap().strip_prefix("listening on http://").unwrap().parse().unwrap();
    (Gateway { child, addr, emulator: None, stdout }, server)
}

#[tokio::test]
async fn a_metadata_server_that_is_not_ready_yet_is_waited_for() {
    let vertex = Emulator::start().await.unwrap();
    let script = [
        Reply::Close,
        Reply::Status(403),
        Reply::Status(404),
        Reply::Status(500),
        Reply::Status(503),
    ];
    let reply = move |number, _: &str| script.get(number).copied().unwrap_or(Reply::Good);
    let (gateway, _server) = started_before_its_metadata_server(&vertex, &[], reply).await;
    assert_eq!(gateway.call(chat("x")).await.status(), StatusCode::OK);
    let seen = vertex.requests().pop().unwrap();
    assert!(seen.path.starts_with("/v1/projects/emulator-project/"), "{}", seen.path);
    assert!(seen.principal.unwrap().ends_with("-compute@developer.gserviceaccount.com"));
}

#[tokio::test]
async fn a_start_needs_only_the_presence_of_the_metadata_server() {
    let vertex = Emulator::start().await.unwrap();
    let is_later = Arc::new(AtomicBool::new(false));
    let later = Arc::clone(&is_later);
    let reply = move |_, path: &str| match path.ends_with("/email") || path.contains("universe") {
        true => Reply::Good,
        false if later.load(Ordering::Relaxed) => Reply::Good,
        // These paths are the project, which is set by an option, and the first token.
        false => Reply::Hang,
    };
    let options = ["--project", "p1"];
    let (gateway, _server) = started_before_its_metadata_server(&vertex, &options, reply).await;
    is_later.store(true, Ordering::Relaxed);
    // The hanging fetch times out and is repeated.
    let answer = loop {
        let answer = gateway.call(chat("x")).await;
        if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(answer.status(), StatusCode::OK);
}

#[cfg(unix)]
#[tokio::test]
async fn a_gcloud_login_is_found_and_its_absence_is_explained() {
    use std::os::unix::fs::PermissionsExt;
    let vertex = Emulator::start().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let start = || {
        let url = vertex.url();
        let mut command = command(&["--listen", "127.0.0.1:0", "--upstream", &url]);
        command.args(["--project", "p1", "--location", "us-central1"]);
        command.env("HOME", home.path()).env("PATH", home.path());
        command.env("NO_GCE_CHECK", "true");
        command
    };
    let output = in_time("the end of the process", start().output()).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    for place in
        ["GOOGLE_APPLICATION_CREDENTIALS", "user credentials", "metadata server", "- gcloud"]
    {
        assert!(said.contains(place), "{said}");
    }
    assert!(said.contains("gcloud auth application-default login"), "{said}");

    let script = home.path().join("gcloud");
    std::fs::write(&script, format!("#!/bin/sh\necho {}\n", vertex.mint())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = Gateway::start(start()).await;
    assert_eq!(gateway.call(chat("x")).await.status(), StatusCode::OK);
}
