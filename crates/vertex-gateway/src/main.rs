//! The sidecar's command line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use vertex_gateway::{Command, run, start_log};

/// glibc's allocator never returns the memory of a burst of large bodies: 1.7 GiB after 100 of 20
/// MiB.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let command = Command::parse();
    let log = match start_log(&command) {
        Ok(log) => log,
        Err(failure) => return fail(&failure.to_string(), failure.exit_code()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map(|runtime| {
        let ended = runtime.block_on(run(command));
        // Lookups of names may hang in the system's resolver, so the process does not wait for
        // them.
        runtime.shutdown_background();
        ended
    });
    let (text, exit_code) = match ended {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(failure)) => (failure.to_string(), failure.exit_code()),
        Err(error) => (error.to_string(), 2),
    };
    // The error is printed after the last line of the log. Standard error may be closed.
    drop(log);
    fail(&text, exit_code)
}

fn fail(text: &str, exit_code: u8) -> ExitCode {
    // The command of `run` or of `emulator --as-google` has printed its own error.
    if !text.is_empty() {
        let _ = writeln!(io::stderr(), "vertex-gateway: {text}");
    }
    ExitCode::from(exit_code)
}
