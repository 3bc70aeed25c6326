//! The sidecar's command line.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::Parser;
use tower_vertex::gateway::{Command, Subcommand, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command = Command::parse();
    let log = match command.subcommand {
        // They report what is worth knowing themselves.
        Some(Subcommand::Check(_) | Subcommand::Token(_) | Subcommand::Endpoints(_)) => "off",
        _ => "warn,tower_vertex=info",
    };
    let filter = EnvFilter::builder()
        .with_env_var("VERTEX_GATEWAY_LOG")
        .try_from_env()
        .unwrap_or_else(|_| EnvFilter::new(log));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let (text, exit_code) = match runtime.map(|runtime| runtime.block_on(run(command))) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(failure)) => (failure.to_string(), failure.exit_code()),
        Err(error) => (error.to_string(), 2),
    };
    eprintln!("vertex-gateway: {text}");
    ExitCode::from(exit_code)
}
