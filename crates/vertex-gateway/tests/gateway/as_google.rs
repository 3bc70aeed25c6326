//! `vertex-gateway emulator --as-google`: a command in a network in which Google's names lead to the
//! emulator. The commands are this program and a shell.

use std::process::Output;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;

use tower_vertex::{
    replay::ReplayBody,
    token::{FetchReason, GcpAuth, GoogleCloudAuth, TokenSource},
};

use crate::{
    child::{assert_passes_exit_codes_on, assert_passes_signals_on, output, texts},
    common::{Http, client, gateway::command, in_time, text},
};

const START: [&str; 2] = ["emulator", "--as-google"];

async fn run(arguments: &[&str]) -> Output {
    output(&START, arguments).await
}

/// This program, as a command in the network.
const PROGRAM: &str = env!("CARGO_BIN_EXE_vertex-gateway");
const CHECK: [&str; 6] =
    ["--", PROGRAM, "check", "--project=p1", "--location=us-central1", "--json"];

#[tokio::test]
async fn a_command_gets_a_response_by_googles_names_with_credentials_of_each_kind() {
    for kind in [
        "service_account",
        "authorized_user",
        "impersonated_service_account",
        "external_account",
        "external_account_impersonated",
        "external_account_authorized_user",
        "metadata",
    ] {
        let output = run(&[&["--credential", kind], &CHECK[..]].concat()).await;
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{kind}: {out} {err}");
        assert!(out.contains("us-central1-aiplatform.googleapis.com is 127.0.0.1"), "{out}");
    }
    let output = run(&[&["--credential", "none"], &CHECK[..]].concat()).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(texts(&output).0.contains("none found"), "{output:?}");
}

#[tokio::test]
async fn a_location_of_the_command_line_has_its_host_too() {
    let at_mars = ["--", PROGRAM, "check", "--project=p1", "--location=mars-north1", "--json"];
    let output = run(&at_mars).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(texts(&output).0.contains("cannot be resolved"), "{output:?}");
    let output = run(&[&["--location=mars-north1,mars-south1"], &at_mars[..]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = run(&["--location=evil.com/", "--", "true"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test]
async fn the_command_has_its_variables_and_leaves_no_files() {
    let script = r#"
        set -eu
        [ -z "${HTTPS_PROXY-}${GCE_METADATA_HOST-}" ]
        for file in "$SSL_CERT_FILE" "$REQUESTS_CA_BUNDLE" "$CURL_CA_BUNDLE" \
            "$NODE_EXTRA_CA_CERTS" "$GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" \
            "$GOOGLE_APPLICATION_CREDENTIALS"; do [ -s "$file" ]; done
        echo "$VERTEX_EMULATOR_CONTROL_URL"
        dirname "$SSL_CERT_FILE""#;
    let mut command = command(&["emulator", "--as-google", "--", "sh", "-c", script]);
    command.env("HTTPS_PROXY", "http://127.0.0.1:1").env("GCE_METADATA_HOST", "127.0.0.1:1");
    let output = in_time("the end of the command", command.output()).await.unwrap();
    let (out, err) = texts(&output);
    let (control, folder) = out.split_once('\n').unwrap_or_else(|| panic!("{out} {err}"));
    assert_eq!(control, "http://127.0.0.1:80");
    assert!(!std::path::Path::new(folder).exists(), "{folder}");
}

#[tokio::test]
async fn credentials_that_are_set_are_kept_unless_an_option_selects_others() {
    for (option, kept) in [(None, true), (Some("--credential=authorized_user"), false)] {
        let mut arguments = vec!["emulator", "--as-google"];
        arguments.extend(option);
        arguments.extend(["--", "sh", "-c", "echo $GOOGLE_APPLICATION_CREDENTIALS"]);
        let mut command = command(&arguments);
        command.env("GOOGLE_APPLICATION_CREDENTIALS", "/my-own.json");
        let output = in_time("the end of the command", command.output()).await.unwrap();
        assert_eq!(texts(&output).0 == "/my-own.json", kept, "{output:?}");
    }
}

#[tokio::test]
async fn the_exit_code_of_the_command_is_passed_on() {
    assert_passes_exit_codes_on(&START).await;
}

#[tokio::test]
async fn a_signal_reaches_the_command() {
    assert_passes_signals_on(&START).await;
}

/// The sources of the library in this network, without the choice that `Credentials` makes.
#[tokio::test]
async fn gcp_auth_and_google_cloud_auth_get_tokens_by_googles_names() {
    let Some(control) = std::env::var_os("VERTEX_EMULATOR_CONTROL_URL") else {
        // The test runs itself again as the command in the network.
        let name = "as_google::gcp_auth_and_google_cloud_auth_get_tokens_by_googles_names";
        let program = std::env::current_exe().unwrap();
        let program = program.to_str().unwrap();
        let output = run(&["--", program, name, "--exact", "--nocapture"]).await;
        let (out, err) = texts(&output);
        assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
        return;
    };
    let control = control.into_string().unwrap();
    let send = async |request: http::request::Builder| {
        let request = request.body(ReplayBody::plain(Full::<Bytes>::default())).unwrap();
        in_time("a response", client(Http::One).request(request)).await.unwrap()
    };
    let subject = tempfile::NamedTempFile::new().unwrap();
    let subject = subject.path().to_str().unwrap();
    let subject_token =
        text(send(Request::get(format!("{control}/__emulator/subject_token"))).await);
    std::fs::write(subject, subject_token.await).unwrap();
    let file = async |kind: &str| {
        let url = format!("{control}/__emulator/{kind}?at=google&file={subject}");
        text(send(Request::get(url)).await).await
    };
    let key = GcpAuth::from_service_account_key(file("service_account_key").await).unwrap();
    let mut sources: Vec<(&str, Box<dyn TokenSource>)> = vec![
        ("gcp_auth", Box::new(key)),
        ("metadata", Box::new(GoogleCloudAuth::metadata_server())),
    ];
    for kind in [
        "service_account_key",
        "authorized_user",
        "impersonated_service_account",
        "external_account",
        "external_account_impersonated",
    ] {
        let source = GoogleCloudAuth::from_json(file(kind).await).unwrap();
        sources.push((kind, Box::new(source)));
    }
    for (kind, source) in sources {
        let token = in_time("a token", source.fetch(FetchReason::Cold)).await;
        let token = token.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
        let request = Request::get(format!("{control}/tokeninfo"));
        let response = send(request.header("authorization", token.authorization())).await;
        assert_eq!(response.status(), StatusCode::OK, "{kind}");
    }
}
