//! A simulated machine to run the binary on.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tower_vertex_emulator::{ApiFault, Emulator, EmulatorBuilder, Faults};

/// A machine with an empty home, no programs, no metadata server, and an emulator of Vertex AI.
pub(crate) struct World {
    pub(crate) home: TempDir,
    pub(crate) vertex: Emulator,
    pub(crate) secrets: Vec<String>,
}

/// The outcome of a run.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Emulator::builder()).await
    }

    pub(crate) async fn with(builder: EmulatorBuilder) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { home, vertex: builder.start().await.unwrap(), secrets: Vec::new() }
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a credential file, whose secrets no output may contain.
    pub(crate) fn credentials(&mut self, content: &str) -> String {
        let json: Value = serde_json::from_str(content).unwrap();
        self.remember(&json);
        self.file("credentials.json", content)
    }

    fn remember(&mut self, json: &Value) {
        for name in ["private_key", "private_key_id", "client_secret", "refresh_token"] {
            self.secrets.extend(json[name].as_str().map(str::to_owned));
        }
        self.secrets.push(self.vertex.subject_token());
        if json["source_credentials"].is_object() {
            self.remember(&json["source_credentials"]);
        }
    }

    pub(crate) fn key(&mut self) -> String {
        self.credentials(&self.vertex.service_account_key())
    }

    pub(crate) fn user(&mut self) -> String {
        self.credentials(&self.vertex.authorized_user())
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(crate::common::gateway::binary());
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", self.home.path())
            .env("NO_GCE_CHECK", "true")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        self.end(self.command(args)).await
    }

    pub(crate) async fn end(&self, mut command: Command) -> Run {
        let output = tokio::time::timeout(Duration::from_secs(60), command.output());
        let output = output.await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        for secret in &self.secrets {
            for text in [&stdout, &stderr] {
                assert!(!text.contains(secret.trim()), "{text} has {secret}");
            }
        }
        Run { code: output.status.code().unwrap(), stdout, stderr }
    }

    /// `check` with these credentials at this emulator, and a project and a location.
    pub(crate) async fn check(&self, credentials: &str, more: &[&str]) -> Run {
        let url = self.vertex.url();
        let mut args = vec!["check", "--credentials", credentials, "--upstream", &url];
        args.extend(["--project", "p1", "--location", "us-central1"]);
        args.extend(more);
        let run = self.run(&args).await;
        assert!(!run.stdout.contains("ya29.") && !run.stderr.contains("ya29."), "{}", run.stdout);
        run
    }

    pub(crate) fn fail(&self, fault: ApiFault) {
        self.vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
    }

    /// Compares the output with its snapshot in `tests/gateway/snapshots/`, and the exit code.
    #[track_caller]
    pub(crate) fn expect(&self, name: &str, code: i32, run: &Run) {
        assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
        let text = format!("{}--- exit code {}\n{}", run.stdout, run.code, run.stderr);
        let home = format!("{}/", self.home.path().display());
        let mut settings = insta::Settings::clone_current();
        settings.set_omit_expression(true);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_snapshot_path("../snapshots");
        settings.add_filter(&home, "~/");
        settings.add_filter(r"(127\.0\.0\.1|localhost):\d{2,5}", "$1:PORT");
        settings.add_filter(r" port \d+", " port PORT");
        settings.add_filter(r"valid for \d+ \w+( \d+ min)?", "valid for LIFE");
        settings.add_filter(r"responded in \d+\.\d s", "responded in TIME");
        settings.add_filter(r"is \d+ min ", "is MANY min ");
        settings.add_filter(r" \(failed to lookup[^)]*\)", " (WHY)");
        settings.add_filter(r"(refused|lookup[^)(]*) \(os error \d+\)", "$1");
        settings.bind(|| insta::assert_snapshot!(format!("gateway_check__{name}"), text));
    }
}
