//! The sidecar's command line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tower_vertex::gateway::{Command, run, start_log};

/// glibc's keeps for good what a burst of large bodies took: 1.7 GiB after 100 of 20 MiB.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let command = Command::parse();
    let log = start_log(&command);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let (text, exit_code) = match runtime.map(|runtime| runtime.block_on(run(command))) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(failure)) => (failure.to_string(), failure.exit_code()),
        Err(error) => (error.to_string(), 2),
    };
    // The last word comes last; standard error may be closed.
    drop(log);
    let _ = writeln!(io::stderr(), "vertex-gateway: {text}");
    ExitCode::from(exit_code)
}
