//! `vertex-gateway endpoints` from a user's view. The expected output is in
//! `tests/gateway/snapshots/`, to be read.

use serde_json::{Value, json};
use tower_vertex_emulator::{ApiFault, Emulator, EndpointInfo, TokenBehavior, TokenFault};

use super::check::world::{Run, World};
use crate::common::door::ClosedPort;

const DNS: &str = "77.us-central1-123456789012.prediction.vertexai.goog";

async fn world() -> (World, String) {
    let builder = Emulator::builder()
        .endpoint(EndpointInfo::dedicated("77", "my llama \u{fc}", DNS))
        .endpoint(EndpointInfo::shared("78", "").location("europe-west4"))
        .endpoint(EndpointInfo::shared("79", "red\u{1b}[31m").location("europe-west4"));
    let mut world = World::with(builder).await;
    let key = world.key();
    (world, key)
}

/// `endpoints` with these credentials at this emulator.
async fn endpoints(world: &World, key: &str, more: &[&str]) -> Run {
    let url = world.vertex.url();
    let args = ["endpoints", "--credentials", key, "--upstream", &url, "--project", "p1"];
    let run = world.run(&[&args, more].concat()).await;
    assert!(!run.stdout.contains("ya29.") && !run.stderr.contains("ya29."), "{}", run.stderr);
    run
}

#[track_caller]
fn expect(name: &str, code: i32, run: &Run) {
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    let text = format!("{}--- exit code {}\n{}", run.stdout, run.code, run.stderr);
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.add_filter(r"127\.0\.0\.1:\d{2,5}", "127.0.0.1:PORT");
    settings.add_filter(r"refused \(os error \d+\)", "refused");
    settings.bind(|| insta::assert_snapshot!(format!("gateway_endpoints__{name}"), text));
}

#[tokio::test]
async fn the_default_output_is_a_table() {
    let (world, key) = world().await;
    let run = endpoints(&world, &key, &["--location", "us-central1"]).await;
    expect("table", 0, &run);
    let both = [" us-central1, europe-west4,,us-central1"].map(|l| ["--location", l]).concat();
    let run = endpoints(&world, &key, &both).await;
    expect("table_of_two_locations", 0, &run);
    assert_eq!(world.vertex.requests().len(), 3);
    let run = endpoints(&world, &key, &["--location", "eu"]).await;
    expect("table_of_nothing", 0, &run);

    let run = world.run(&["endpoints", "--emulator"]).await;
    expect("table_of_the_emulator", 0, &run);
}

#[tokio::test]
async fn the_output_with_json_is_one_document() {
    let (world, key) = world().await;
    let run = endpoints(&world, &key, &["--location", "us-central1", "--json"]).await;
    expect("json", 0, &run);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document[2]["dedicated_host"], DNS);
    assert_eq!(document[0]["dedicated_host"], Value::Null);
    let run = endpoints(&world, &key, &["--location", "eu", "--json"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (0, "[]\n"));
}

#[tokio::test]
async fn a_display_name_selects_its_endpoints() {
    let (world, key) = world().await;
    let named = ["--location", "us-central1,europe-west4", "--json", "--display-name"];
    for (name, ids) in [
        ("my llama \u{fc}", json!(["77"])),
        ("red\u{1b}[31m", json!(["79"])),
        ("my llama", json!([])),
    ] {
        let run = endpoints(&world, &key, &[&named[..], &[name]].concat()).await;
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        let found = document.as_array().unwrap().iter().map(|endpoint| endpoint["id"].clone());
        assert_eq!((Value::Array(found.collect()), run.code), (ids, 0), "{}", run.stderr);
    }
}

#[tokio::test]
async fn a_location_that_fails_does_not_hide_the_others() {
    let (world, key) = world().await;
    world.fail(ApiFault { times: Some(1), ..ApiFault::new(403) });
    let both = ["--location", "us-central1,europe-west4", "--json"];
    let run = endpoints(&world, &key, &both).await;
    assert_eq!(run.code, 1);
    // Both locations are requested concurrently, so either may have got the error.
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let (failed, shown) = match run.stderr.contains("us-central1: 403") {
        true => ("us-central1", "europe-west4"),
        false => ("europe-west4", "us-central1"),
    };
    assert!(!document.as_array().unwrap().is_empty());
    assert!(document.as_array().unwrap().iter().all(|endpoint| endpoint["location"] == shown));
    let first = format!("vertex-gateway: {failed}: 403 PERMISSION_DENIED: ");
    assert!(run.stderr.starts_with(&first), "{}", run.stderr);

    world.fail(ApiFault::new(429));
    let run = endpoints(&world, &key, &["--location", "us-central1,eu"]).await;
    expect("all_failed", 1, &run);
    world.vertex.clear_faults();

    let unused = ClosedPort::new();
    let unused = format!("http://{unused}");
    let args = ["endpoints", "--credentials", &key, "--project", "p1", "--location", "eu"];
    let run = world.run(&[&args[..], &["--upstream", &unused]].concat()).await;
    expect("nobody_there", 1, &run);
}

#[tokio::test]
async fn without_a_token_no_list_is_requested() {
    let (world, key) = world().await;
    let run = world.run(&["endpoints", "--project", "p1", "--location", "eu"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("no Google credentials found"), "{}", run.stderr);
    let fail = Some(TokenFault { status: 400, times: None });
    world.vertex.set_token_behavior(TokenBehavior { fail, ..TokenBehavior::default() });
    let run = endpoints(&world, &key, &["--location", "us-central1,eu"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("no access token for Vertex AI"), "{}", run.stderr);
    assert_eq!(world.vertex.requests().len(), 0);
}

#[tokio::test]
async fn a_wrong_option_is_named() {
    let (world, key) = world().await;
    for (more, words) in [
        (&["--location", "eu,evil.com/"][..], r#"invalid location "evil.com/""#),
        (&["--location", "eu", "--api-version", "v2"], r#""v2""#),
        (&["--location", "eu", "--endpoint", "1"], "--endpoint"),
        (&[], "no location set"),
    ] {
        let run = endpoints(&world, &key, more).await;
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{more:?}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{more:?}: {}", run.stderr);
    }
    let long = "x".repeat(129);
    let run = endpoints(&world, &key, &["--location", "eu", "--display-name", &long]).await;
    assert_eq!(run.code, 2, "{}", run.stderr);
    let base = format!("{}/v1/x", world.vertex.url());
    let run = world.run(&["endpoints", "--location", "eu", "--upstream", &base]).await;
    assert!(run.stderr.contains("set only the scheme and the host"), "{}", run.stderr);
    let run = world.run(&["endpoints", "--emulator", "--upstream", "http://127.0.0.1:1"]).await;
    assert!(run.stderr.contains("--upstream and --emulator exclude each other"), "{}", run.stderr);

    // Options for a single endpoint and their variables are ignored.
    let url = world.vertex.url();
    let mut command = world.command(&["endpoints", "--credentials", &key, "--upstream", &url]);
    command.envs([("ENDPOINT", "display-name:x"), ("VERTEX_GATEWAY_DEDICATED_HOST", "x.y")]);
    command.envs([("GOOGLE_CLOUD_PROJECT", "p1"), ("GOOGLE_CLOUD_LOCATION", "us-central1")]);
    let run = world.end(command).await;
    assert_eq!((run.code, run.stdout.contains(DNS)), (0, true), "{}", run.stderr);
}
