//! A list that cannot be fetched: the gateway serves, and the previous list stays in use.

use std::process::Stdio;

use tower_vertex_emulator::{ApiFault, Faults};

use super::*;
use crate::common::{
    eventually,
    gateway::{self, Log},
    in_time,
};

#[tokio::test]
async fn a_list_that_fails_is_reported_once_and_the_previous_list_stays() {
    let vertex = Emulator::start().await.unwrap();
    vertex.set_faults(Faults { api: Some(ApiFault::new(403)), ..Faults::default() });
    let options = ["--discovery-interval", "1s", "--list-models", "google"];
    let (mut command, _key) = gateway::before(&vertex, &vertex.url(), &options);
    command.stderr(Stdio::piped());
    let mut gateway = Gateway::start(command).await;
    let mut log = Log::of(&mut gateway);
    assert_eq!(openai_ids(&gateway).await, [""; 0]);
    let line = log.until("listing models failed").await;
    assert!(line.contains("google") && line.contains("403"), "{line}");

    vertex.clear_faults();
    let ids = in_time("a list", async {
        loop {
            let ids = openai_ids(&gateway).await;
            if !ids.is_empty() {
                return ids;
            }
        }
    })
    .await;
    vertex.set_faults(Faults { api: Some(ApiFault::new(503)), ..Faults::default() });
    let before = lists(&vertex).len();
    in_time("three more requests for a list", async {
        while lists(&vertex).len() < before + 3 {
            assert_eq!(openai_ids(&gateway).await, ids);
        }
    })
    .await;
    let line = log.until("listing models failed").await;
    assert!(line.contains("503"), "{line}");
    gateway.terminate();
    // The same failure is not reported again.
    while let Some(line) = log.line().await {
        assert!(!line.contains("listing models failed"), "{line}");
    }
}

#[tokio::test]
async fn a_persons_credentials_charge_the_project_of_the_requests() {
    let vertex = Emulator::start().await.unwrap();
    let login = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&login, vertex.authorized_user()).unwrap();
    let (url, path) = (vertex.url(), login.path().to_str().unwrap());
    let args = ["--listen", "127.0.0.1:0", "--project", "p1", "--location", "us-central1"];
    let args = [&args[..], &["--upstream", &url, "--credentials", path]].concat();
    let gateway = Gateway::start(gateway::command(&args)).await;
    let ids = openai_ids(&gateway).await;
    assert!(ids.contains(&"google/gemini-2.5-flash".into()), "{ids:?}");
    let charges = |path: &str| {
        let requests = vertex.requests().into_iter().filter(|seen| seen.path.ends_with(path));
        let charge = |name: &String| name == "x-goog-user-project";
        requests.map(|seen| seen.header_names.iter().any(charge)).collect::<Vec<_>>()
    };
    eventually("both lists were requested", || charges("/models").len() == 2).await;
    assert_eq!(charges("/models"), [true, true]);
    // A request that names its project charges it anyway.
    assert_eq!(post(&gateway, "/v1/chat/completions", &chat(&ids[0])).await.0, 200);
    assert_eq!(charges("/chat/completions"), [false]);
}
