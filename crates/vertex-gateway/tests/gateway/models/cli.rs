//! `vertex-gateway models` and `vertex-gateway check --models`.

use tower_vertex_emulator::{ApiFault, Emulator};

use super::*;
use crate::{
    check::world::{Run, World},
    common::door::ClosedPort,
};

const PLACE: [&str; 4] = ["--project", "p1", "--location", "us-central1"];

/// `models` with these credentials at this emulator.
async fn models(world: &World, credentials: &str, more: &[&str]) -> Run {
    let url = world.vertex.url();
    let args = ["models", "--credentials", credentials, "--upstream", &url];
    let run = world.run(&[&args, more].concat()).await;
    assert!(!run.stdout.contains("ya29.") && !run.stderr.contains("ya29."), "{}", run.stderr);
    run
}

/// The words of the row that begins with this one.
fn row<'a>(run: &'a Run, name: &str) -> Vec<&'a str> {
    let mut rows = run.stdout.lines().map(|line| line.split("  ").map(str::trim));
    let row = rows.find(|row| row.clone().next() == Some(name));
    let row = row.unwrap_or_else(|| panic!("{name}: {}{}", run.stdout, run.stderr));
    row.filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test]
async fn the_models_are_a_table_or_a_document() {
    let mut world = World::new().await;
    let key = world.key();
    let run = models(&world, &key, &PLACE).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(row(&run, "MODEL"), ["MODEL", "METHODS", "STAGE"]);
    let flash = ["google/gemini-2.5-flash", "chat/completions, generateContent", "GA"];
    assert_eq!(row(&run, flash[0]), flash);
    let haiku = "anthropic/claude-haiku-4-5@20251001";
    assert_eq!(row(&run, haiku), [haiku, "messages", "GA"]);
    assert!(!run.stdout.contains("gemini-2.0-flash"), "{}", run.stdout);
    let run = models(&world, &key, &[&PLACE[..], &["--all"]].concat()).await;
    assert_eq!(row(&run, "google/gemini-2.0-flash")[1], "-");

    let more = ["--publisher", "qwen,xai", "--json"];
    let run = models(&world, &key, &[&PLACE[..], &more].concat()).await;
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let grok = json!({
        "id": "xai/grok-4.6",
        "publisher": "xai",
        "location": "us-central1",
        "methods": ["chat/completions", "responses"],
        "protocols": ["openai"],
        "version": "001",
        "launch_stage": "GA",
    });
    let all = document.as_array().unwrap();
    assert!(all.contains(&grok), "{document}");
    assert!(all.iter().all(|model| ["qwen", "xai"].map(Value::from).contains(&model["publisher"])));

    let both = ["--location", "us-central1,global", "--project", "p1", "--publisher", "anthropic"];
    let run = models(&world, &key, &both).await;
    assert_eq!(row(&run, "global")[1], row(&run, "us-central1")[1]);
    let run = world.run(&["models", "--emulator"]).await;
    assert_eq!(row(&run, flash[0]), flash);
}

#[tokio::test]
async fn a_list_that_fails_does_not_hide_the_others() {
    let mut world = World::new().await;
    let key = world.key();
    world.fail(ApiFault { times: Some(1), ..ApiFault::new(403) });
    let run = models(&world, &key, &PLACE).await;
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("google/gemini-") != run.stdout.contains("anthropic/claude-"));
    assert!(run.stderr.contains("us-central1: 403 PERMISSION_DENIED"), "{}", run.stderr);
    world.fail(ApiFault::new(503));
    let run = models(&world, &key, &PLACE).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("2 of 2 lists failed"), "{}", run.stderr);
    world.vertex.clear_faults();

    let login = world.user();
    assert_eq!(models(&world, &login, &PLACE).await.code, 0, "a person charges the project");
    for (more, words) in [
        (&["--location", "evil.com/"][..], "invalid location"),
        (&["--location", "eu", "--publisher", "a/b"], "invalid --publisher"),
        (&["--project", "p1"], "no location set"),
    ] {
        let run = models(&world, &key, more).await;
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{more:?}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{more:?}: {}", run.stderr);
    }
    let unused = format!("http://{}", ClosedPort::new());
    let args = ["models", "--credentials", &key, "--upstream", &unused];
    let run = world.run(&[&args[..], &PLACE].concat()).await;
    assert!(run.code == 1 && run.stderr.contains("no response"), "{}", run.stderr);
}

/// The lines of a report that begin with this mark and name.
fn lines<'a>(run: &'a Run, begin: &str) -> Vec<&'a str> {
    run.stdout.lines().filter_map(|line| line.strip_prefix(begin)).map(str::trim).collect()
}

#[tokio::test]
async fn check_requests_one_token_of_each_listed_model() {
    let builder = Emulator::builder().models([
        "google/gemini-2.5-flash",
        "google/gemini-embedding-001",
        "google/gemini-embedding-2",
        "google/gemini-2.5-flash-tts",
        "anthropic/claude-opus-5",
        "intfloat/multilingual-e5-small-maas",
    ]);
    let mut world = World::with(builder).await;
    let key = world.key();
    let config = "[[model]]\nname = \"fast\"\nmodel = \"gemini-2.5-flash\"\n\
         [[model]]\nname = \"opus\"\nmodel = \"anthropic/claude-opus-5\"\n";
    let config = world.file("gateway.toml", config);
    let publishers = "google,anthropic,intfloat";
    let more = ["--models", "--config", &config, "--list-models", publishers];
    let run = world.check(&key, &more).await;
    let lists = lines(&run, "✓ models");
    assert_eq!(lists.len(), 3, "{}", run.stdout);
    assert_eq!(lists[0], "google in us-central1: 4 listed, 3 with a known method");
    let mut asked: Vec<_> = lines(&run, "✓ model ")
        .iter()
        .filter_map(|line| line.split_once(" responded to "))
        .map(|(name, rest)| (name, rest.split(" in ").next().unwrap()))
        .collect();
    asked.sort_unstable();
    let expected = [
        ("anthropic/claude-opus-5", "messages"),
        ("fast", "chat/completions"),
        ("google/gemini-2.5-flash", "chat/completions"),
        ("google/gemini-embedding-001", "predict"),
        ("google/gemini-embedding-2", "embedContent"),
        ("intfloat/multilingual-e5-small-maas", "embeddings"),
        ("opus", "messages"),
    ];
    assert_eq!(asked, expected, "{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, 0, "{}", run.stdout);

    let run = world.check(&key, &["--models", "--list-models", "off"]).await;
    assert_eq!((run.code, lines(&run, "✓ model ").len()), (0, 1), "{}", run.stdout);
}

#[tokio::test]
async fn check_reports_lists_and_models_that_fail() {
    let mut world = World::new().await;
    let key = world.key();
    world.fail(ApiFault::new(403));
    let run = world.check(&key, &["--models"]).await;
    assert_eq!(run.code, 1, "{}", run.stdout);
    let failed = lines(&run, "✗ models");
    assert_eq!(failed.len(), 2, "{}", run.stdout);
    assert!(failed[0].starts_with("google: us-central1: 403 PERMISSION_DENIED"), "{}", run.stdout);
    assert!(run.stdout.contains("--list-models off lists none"), "{}", run.stdout);
}
