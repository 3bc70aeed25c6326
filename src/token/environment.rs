//! Variables of the environment. One that is set to nothing is not set.

use std::{env, path::PathBuf};

/// The text of a variable, without white space around it.
pub(super) fn text(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// A path, byte by byte as it was set.
pub(super) fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}
