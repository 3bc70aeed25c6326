//! The commands.
//!
//! | file | what it does |
//! |---|---|
//! | `command` | the command line |
//! | `serve` | the sidecar |
//! | `run` | a command with a sidecar of its own |
//! | `init` | a configuration file with what was found |
//! | `status_page` | what its status page shows and starts |
//! | `emulator` | the emulator of Vertex AI |
//! | `check` | the checks, one line each, with the remedy for each failure |
//! | `token` | an access token, printed |
//! | `endpoints` | the deployed endpoints, as a table |
//! | `models` | the models that Vertex AI lists, as a table |
//! | `sidecar` | the sidecar of `serve` and of `run` |
//! | `greeting` | the report of `serve` when it is ready |
//! | `child` | a command that this program runs |
//! | `generate` | completions for shells, and manual pages |

pub(crate) mod args;
pub(crate) mod check;
mod child;
pub(crate) mod emulator;
pub(crate) mod endpoints;
pub(crate) mod generate;
mod greeting;
pub(crate) mod init;
pub(crate) mod models;
pub(crate) mod run;
pub(crate) mod serve;
mod sidecar;
mod status_page;
pub(crate) mod token;

use std::io::{self, IsTerminal as _};

use clap::CommandFactory as _;

use self::{
    args::{Command, Subcommand},
    run::RunOptions,
};
#[cfg(feature = "ext-authz")]
use super::envoy;
use super::{
    config::parse::FileOptions,
    error::Error,
    telemetry::log::{self, LEVEL, LogFormat, LogGuard},
};

/// Runs a command. A command that serves ends with Ctrl-C or SIGTERM. Needs a Tokio runtime.
///
/// # Errors
///
/// [`Error`], a sentence with its remedy, if a setting is missing or wrong, there are no
/// credentials, the address is in use, a check failed, or a location did not respond.
pub async fn run(mut command: Command) -> Result<(), Error> {
    if let Some(target) = command.target() {
        target.load(&FileOptions::of(&Command::command()))?;
        target.at_a_terminal = io::stderr().is_terminal();
    }
    match command.subcommand {
        None => serve::serve(command.options).await,
        Some(Subcommand::Serve(options)) => serve::serve(*options).await,
        Some(Subcommand::Run(options)) => run::run(*options).await,
        Some(Subcommand::Init(options)) => init::init(*options).await,
        Some(Subcommand::Check(options)) => check::check(*options).await,
        Some(Subcommand::Token(options)) => token::print(&options).await,
        Some(Subcommand::Endpoints(options)) => endpoints::list(&options).await,
        Some(Subcommand::Models(options)) => models::list(&options).await,
        Some(Subcommand::Emulator(options)) => emulator::serve(&options).await,
        #[cfg(feature = "ext-authz")]
        Some(Subcommand::ExtAuthz(options)) => envoy::serve(*options).await,
        Some(Subcommand::Completions(options)) => {
            generate::print_completions(&options);
            Ok(())
        }
        Some(Subcommand::Man(options)) => generate::write_pages(&options),
    }
}

/// Starts the log of the process, according to the command line and `VERTEX_GATEWAY_LOG` (a filter
/// of `tracing`, such as `warn,vertex_gateway=info`). Call it once, before [`run`].
///
/// # Errors
///
/// [`Error`], if the variable is not a valid filter.
///
/// # Panics
///
/// If the process has a global `tracing` subscriber already.
pub fn start_log(command: &Command) -> Result<LogGuard, Error> {
    let (level, format) = match &command.subcommand {
        // These commands report errors themselves.
        Some(
            Subcommand::Check(_)
            | Subcommand::Token(_)
            | Subcommand::Endpoints(_)
            | Subcommand::Models(_)
            | Subcommand::Init(_)
            | Subcommand::Completions(_)
            | Subcommand::Man(_),
        ) => ("off", LogFormat::Auto),
        Some(Subcommand::Emulator(_)) => (LEVEL, LogFormat::Auto),
        Some(Subcommand::Serve(options)) => (LEVEL, options.serving.log.log_format),
        Some(Subcommand::Run(options)) => {
            let format = options.options.serving.log.log_format;
            return match &options.log_file {
                Some(path) => log::start_in::<RunOptions>(path, LEVEL, format),
                // The terminal is that of the command.
                None => log::start("error", format),
            };
        }
        #[cfg(feature = "ext-authz")]
        Some(Subcommand::ExtAuthz(options)) => (LEVEL, options.serving.log.log_format),
        None => (LEVEL, command.options.serving.log.log_format),
    };
    log::start(level, format)
}
