//! `vertex-gateway run -- COMMAND`: a sidecar for one command. The commands are a shell and this
//! program's own clients; `tests/sdk` has the SDKs.

use std::{fs, process::Output};

use crate::{
    child::{assert_passes_exit_codes_on, assert_passes_signals_on, output, texts},
    common::{gateway::command, in_time},
};

const START: [&str; 2] = ["run", "--emulator"];

async fn run(arguments: &[&str]) -> Output {
    output(&START, arguments).await
}

/// Sends a chat with the variables of an OpenAI client and this header, and prints the status.
fn chat(header: &str) -> String {
    format!(
        r#"curl --silent --show-error --max-time 30 --output /dev/null --write-out '%{{http_code}}\n' \
        -H 'content-type: application/json' -H "{header}" "$OPENAI_BASE_URL/chat/completions" \
        -d '{{"model": "google/gemini-2.5-flash", "messages": [{{"role": "user", "content": "hello"}}]}}'"#
    )
}

#[tokio::test]
async fn the_variables_of_the_command_lead_to_a_sidecar_that_demands_the_key() {
    let script = [
        chat("authorization: Bearer $OPENAI_API_KEY"),
        chat("x-api-key: $ANTHROPIC_API_KEY"),
        chat("x-goog-api-key: $GEMINI_API_KEY"),
        chat("authorization: Bearer unused"),
        chat("x-none: 1"),
        r#"echo "$OPENAI_BASE_URL" "$OPENAI_API_BASE" "$ANTHROPIC_BASE_URL/v1" "$GOOGLE_GEMINI_BASE_URL/v1""#.to_owned(),
        r#"echo "${#OPENAI_API_KEY} ${GOOGLE_API_KEY-none} ${GOOGLE_GENAI_USE_VERTEXAI-none}""#.to_owned(),
    ]
    .join("\n");
    let mut command = command(&["run", "--emulator", "--", "sh", "-c", &script]);
    command.env("GOOGLE_API_KEY", "a-key-of-google").env("GOOGLE_GENAI_USE_VERTEXAI", "true");
    // Without the variable NO_PROXY, curl would send the requests to the proxy.
    command.env("http_proxy", "http://127.0.0.1:1");
    let output = in_time("the end of the command", command.output()).await.unwrap();
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), &*err), (Some(0), ""), "{out}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[..5], ["200", "200", "200", "401", "401"], "{out}");
    let urls: Vec<_> = lines[5].split(' ').collect();
    assert!(urls[0].starts_with("http://127.0.0.1:") && urls[0].ends_with("/v1"), "{out}");
    assert!(urls.iter().all(|url| *url == urls[0]), "{out}");
    assert_eq!(lines[6], "64 none none");
}

#[tokio::test]
async fn two_commands_have_two_keys() {
    let keys = async || texts(&run(&["--", "sh", "-c", "echo $OPENAI_API_KEY"]).await).0;
    assert_ne!(keys().await, keys().await);
}

/// Runs a program of this name, and returns its output.
async fn run_as(name: &str, script: &str, arguments: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(name);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&program, mode).unwrap();
    texts(&run(&[&["--", program.to_str().unwrap()], arguments].concat()).await)
}

#[tokio::test]
async fn claude_code_gets_the_key_as_a_token() {
    let script = "echo ${#ANTHROPIC_AUTH_TOKEN} ${ANTHROPIC_API_KEY-none}";
    assert_eq!(run_as("claude", script, &[]).await, ("64 none".to_owned(), String::new()));
}

#[tokio::test]
async fn codex_gets_the_address_as_an_option_before_its_arguments() {
    let script = r#"[ "$2" = "openai_base_url=\"$OPENAI_BASE_URL\"" ] && shift 2 && echo "$@""#;
    let arguments = ["exec", "-c", "a=1"];
    assert_eq!(
        run_as("codex", script, &arguments).await,
        ("exec -c a=1".to_owned(), String::new())
    );
    assert_eq!(run_as("other", "echo $#", &arguments).await, ("3".to_owned(), String::new()));
}

#[tokio::test]
async fn the_exit_code_of_the_command_is_that_of_run() {
    assert_passes_exit_codes_on(&START).await;
    let output = run(&["--", "/"]).await;
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    let output = run(&["--"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test]
async fn a_signal_reaches_the_command() {
    assert_passes_signals_on(&START).await;
}

#[tokio::test]
async fn a_sidecar_that_cannot_start_starts_no_command() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (options, why) in [
        (&["--emulator", "--listen", &taken][..], "cannot listen on"),
        (&["--project", "p1"], "no location set"),
        (&["--emulator", "--config", "no-such-file"], "--config"),
        (&["--emulator", "--client-key-file", "keys"], "cannot be used with"),
        (&["--emulator", "--tls-cert", "a", "--tls-key", "b"], "cannot be used with"),
    ] {
        let arguments = [&["run"], options, &["--", "echo", "started"]].concat();
        let output = in_time("the end", command(&arguments).output()).await.unwrap();
        let (out, err) = texts(&output);
        assert_eq!((output.status.code(), &*out), (Some(2), ""), "{err}");
        assert!(err.contains(why), "{err}");
    }
}

#[tokio::test]
async fn the_configuration_file_sets_all_but_the_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let text = format!(
        "emulator = true\nlisten = \"{taken}\"\nadmin_listen = \"{taken}\"\n\
         client_key_file = \"no-such-file\"\ntls_cert = \"no-such-file\"\n\
         tls_key = \"no-such-file\"\ndrain_delay = \"1h\"\n\
         [[model]]\nname = \"mine\"\nmodel = \"gemini-2.5-flash\"\n\
         [[client]]\nname = \"team-a\"\nmodels = []\n"
    );
    fs::write(&file, text).unwrap();
    let script =
        chat("authorization: Bearer $OPENAI_API_KEY").replace("google/gemini-2.5-flash", "mine");
    let arguments = ["run", "--config", file.to_str().unwrap(), "--", "sh", "-c", &script];
    let mut command = command(&arguments);
    command.env("VERTEX_GATEWAY_LISTEN", taken.to_string());
    command.env("VERTEX_GATEWAY_CLIENT_KEYS", "team-a:0123456789abcdef");
    let output = in_time("the end of the command", command.output()).await.unwrap();
    assert_eq!(texts(&output), ("200".to_owned(), String::new()));
}

#[tokio::test]
async fn the_log_is_in_the_file_of_the_option_and_not_in_the_output_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidecar.log");
    let path = file.to_str().unwrap();
    let script = chat("authorization: Bearer $OPENAI_API_KEY");
    for lines in [1, 2] {
        let output = run(&["--log-file", path, "--", "sh", "-c", &script]).await;
        assert_eq!(texts(&output), ("200".to_owned(), String::new()));
        let log = fs::read_to_string(&file).unwrap();
        let requests = log.lines().filter(|line| line.contains(" request ")).count();
        assert_eq!(requests, lines, "{log}");
        assert!(log.contains("client=\"run\"") && !log.contains('\u{1b}'), "{log}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let output = run(&["--log-file", "/no/such/folder", "--", "echo", "started"]).await;
    assert_eq!((output.status.code(), texts(&output).0), (Some(2), String::new()), "{output:?}");
}
