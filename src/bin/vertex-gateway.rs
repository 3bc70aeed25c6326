//! The sidecar's command line.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::Parser;
use tower_vertex::gateway::{Command, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command = Command::parse();
    let filter = EnvFilter::builder()
        .with_env_var("VERTEX_GATEWAY_LOG")
        .try_from_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,tower_vertex=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(run(command)).map_err(|failure| failure.to_string()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("vertex-gateway: {failure}");
            ExitCode::from(2)
        }
    }
}
