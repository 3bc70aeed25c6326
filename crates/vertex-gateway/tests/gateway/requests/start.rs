//! Start-up: settings, their sources and their errors.

use super::*;

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
async fn the_emulator_with_tls_prints_where_its_certificate_is() {
    let mut child = command(&["emulator", "--tls", "--listen", "127.0.0.1:0"]);
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || in_time("a line", stdout.next_line()).await.unwrap().unwrap();
    assert!(line().await.starts_with("emulator listening on https://127.0.0.1:"));
    assert!(line().await.starts_with("emulator control on http://127.0.0.1:"));
    let line = line().await;
    let url = line.strip_prefix("emulator certificate on ").unwrap();
    let request = Request::get(url).body(ReplayBody::plain(Full::<Bytes>::default())).unwrap();
    let response = in_time("a response", client(Http::One).request(request)).await.unwrap();
    assert!(text(response).await.starts_with("-----BEGIN CERTIFICATE-----"));
}

#[tokio::test]
async fn the_emulator_knows_the_models_of_a_file_and_the_projects_of_its_options() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(br#"["mine", {"model": "acme/vectors", "kind": "embeddings"}]"#).unwrap();
    let models = file.path().to_str().unwrap().to_owned();
    let options = ["--models", &models, "--project", "p1,p2", "--listen", "127.0.0.1:0"];
    let mut child =
        command(&[&["emulator"], &options[..]].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = in_time("a line", stdout.next_line()).await.unwrap().unwrap();
    let url = line.strip_prefix("emulator listening on ").unwrap();
    let call = async |request: http::request::Builder, body: String| {
        let request = request.body(ReplayBody::plain(Full::<Bytes>::from(body))).unwrap();
        in_time("a response", client(Http::One).request(request)).await.unwrap()
    };
    let metadata = "/computeMetadata/v1/instance/service-accounts/default/token";
    let token = Request::get(format!("{url}{metadata}")).header("metadata-flavor", "Google");
    let token = text(call(token, String::new()).await).await;
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    for (project, model, status) in [
        ("p1", "google/mine", 200),
        ("p2", "google/mine", 200),
        ("p3", "google/mine", 403),
        ("p1", "google/gemini-2.5-flash", 404),
        ("p1", "acme/vectors", 400),
    ] {
        let path = format!("/v1/projects/{project}/locations/global/endpoints/openapi");
        let request = Request::post(format!("{url}{path}/chat/completions"))
            .header("authorization", format!("Bearer {}", token["access_token"].as_str().unwrap()));
        let body = serde_json::json!({
            "model": model, "messages": [{ "role": "user", "content": "x" }],
        });
        assert_eq!(call(request, body.to_string()).await.status(), status, "{project} {model}");
    }

    file.write_all(b"SECRET").unwrap();
    let output = command(&["emulator", "--models", &models]).output();
    let output = in_time("the end of the process", output).await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("not a JSON array of models") && !error.contains("SECRET"), "{error}");
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
    vertex.set_endpoints([EndpointInfo::shared("mg-endpoint-1", "x").location("europe-west4")]);
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
