//! The binary `vertex-gateway`, running.

use std::{net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// A command without what this machine's environment would set.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vertex-gateway"));
    for (name, _) in std::env::vars() {
        let ours =
            ["VERTEX_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_"].iter().any(|p| name.starts_with(p));
        if ours || ["PROJECT_ID", "LOCATION", "ENDPOINT"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) struct Gateway {
    pub(crate) child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) emulator: Option<String>,
    pub(crate) stdout: Lines<BufReader<ChildStdout>>,
}

impl Gateway {
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut emulator = None;
        loop {
            let line = stdout.next_line().await.unwrap().expect("it says that it listens");
            if let Some(url) = line.strip_prefix("emulator listening on ") {
                emulator = Some(url.to_owned());
            } else if let Some(addr) = line.strip_prefix("listening on http://") {
                let addr = addr.parse().unwrap();
                return Self { child, addr, emulator, stdout };
            }
        }
    }
}
