//! The README's table "Which credential do you have?": a shell runs each line of it unchanged,
//! against the emulator.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
};

use tower_vertex_emulator::{Emulator, TokenBehavior};

const README: &str = include_str!("../../../../README.md");
/// The same table in the manual.
const PAGE: &str = include_str!("../../../../docs/credentials.md");
/// The row of a machine of Google Cloud. Its command is another row's, and only its environment
/// differs.
const MACHINE: &str = "a machine of Google Cloud: Compute Engine, GKE, Cloud Run";

fn table(text: &'static str) -> &'static str {
    let table = text.split_once("| you have | run |\n|---|---|\n").unwrap().1;
    table.split_once("\n\n").unwrap().0
}

#[test]
fn the_page_of_credentials_has_the_readmes_table() {
    assert_eq!(table(PAGE), table(README));
}

fn rows() -> HashMap<&'static str, &'static str> {
    let table = table(README);
    let row = |line: &'static str| {
        let (have, run) = line.strip_prefix("| ")?.strip_suffix("` |")?.split_once(" | `")?;
        Some((have, run))
    };
    table.lines().map(|line| row(line).expect(line)).collect()
}

/// The environment of a shell: files that users have, a `gcloud` that logs in, and the emulator in
/// place of Google.
struct Desk {
    vertex: Emulator,
    home: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let vertex = Emulator::start().await.unwrap();
        vertex
            .set_token_behavior(TokenBehavior { allow_long_lifetimes: true, ..Default::default() });
        let home = tempfile::tempdir().unwrap();
        let desk = Self { vertex, home };
        desk.write("subject-token", &desk.vertex.subject_token());
        desk.write("key.json", &desk.vertex.service_account_key());
        let subject = desk.path("subject-token");
        desk.write("federation.json", &desk.vertex.external_account(subject));
        desk.write("user.json", &desk.vertex.authorized_user());
        desk.write("workforce.json", &desk.vertex.external_account_authorized_user());
        desk.write("login.json", "{}");
        desk.write("bin/gcloud", &desk.gcloud());
        desk.link("bin/vertex-gateway", env!("CARGO_BIN_EXE_vertex-gateway"));
        desk
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn link(&self, name: &str, to: &str) {
        std::os::unix::fs::symlink(to, self.path(name)).unwrap();
    }

    /// A script that leaves the same files as the real `gcloud`, without a browser.
    fn gcloud(&self) -> String {
        let adc = "$HOME/.config/gcloud/application_default_credentials.json";
        format!(
            "#!/bin/sh\n\
             mkdir -p \"$HOME/.config/gcloud\"\n\
             case \"$*\" in\n\
             'auth application-default login') cp \"$HOME/user.json\" \"{adc}\" ;;\n\
             'auth application-default login --login-config=login.json')\n\
             cp \"$HOME/workforce.json\" \"{adc}\" ;;\n\
             'auth login') echo {token} > \"$HOME/login\" ;;\n\
             'auth print-access-token --quiet') cat \"$HOME/login\" ;;\n\
             'config get-value project') echo gcloud-project ;;\n\
             *) exit 1 ;;\n\
             esac\n",
            token = self.vertex.mint(),
        )
    }

    async fn run(&self, line: &str, on_google_cloud: bool) -> Output {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("GOOGLE_CLOUD_LOCATION", "us-central1")
            .env("VERTEX_GATEWAY_UPSTREAM", self.vertex.url())
            .env("VERTEX_GATEWAY_IAM_ENDPOINT", self.vertex.url());
        if on_google_cloud {
            command.env("GCE_METADATA_HOST", self.vertex.addr().to_string());
        } else {
            command.env("NO_GCE_CHECK", "true");
            command.env("GOOGLE_CLOUD_PROJECT", "my-project");
        }
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_the_credential_table_works() {
    let rows = rows();
    assert_eq!(rows.len(), 8, "{rows:?}");
    for (have, line) in rows {
        let desk = Desk::new().await;
        if line.contains("--impersonate") {
            // The right to impersonate comes from a credential of another row.
            let folder = desk.path(".config/gcloud");
            fs::create_dir_all(&folder).unwrap();
            fs::copy(desk.path("user.json"), folder.join("application_default_credentials.json"))
                .unwrap();
        }
        let output = desk.run(line, have == MACHINE).await;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{have}: {line}\n{out}\n{err}");
        assert!(out.contains('✓') && !out.contains('✗'), "{have}: {line}\n{out}\n{err}");
        let who = desk.vertex.requests().pop().unwrap().principal.unwrap();
        let expected = match have {
            MACHINE => "compute@developer.gserviceaccount.com",
            "a laptop with `gcloud`" => "developer@example.com",
            _ if line.contains("--impersonate") => "vertex@my-project.iam.gserviceaccount.com",
            _ if line.contains("federation.json") => "principal://",
            _ if line.contains("login.json") => "workforcePools",
            _ if line.contains("key.json") => "@",
            _ => "emulator",
        };
        assert!(who.contains(expected), "{have}: {line}: {who}");
    }
}
