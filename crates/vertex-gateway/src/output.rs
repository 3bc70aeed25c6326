//! What a command says on standard output.

use std::io::Write;

/// To standard output, which may be closed: that is no reason to stop serving.
pub(crate) fn print_lines(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

/// One document on one line.
pub(crate) fn print_json(document: &impl serde::Serialize) {
    // Nothing here has a key that is not text, which alone could fail.
    print_lines(&[serde_json::to_string(document).unwrap_or_default()]);
}
