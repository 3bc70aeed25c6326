//! The processes: their start, their CPU time, their memory, and their end.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tower::BoxError;

use crate::cores;

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
    /// Starts a process that prints the address on which it listens, on this processor.
    pub fn start(mut command: Command, core: Option<usize>) -> Result<Self, BoxError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = cores::on(core, || command.spawn())??;
        let out = child.stdout.take().ok_or("no standard output")?;
        // From here on, dropping `server` ends the process.
        let mut server = Self { child, addr: SocketAddr::from(([0, 0, 0, 0], 0)) };
        for line in BufReader::new(out).lines() {
            let line = line?;
            let url = line.strip_prefix("listening on ");
            if let Some(addr) = url.and_then(|url| url.rsplit("//").next()) {
                server.addr = addr.parse()?;
                return Ok(server);
            }
        }
        Err(format!("did not start: {command:?}").into())
    }

    /// Starts a process that cannot report its port. It gets a free port, which no other process
    /// should take before the server starts. `command` creates the command for this address.
    pub fn start_at(
        core: Option<usize>,
        command: impl FnOnce(SocketAddr) -> io::Result<Command>,
    ) -> Result<Self, BoxError> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = command(addr)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = cores::on(core, || command.spawn())??;
        Ok(Self { child, addr })
    }

    /// The CPU time that the process and its children have used.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut used = 0;
        for process in self.family()? {
            for thread in fs::read_dir(format!("/proc/{process}/task"))? {
                // A thread may end meanwhile.
                let Ok(times) = fs::read_to_string(thread?.path().join("schedstat")) else {
                    continue;
                };
                let on_processor = times.split(' ').next().and_then(|time| time.parse().ok());
                used += on_processor.unwrap_or(0_u64);
            }
        }
        Ok(Duration::from_nanos(used))
    }

    /// The resident memory of the process and its children, in bytes.
    pub fn memory(&self) -> io::Result<u64> {
        let mut resident = 0;
        for process in self.family()? {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = kib.and_then(|kib| kib.split_whitespace().next()?.parse::<u64>().ok());
            resident += kib.unwrap_or_default() << 10;
        }
        Ok(resident)
    }

    /// The process and its children.
    fn family(&self) -> io::Result<BTreeSet<u32>> {
        let mut parents = Vec::new();
        for process in fs::read_dir("/proc")? {
            // A process may end meanwhile; the counted processes do not.
            let Ok(stat) = fs::read_to_string(process?.path().join("stat")) else { continue };
            parents.extend(parse(&stat));
        }
        let mut family = BTreeSet::from([self.child.id()]);
        loop {
            let before = family.len();
            for (process, parent) in &parents {
                if family.contains(parent) {
                    family.insert(*process);
                }
            }
            if family.len() == before {
                return Ok(family);
            }
        }
    }
}

/// The process and its parent, from `/proc/PID/stat`.
fn parse(stat: &str) -> Option<(u32, u32)> {
    // The name is in parentheses, and may contain parentheses itself.
    let process = stat.split(' ').next()?.parse().ok()?;
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
    Some((process, parent))
}

/// Raises the limit of open files as far as possible, for this process and those that it will start.
/// Returns the limit.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.map_or(usize::MAX, |files| files as usize);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    maximum
}

/// A command that runs this program in another role.
pub fn myself() -> io::Result<Command> {
    env::current_exe().map(Command::new)
}

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The path of an installed program, with the first line that it prints with this option.
pub fn installed(candidates: &[PathBuf], option: &str) -> Option<(PathBuf, String)> {
    candidates.iter().find_map(|program| {
        let output = Command::new(program).arg(option).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let first =
            String::from_utf8_lossy(&text).lines().find(|line| !line.is_empty())?.to_owned();
        output.status.success().then(|| (program.clone(), first))
    })
}
