//! `vertex-gateway` while its configuration and its service manager change its state.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::process::Command;
use tower_vertex_emulator::Emulator;

use crate::common::{
    gateway::{Gateway, Log, command},
    in_time,
    load::Load,
    put,
};

/// A folder with a key and a configuration, and how to start the sidecar on them.
struct Place {
    vertex: Emulator,
    folder: tempfile::TempDir,
    asked: AtomicUsize,
}

const CLIENT: &str = "sk-client-0123456789";

impl Place {
    async fn new(location: &str) -> Self {
        let vertex = Emulator::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let place = Self { vertex, folder, asked: AtomicUsize::new(0) };
        fs::write(place.path("key.json"), place.vertex.service_account_key()).unwrap();
        place.configure(&in_location(location));
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn configure(&self, text: &str) {
        put(self.folder.path(), "gateway.toml", text);
    }

    /// Writes the key of the clients at work, and the key of a guest, which changes.
    fn give_keys(&self, guest: &str) {
        put(self.folder.path(), "keys", &format!("client:{CLIENT}\nguest:{guest}\n"));
    }

    fn command(&self) -> Command {
        let (key, config) = (self.path("key.json"), self.path("gateway.toml"));
        let url = self.vertex.url();
        let args = ["--listen", "127.0.0.1:0", "--project", "p1", "--location", "us-central1"];
        let more = ["--upstream", &url, "--credentials", &key, "--config", &config];
        command(&[&args[..], &more].concat())
    }

    /// Starts the sidecar, and returns its log too.
    async fn start(&self) -> (Gateway, Log) {
        let mut command = self.command();
        command.stderr(Stdio::piped());
        let mut gateway = Gateway::start(command).await;
        let log = Log::of(&mut gateway);
        (gateway, log)
    }

    /// The location to which a request for the model `mine` goes, while other requests are in
    /// flight.
    async fn location(&self, gateway: &Gateway) -> String {
        // The length distinguishes this request from the others.
        let length = 1000 * (10 + self.asked.fetch_add(1, Relaxed));
        let answer = gateway.call(request(CLIENT, "mine", &"x".repeat(length), false)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let lengths = length as u64..length as u64 + 1000;
        let requests = self.vertex.requests();
        let is_mine = |length: Option<u64>| length.is_some_and(|length| lengths.contains(&length));
        let mine = requests.iter().find(|seen| is_mine(seen.body_length)).unwrap();
        location(&mine.path).to_owned()
    }
}

/// The location in a path of Vertex AI.
fn location(path: &str) -> &str {
    path.split('/').nth(5).unwrap()
}

async fn ask(gateway: &Gateway, key: &str) -> Response<Incoming> {
    gateway.call(request(key, "mine", "x", false)).await
}

fn request(key: &str, model: &str, content: &str, stream: bool) -> Request<Full<Bytes>> {
    let body = json!({
        "model": model, "stream": stream, "messages": [{ "role": "user", "content": content }],
    });
    Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {key}"))
        .body(Full::from(body.to_string()))
        .unwrap()
}

fn in_location(location: &str) -> String {
    format!("[[model]]\nname = \"mine\"\nmodel = \"gemini-2.5-flash\"\nlocation = \"{location}\"\n")
}

fn signal(gateway: &Gateway, name: &str) {
    let id = gateway.child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
}

#[tokio::test]
async fn a_changed_file_takes_effect_and_a_broken_one_never_does() {
    let place = Place::new("us-east1").await;
    let (gateway, mut log) = place.start().await;
    assert_eq!(place.location(&gateway).await, "us-east1");

    place.configure(&in_location("europe-west4"));
    log.until("models reloaded").await;
    assert_eq!(place.location(&gateway).await, "europe-west4");

    for (broken, why) in [
        ("[[model]\n".to_owned(), "line 1"),
        (in_location("evil.com/"), "evil.com/"),
        (in_location("asia-east1") + "regoin = \"x\"\n", "unknown key `regoin`"),
    ] {
        place.configure(&broken);
        let line = log.until("reload of models failed").await;
        assert!(line.contains(why), "{line}");
        assert_eq!(place.location(&gateway).await, "europe-west4");
    }
    fs::remove_file(place.path("gateway.toml")).unwrap();
    log.until("reload of models failed").await;
    assert_eq!(place.location(&gateway).await, "europe-west4");
}

#[tokio::test]
async fn sighup_reloads_the_models() {
    let place = Place::new("us-east1").await;
    let (gateway, mut log) = place.start().await;
    for _ in 0..2 {
        signal(&gateway, "-HUP");
        log.until("models reloaded").await;
    }
    assert_eq!(place.location(&gateway).await, "us-east1");
}

/// Whether the list of models is available with this key.
async fn lists(gateway: &Gateway, key: &str) -> bool {
    let request = Request::get("/v1/models").header("authorization", format!("Bearer {key}"));
    gateway.call(request.body(Full::default()).unwrap()).await.status() == StatusCode::OK
}

#[tokio::test]
async fn a_path_that_is_no_file_blocks_no_reload_and_the_previous_content_stays_in_force() {
    let place = Place::new("us-east1").await;
    place.give_keys("sk-guest-0123456789");
    let (certificate, key) = crate::common::certificates::Authority::new().server();
    put(place.folder.path(), "cert.pem", &certificate);
    put(place.folder.path(), "tls.pem", &key);
    let mut command = place.command();
    command.args(["--client-key-file", &place.path("keys")]).stderr(Stdio::piped());
    let mut gateway = Gateway::start(command).await;
    let mut log = Log::of(&mut gateway);
    let mut command = place.command();
    let paths = ["keys", "cert.pem", "tls.pem"].map(|name| place.path(name));
    command.args(["--client-key-file", &paths[0], "--tls-cert", &paths[1], "--tls-key", &paths[2]]);
    command.stderr(Stdio::piped());
    let mut with_tls = Gateway::start(command).await;
    let mut log_of_tls = Log::of(&mut with_tls);
    let made = |command: &str, args: &[&str]| {
        assert!(std::process::Command::new(command).args(args).status().unwrap().success());
    };
    let pipe = ("fifo", "a pipe");
    for (name, what, kinds) in [
        ("keys", "client keys", &[pipe, ("directory", "a directory"), ("device", "device")][..]),
        ("gateway.toml", "models", &[pipe]),
        ("cert.pem", "certificate", &[pipe]),
        ("tls.pem", "certificate", &[pipe]),
    ] {
        let path = place.path(name);
        let is_of_tls = what == "certificate";
        let content = fs::read_to_string(&path).unwrap();
        for (kind, why) in kinds {
            fs::remove_file(&path).unwrap();
            match *kind {
                "fifo" => made("mkfifo", &[&path]),
                "directory" => fs::create_dir(&path).unwrap(),
                _ => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
            }
            let log = if is_of_tls { &mut log_of_tls } else { &mut log };
            let line = log.until(&format!("reload of {what} failed")).await;
            assert!(line.contains(*why) && line.contains(name), "{line}");
            // A signal also triggers the reload, which still reads the other files.
            signal(if is_of_tls { &with_tls } else { &gateway }, "-HUP");
            let other = if what == "models" { "client keys" } else { "models" };
            let both = [format!("reload of {what} failed"), format!("{other} ")];
            let mut missing = both.to_vec();
            while !missing.is_empty() {
                let line = log.until("reload").await;
                missing.retain(|text| !line.contains(text.as_str()));
            }
            if !is_of_tls {
                assert!(
                    lists(&gateway, CLIENT).await && !lists(&gateway, "sk-nobody-01234567").await
                );
            }
            if *kind == "directory" {
                fs::remove_dir(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            put(place.folder.path(), name, &content);
            log.until(&format!("{what} reloaded")).await;
        }
    }
    place.configure(&in_location("europe-west4"));
    log.until("models reloaded").await;
    assert_eq!(place.location(&gateway).await, "europe-west4");
}

#[tokio::test]
async fn a_list_of_endpoints_that_hangs_is_logged_and_delays_no_keys() {
    let place = Place::new("us-east1").await;
    place.give_keys("sk-guest-0123456789");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (keys, config) = (place.path("keys"), place.path("gateway.toml"));
    let mut command = command(
        &[
            &["--listen", "127.0.0.1:0", "--project", "p1", "--location", "us-central1"][..],
            &["--upstream", &url, "--credentials", &place.path("key.json")],
            &["--config", &config, "--client-key-file", &keys],
        ]
        .concat(),
    );
    command.stderr(Stdio::piped());
    let mut gateway = Gateway::start(command).await;
    let mut log = Log::of(&mut gateway);
    assert!(lists(&gateway, "sk-guest-0123456789").await);
    place.configure("[[model]]\nname = \"mine\"\nendpoint = \"display-name:mine\"\n");
    let _asked = in_time("the request for the endpoint", silent.accept()).await.unwrap();
    place.give_keys("sk-another-0123456789");
    // The rules of keys are in the other file, so one such line may be about them.
    while !lists(&gateway, "sk-another-0123456789").await {
        log.until("client keys reloaded").await;
    }
    assert!(!lists(&gateway, "sk-guest-0123456789").await);
    log.until("reading models takes more than 10s").await;
}

#[tokio::test]
async fn no_request_fails_while_the_configuration_changes() {
    let place = Place::new("us-east1").await;
    let guest = |round: usize| format!("sk-guest-{round}-0123456789");
    place.give_keys(&guest(0));
    let mut command = place.command();
    command.args(["--client-key-file", &place.path("keys")]);
    let gateway = Arc::new(Gateway::start(command).await);
    // Half of the streaming clients and half of the others request the model that moves.
    let mut load = Load::of(&gateway, |client, question, stream| {
        let model = if client % 4 < 2 { "mine" } else { "google/gemini-2.5-flash" };
        request(CLIENT, model, question, stream)
    });
    load.more("before", |status| status == 200).await;
    for round in 1..=4 {
        let location = if round % 2 == 0 { "us-east1" } else { "europe-west4" };
        place.configure(&in_location(location));
        place.give_keys(&guest(round));
        signal(&gateway, "-HUP");
        in_time("the model moves", async {
            while place.location(&gateway).await != location {
                load.wait_for(1, "meanwhile", |status| status == 200).await;
            }
        })
        .await;
        in_time("the new key works", async {
            while ask(&gateway, &guest(round)).await.status() != StatusCode::OK {
                load.wait_for(1, "meanwhile", |status| status == 200).await;
            }
        })
        .await;
        let gone = ask(&gateway, &guest(round - 1)).await.status();
        assert_eq!(gone, StatusCode::UNAUTHORIZED);
        load.more("after", |status| status == 200).await;
    }
    let seen = load.end().await;
    assert!(seen.all_succeeded(), "{seen:?}");
    let mut locations: Vec<_> =
        place.vertex.requests().iter().map(|seen| location(&seen.path).to_owned()).collect();
    locations.sort();
    locations.dedup();
    assert_eq!(locations, ["europe-west4", "us-central1", "us-east1"]);
    assert!(place.vertex.stats().by_status.keys().eq([&200]), "{:?}", place.vertex.stats());
    assert_eq!(place.vertex.stats().token_mints, 1);
}

#[tokio::test]
async fn systemd_is_notified_of_the_start_and_of_the_stop() {
    let place = Place::new("us-east1").await;
    let path = place.path("notify");
    let systemd = UnixDatagram::bind(Path::new(&path)).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next_state = || {
        let mut state = [0; 100];
        let length = systemd.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..length]).trim().to_owned()
    };
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", &path);
    let mut gateway = Gateway::start(command).await;
    assert_eq!(next_state(), "READY=1");
    gateway.terminate();
    assert_eq!(next_state(), "STOPPING=1");
    assert_eq!(gateway.ended().await.code(), Some(0));
}
