//! No setting repeats a possible secret in its output, regardless of the command and of the setting
//! that holds the secret.
//!
//! Each run ends without help: wrong values are refused, and with acceptable ones the sidecar finds
//! that its address is in use, calls the emulator, or ends its report.

use std::{collections::BTreeMap, net::TcpListener, path::Path, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use clap::{ArgAction, CommandFactory as _, Parser as _};
use serde_json::Value;
use tokio::sync::Semaphore;
use vertex_gateway::Command as Settings;

use super::world::{Run, World};

const API_KEY: &str = "AIzaSyD9tSrke72PouQMnMX-a7eZSW0jkFMBWY";
const PASSWORD: &str = "hunter2-and-more";

/// A value given in place of the right one, and the pieces of it that must not be shown.
#[derive(Clone)]
struct Secret {
    value: String,
    pieces: Vec<String>,
}

impl Secret {
    /// Forbids every piece of twenty characters.
    fn whole(value: String) -> Self {
        let one_line: String = value.split_whitespace().collect();
        let pieces = one_line.as_bytes().chunks_exact(20);
        let pieces = pieces.map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect();
        Self { value, pieces }
    }

    fn part(value: String, piece: &str) -> Self {
        Self { value, pieces: vec![piece.to_owned()] }
    }
}

fn secrets(key: &str) -> Vec<Secret> {
    let json: Value = serde_json::from_str(key).unwrap();
    let pem = json["private_key"].as_str().unwrap();
    let of_the_key = |value: String| {
        let lines = pem.lines().filter(|line| line.len() == 64);
        let mut pieces: Vec<String> = lines.map(|line| line[..20].to_owned()).collect();
        pieces.push("-----BEGIN".to_owned());
        Secret { value, pieces }
    };
    let encoded = STANDARD.encode(key);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    vec![
        of_the_key(key.to_owned()),
        of_the_key(pem.to_owned()),
        Secret::whole(encoded.clone()),
        Secret::whole(URL_SAFE_NO_PAD.encode(key)),
        Secret::whole(lines.join("\n")),
        Secret::whole(API_KEY.to_owned()),
        Secret::part(format!("https://user:{PASSWORD}@127.0.0.1:1/a?key={PASSWORD}"), PASSWORD),
        Secret::part(format!("alice:{PASSWORD}@127.0.0.1"), PASSWORD),
    ]
}

/// The position at which a value is given.
#[derive(Clone, Debug)]
enum Place {
    Option(String),
    Variable(String),
    Word,
}

/// All positions of all commands: a word, each option, and each variable.
fn places() -> Vec<(String, Place)> {
    let mut places = Vec::new();
    for command in Settings::command().get_subcommands() {
        let name = command.get_name().to_owned();
        places.push((name.clone(), Place::Word));
        for option in command.get_arguments() {
            let takes = matches!(option.get_action(), ArgAction::Set | ArgAction::Append);
            if let Some(long) = option.get_long().filter(|_| takes) {
                places.push((name.clone(), Place::Option(long.to_owned())));
            }
            if let Some(variable) = option.get_env() {
                let variable = variable.to_string_lossy().into_owned();
                places.push((name.clone(), Place::Variable(variable)));
            }
        }
    }
    // Variables that clap does not read.
    for variable in [
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_LOCATION",
        "PROJECT_ID",
        "LOCATION",
        "ENDPOINT",
        "GCE_METADATA_HOST",
        "CLOUDSDK_CONFIG",
        "VERTEX_GATEWAY_CLIENT_KEYS",
        "VERTEX_GATEWAY_LOG",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
        "OTEL_TRACES_EXPORTER",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_PROPAGATORS",
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "HTTPS_PROXY",
    ] {
        places.push(("serve".to_owned(), Place::Variable(variable.to_owned())));
    }
    for variable in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "LOCATION"] {
        for command in ["check", "token", "endpoints"] {
            places.push((command.to_owned(), Place::Variable(variable.to_owned())));
        }
    }
    places
}

/// Options, by their names, with which a run of a command ends without help.
fn usual(command: &str, world: &World, key: &Path, taken: &str) -> BTreeMap<&'static str, String> {
    let key = key.to_str().unwrap().to_owned();
    let mut usual = BTreeMap::new();
    if ["serve", "run", "init", "check", "ext-authz", "token", "endpoints"].contains(&command) {
        usual.insert("credentials", key);
    }
    if ["serve", "run", "init", "check", "ext-authz", "endpoints"].contains(&command) {
        usual.insert("project", "p1".to_owned());
        usual.insert("location", "us-central1".to_owned());
        usual.insert("upstream", world.vertex.url());
    }
    if ["serve", "run", "ext-authz", "emulator"].contains(&command) {
        usual.insert("listen", taken.to_owned());
    }
    usual
}

/// The option that a place sets, so that it is not set twice.
fn option_of(place: &Place) -> Option<&str> {
    match place {
        Place::Option(name) => Some(name),
        Place::Variable(name) => Some(match name.as_str() {
            "GOOGLE_APPLICATION_CREDENTIALS" => "credentials",
            "GOOGLE_CLOUD_PROJECT" | "PROJECT_ID" | "VERTEX_GATEWAY_PROJECT" => "project",
            "GOOGLE_CLOUD_LOCATION" | "LOCATION" | "VERTEX_GATEWAY_LOCATION" => "location",
            "VERTEX_GATEWAY_UPSTREAM" => "upstream",
            "VERTEX_GATEWAY_LISTEN" | "VERTEX_EMULATOR_LISTEN" => "listen",
            _ => return None,
        }),
        Place::Word => None,
    }
}

#[tokio::test]
async fn no_setting_of_any_command_repeats_a_possible_secret() {
    let mut world = World::new().await;
    let key = world.key();
    let secrets = secrets(&std::fs::read_to_string(&key).unwrap());
    // Clears the secrets of `World`: these runs look for the same ones in other forms.
    world.secrets.clear();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let world = Arc::new(world);
    let turns = Arc::new(Semaphore::new(4));
    let (mut runs, mut found) = (Vec::new(), Vec::new());
    let places = places();
    assert!(places.len() > 200, "{}", places.len());
    for (number, (command, place)) in places.into_iter().enumerate() {
        let mut usual = usual(&command, &world, Path::new(&key), &taken);
        if let Some(option) = option_of(&place) {
            usual.remove(option);
        }
        let mut arguments = vec![command.clone()];
        arguments.extend(usual.iter().map(|(name, value)| format!("--{name}={value}")));
        let as_json = ["check", "token", "endpoints"].contains(&command.as_str());
        if as_json && number % 2 == 0 {
            arguments.push("--json".to_owned());
        }
        let of_serve = ["run", "init"].contains(&command.as_str());
        for (which, secret) in secrets.iter().enumerate() {
            // These commands have the options of `serve`, so each place gets one secret.
            if of_serve && which != number % secrets.len() {
                continue;
            }
            // Values that clap refuses are checked in this process, which prints the same messages.
            let mut values = match &place {
                Place::Option(name) => vec![format!("--{name}={}", secret.value)],
                Place::Word => vec![secret.value.clone()],
                Place::Variable(_) => Vec::new(),
            };
            if command == "run" {
                values.extend(["--", "true"].map(str::to_owned));
            }
            if !matches!(place, Place::Variable(_)) {
                let all = std::iter::once("vertex-gateway")
                    .chain(arguments.iter().map(String::as_str))
                    .chain(values.iter().map(String::as_str));
                if let Err(error) = Settings::try_parse_from(all) {
                    found.extend(look(&error.to_string(), &format!("{command} {place:?}"), secret));
                    continue;
                }
            }
            // Each place gets a third of the secrets, because the code that shows a value does not
            // depend on its setting.
            if !of_serve && which % 3 != number % 3 {
                continue;
            }
            let mut child = world.command(&[]);
            child.args(&arguments).args(&values).env("VERTEX_GATEWAY_LOG", "debug");
            // Some commands write a file.
            child.current_dir(world.home.path());
            if let Place::Variable(name) = &place {
                child.env(name, &secret.value);
            } else if ["serve", "ext-authz"].contains(&command.as_str()) && which % 2 == 0 {
                child.arg("--log-format=json");
            }
            let (world, turns) = (Arc::clone(&world), Arc::clone(&turns));
            let (command, place, secret) = (command.clone(), place.clone(), secret.clone());
            runs.push(tokio::spawn(async move {
                let _turn = turns.acquire().await.unwrap();
                let Run { stdout, stderr, .. } = world.end(child).await;
                let place = format!("{command} {place:?}");
                look(&stdout, &place, &secret).or(look(&stderr, &place, &secret))
            }));
        }
    }
    assert!(runs.len() > 100, "{}", runs.len());
    for run in runs {
        found.extend(run.await.unwrap());
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

/// The first piece of the secret in the text, with its context.
fn look(text: &str, place: &str, secret: &Secret) -> Option<String> {
    // Removes escaped line breaks too.
    let one_line: String = text.replace("\\n", "").split_whitespace().collect();
    let piece = secret.pieces.iter().find(|piece| one_line.contains(piece.as_str()))?;
    Some(format!("{place}: {piece:?} in {text}"))
}

/// Covers the keys of the configuration file, and errors of the file itself.
#[tokio::test]
async fn no_key_of_the_configuration_file_repeats_a_possible_secret() {
    let mut world = World::new().await;
    let key = world.key();
    let secrets = secrets(&std::fs::read_to_string(&key).unwrap());
    world.secrets.clear();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let command = Settings::command();
    let serve = command.find_subcommand("serve").unwrap();
    let mut lines: Vec<String> = serve
        .get_arguments()
        .filter_map(|option| option.get_long())
        .filter(|long| !["config", "help", "version"].contains(long))
        .map(|long| format!("{} = %", long.replace('-', "_")))
        .collect();
    assert!(lines.len() > 40, "{lines:?}");
    let mut found = Vec::new();
    lines.extend(
        [
            "default_publisher = %",
            "% = 1",
            "%",
            "project = [%]",
            "[[model]]\nname = %",
            "[[model]]\nname = \"a\"\nmodel = %",
            "[[model]]\nname = \"a\"\npublisher = %",
            "[[model]]\nname = \"a\"\nlocation = %",
            "[[model]]\nname = \"a\"\nlocations = [%]",
            "[[model]]\nname = \"a\"\nendpoint = %",
            "[[model]]\nname = \"a\"\nendpoint = \"1\"\ndedicated_host = %",
            "[[model]]\nname = \"a\"\napi_version = %",
            "[[model]]\nname = \"a\"\nheaders = { % = \"b\" }",
            "[[model]]\nname = \"a\"\nheaders = { host = % }",
            "[[model]]\nname = %\n[[model]]\nname = %",
            "[[client]]\nname = %",
            "[[client]]\nname = \"a\"\nmodels = [%]",
            "[[client]]\nname = \"a\"\nrequests_per_minute = %",
        ]
        .map(str::to_owned),
    );
    for (number, line) in lines.iter().enumerate() {
        for (which, secret) in
            secrets.iter().enumerate().filter(|(which, _)| which % 3 == number % 3)
        {
            // A JSON string is a TOML string, too.
            let quoted = serde_json::to_string(&secret.value).unwrap();
            let name = format!("{number}-{which}.toml");
            let path = world.file(&name, &line.replace('%', &quoted));
            let mut child = world.command(&["serve", "--config", &path]);
            for (name, value) in usual("serve", &world, Path::new(&key), &taken) {
                if !line.starts_with(name) {
                    child.arg(format!("--{name}={value}"));
                }
            }
            child.env("VERTEX_GATEWAY_LOG", "debug");
            let Run { stdout, stderr, .. } = world.end(child).await;
            found.extend(look(&format!("{stdout}{stderr}"), line, secret));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

/// The variable of a secret manager often holds a key in place of its path.
#[tokio::test]
async fn a_key_in_the_place_of_its_path_is_reported_as_content_of_a_file() {
    let mut world = World::new().await;
    let key = world.key();
    let content = std::fs::read_to_string(&key).unwrap();
    for value in [content.clone(), STANDARD.encode(&content)] {
        let mut command = world.command(&["token"]);
        command.env("GOOGLE_APPLICATION_CREDENTIALS", &value);
        let run = world.end(command).await;
        assert_eq!(
            run.stderr,
            "vertex-gateway: Google credentials that cannot be used: \
             GOOGLE_APPLICATION_CREDENTIALS holds the content of a file, not its path; write the \
             content to a file and give the path of that file\n"
        );
        assert_eq!(run.code, 1);
        let run = world.run(&["serve", "--client-key-file", &value]).await;
        assert_eq!(
            run.stderr,
            "vertex-gateway: --client-key-file holds the content of a file, not its path: write \
             the content to a file and give the path of that file\n"
        );
        assert_eq!(run.code, 2);
    }
}
