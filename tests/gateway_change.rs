//! `vertex-gateway` while things change under it: its configuration, and its service manager.
#![cfg(all(feature = "gateway", unix))]

mod common;

use std::{fs, os::unix::net::UnixDatagram, path::Path, process::Stdio, time::Duration};

use common::{
    chat,
    gateway::{Gateway, command},
    text,
};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{ChildStderr, Command},
};
use tower_vertex::emulator::Emulator;

/// A folder with a key and a configuration, and how to start the sidecar on them.
struct Place {
    vertex: Emulator,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new(location: &str) -> Self {
        let place =
            Self { vertex: Emulator::start().await.unwrap(), folder: tempfile::tempdir().unwrap() };
        fs::write(place.path("key.json"), place.vertex.service_account_key()).unwrap();
        place.configure(&in_location(location));
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// In one step, as a careful operator does.
    fn configure(&self, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path("gateway.toml")).unwrap();
    }

    fn command(&self) -> Command {
        let (key, config) = (self.path("key.json"), self.path("gateway.toml"));
        let url = self.vertex.url();
        let args = ["--listen", "127.0.0.1:0", "--project", "p1", "--location", "us-central1"];
        let more = ["--upstream", &url, "--credentials", &key, "--config", &config];
        command(&[&args[..], &more].concat())
    }

    /// With its log.
    async fn start(&self) -> (Gateway, Lines<BufReader<ChildStderr>>) {
        let mut command = self.command();
        command.stderr(Stdio::piped());
        let mut gateway = Gateway::start(command).await;
        let log = BufReader::new(gateway.child.stderr.take().unwrap()).lines();
        (gateway, log)
    }

    /// Where the model `mine` is asked for.
    async fn location(&self, gateway: &Gateway) -> String {
        let body = json!({ "model": "mine", "messages": [{ "role": "user", "content": "x" }] });
        let request = Request::post("/v1/chat/completions");
        let request = request.body(Full::from(body.to_string())).unwrap();
        assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
        let path = self.vertex.requests().pop().unwrap().path;
        path.split('/').nth(5).unwrap().to_owned()
    }
}

fn in_location(location: &str) -> String {
    format!("[[model]]\nname = \"mine\"\nmodel = \"gemini-2.5-flash\"\nlocation = \"{location}\"\n")
}

async fn read_until(log: &mut Lines<BufReader<ChildStderr>>, what: &str) -> String {
    let find = async {
        loop {
            let line = log.next_line().await.unwrap().expect("it goes on");
            if line.contains(what) {
                return line;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), find).await.expect(what)
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
    read_until(&mut log, "models read again").await;
    assert_eq!(place.location(&gateway).await, "europe-west4");

    for (broken, why) in [
        ("[[model]\n".to_owned(), "line 1"),
        (in_location("evil.com/"), "evil.com/"),
        (in_location("asia-east1") + "regoin = \"x\"\n", "unknown key `regoin`"),
    ] {
        place.configure(&broken);
        let line = read_until(&mut log, "models not read again").await;
        assert!(line.contains(why), "{line}");
        assert_eq!(place.location(&gateway).await, "europe-west4");
    }
    fs::remove_file(place.path("gateway.toml")).unwrap();
    read_until(&mut log, "models not read again").await;
    assert_eq!(place.location(&gateway).await, "europe-west4");
}

#[tokio::test]
async fn a_hangup_reads_everything_again() {
    let place = Place::new("us-east1").await;
    let (gateway, mut log) = place.start().await;
    for _ in 0..2 {
        signal(&gateway, "-HUP");
        read_until(&mut log, "models read again").await;
    }
    assert_eq!(place.location(&gateway).await, "us-east1");
}

#[tokio::test]
async fn no_request_notices_that_the_configuration_changes() {
    let place = Place::new("us-east1").await;
    let (gateway, mut log) = place.start().await;
    for round in 0..4 {
        place.configure(&in_location(if round % 2 == 0 { "europe-west4" } else { "us-east1" }));
        signal(&gateway, "-HUP");
        let calls = async {
            for number in 0..50 {
                let question = format!("{round}, {number}");
                let answer = gateway.call(chat(&question)).await;
                assert_eq!(answer.status(), StatusCode::OK);
                let answer = text(answer).await;
                assert!(answer.contains(&format!("You said: {question}\"")), "{answer}");
            }
        };
        tokio::join!(calls, read_until(&mut log, "models read again"));
    }
    assert_eq!(place.vertex.stats().by_status, [(200, 200)].into());
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
