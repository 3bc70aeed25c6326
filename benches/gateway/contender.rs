//! The processes: their start, their CPU time, and their end.

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    param::clock_ticks_per_second,
    process::{Pid, Signal, kill_process},
};
use tower::BoxError;

use crate::{
    exchange::{CLIENT_KEY, LOCATION, PATH, PROJECT},
    load::wait_for,
    server::{TOKEN, Threads},
};

/// A process that listens. Dropping this value ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM lets nginx end its workers, and the sidecar write the end of its log.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::TERM));
        }
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a process that prints the address on which it listens.
    fn start(mut command: Command) -> Result<Self, BoxError> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("no standard output")?;
        // From here on, dropping `server` ends the process.
        let mut server = Self { child, addr: SocketAddr::from(([0, 0, 0, 0], 0)) };
        for line in BufReader::new(out).lines() {
            if let Some(addr) = line?.strip_prefix("listening on http://") {
                server.addr = addr.parse()?;
                return Ok(server);
            }
        }
        Err(format!("did not start: {command:?}").into())
    }

    /// The CPU time that the process and its children have used.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut ticks = 0;
        for process in fs::read_dir("/proc")? {
            // A process may end meanwhile; the counted processes do not.
            let Ok(stat) = fs::read_to_string(process?.path().join("stat")) else { continue };
            let (pid, parent, used) = parse(&stat).unwrap_or_default();
            if [pid, parent].contains(&self.child.id()) {
                ticks += used;
            }
        }
        Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
    }
}

/// The process, its parent, and its ticks in user mode and in the kernel, from `/proc/PID/stat`.
fn parse(stat: &str) -> Option<(u32, u32, u64)> {
    // The name is in parentheses, and may contain parentheses itself.
    let pid = stat.split(' ').next()?.parse().ok()?;
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    let parent = rest.nth(1)?.parse().ok()?;
    let user: u64 = rest.nth(9)?.parse().ok()?;
    let system: u64 = rest.next()?.parse().ok()?;
    Some((pid, parent, user + system))
}

/// A command that runs this program in another role.
fn myself() -> io::Result<Command> {
    env::current_exe().map(Command::new)
}

pub fn upstream() -> Result<Server, BoxError> {
    let mut command = myself()?;
    command.arg("upstream");
    Server::start(command)
}

pub fn bare(threads: Threads, upstream: SocketAddr) -> Result<Server, BoxError> {
    let mut command = myself()?;
    command.args(["bare", threads.id(), &upstream.to_string()]);
    Server::start(command)
}

/// The program `vertex-gateway`: the one that the variable names, or that of this checkout, which
/// is built now.
pub fn binary() -> Result<PathBuf, BoxError> {
    if let Some(path) = env::var_os("VERTEX_GATEWAY") {
        return Ok(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--release", "-p", "vertex-gateway", "--target-dir", "target"])
        .current_dir(&root)
        .status()?;
    if !status.success() {
        return Err(
            "vertex-gateway could not be built; set VERTEX_GATEWAY to another binary".into()
        );
    }
    Ok(root.join("target/release/vertex-gateway"))
}

/// The name of the sidecar's log file.
pub const LOG: &str = "sidecar.log";

/// The features of the sidecar beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// No log, no client keys, no listener for metrics.
    Off,
    /// Client keys, a line of JSON for each request, and metrics.
    On,
}

pub fn sidecar(
    binary: &Path,
    sight: Sight,
    upstream: SocketAddr,
    credentials: &Path,
) -> Result<Server, BoxError> {
    let place = credentials.parent().ok_or("no folder")?;
    let mut command = Command::new(binary);
    // The process gets no variable of this machine.
    command.env_clear().args(["--listen", "127.0.0.1:0", "--project", PROJECT]);
    command.args(["--location", LOCATION, "--upstream", &format!("http://{upstream}")]);
    // The bench compares each response with the one that the upstream sent.
    command.args(["--compat", "off"]).arg("--credentials").arg(credentials);
    match sight {
        Sight::Off => {
            command.env("VERTEX_GATEWAY_LOG", "off");
        }
        Sight::On => {
            let keys = place.join("keys");
            fs::write(&keys, format!("bench:{CLIENT_KEY}\n"))?;
            command.arg("--client-key-file").arg(keys);
            command.args(["--log-format", "json", "--admin-listen", "127.0.0.1:0"]);
            command.stderr(fs::File::create(place.join(LOG))?);
        }
    }
    Server::start(command)
}

/// The path of an installed program. Debian installs servers in a folder that is not in every PATH.
fn installed(name: &str) -> Option<String> {
    let runs = |program: &String| {
        let mut version = Command::new(program);
        version.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    [name.to_owned(), format!("/usr/sbin/{name}")].into_iter().find(runs)
}

/// Starts a server that cannot report its port. It gets a free port, which no other process should
/// take before the server starts.
fn start_at(addr: SocketAddr, command: &mut Command) -> Result<Server, BoxError> {
    let server = Server { child: command.stdin(Stdio::null()).spawn()?, addr };
    wait_for(addr)?;
    Ok(server)
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Returns `None` if nginx is not installed.
pub fn nginx(log: bool, upstream: SocketAddr, place: &Path) -> Result<Option<Server>, BoxError> {
    let Some(program) = installed("nginx") else { return Ok(None) };
    let place = place.join(if log { "nginx-log" } else { "nginx" });
    fs::create_dir_all(&place)?;
    let addr = free_address()?;
    let config = place.join("nginx.conf");
    fs::write(&config, nginx_config(log, addr, upstream, &place))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&place).arg("-c").arg(&config).args(["-e", "stderr"]);
    start_at(addr, &mut command).map(Some)
}

/// Returns `None` if HAProxy is not installed.
pub fn haproxy(upstream: SocketAddr, place: &Path) -> Result<Option<Server>, BoxError> {
    let Some(program) = installed("haproxy") else { return Ok(None) };
    let addr = free_address()?;
    let config = place.join("haproxy.cfg");
    fs::write(&config, haproxy_config(addr, upstream))?;
    let mut command = Command::new(program);
    command.args(["-q", "-db", "-f"]).arg(&config);
    start_at(addr, &mut command).map(Some)
}

/// The defaults include `TCP_NODELAY` and a thread for each processor. Without `http-no-delay`, a
/// first chunk waits for the next one.
fn haproxy_config(addr: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        r#"global
    maxconn 1024
defaults
    mode http
    timeout client 1m
    timeout connect 10s
    timeout server 5m
    option http-no-delay
frontend clients
    bind {addr}
    http-request set-path {PATH}
    http-request set-header Authorization "{TOKEN}"
    default_backend vertex
backend vertex
    http-reuse always
    server vertex {upstream}
"#
    )
}

fn nginx_config(log: bool, addr: SocketAddr, upstream: SocketAddr, place: &Path) -> String {
    let access_log = if log { "access.log" } else { "off" };
    let place = place.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path \"{place}/{kind}\";\n"))
        .concat();
    format!(
        r#"daemon off;
pid "{place}/pid";
error_log stderr warn;
worker_processes auto;
events {{ worker_connections 1024; }}
http {{
    access_log {access_log};
{temporary}    tcp_nodelay on;
    keepalive_requests 1000000000;
    upstream vertex {{
        server {upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {addr};
        location = /v1/chat/completions {{
            proxy_pass http://vertex{PATH};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Authorization "{TOKEN}";
        }}
    }}
}}
"#
    )
}
