//! Environment variables. A variable with an empty value is treated as unset.

use std::{env, path::PathBuf};

/// Returns the text of a variable without surrounding white space.
pub(super) fn text(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Returns a path, byte by byte as it was set.
pub(super) fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}
