//! Errors of commands, and the causes of errors.

use std::{error::Error as StdError, fmt, path::Path};

use clap::Args;

use super::{printable::fit, values::option_source};
use tower_vertex::{
    BoxError,
    error::{ConfigError, ErrorChain},
    redact,
};

pub(crate) const NO_PROJECT: &str = "no project set: pass --project or set GOOGLE_CLOUD_PROJECT";
pub(crate) const NO_LOCATION: &str = "no location set: pass --location (a region, `global`, `us` \
     or `eu`) or set GOOGLE_CLOUD_LOCATION";

/// The error of a command, as a sentence for its user.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    text: String,
    exit_code: u8,
}

impl Error {
    /// A setting that is missing or wrong, or a fault of the machine.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code: 2 }
    }

    /// A file that cannot be used, and which an option of `O` names.
    pub(crate) fn of_file<O: Args>(option: &str, path: &Path, why: impl fmt::Display) -> Self {
        let option = option_source::<O>(option);
        if redact::is_content_of_a_file(path) {
            return Self::new(format!(
                "{option} holds the content of a file, not its path: write the content to a file and \
                 give the path of that file"
            ));
        }
        Self::new(format!("{option} {}: {why}", redact::path(path)))
    }

    /// A negative result of a command whose settings are right.
    pub(crate) fn negative(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code: 1 }
    }

    /// The exit code of the command that `run` or `emulator --as-google` ran. The text is empty,
    /// because the command has reported its error.
    pub(crate) fn of_command(exit_code: u8) -> Self {
        Self { text: String::new(), exit_code }
    }

    pub(crate) fn with_exit_code(self, exit_code: u8) -> Self {
        Self { exit_code, ..self }
    }

    /// The exit code of the process: 1 if `check` found a fault, `token` or `endpoints` got no
    /// token, or a location did not respond to `endpoints`; 2 for anything that prevents a command
    /// from running. `run` and `emulator --as-google` have the exit code of their command: then the
    /// text is empty, and there is nothing to print.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

/// Escapes what a terminal would take for commands: the text may come from others.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.split_inclusive('\n').try_for_each(|line| match line.strip_suffix('\n') {
            Some(line) => writeln!(f, "{}", fit(line)),
            None => f.write_str(&fit(line)),
        })
    }
}

/// The same as [`Display`](fmt::Display), because a `main` that returns this error prints its
/// `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(match (error.setting(), error.is_missing()) {
            ("project", true) => NO_PROJECT.to_owned(),
            ("location", true) => NO_LOCATION.to_owned(),
            ("service account to impersonate", true) => {
                "--token-lifetime requires an impersonated service account: set \
                     --impersonate-service-account, or remove --token-lifetime"
                    .to_owned()
            }
            _ => error.to_string(),
        })
    }
}

impl From<tower_vertex::Error> for Error {
    fn from(error: tower_vertex::Error) -> Self {
        match error {
            tower_vertex::Error::Config(error) => error.into(),
            error => Self::new(error.to_string()),
        }
    }
}

/// The first error of this type in the chain of an error.
pub(crate) fn find<E: StdError + 'static>(error: &BoxError) -> Option<&E> {
    ErrorChain::new(&**error).iter().find_map(|error| error.downcast_ref())
}

/// The errors of a chain on one line.
pub(crate) fn causes(error: &BoxError) -> String {
    ErrorChain::new(&**error).to_string()
}
