//! A separate process for a test that needs its own environment, `PATH` or `/etc/hosts`. The test
//! runs itself again in that process.

use std::{ffi::OsString, fs, path::Path, process::Command};

const INSIDE: &str = "TOWER_VERTEX_TEST_INSIDE";

/// The environment of such a process.
#[derive(Default)]
pub(crate) struct World {
    variables: Vec<(&'static str, OsString)>,
    hosts: Option<&'static str>,
    network: Vec<&'static str>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Adds a network with only loopback, and these host names. It works only on Linux. Without
    /// root, the kernel must allow user namespaces.
    pub(crate) fn hosts(mut self, hosts: &'static str) -> Self {
        self.hosts = Some(hosts);
        self
    }

    /// Adds a shell command that configures this network before the test runs.
    #[allow(dead_code)] // Some test binaries need only loopback.
    pub(crate) fn network(mut self, command: &'static str) -> Self {
        self.network.push(command);
        self
    }

    /// Runs the test `name` of `module`, which is `module_path!()`, again in this environment. Its
    /// working directory is empty and is also `HOME`. This process fails if the test fails there.
    /// Returns `true` in the new process.
    pub(crate) fn enter(self, module: &str, name: &str) -> bool {
        // The test harness omits the name of the crate.
        let name = match module.split_once("::") {
            Some((_, module)) => &format!("{module}::{name}"),
            None => name,
        };
        if std::env::var_os(INSIDE).is_some() {
            return true;
        }
        let home = tempfile::tempdir().unwrap();
        let exe = std::env::current_exe().unwrap();
        let mut command = match self.hosts {
            None => Command::new(exe),
            Some(hosts) => namespace(exe.as_os_str().to_owned(), hosts, &self.network, home.path()),
        };
        command
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env_clear()
            .current_dir(home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("RUST_BACKTRACE", "0")
            .env(INSIDE, "1")
            .envs(self.variables);
        let output = command.output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "in its own process, {name} failed:\n{out}\n{err}");
        assert!(out.contains("1 passed"), "in its own process, {name} did not run:\n{out}\n{err}");
        false
    }
}

fn namespace(exe: OsString, hosts: &str, network: &[&str], home: &Path) -> Command {
    let file = home.join("hosts");
    fs::write(&file, format!("127.0.0.1 localhost\n{hosts}\n")).unwrap();
    let root = fs::metadata("/proc/self").is_ok_and(|proc| {
        use std::os::unix::fs::MetadataExt as _;
        proc.uid() == 0
    });
    let mut command = Command::new("unshare");
    command.args(if root { &["-m", "-n"][..] } else { &["-r", "-m", "-n"] });
    let mut script = vec!["set -e", "ip link set lo up", "mount --bind \"$HOME/hosts\" /etc/hosts"];
    script.extend(network);
    script.push("exec \"$0\" \"$@\"");
    command.args(["sh", "-c", &script.join("\n")]).arg(exe);
    command
}
