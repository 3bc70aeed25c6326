//! Standard output of the commands.

use std::io::Write;

/// Prints to standard output, which may be closed: that is no reason to stop serving.
pub(crate) fn print_lines(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

/// Prints one document on one line.
pub(crate) fn print_json(document: &impl serde::Serialize) {
    // Only a key that is not text could fail, and no document has one.
    print_lines(&[serde_json::to_string(document).unwrap_or_default()]);
}
