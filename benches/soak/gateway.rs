//! The sidecar: the library of `vertex-gateway`, and the allocator of its binary with statistics.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use tikv_jemalloc_ctl::{epoch, stats};
use tower::BoxError;

/// Runs the sidecar in this process, and writes the allocated bytes into a file every second.
pub fn run(statistics: PathBuf, options: &[String]) -> ExitCode {
    thread::spawn(move || {
        let next = statistics.with_extension("next");
        loop {
            let written = epoch::advance().is_ok()
                && stats::allocated::read().is_ok_and(|allocated| {
                    fs::write(&next, allocated.to_string()).is_ok()
                        && fs::rename(&next, &statistics).is_ok()
                });
            if !written {
                eprintln!("no statistics of the allocator");
                return;
            }
            thread::sleep(Duration::from_secs(1));
        }
    });
    let arguments = ["vertex-gateway".to_owned()].into_iter().chain(options.iter().cloned());
    let command = vertex_gateway::Command::parse_from(arguments);
    let ended = vertex_gateway::start_log(&command).and_then(|log| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let ended = runtime.map(|runtime| runtime.block_on(vertex_gateway::run(command)));
        drop(log);
        ended.unwrap_or(Ok(()))
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vertex-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The running sidecar. Dropping this value ends it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    statistics: PathBuf,
}

/// The resources in use at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    /// Resident memory, in bytes.
    pub resident: f64,
    /// Bytes that the program has allocated; `None` for a binary that does not report them.
    pub allocated: Option<f64>,
    pub files: f64,
    pub threads: f64,
}

impl Gateway {
    /// Starts the binary in the variable `VERTEX_GATEWAY`, or this program in its other role, with
    /// heap profiles in `folder`.
    pub fn start(folder: &Path, options: &[String]) -> Result<Self, BoxError> {
        let statistics = folder.join("allocated");
        let mut command = match std::env::var_os("VERTEX_GATEWAY") {
            Some(binary) => Command::new(binary),
            None => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("gateway").arg(&statistics);
                // A profile whenever 512 MiB have been allocated, and one at the end. One in 128 KiB
                // is sampled.
                let profile = format!(
                    "prof:true,prof_active:true,lg_prof_sample:17,lg_prof_interval:29,\
                     prof_final:true,prof_prefix:{}",
                    folder.join("heap").display()
                );
                command.env("_RJEM_MALLOC_CONF", profile);
                command
            }
        };
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or("no standard output")?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // From here on, dropping `gateway` ends the process.
        let mut gateway = Self { child, addr: nowhere, admin: nowhere, statistics };
        for line in BufReader::new(out).lines() {
            let line = line?;
            if let Some(addr) = line.strip_prefix("listening on http://") {
                gateway.addr = addr.parse()?;
            }
            if let Some(addr) = line.strip_prefix("admin on http://") {
                gateway.admin = addr.parse()?;
                return Ok(gateway);
            }
        }
        Err("the sidecar did not start".into())
    }

    pub fn vitals(&self) -> Result<Vitals, BoxError> {
        let process = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{process}/status"))?;
        let number = |name: &str| -> Result<f64, BoxError> {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no status")?;
            Ok(line.split_whitespace().next().ok_or("no number")?.parse()?)
        };
        let allocated = fs::read_to_string(&self.statistics).ok();
        Ok(Vitals {
            resident: number("VmRSS:")? * 1024.0,
            allocated: allocated.map(|bytes| bytes.parse()).transpose()?,
            files: fs::read_dir(format!("{process}/fd"))?.count() as f64,
            threads: number("Threads:")?,
        })
    }

    pub fn signal(&self, signal: Signal) -> Result<(), BoxError> {
        let process = Pid::from_raw(i32::try_from(self.child.id())?).ok_or("no process")?;
        Ok(kill_process(process, signal)?)
    }

    /// Ends the sidecar as an operator does. Returns an error if it reports one.
    pub fn end(mut self) -> Result<(), BoxError> {
        self.signal(Signal::TERM)?;
        let ended = self.child.wait()?;
        if ended.success() { Ok(()) } else { Err(format!("the sidecar: {ended}").into()) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
