//! The binary on a terminal, where a person reads its output, and in a pipe.

use std::{
    fs::{self, File, OpenOptions},
    io::Read as _,
    path::Path,
    process::Stdio,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
};

use crate::{
    check::world::World,
    common::{gateway::command, in_time},
};

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    pieces: mpsc::UnboundedReceiver<String>,
    seen: String,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal =
            OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
        let child = command.spawn().unwrap();
        // The command holds its ends too.
        drop((command, terminal));
        let (sender, pieces) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let (mut controller, mut buffer) = (File::from(controller), [0; 4096]);
            // At the end of all programs on the terminal, Linux returns an error.
            while let Ok(length) = controller.read(&mut buffer) {
                let piece = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if length == 0 || sender.send(piece).is_err() {
                    break;
                }
            }
        });
        Self { child, pieces, seen: String::new() }
    }

    /// Everything up to the first line that contains this text, with its end.
    async fn until(&mut self, what: &str) -> &str {
        let is_seen = |seen: &str| seen.find(what).is_some_and(|at| seen[at..].contains('\n'));
        while !is_seen(&self.seen) {
            let piece = in_time(what, self.pieces.recv()).await;
            self.seen += &piece.unwrap_or_else(|| panic!("no {what:?} in {:?}", self.seen));
        }
        &self.seen
    }

    /// The exit code, and all that was printed.
    async fn end(mut self) -> (Option<i32>, String) {
        let ended = in_time("the end of the program", self.child.wait()).await.unwrap();
        while let Some(piece) = in_time("the end of the output", self.pieces.recv()).await {
            self.seen += &piece;
        }
        (ended.code(), self.seen.replace("\r\n", "\n"))
    }
}

/// A machine on which a person has logged in with gcloud, and has chosen a project.
async fn with_gcloud() -> World {
    let world = World::new().await;
    let folder = world.home.path().join(".config/gcloud/configurations");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config_default"), "[core]\nproject = my-project\n").unwrap();
    let login = folder.join("../application_default_credentials.json");
    fs::write(&login, world.vertex.authorized_user()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(login, mode).unwrap();
    world
}

#[tokio::test]
async fn without_settings_a_person_reads_the_findings_and_the_variables_of_clients() {
    let world = with_gcloud().await;
    let mut terminal = Terminal::start(world.command(&["--listen", "127.0.0.1:0"]));
    let seen = terminal.until("OPENAI_API_KEY").await.replace("\r\n", "\n");
    let addr = seen.split_once("listening on http://").unwrap().1.lines().next().unwrap();
    let home = world.home.path().display();
    assert_eq!(
        seen,
        format!(
            "credentials  user credentials in {home}/.config/gcloud/application_default_credentials.json\n\
             project      my-project, from gcloud's configuration default\n\
             location     global, from the default; --location names another\n\
             listening on http://{addr}\n\
             \x20 export OPENAI_BASE_URL=http://{addr}/v1\n\
             \x20 export OPENAI_API_KEY=unused\n"
        )
    );
}

#[tokio::test]
async fn in_a_pipe_a_project_and_a_location_have_to_be_set() {
    let world = with_gcloud().await;
    for (options, why) in [(&[][..], "no location set"), (&["--location=global"], "no project set")]
    {
        let run = world.run(&[&["--listen=127.0.0.1:0"], options].concat()).await;
        assert_eq!((run.code, &*run.stdout), (2, ""), "{}", run.stderr);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
}

#[tokio::test]
async fn without_credentials_a_person_reads_the_command_that_helps() {
    let world = World::new().await;
    for arguments in [&["--listen", "127.0.0.1:0"][..], &["run", "--", "echo", "started"]] {
        let (code, seen) = Terminal::start(world.command(arguments)).end().await;
        assert_eq!(code, Some(2), "{seen}");
        assert!(seen.contains("\n  gcloud auth application-default login\n"), "{seen}");
        assert!(seen.contains("--emulator") && !seen.contains("started"), "{seen}");
    }
}

#[tokio::test]
async fn a_deployed_endpoint_has_no_default_location() {
    let world = with_gcloud().await;
    let command = world.command(&["--listen", "127.0.0.1:0", "--endpoint", "123"]);
    let (code, seen) = Terminal::start(command).end().await;
    assert_eq!(code, Some(2), "{seen}");
    assert!(seen.contains("no location set"), "{seen}");
}

const CHAT: &str = r#"curl --silent --output /dev/null --max-time 30 "$0/v1/chat/completions" \
    -H 'content-type: application/json' -H "authorization: Bearer $OPENAI_API_KEY" \
    -d '{"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "hello"}]}'"#;

/// Sends a chat with curl to this address.
async fn chat(root: &str) {
    let mut curl = Command::new("sh");
    let status = in_time("curl", curl.args(["-c", CHAT, root]).status()).await.unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn the_log_has_columns_and_colours_on_a_terminal() {
    for (variable, coloured) in [(None, true), (Some("NO_COLOR"), false)] {
        let mut command = command(&["--emulator", "--listen", "127.0.0.1:0"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        if let Some(variable) = variable {
            command.env(variable, "1");
        }
        let mut terminal = Terminal::start(command);
        let seen = terminal.until("\nlistening on ").await;
        let root = seen.split_once("\nlistening on ").unwrap().1.lines().next().unwrap().to_owned();
        chat(&root).await;
        let status = if coloured { "Z \u{1b}[32m200\u{1b}[0m " } else { "Z 200 " };
        let seen = terminal.until(&format!("{status}google/gemini-2.5-flash")).await;
        let line = seen.lines().find(|line| line.contains(status)).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!((words[4], words[6], words[8], words.len()), ("ms", "in", "out", 9), "{line}");
        assert_eq!(seen.contains('\u{1b}'), coloured, "{seen}");
    }
}

#[tokio::test]
async fn a_pipe_has_colours_only_if_they_are_demanded() {
    for (variable, coloured) in [(None, false), (Some("CLICOLOR_FORCE"), true)] {
        let mut command = command(&["check", "--emulator"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        if let Some(variable) = variable {
            command.env(variable, "1");
        }
        let output = in_time("the report", command.output()).await.unwrap();
        let seen = String::from_utf8(output.stdout).unwrap();
        assert_eq!(seen.contains('\u{1b}'), coloured, "{seen}");
        assert!(seen.contains('✓'), "{seen}");
    }
}

#[tokio::test]
async fn the_report_of_check_has_colours_on_a_terminal() {
    let world = with_gcloud().await;
    let url = world.vertex.url();
    let (code, seen) = Terminal::start(world.command(&["check", "--upstream", &url])).end().await;
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("\u{1b}[32m✓\u{1b}[0m project      my-project, from gcloud's"), "{seen}");
    assert!(seen.contains("\u{1b}[32m✓\u{1b}[0m location     global, from the default"), "{seen}");
}

#[tokio::test]
async fn the_output_of_a_command_on_a_terminal_is_its_own() {
    let world = with_gcloud().await;
    let url = world.vertex.url();
    let mut command = world.command(&["run", "--upstream", &url, "--", "sh", "-c"]);
    command
        .arg(format!("root=${{OPENAI_BASE_URL%/v1}}\n{}; echo done", CHAT.replace("$0", "$root")));
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let (code, seen) = Terminal::start(command).end().await;
    assert_eq!((code, &*seen), (Some(0), "done\n"));
    let requests = world.vertex.requests();
    let seen = &requests.last().unwrap().path;
    assert!(seen.contains("/projects/my-project/locations/global/"), "{seen}");
}

#[tokio::test]
async fn init_writes_a_file_that_serves_and_replaces_none() {
    let world = with_gcloud().await;
    let folder = world.home.path();
    let init = async |more: &[&str]| {
        let mut command = world.command(&[&["init"], more].concat());
        command.current_dir(folder);
        world.end(command).await
    };
    let run = init(&["--max-attempts", "3", "--cors-origin", "http://localhost:3000"]).await;
    assert_eq!((run.code, &*run.stderr), (0, ""));
    assert!(run.stdout.starts_with("wrote vertex-gateway.toml\n"), "{}", run.stdout);
    assert!(run.stdout.contains("vertex-gateway check --config vertex-gateway.toml"));
    let file = folder.join("vertex-gateway.toml");
    let text = fs::read_to_string(&file).unwrap();
    for line in [
        "# From gcloud's configuration default.\nproject = \"my-project\"\n",
        "# From the default.\nlocation = \"global\"\n",
        "max_attempts = \"3\"\n",
        "cors_origin = [\"http://localhost:3000\"]\n",
        "#listen = ",
        "#credentials = \"\"\n",
        "#[[model]]\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    check(&world, &file).await;

    let again = init(&["--project", "other", "--location", "us-central1"]).await;
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("vertex-gateway.toml: it exists: --force"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let forced = init(&["--force", "--project", "other", "--location", "us-central1"]).await;
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\nproject = \"other\"\n") && !text.contains("# From "), "{text}");

    let emulator = init(&["--emulator", "emulator.toml"]).await;
    assert_eq!(emulator.code, 0, "{}", emulator.stderr);
    let file = folder.join("emulator.toml");
    let run = world.run(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(run.code, 0, "{}", run.stdout);
}

/// The file, with the address of the world's emulator beside it, passes `check`.
async fn check(world: &World, file: &Path) {
    let url = world.vertex.url();
    let run = world.run(&["check", "--config", file.to_str().unwrap(), "--upstream", &url]).await;
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("my-project, from the configuration file"), "{}", run.stdout);
}

#[tokio::test]
async fn init_without_credentials_writes_the_file_and_names_the_command_that_helps() {
    let world = World::new().await;
    let mut command = world.command(&["init", "mine.toml"]);
    command.current_dir(world.home.path());
    let run = world.end(command).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("gcloud auth application-default login"), "{}", run.stdout);
    assert!(fs::read_to_string(world.home.path().join("mine.toml")).unwrap().contains("#project"));
}
