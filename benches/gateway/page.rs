//! The manual's page: the text between two markers is replaced.

use std::{fs, path::Path};

use tower::BoxError;

/// Replaces the text between `<!-- bench: NAME -->` and `<!-- end of bench: NAME -->`.
pub fn replace(page: &Path, name: &str, text: &str) -> Result<(), BoxError> {
    let old = fs::read_to_string(page)?;
    let (begin, end) =
        (format!("<!-- bench: {name} -->\n"), format!("<!-- end of bench: {name} -->"));
    let missing = || format!("{}: no {begin} or no {end}", page.display());
    let (before, rest) = old.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    fs::write(page, format!("{before}{begin}\n{text}\n{end}{after}"))?;
    Ok(())
}
