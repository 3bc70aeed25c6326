//! `vertex-gateway` while things change under it: its configuration, and its service manager.
#![cfg(all(feature = "gateway", unix))]

mod common;

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
use common::{
    gateway::{Gateway, Log, command},
    in_time,
    load::Load,
    put,
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::process::Command;
use tower_vertex::emulator::Emulator;

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

    /// Keys of the clients at work, and of one that comes and goes.
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

    /// With its log.
    async fn start(&self) -> (Gateway, Log) {
        let mut command = self.command();
        command.stderr(Stdio::piped());
        let mut gateway = Gateway::start(command).await;
        let log = Log::of(&mut gateway);
        (gateway, log)
    }

    /// Where the model `mine` is asked for, though others ask at the same time.
    async fn location(&self, gateway: &Gateway) -> String {
        let query = format!("number={}", self.asked.fetch_add(1, Relaxed));
        let answer = ask(gateway, CLIENT, &query).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let requests = self.vertex.requests();
        let mine = requests.iter().find(|seen| seen.query.as_ref() == Some(&query)).unwrap();
        location(&mine.path).to_owned()
    }
}

/// Of the path at Vertex AI.
fn location(path: &str) -> &str {
    path.split('/').nth(5).unwrap()
}

async fn ask(gateway: &Gateway, key: &str, query: &str) -> Response<Incoming> {
    let mut request = request(key, "mine", "x", false);
    *request.uri_mut() = format!("/v1/chat/completions?{query}").parse().unwrap();
    gateway.call(request).await
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
async fn a_changed_file_is_in_force_soon_and_a_broken_one_never() {
    let place = Place::new("us-east1").await;
    let (gateway, mut log) = place.start().await;
    assert_eq!(place.location(&gateway).await, "us-east1");

    place.configure(&in_location("europe-west4"));
    log.until("models read again").await;
    assert_eq!(place.location(&gateway).await, "europe-west4");

    for (broken, why) in [
        ("[[model]\n".to_owned(), "line 1"),
        (in_location("evil.com/"), "evil.com/"),
        (in_location("asia-east1") + "regoin = \"x\"\n", "unknown key `regoin`"),
    ] {
        place.configure(&broken);
        let line = log.until("models not read again").await;
        assert!(line.contains(why), "{line}");
        assert_eq!(place.location(&gateway).await, "europe-west4");
    }
    fs::remove_file(place.path("gateway.toml")).unwrap();
    log.until("models not read again").await;
    assert_eq!(place.location(&gateway).await, "europe-west4");
}

#[tokio::test]
async fn a_hangup_reads_everything_again() {
    let place = Place::new("us-east1").await;
    let (gateway, mut log) = place.start().await;
    for _ in 0..2 {
        signal(&gateway, "-HUP");
        log.until("models read again").await;
    }
    assert_eq!(place.location(&gateway).await, "us-east1");
}

#[tokio::test]
async fn no_request_notices_that_the_configuration_changes() {
    let place = Place::new("us-east1").await;
    let guest = |round: usize| format!("sk-guest-{round}-0123456789");
    place.give_keys(&guest(0));
    let mut command = place.command();
    command.args(["--client-key-file", &place.path("keys")]);
    let gateway = Arc::new(Gateway::start(command).await);
    // Of those who want a stream and of those who do not, half ask for the model that moves.
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
                load.so_many_more(1, "meanwhile", |status| status == 200).await;
            }
        })
        .await;
        in_time("the key is there", async {
            while ask(&gateway, &guest(round), "").await.status() != StatusCode::OK {
                load.so_many_more(1, "meanwhile", |status| status == 200).await;
            }
        })
        .await;
        let gone = ask(&gateway, &guest(round - 1), "").await.status();
        assert_eq!(gone, StatusCode::UNAUTHORIZED);
        load.more("after", |status| status == 200).await;
    }
    let seen = load.end().await;
    assert!(seen.is_well(), "{seen:?}");
    let mut locations: Vec<_> =
        place.vertex.requests().iter().map(|seen| location(&seen.path).to_owned()).collect();
    locations.sort();
    locations.dedup();
    assert_eq!(locations, ["europe-west4", "us-central1", "us-east1"]);
    assert!(place.vertex.stats().by_status.keys().eq([&200]), "{:?}", place.vertex.stats());
    assert_eq!(place.vertex.stats().token_mints, 1);
}

#[tokio::test]
async fn systemd_is_told_of_the_beginning_and_of_the_end() {
    let place = Place::new("us-east1").await;
    let path = place.path("notify");
    let systemd = UnixDatagram::bind(Path::new(&path)).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut state = [0; 100];
        let length = systemd.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..length]).trim().to_owned()
    };
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", &path);
    let mut gateway = Gateway::start(command).await;
    assert_eq!(told(), "READY=1");
    gateway.terminate();
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(gateway.ended().await.code(), Some(0));
}
