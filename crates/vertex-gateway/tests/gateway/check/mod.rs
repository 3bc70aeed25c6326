//! `vertex-gateway check` and `vertex-gateway token` from a user's view, on simulated machines with
//! one fault each.
//!
//! The expected output of `check` is in `tests/gateway/snapshots/`, to be read. After a change,
//! review the difference with `cargo insta review`, or run with `INSTA_UPDATE=always` and look at
//! the difference.

mod secrets;
mod token;
pub(super) mod world;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tower_vertex_emulator::{ApiFault, Emulator, ErrorShape, TokenBehavior, UserGrantFault};

use self::world::World;
use crate::common::door::ClosedPort;

const ACCOUNT: &str = "vertex@p1.iam.gserviceaccount.com";

fn reason(status: u16, reason: &str) -> ApiFault {
    ApiFault { reason: Some(reason.to_owned()), ..ApiFault::new(status) }
}

#[tokio::test]
async fn without_a_fault_every_check_succeeds() {
    let mut world = World::new().await;
    let key = world.key();
    let run = world.check(&key, &[]).await;
    world.expect("good", 0, &run);
    assert_eq!(world.vertex.requests().len(), 1);

    // Other credentials, with a warning that is no failure.
    let user = world.user();
    fs::set_permissions(&user, fs::Permissions::from_mode(0o644)).unwrap();
    let run = world.check(&user, &["--endpoint", "1234567890123456789"]).await;
    world.expect("good_with_a_warning", 0, &run);

    let run = world.run(&["check", "--emulator"]).await;
    world.expect("good_emulator", 0, &run);
}

#[tokio::test]
async fn json_output_is_one_document_with_the_same_checks() {
    let mut world = World::new().await;
    let key = world.key();
    let run = world.check(&key, &["--json"]).await;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["ok"], true);
    let names = |document: &Value| -> Vec<String> {
        let checks = document["checks"].as_array().unwrap();
        checks.iter().map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = ["credentials", "token", "project", "location", "upstream", "DNS", "TLS", "model"];
    assert_eq!(names(&document), all);

    world.fail(ApiFault::new(429));
    let run = world.check(&key, &["--json"]).await;
    assert_eq!(run.code, 1);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&document["ok"], names(&document)), (&json!(false), all.map(String::from).into()));
    let model = &document["checks"][7];
    assert_eq!(model["ok"], false);
    assert!(model["remedy"].as_str().unwrap().contains("quota"), "{model}");
    assert_eq!(document["checks"][0]["remedy"], Value::Null);

    let run = world.run(&["check", "--json", "--location", "global"]).await;
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["checks"][1]["ok"], Value::Null, "{document}");
}

#[tokio::test]
async fn unusable_credentials_are_explained() {
    let mut world = World::new().await;
    let run = world.run(&["check"]).await;
    world.expect("no_credentials", 1, &run);

    let not_json = world.file("not.json", "SECRET-not-json");
    world.secrets.push("SECRET-not-json".into());
    let run = world.check(&not_json, &[]).await;
    world.expect("credentials_not_json", 1, &run);

    let run = world.check("/nowhere/key.json", &[]).await;
    world.expect("credentials_no_file", 1, &run);

    let key = world.key();
    let mut content: Value = serde_json::from_str(&fs::read_to_string(&key).unwrap()).unwrap();
    content["private_key"] = "SECRET-no-key".into();
    let broken = world.credentials(&content.to_string());
    let run = world.check(&broken, &[]).await;
    world.expect("credentials_broken_key", 1, &run);
}

#[tokio::test]
async fn refused_tokens_are_explained() {
    let mut world = World::new().await;
    let revoked = UserGrantFault::Revoked;
    let user = world.user();
    let set = |behavior: TokenBehavior| world.vertex.set_token_behavior(behavior);
    set(TokenBehavior { user_grant: Some(revoked), ..TokenBehavior::default() });
    let run = world.check(&user, &[]).await;
    world.expect("token_revoked_login", 1, &run);

    let again = UserGrantFault::ReauthRequired;
    set(TokenBehavior { user_grant: Some(again), ..TokenBehavior::default() });
    let run = world.check(&user, &[]).await;
    world.expect("token_reauth_required", 1, &run);

    let mut world = World::new().await;
    let key = world.key();
    let behavior = TokenBehavior { clock_offset_s: 7230, ..TokenBehavior::default() };
    world.vertex.set_token_behavior(behavior);
    let run = world.check(&key, &[]).await;
    world.expect("token_skewed_clock", 1, &run);
    // A refresh token carries no time, but the response has a date.
    let user = world.user();
    let run = world.check(&user, &[]).await;
    world.expect("clock_of_the_server", 1, &run);

    let mut world = World::new().await;
    let unused = ClosedPort::new();
    let mut key: Value = serde_json::from_str(&world.vertex.service_account_key()).unwrap();
    key["token_uri"] = format!("http://{unused}/token").into();
    let key = world.credentials(&key.to_string());
    let run = world.check(&key, &[]).await;
    world.expect("token_endpoint_refused", 1, &run);

    let workload = world.vertex.external_account(world.home.path().join("subject-token"));
    let workload = world.credentials(&workload);
    let run = world.check(&workload, &[]).await;
    world.expect("token_no_subject_token", 1, &run);
}

#[tokio::test]
async fn refused_impersonation_is_explained() {
    let mut world = World::new().await;
    let (url, key) = (world.vertex.url(), world.key());
    let options = ["--impersonate-service-account", ACCOUNT, "--iam-endpoint", &url];
    let run = world.check(&key, &options).await;
    world.expect("good_impersonation", 0, &run);
    let asked = world.vertex.requests();
    assert_eq!(asked.last().unwrap().principal.as_deref(), Some(ACCOUNT));

    let long = [&options[..], &["--token-lifetime", "12h"]].concat();
    let run = world.check(&key, &long).await;
    world.expect("token_lifetime_policy", 1, &run);
    let allowed = TokenBehavior { allow_long_lifetimes: true, ..TokenBehavior::default() };
    world.vertex.set_token_behavior(allowed);
    let run = world.check(&key, &long).await;
    let life = ["valid for 11 h 59 min", "valid for 12 h 0 min"];
    assert!(life.iter().any(|life| run.stdout.contains(life)), "{}", run.stdout);

    let denied = TokenBehavior { impersonation_denied: true, ..TokenBehavior::default() };
    world.vertex.set_token_behavior(denied);
    let run = world.check(&key, &options).await;
    world.expect("token_impersonation_denied", 1, &run);

    // Here the token of the impersonating user is refused.
    let user = world.user();
    let revoked = Some(UserGrantFault::Revoked);
    let behavior = TokenBehavior { user_grant: revoked, ..TokenBehavior::default() };
    world.vertex.set_token_behavior(behavior);
    let run = world.check(&user, &options).await;
    world.expect("token_impersonator_refused", 1, &run);
}

#[tokio::test]
async fn missing_settings_are_all_reported_at_once() {
    let mut world = World::new().await;
    let mut key: Value = serde_json::from_str(&world.vertex.service_account_key()).unwrap();
    key["project_id"].take();
    let key = world.credentials(&key.to_string());
    let run = world.run(&["check", "--credentials", &key]).await;
    world.expect("settings_missing", 1, &run);
    // The host is known even without the project.
    let url = world.vertex.url();
    let run = world.run(&["check", "--credentials", &key, "--upstream", &url]).await;
    world.expect("settings_missing_with_a_host", 1, &run);
    // A whole base URL needs neither.
    let base = format!("{url}/v1/projects/p1/locations/us-central1/endpoints/openapi");
    let run = world.run(&["check", "--credentials", &key, "--upstream", &base]).await;
    world.expect("good_whole_base", 0, &run);
    // The credentials contain the project.
    let key = world.key();
    let args = ["check", "--credentials", &key, "--upstream", &url, "--location", "eu"];
    let run = world.run(&args).await;
    assert!(run.stdout.contains("emulator-project, from the credentials"), "{}", run.stdout);
}

#[tokio::test]
async fn error_responses_of_vertex_ai_are_explained() {
    let mut world = World::with(Emulator::builder().models(["google/gemini-2.5-flash"])).await;
    let key = world.key();
    for (name, fault) in [
        ("answer_401", ApiFault::new(401)),
        ("answer_403_permission", ApiFault::new(403)),
        ("answer_403_service_disabled", reason(403, "SERVICE_DISABLED")),
        ("answer_403_scope", reason(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")),
        ("answer_429", ApiFault::new(429)),
        ("answer_503", ApiFault::new(503)),
        ("answer_503_html", ApiFault { shape: Some(ErrorShape::Html), ..ApiFault::new(503) }),
    ] {
        world.fail(fault);
        let run = world.check(&key, &[]).await;
        world.expect(name, 1, &run);
    }
    world.fail(reason(403, "USER_PROJECT_DENIED"));
    let run = world.check(&key, &["--quota-project", "payer"]).await;
    world.expect("answer_403_quota_project", 1, &run);

    world.vertex.clear_faults();
    let run = world.check(&key, &["--model", "google/gemini-9"]).await;
    world.expect("answer_404_model", 1, &run);
    let run = world.check(&key, &["--model", "gpt-4o"]).await;
    world.expect("answer_404_model_of_another_service", 1, &run);
    let run = world.check(&key, &["--model", "/gemini-2.5-flash"]).await;
    world.expect("answer_400_model", 1, &run);
}

#[tokio::test]
async fn the_request_to_a_model_follows_the_table_of_models() {
    let mut world = World::new().await;
    let key = world.key();
    let config = world.file(
        "gateway.toml",
        r#"
            [[model]]
            name = "fast"
            model = "gemini-2.5-flash"
            location = "europe-west4"

            [[model]]
            name = "llama-*"
            endpoint = "display-name:emulated-dedicated"
        "#,
    );
    let with = ["--config", &config, "--model"];
    let run = world.check(&key, &[&with[..], &["fast"]].concat()).await;
    world.expect("good_model_of_the_table", 0, &run);
    let run =
        world.check(&key, &[&with[..], &["gpt-4o", "--default-model", "fast"]].concat()).await;
    world.expect("good_default_model", 0, &run);
    let run = world.check(&key, &[&with[..], &["llama-3"]].concat()).await;
    world.expect("good_model_at_an_endpoint_by_name", 0, &run);
    let paths: Vec<_> = world.vertex.requests().into_iter().map(|seen| seen.path).collect();
    let [.., fast, _, llama] = paths.as_slice() else { panic!("{paths:?}") };
    assert!(fast.contains("/locations/europe-west4/endpoints/openapi/"), "{fast}");
    assert!(llama.contains("/endpoints/mg-endpoint-00000000-"), "{llama}");

    world.vertex.set_endpoints([]);
    let run = world.check(&key, &[&with[..], &["fast"]].concat()).await;
    world.expect("endpoint_that_has_no_such_name", 1, &run);
}

#[tokio::test]
async fn wrong_hosts_are_explained() {
    let mut world = World::with(Emulator::builder().host_aware(true)).await;
    let key = world.key();
    let run = world.check(&key, &[]).await;
    world.expect("host_wrong", 1, &run);

    let unused = ClosedPort::new();
    let run = world.check(&key, &["--upstream", &format!("http://{unused}")]).await;
    // This gives --upstream twice, which is a wrong option.
    assert_eq!(run.code, 2, "{}", run.stderr);
    let args = ["check", "--project", "p1", "--location", "us-central1", "--credentials", &key];
    let at = |upstream: String| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        [args, vec!["--upstream".to_owned(), upstream]].concat()
    };
    for (name, upstream) in [
        ("host_refused", format!("http://{unused}")),
        ("host_refused_tls", format!("https://{unused}")),
        ("host_unknown", "https://vertex.invalid".to_owned()),
        ("host_no_tls", world.vertex.url().replace("http:", "https:")),
    ] {
        let args = at(upstream);
        let run = world.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        world.expect(name, 1, &run);
    }

    // The server at this address is not Vertex AI, or closes the connection without a response.
    for (name, answer) in [
        ("host_not_vertex", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
        ("host_redirects", "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n"),
        ("host_broke_off", ""),
    ] {
        let args = at(always(answer).await);
        let run = world.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        world.expect(name, 1, &run);
    }

    // The cloud of this key has another domain.
    let mut other: Value = serde_json::from_str(&world.vertex.service_account_key()).unwrap();
    other["universe_domain"] = "cloud.invalid".into();
    let other = world.credentials(&other.to_string());
    let args = ["check", "--location", "us-central1", "--credentials", &other];
    let run = world.run(&args).await;
    world.expect("host_of_another_cloud", 1, &run);
}

/// A server that sends the same response to every request.
async fn always(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // The request arrives in one or two pieces. Its rest may stay unread.
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            let _ = socket.shutdown().await;
            while socket.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
        }
    });
    url
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer_is_explained_and_a_trusted_one_accepted() {
    let mut world = World::with(Emulator::builder().tls(true)).await;
    let key = world.key();
    let run = world.check(&key, &[]).await;
    world.expect("tls_unknown_issuer", 1, &run);

    let roots = world.file("roots.pem", world.vertex.certificate_pem().unwrap());
    let port = world.vertex.addr().port();
    let check = |upstream: &str| {
        let mut command = world.command(&["check", "--credentials", &key, "--project", "p1"]);
        command.args(["--location", "us-central1", "--upstream", upstream]);
        command.env("SSL_CERT_FILE", &roots);
        command
    };
    let run = world.end(check(&format!("https://localhost:{port}"))).await;
    assert!(run.stdout.contains("✓ DNS          localhost is "), "{}", run.stdout);
    assert!(run.stdout.contains("✓ TLS          TLS 1.3"), "{}", run.stdout);
    assert_eq!(run.code, 0, "{}", run.stdout);
    // The same authority beside those of the system.
    let run = world.check(&key, &["--upstream-ca", &roots]).await;
    assert!(run.stdout.contains("✓ TLS          TLS 1.3"), "{}", run.stdout);
}

#[tokio::test]
async fn a_wrong_option_ends_with_code_2_and_runs_no_check() {
    let world = World::new().await;
    for (args, words) in [
        (&["check", "--location", "evil.com/"][..], r#"invalid location "evil.com/""#),
        (&["check", "--upstream", "ftp://x"], "invalid --upstream"),
        (&["check", "--upstream", "http://10.0.0.1"], "--allow-insecure-upstream"),
        (
            &["check", "--dedicated-host", "evil.com", "--endpoint", "1"],
            "is not one of Vertex AI's",
        ),
        (&["check", "--api-version", "v2"], r#""v2""#),
        (&["check", "--token-lifetime", "1d"], "invalid --token-lifetime: give a time"),
        (&["check", "--proxy", "socks5://me:SECRET@x"], "in --proxy: SOCKS is not supported"),
        (&["token", "--proxy", "http://me:SEC@RET@x"], "invalid proxy"),
        (&["check", "--upstream-ca", "none.pem"], "in --upstream-ca: there is no such file"),
        (&["check", "--upstream-cert", "x.pem"], "--upstream-cert requires --upstream-key"),
        (&["check", "--upstream-key", "x.pem"], "--upstream-key requires --upstream-cert"),
        (&["check", "--listen", "x"], "--listen"),
        (
            &["check", "--emulator", "--credentials", "x"],
            "--credentials and --emulator exclude each other",
        ),
        (&["token", "--impersonate-service-account", ","], "give a service account's"),
        (&["token", "--project", "p"], "--project"),
    ] {
        let run = world.run(args).await;
        assert_eq!(run.code, 2, "{args:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(words), "{args:?}: {}", run.stderr);
        assert!(!run.stderr.contains("SEC"), "{args:?}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{args:?}");
    }
}

#[tokio::test]
async fn no_field_of_a_credential_file_is_shown() {
    const MARK: &str = "MARKED-SECRET";
    // These names may be shown.
    const SHOWN: [&str; 2] = ["project_id", "universe_domain"];
    let mut world = World::new().await;
    let subject = world.vertex.subject_token();
    let subject = world.file("subject-token", &subject);
    let files = [
        world.vertex.service_account_key(),
        world.vertex.authorized_user(),
        world.vertex.external_account(&subject),
        world.vertex.external_account_authorized_user(),
        world.vertex.impersonated_service_account(),
    ];
    for file in files {
        let whole: Value = serde_json::from_str(&file).unwrap();
        let pointers = whole.as_object().unwrap().keys().map(|name| format!("/{name}"));
        let inner = whole["source_credentials"].as_object().into_iter().flat_map(|o| o.keys());
        let inner = inner.map(|name| format!("/source_credentials/{name}"));
        let pointers: Vec<String> = pointers
            .chain(inner)
            .filter(|pointer| !SHOWN.iter().any(|name| pointer.ends_with(name)))
            .collect();
        for pointer in pointers {
            let mut marked = whole.clone();
            *marked.pointer_mut(&pointer).unwrap() = MARK.into();
            world.secrets = vec![MARK.to_owned()];
            let path = world.credentials(&marked.to_string());
            let run = world.check(&path, &[]).await;
            assert!(run.stdout.contains("credentials"), "{pointer}: {}", run.stderr);
        }
    }
}

#[test]
fn every_fault_has_a_remedy_of_its_own() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/snapshots");
    let mut worlds: BTreeMap<String, String> = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let name = name.strip_prefix("gateway_check__").and_then(|n| n.strip_suffix(".snap"));
        let Some(name) = name else { continue };
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().skip_while(|line| !line.starts_with('✗')).skip(1);
        let remedy: Vec<&str> =
            lines.by_ref().take_while(|line| line.starts_with("    ")).collect();
        let good = name.starts_with("good");
        assert_eq!(good, text.contains("--- exit code 0"), "{name}");
        assert_eq!(good, remedy.is_empty(), "{name}");
        if !good && let Some(other) = worlds.insert(remedy.join("\n"), name.to_owned()) {
            let alike = [other.as_str(), name];
            assert!(ALIKE.iter().any(|names| alike.iter().all(|n| names.contains(n))), "{alike:?}");
        }
    }
    assert!(worlds.len() >= 10, "{worlds:?}");
}

/// Snapshots of the same fault, found in different ways.
const ALIKE: [[&str; 2]; 3] = [
    ["host_not_vertex", "host_redirects"],
    ["settings_missing", "settings_missing_with_a_host"],
    ["token_impersonator_refused", "token_revoked_login"],
];

/// The cases cover variables that are shared with other tools, and variables of the sidecar.
#[tokio::test]
async fn an_error_about_a_setting_names_the_source_of_its_value() {
    let mut world = World::new().await;
    let key = world.key();
    let wrong = world.file("wrong.toml", "location = \"Berlin\"\nlisten = \"nowhere\"");
    let right = world.file("right.toml", "location = \"eu\"");
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Variables<'_>, &[&str], &str); 12] = [
        (&[("ENDPOINT", "https://a.b/c")], &[], "endpoint id \"https://a.b/c\" in ENDPOINT: "),
        (&[("LOCATION", "Berlin")], &[], "location \"Berlin\" in LOCATION: "),
        (&[("PROJECT_ID", "a b")], &[], "project \"a b\" in PROJECT_ID: "),
        (
            &[("VERTEX_GATEWAY_LOCATION", "Paris"), ("LOCATION", "Berlin")],
            &[],
            "location \"Paris\" in VERTEX_GATEWAY_LOCATION: ",
        ),
        (
            &[("VERTEX_GATEWAY_ENDPOINT", "a/b"), ("ENDPOINT", "1")],
            &[],
            "endpoint id \"a/b\" in VERTEX_GATEWAY_ENDPOINT: ",
        ),
        (
            &[("VERTEX_GATEWAY_LOCATION", "Paris")],
            &["--location", "Berlin"],
            "location \"Berlin\" in --location: ",
        ),
        (&[("VERTEX_GATEWAY_UPSTREAM", "ftp://a")], &[], "invalid VERTEX_GATEWAY_UPSTREAM"),
        (&[], &["--upstream", "http://a.b"], "--upstream \"http://a.b\" would send"),
        (&[("VERTEX_GATEWAY_API_VERSION", "v9")], &[], "in VERTEX_GATEWAY_API_VERSION"),
        (
            &[("VERTEX_GATEWAY_IAM_ENDPOINT", "x y")],
            &["--impersonate-service-account", "a@b"],
            "IAM endpoint",
        ),
        (&[("GOOGLE_CLOUD_QUOTA_PROJECT", "a b")], &[], "in GOOGLE_CLOUD_QUOTA_PROJECT"),
        (
            &[("VERTEX_GATEWAY_CONFIG", &wrong)],
            &[],
            "location \"Berlin\" in the configuration file",
        ),
    ];
    for (variables, options, words) in cases {
        let mut command = world.command(&["check", "--credentials", &key]);
        command.args(options).envs(variables.iter().copied());
        let run = world.end(command).await;
        assert!(run.code == 2 && run.stderr.contains(words), "{words}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
    for (variables, options, words) in [
        (&[("VERTEX_GATEWAY_LISTEN", "nowhere")][..], &[][..], "invalid VERTEX_GATEWAY_LISTEN"),
        (&[], &["--listen", "nowhere"], "invalid --listen"),
        (&[("VERTEX_GATEWAY_LOG_FORMAT", "x")], &[], "(from VERTEX_GATEWAY_LOG_FORMAT)"),
        (&[("VERTEX_GATEWAY_CONFIG", &wrong)], &[], "invalid `listen` of the configuration file"),
        (
            &[("VERTEX_GATEWAY_CLIENT_KEY_FILE", "./no")],
            &[],
            "VERTEX_GATEWAY_CLIENT_KEY_FILE ./no: ",
        ),
    ] {
        let mut command = world.command(&["serve", "--credentials", &key]);
        command.args(options).envs(variables.iter().copied());
        let run = world.end(command).await;
        assert!(run.code == 2 && run.stderr.contains(words), "{words}: {}", run.stderr);
    }

    // The sidecar's own variables take precedence over shared ones.
    let mut command = world.command(&["check", "--credentials", &key]);
    command.args(["--upstream", &world.vertex.url(), "--project", "p1", "--config", &right]);
    command.env("VERTEX_GATEWAY_LOCATION", "us-central1").env("LOCATION", "europe-west4");
    let run = world.end(command).await;
    assert!(run.stdout.contains("us-central1, from VERTEX_GATEWAY_LOCATION"), "{}", run.stdout);
    assert_eq!(run.code, 0);
}
