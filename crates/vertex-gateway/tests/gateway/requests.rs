//! The binary `vertex-gateway`, from a user's view.

use std::{
    io::Write as _,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpSocket, TcpStream},
};
use tower_vertex::replay::ReplayBody;
use tower_vertex_emulator::{
    ApiFault, Emulator, EndpointInfo, ErrorShape, Faults, StreamBehavior, TokenBehavior, TokenFault,
};

use crate::common::{
    Http, chat, chat_stream, client,
    door::ClosedPort,
    eventually,
    gateway::{Gateway, Log, command, openai_error},
    in_time,
    metadata::{self, Reply},
    text,
};

#[tokio::test]
async fn a_sidecar_with_an_emulator_needs_no_settings_and_prints_its_usage() {
    let mut gateway = Gateway::start(command(&["--emulator", "--listen", "127.0.0.1:0"])).await;
    assert!(gateway.emulator.is_some());
    let mut printed = String::new();
    while !printed.contains("OPENAI_API_KEY=") {
        printed += &in_time("a line", gateway.stdout.next_line()).await.unwrap().unwrap();
    }
    let addr = gateway.addr;
    assert!(printed.contains(&format!("curl http://{addr}/v1/chat/completions")), "{printed}");
    assert!(printed.contains(&format!("OPENAI_BASE_URL=http://{addr}/v1")), "{printed}");
    let answer = gateway.call(chat("hello")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(text(answer).await.contains("This is the Vertex AI emulator. You said: hello"));
}

#[tokio::test]
async fn the_emulator_runs_alone_as_a_command() {
    let mut child =
        command(&["emulator", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = in_time("a line", stdout.next_line()).await.unwrap().unwrap();
    let url = line.strip_prefix("emulator listening on ").unwrap();
    let request = Request::get(format!("{url}/__emulator/stats"));
    let request = request.body(ReplayBody::plain(Full::<Bytes>::default())).unwrap();
    let stats =
        text(in_time("a response", client(Http::One).request(request)).await.unwrap()).await;
    assert!(stats.contains(r#""token_mints":0"#), "{stats}");
}

#[tokio::test]
async fn an_invalid_filter_of_the_log_is_refused() {
    let mut command = command(&["--emulator", "--listen", "127.0.0.1:0"]);
    command.env("VERTEX_GATEWAY_LOG", "tower_vertex=loud");
    let output = in_time("the end of the process", command.output()).await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(r#"invalid VERTEX_GATEWAY_LOG "tower_vertex=loud""#), "{error}");
}

#[tokio::test]
async fn a_missing_or_wrong_setting_is_one_sentence_and_exit_code_2() {
    let somewhere = ["--project", "p1", "--location", "us-central1"];
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let pkcs1 = r#"{"type":"service_account","client_email":"a@b","token_uri":"https://x/","private_key":"-----BEGIN RSA PRIVATE KEY-----SECRET"}"#;
    let uri = r#"{"type":"service_account","client_email":"a@b","token_uri":"no uri","private_key":"SECRET"}"#;
    let file = |content: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file.into_temp_path()
    };
    let vertex = Emulator::start().await.unwrap();
    let key = vertex.service_account_key();
    let mut nowhere: serde_json::Value = serde_json::from_str(&key).unwrap();
    nowhere["project_id"].take();
    let (key, nowhere) = (file(&key), file(&nowhere.to_string()));
    let (not_json, pkcs1, uri) = (file("SECRET"), file(pkcs1), file(uri));
    let path = |file: &tempfile::TempPath| file.to_str().unwrap().to_owned();
    let with = |more: &[&str]| -> Vec<String> {
        somewhere.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
    };
    let own = |args: &[&str]| -> Vec<String> { args.iter().map(|arg| (*arg).to_owned()).collect() };
    let (key, nowhere) = (path(&key), path(&nowhere));
    let known = |more: &[&str]| with(&[&["--credentials", &key], more].concat());
    let account = ["--impersonate-service-account", "sa@p1.iam.gserviceaccount.com"];
    for (args, said) in [
        (own(&[]), "no location set: pass --location"),
        (own(&["--project", "p1"]), "no location set: pass --location"),
        (
            own(&["--project", "", "--location", "us-central1", "--credentials", &nowhere]),
            "no project set: pass --project or set GOOGLE_CLOUD_PROJECT",
        ),
        (known(&["--token-lifetime", "12h"]), "set --impersonate-service-account"),
        (known(&["--token-lifetime", "soon"]), "invalid --token-lifetime: give a time"),
        (known(&[&account[..], &["--token-lifetime", "13h"]].concat()), "from 1s to 12h"),
        (known(&[&account[..], &["--iam-endpoint", "http://x"]].concat()), "IAM endpoint"),
        (known(&["--impersonate-service-account", "a/b"]), r#"service account "a/b""#),
        (known(&["--impersonate-service-account", "a/b,sa@p1"]), r#"service account "a/b""#),
        (with(&["--emulator", account[0], account[1]]), "and --emulator exclude each other"),
        (own(&["--project", "p1", "--location", "evil.com/"]), r#""evil.com/""#),
        (own(&["--project", "..", "--location", "us-central1"]), r#""..""#),
        (with(&["--endpoint", "1/2"]), r#""1/2""#),
        (with(&["--dedicated-host", "x.y"]), "--endpoint"),
        (with(&["--endpoint", "1", "--dedicated-host", "evil.com/x"]), r#""evil.com/x""#),
        (with(&["--api-version", "v2"]), r#""v2""#),
        (with(&["--listen", "nowhere"]), r#"invalid --listen "nowhere""#),
        (with(&["--emulator", "--listen", &taken]), "choose another address with --listen"),
        (with(&["--upstream", "http://10.0.0.1"]), "--allow-insecure-upstream"),
        (with(&["--upstream", "https://u:SECRET@x.com"]), "invalid --upstream"),
        (with(&["--upstream", "ftp://x"]), "invalid --upstream"),
        (known(&["--quota-project", "a\nb", "--upstream", "https://x"]), "quota project"),
        (
            known(&["--endpoint", "1", "--dedicated-host", "vertex.example.com"]),
            "is not one of Vertex AI's hosts",
        ),
        (with(&["--credentials", "/nowhere/key.json"]), "there is no such file"),
        (with(&["--credentials", "/"]), "it is a directory"),
        (with(&["--credentials", &path(&not_json)]), "it is not JSON"),
        (with(&["--credentials", &path(&pkcs1)]), "PKCS#1"),
        (with(&["--credentials", &path(&uri)]), "token_uri"),
    ] {
        let output = command(&args.iter().map(String::as_str).collect::<Vec<_>>()).output();
        let output = tokio::time::timeout(Duration::from_secs(20), output).await.unwrap().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
        assert_eq!(stderr.trim().lines().count(), 1, "{args:?}: {stderr}");
        assert!(!stderr.contains("SECRET"), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn variables_set_the_same_settings_as_options() {
    let vertex = Emulator::start().await.unwrap();
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(vertex.service_account_key().as_bytes()).unwrap();
    let mut command = command(&[]);
    command
        .env("VERTEX_GATEWAY_LISTEN", "127.0.0.1:0")
        .env("VERTEX_GATEWAY_UPSTREAM", vertex.url())
        .env("VERTEX_GATEWAY_API_VERSION", "v1beta1")
        .env("GOOGLE_APPLICATION_CREDENTIALS", key.path())
        .env("GOOGLE_CLOUD_QUOTA_PROJECT", "payer")
        .env("GOOGLE_CLOUD_PROJECT", "")
        .env("PROJECT_ID", "p2")
        .env("LOCATION", "europe-west4")
        .env("ENDPOINT", "mg-endpoint-1");
    let gateway = Gateway::start(command).await;
    assert_eq!(gateway.call(chat("x")).await.status(), StatusCode::OK);
    let seen = &vertex.requests()[0];
    assert_eq!(
        seen.path,
        "/v1beta1/projects/p2/locations/europe-west4/endpoints/mg-endpoint-1/chat/completions"
    );
    assert!(seen.header_names.iter().any(|name| name == "x-goog-user-project"));
}

#[tokio::test]
async fn the_configuration_file_sets_every_option_below_variables_and_the_command_line() {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("key.json"), vertex.service_account_key()).unwrap();
    std::fs::write(path("keys"), "one:sk-one-0123456789\n").unwrap();
    let toml = format!(
        "listen = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nproject = 'p2'\n\
         location = 'us-east1'\nupstream = '{}'\ncredentials = '{}'\nclient_key_file = '{}'\n\
         max_request_bytes = '1kB'\nlog_format = 'json'\nrequest_header_timeout = 20\nworkers = 1\n",
        vertex.url(),
        path("key.json"),
        path("keys"),
    );
    std::fs::write(path("gateway.toml"), toml).unwrap();
    let with = |variable: Option<&str>, options: &[&str]| {
        let config = path("gateway.toml");
        let mut command = command(&[&["--config", &config], options].concat());
        if let Some(size) = variable {
            command.env("VERTEX_GATEWAY_MAX_REQUEST_BYTES", size);
        }
        command.env("VERTEX_GATEWAY_WORKERS", "").stderr(Stdio::piped());
        command
    };
    let key = "authorization: Bearer sk-one-0123456789\r\n";
    for (variable, options, longest) in [
        (None, &[][..], 1000),
        (Some(""), &[], 1000),
        (Some("2kB"), &[], 2000),
        (Some("2kB"), &["--max-request-bytes", "3kB"], 3000),
    ] {
        let gateway = Gateway::start(with(variable, options)).await;
        for (key, length, status) in
            [("", 1, "401"), (key, longest, "200"), (key, longest + 1, "413")]
        {
            let text = r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"x"}]}"#;
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{key}connection: close\r\n\
                 content-type: application/json\r\ncontent-length: {length}\r\n\r\n{text:length$}"
            );
            let answer = gateway.raw(head.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer}");
        }
    }
    let seen = vertex.requests().pop().unwrap().path;
    assert!(seen.starts_with("/v1/projects/p2/locations/us-east1/"), "{seen}");
    let mut gateway = Gateway::start(with(None, &[])).await;
    let admin = in_time("a line", gateway.stdout.next_line()).await.unwrap().unwrap();
    assert!(admin.starts_with("admin on http://127.0.0.1:"), "{admin}");
    let line = Log::of(&mut gateway).line().await.unwrap();
    assert!(line.starts_with('{'), "{line}");
}

/// The options of `serve` that are numbers, each with its maximum.
fn most() -> Vec<String> {
    use clap::{CommandFactory as _, Parser as _};
    use vertex_gateway::Command;

    let parse = |option: &str, value: &str| {
        Command::try_parse_from(["vertex-gateway", &format!("--{option}={value}")])
    };
    let command = Command::command();
    let names = command.get_arguments().filter_map(|arg| arg.get_long());
    let most = names.filter_map(|name| {
        let error = parse(name, "-1").err()?.to_string();
        let range = error.split_once(", from ")?.1.trim_end();
        let most = range.split_once(" to ").unwrap().1.trim_end_matches(", or 0");
        parse(name, most).unwrap();
        Some(format!("--{name}={most}"))
    });
    most.collect()
}

#[tokio::test]
async fn the_maxima_of_all_options_serve_a_request() {
    let mut most = most();
    assert!(most.len() >= 18, "{most:?}");
    // This option is only for impersonated accounts.
    most.retain(|option| !option.starts_with("--token-lifetime"));
    most.extend(["--emulator", "--listen", "127.0.0.1:0"].map(str::to_owned));
    let most: Vec<&str> = most.iter().map(String::as_str).collect();
    let gateway = Gateway::start(command(&most)).await;
    for http in [Http::One, Http::Two] {
        for mut request in [chat("hello"), chat_stream("hello")] {
            let answer = gateway.call_over(http, &mut request).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let answer = text(answer).await;
            assert!(answer.contains("hello"), "{answer}");
        }
    }
}

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

#[tokio::test]
async fn no_path_leads_out_of_the_endpoint() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let long = format!("/v1/{}", "a".repeat(64 << 10));
    let long_known = format!("/v1/chat/completions?alt={}", "a".repeat(65_500));
    for path in [
        "/v1/../..",
        "/v1/../../v1/chat/completions",
        "/../chat/completions",
        "/v1/%2e%2e/chat/completions",
        "/v1/.%2E/chat",
        "/v1/chat%2Fcompletions",
        "/v1/chat%5Ccompletions",
        "/v1/chat\\completions",
        "//chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions//",
        "/v1/chat/completions%00",
        "/v1/chat/completions%0d%0aHost:%20evil.com",
        "/v1/chat/completions\u{7}",
        "/v1/chatter/completions",
        "/v1/models",
        "/",
        "*",
        "http://evil.com/v1/chat/completions",
        "https://evil.com:443/v1/chat/completions",
        &long,
        &long_known,
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = gateway.raw(request.as_bytes()).await;
        let shown: String = path.chars().take(60).collect();
        assert!(answer.starts_with("HTTP/1.1 4"), "{shown}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).expect(&answer);
        assert!(body["error"]["message"].is_string() && body["error"]["code"].is_string());
    }
    // More headers than allowed, and a second request on a connection that served a first one.
    let headers =
        format!("GET /v1/x HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(200));
    let answer = gateway.raw(headers.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") && answer.contains("request_headers_too_large"),
        "{answer}"
    );
    let two = b"GET /v1/files HTTP/1.1\r\nhost: localhost\r\n\r\nGET /\x07 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = gateway.raw(two).await;
    assert!(
        answer.contains("unsupported_path") && answer.contains("malformed_request"),
        "{answer}"
    );
    assert_eq!(vertex.stats().api_requests, 0, "{:?}", vertex.requests());
    // The gateway still serves.
    assert_eq!(gateway.call(chat("x")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn credentials_in_a_query_are_not_forwarded() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let mut request = chat("x");
    *request.uri_mut() =
        "/v1/chat/completions?alt=sse&key=SECRET&b=%20&access_token=SECRET".parse().unwrap();
    request.headers_mut().insert("x-goog-api-key", "SECRET".parse().unwrap());
    assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
    assert_eq!(vertex.requests()[0].query.as_deref(), Some("alt=sse"));
}

#[tokio::test]
async fn errors_of_the_gateway_have_openais_form() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(
        &vertex,
        &["--max-request-bytes", "1000", "--response-header-timeout", "1"],
    )
    .await;

    let (status, code, message) = openai_error(gateway.call(chat(&"x".repeat(2000))).await).await;
    assert_eq!((status, code.as_str()), (413, "request_too_large"));
    assert!(message.contains("1000 bytes"), "{message}");
    let chunked = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
        "x".repeat(2000)
    );
    let answer = gateway.raw(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let slow = StreamBehavior { first_byte_delay: Duration::from_secs(600), ..Default::default() };
    vertex.set_faults(Faults { stream: slow, ..Faults::default() });
    let (status, code, _) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, code.as_str()), (504, "upstream_timeout"));

    let (status, code, message) = openai_error({
        let mut request = chat("x");
        *request.uri_mut() = "/v1/files".parse().unwrap();
        gateway.call(request).await
    })
    .await;
    assert_eq!((status, code.as_str()), (404, "unsupported_path"));
    assert!(message.contains("/v1/files") && message.contains("/chat/completions"), "{message}");
}

#[tokio::test]
async fn an_unreachable_upstream_is_a_502_and_a_missing_token_a_503() {
    let vertex = Emulator::start().await.unwrap();
    let unused = ClosedPort::new();
    let nowhere = format!("http://{unused}");
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(vertex.service_account_key().as_bytes()).unwrap();
    let gateway = Gateway::start(command(&[
        "--listen",
        "127.0.0.1:0",
        "--project",
        "p1",
        "--location",
        "us-central1",
        "--upstream",
        &nowhere,
        "--credentials",
        key.path().to_str().unwrap(),
    ]))
    .await;
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, code.as_str()), (502, "upstream_unreachable"));
    assert!(message.contains(&nowhere), "{message}");

    let fail = TokenFault { status: 503, times: None };
    vertex.set_token_behavior(TokenBehavior { fail: Some(fail), ..TokenBehavior::default() });
    let gateway = Gateway::before(&vertex, &[]).await;
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, code.as_str()), (503, "token_unavailable"));
    assert!(message.contains("the token endpoint returned 503"), "{message}");
}

#[tokio::test]
async fn errors_of_vertex_ai_have_openais_form() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    for status in [400, 403, 404, 429, 500, 503] {
        for shape in [None, Some(ErrorShape::Array), Some(ErrorShape::Object)] {
            let fault = ApiFault { shape, ..ApiFault::new(status) };
            vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
            let (told, code, message) = openai_error(gateway.call(chat("x")).await).await;
            assert_eq!((told, code), (status, status.to_string()));
            assert!(!message.is_empty() && !message.contains('{'), "{message}");
        }
    }
    let fault = ApiFault { retry_delay: Some("1.5s".into()), ..ApiFault::new(429) };
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
    let answer = gateway.call(chat("x")).await;
    assert_eq!(answer.headers()["retry-after"], "2");
    let body: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(body["error"]["google"]["status"], "RESOURCE_EXHAUSTED");

    let page = ApiFault { shape: Some(ErrorShape::Html), ..ApiFault::new(404) };
    vertex.set_faults(Faults { api: Some(page), ..Faults::default() });
    let (status, _, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!(status, 404);
    assert!(message.contains("us-central1"), "the message names the location: {message}");
}

#[tokio::test]
async fn a_stream_that_is_closed_early_ends_with_an_error_event() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    let stream = StreamBehavior { cut_after: Some(2), ..StreamBehavior::default() };
    vertex.set_faults(Faults { stream, ..Faults::default() });
    let stream = text(gateway.call(crate::common::chat_stream("x")).await).await;
    let last = stream.trim_end().lines().last().unwrap();
    assert!(last.contains(r#""code":"stream_interrupted""#), "{stream}");
    assert_eq!(stream.matches("data: ").count(), 3, "{stream}");
}

#[tokio::test]
async fn a_bare_model_gets_its_publisher_and_nothing_else_changes() {
    let vertex = Emulator::builder().models(["google/gemini-2.5-flash"]).start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    for model in ["gemini-2.5-flash", "google/gemini-2.5-flash", "gemini-2\\u002e5-flash"] {
        let body = format!(
            r#"{{ "n":1.0,"messages":[{{"role":"user","content":"x"}}], "model" : "{model}"}}"#
        );
        let request = Request::post("/v1/chat/completions").body(Full::from(body)).unwrap();
        let answer = gateway.call(request).await;
        assert_eq!(answer.status(), StatusCode::OK, "{model}");
    }
    let twice = r#"{"model":"gemini-2.5-flash","messages":[],"model":"google/other"}"#;
    let request = Request::post("/v1/chat/completions").body(Full::from(twice)).unwrap();
    let before = vertex.requests().len();
    let (status, _, message) = openai_error(gateway.call(request).await).await;
    assert_eq!(status, 400);
    assert!(message.contains("model"), "{message}");
    assert_eq!(vertex.requests().len(), before, "the request was forwarded");
}

const MODELS: &str = r#"
location = "europe-west4"

[[model]]
name = "fast"
model = "gemini-2.5-flash"
headers = { X-Vertex-AI-LLM-Request-Type = "dedicated" }

[[model]]
name = "llama-*"
location = "us-east1"
endpoint = "1234567890"
"#;

#[tokio::test]
async fn the_configuration_file_routes_models_and_lists_them() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(MODELS.as_bytes()).unwrap();
    let config = ["--config", file.path().to_str().unwrap()];
    // The location is an option of `before`, which takes precedence over the file's.
    let gateway = Gateway::before(&vertex, &config).await;
    for (model, path) in [
        ("fast", "/v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions"),
        ("llama-3", "/v1/projects/p1/locations/us-east1/endpoints/1234567890/chat/completions"),
        (
            "gemini-2.5-pro",
            "/v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions",
        ),
    ] {
        let body = serde_json::json!({
            "model": model, "messages": [{ "role": "user", "content": "x" }],
        });
        let request =
            Request::post("/v1/chat/completions").body(Full::from(body.to_string())).unwrap();
        assert_eq!(gateway.call(request).await.status(), StatusCode::OK, "{model}");
        let record = vertex.requests().pop().unwrap();
        assert_eq!(record.path, path, "{model}");
        let headed = record.header_names.iter().any(|name| name == "x-vertex-ai-llm-request-type");
        assert_eq!(headed, model == "fast", "{model}");
    }

    let get = async |path: &str| {
        let request = Request::get(path).body(Full::default()).unwrap();
        let answer = gateway.call(request).await;
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<serde_json::Value>(&text(answer).await).unwrap())
    };
    let before = vertex.stats().api_requests;
    for path in ["/v1/models", "/models", "/v1/models?limit=5"] {
        let (status, list) = get(path).await;
        assert_eq!((status, list["object"].as_str()), (200, Some("list")));
        let models = list["data"].as_array().unwrap();
        assert_eq!(models.len(), 1, "a pattern is no model: {list}");
        assert_eq!(models[0]["id"], "fast");
        assert_eq!(models[0]["object"], "model");
        assert!(models[0]["created"].as_u64().unwrap() > 1_700_000_000);
        assert_eq!(models[0]["owned_by"], "google");
    }
    assert_eq!(get("/v1/models/llama-3").await.1["id"], "llama-3");
    assert_eq!(get("/v1/models/f%61st").await.1["id"], "fast");
    let (status, error) = get("/v1/models/other").await;
    assert_eq!((status, error["error"]["code"].as_str()), (404, Some("model_not_found")));
    assert_eq!(vertex.stats().api_requests, before, "no request went to Vertex AI");
}

/// The path at Vertex AI of a chat with this model.
async fn path_of(gateway: &Gateway, vertex: &Emulator, model: &str) -> String {
    let body =
        serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "x" }] });
    let request = Request::post("/v1/chat/completions").body(Full::from(body.to_string())).unwrap();
    assert_eq!(gateway.call(request).await.status(), StatusCode::OK, "{model}");
    vertex.requests().pop().unwrap().path
}

async fn model_ids(gateway: &Gateway) -> Vec<String> {
    let request = Request::get("/v1/models").body(Full::default()).unwrap();
    let list: serde_json::Value =
        serde_json::from_str(&text(gateway.call(request).await).await).unwrap();
    let ids = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn an_endpoint_is_found_by_its_name_and_found_again_after_it_was_recreated() {
    let mine = |id: &str| {
        let dns = format!("{id}.europe-west4-123456789012.prediction.vertexai.goog");
        EndpointInfo::dedicated(id, "my-llama", dns).location("europe-west4")
    };
    let vertex = Emulator::builder().endpoint(mine("7")).start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let entry = r#"
        [[model]]
        name = "llama"
        location = "europe-west4"
        endpoint = "display-name:my-llama"
    "#;
    file.write_all(entry.as_bytes()).unwrap();
    let config = file.path().to_str().unwrap();
    let gateway =
        Gateway::before(&vertex, &["--config", config, "--discovery-interval", "1"]).await;
    let path =
        |id| format!("/v1/projects/p1/locations/europe-west4/endpoints/{id}/chat/completions");
    assert_eq!(path_of(&gateway, &vertex, "llama").await, path("7"));
    assert_eq!(vertex.stats().token_mints, 1);

    vertex.set_endpoints([mine("8")]);
    let listed = || vertex.requests().iter().filter(|seen| seen.method == "GET").count();
    let lookups = async |more: usize| {
        let before = listed();
        eventually("the endpoint is looked up again", || listed() >= before + more).await;
    };
    // The first lookup may have begun before the change, and the last may still be in flight.
    lookups(3).await;
    let found = async || path_of(&gateway, &vertex, "llama").await;
    assert_eq!(found().await, path("8"));
    // If an endpoint is not found any more, its previous address is kept.
    vertex.set_endpoints([]);
    lookups(6).await;
    assert_eq!(found().await, path("8"));
}

#[tokio::test]
async fn all_deployed_endpoints_are_available_by_name() {
    let builder = Emulator::builder()
        .endpoint(EndpointInfo::shared("1", "twin"))
        .endpoint(EndpointInfo::shared("2", "twin"))
        .endpoint(EndpointInfo::shared("3", ""))
        .endpoint(EndpointInfo::shared("4", "fast"))
        .endpoint(EndpointInfo::shared("5", "far").location("us-east1"))
        .endpoint(EndpointInfo::shared("6", "elsewhere").location("asia-east1"));
    let vertex = builder.start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(MODELS.as_bytes()).unwrap();
    let config = file.path().to_str().unwrap();
    let gateway = Gateway::before(&vertex, &["--config", config, "--discover-endpoints"]).await;
    // The models of the file take precedence. The locations of these models are searched, too.
    let ids = model_ids(&gateway).await;
    assert_eq!(ids, ["fast", "emulated-shared", "emulated-dedicated", "1", "2", "3", "far"]);
    let path = |location: &str, id: &str| {
        format!("/v1/projects/p1/locations/{location}/endpoints/{id}/chat/completions")
    };
    assert_eq!(path_of(&gateway, &vertex, "fast").await, path("us-central1", "openapi"));
    assert_eq!(path_of(&gateway, &vertex, "far").await, path("us-east1", "5"));
    assert_eq!(path_of(&gateway, &vertex, "2").await, path("us-central1", "2"));
}

#[tokio::test]
async fn a_name_that_is_not_found_is_an_error_at_the_start() {
    let vertex = Emulator::start().await.unwrap();
    let (url, mut key) = (vertex.url(), tempfile::NamedTempFile::new().unwrap());
    key.write_all(vertex.service_account_key().as_bytes()).unwrap();
    let named = "[[model]]\nname = \"llama\"\nendpoint = \"display-name:mine\"";
    for (content, location, code, why) in [
        (named, "us-central1", 1, r#"model "llama": us-central1: no endpoint"#),
        ("discover_endpoints = true", "global", 2, "no region for --discover-endpoints"),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let config = file.path().to_str().unwrap();
        let args = ["--project", "p1", "--location", location, "--upstream", &url];
        let args = [&args[..], &["--config", config, "--credentials"]].concat();
        let args = [&args[..], &[key.path().to_str().unwrap()]].concat();
        let output = in_time("the end of the process", command(&args).output()).await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(why), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn an_unusable_configuration_is_an_error_at_the_start() {
    for (text, why) in [
        ("projct = \"p\"", "unknown key `projct`: did you mean `project`?"),
        ("[[model]]\nname = \"a\"\nendpoint = \"1/2\"", "endpoint"),
        ("\nsend_timeout = \"soon\"", "line 2: `send_timeout`: give a time"),
        (
            "[[model]]\nname = \"a\"\n[[model]]\nname = \"a\"",
            "line 4: a [[model]] with the name \"a\" is in line 2 already: leave one of the two out",
        ),
        (
            "[[model]]\nname = \"a\"\nendpoint = \"1\"\ndedicated_host = \"evil.example\"",
            "not one of Vertex AI's hosts",
        ),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        for first in [&[][..], &["check"][..]] {
            let args = [first, &["--config", &path, "--project", "p", "--location", "us-central1"]];
            let output =
                in_time("the end of the process", command(&args.concat()).output()).await.unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}

#[tokio::test]
async fn a_stream_is_forwarded_chunk_by_chunk_over_http1_and_http2() {
    for http in [Http::One, Http::Two] {
        let vertex = Emulator::start().await.unwrap();
        let stream = StreamBehavior {
            chunk_delay: Duration::from_secs(60),
            chunks: Some(20),
            ..StreamBehavior::default()
        };
        vertex.set_faults(Faults { stream, ..Faults::default() });
        let gateway = Gateway::before(&vertex, &[]).await;
        let mut body = gateway.call_over(http, &mut chat_stream("slowly")).await.into_body();
        let first = in_time("a chunk", body.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert!(first.starts_with(b"data: {"), "{first:?}");
        assert_eq!(vertex.requests()[0].chunks_sent, 1);
        drop(body);
        eventually("the upstream's stream ends", || vertex.stats().streams.aborted == 1).await;
    }
}

#[tokio::test]
async fn a_signal_lets_running_requests_finish() {
    let vertex = Emulator::start().await.unwrap();
    let stream = StreamBehavior {
        chunk_delay: Duration::from_millis(100),
        chunks: Some(20),
        ..StreamBehavior::default()
    };
    vertex.set_faults(Faults { stream, ..Faults::default() });
    let mut gateway = Gateway::before(&vertex, &[]).await;
    let mut body = gateway.call(chat_stream("to the end")).await.into_body();
    in_time("a chunk", body.frame()).await.unwrap().unwrap();
    gateway.terminate();
    // From then on, no new connection is accepted.
    in_time("the listener is closed", async {
        while TcpStream::connect(gateway.addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let rest = in_time("the rest of a response", body.collect()).await.unwrap().to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"), "{rest:?}");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert_eq!(vertex.stats().streams.completed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_streams_run_at_once_and_a_revocation_fails_none() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    gateway.call(chat("warm")).await;
    vertex.revoke_tokens();
    vertex.reset_stats();
    // All streams stay open until the last one has begun.
    let stream = StreamBehavior {
        chunk_delay: Duration::from_secs(600),
        chunks: Some(3),
        ..StreamBehavior::default()
    };
    vertex.set_faults(Faults { stream, ..Faults::default() });
    let (client, addr) = (client::<Full<Bytes>>(Http::One), gateway.addr);
    let calls: Vec<_> = (0..1000)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let (parts, body) = chat_stream("x").into_parts();
                let mut request = Request::from_parts(parts, ReplayBody::plain(body));
                *request.uri_mut() = format!("http://{addr}/v1/chat/completions").parse().unwrap();
                let answer = in_time("a response", client.request(request)).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                let mut body = answer.into_body();
                in_time("a chunk", body.frame()).await.unwrap().unwrap();
                body
            })
        })
        .collect();
    let mut open = Vec::new();
    for call in calls {
        open.push(call.await.unwrap());
    }
    let stats = vertex.stats();
    assert_eq!(stats.streams.open, 1000, "{stats:?}");
    assert_eq!(stats.token_mints, 1, "{stats:?}");
    assert_eq!(stats.by_status[&200], 1000, "{stats:?}");
    drop(open);
    eventually("all streams end", || vertex.stats().streams.open == 0).await;
}
