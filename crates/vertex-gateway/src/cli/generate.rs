//! `vertex-gateway completions` and `vertex-gateway man`, for packages: both follow from the command
//! line alone.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::args::Command;
use crate::{error::Error, values::shown_debug};

/// The options of `vertex-gateway completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsOptions {
    /// The shell whose script is printed
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The options of `vertex-gateway man`.
#[derive(Clone, Args)]
pub struct ManOptions {
    /// An existing folder: vertex-gateway.1, and a page for each command, are written into it
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

shown_debug!(ManOptions: directory);

/// Prints the script. Standard output may be closed, as by `head`.
pub(super) fn print_completions(options: &CompletionsOptions) {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Command::command(), "vertex-gateway", &mut script);
    // clap_complete 4.6.12 writes the hyphen of this program's name in two ways into the script for
    // bash, which then finds no option of a command.
    let script =
        String::from_utf8_lossy(&script).replace("vertex__subcmd__gateway", "vertex__gateway");
    let _ = io::stdout().lock().write_all(script.as_bytes());
}

/// Writes the pages, and replaces older ones.
pub(super) fn write_pages(options: &ManOptions) -> Result<(), Error> {
    let folder = &options.directory;
    clap_mangen::generate_to(Command::command(), folder)
        .map_err(|error| Error::of_file::<ManOptions>("DIRECTORY", folder, error))
}
