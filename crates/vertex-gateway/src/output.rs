//! Standard output of the commands.

use std::io::Write;

use crate::printable::is_unfit;

/// The space between two columns.
const GAP: &str = "  ";
const NONE: &str = "-";

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

/// Aligned columns below their headings. The cells are made by [`cell`].
pub(crate) fn columns(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut lines = vec![header.iter().map(ToString::to_string).collect::<Vec<_>>()];
    lines.extend(rows);
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|row| row.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    lines.iter().map(line).collect()
}

/// A cell of a table, with `-` for a missing value. It replaces characters of others that a terminal
/// would take for commands.
pub(crate) fn cell(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if is_unfit(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.is_empty() { NONE.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_no_commands_for_a_terminal() {
        assert_eq!(cell("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(cell("a\u{202e}b\u{2028}"), "a\u{fffd}b\u{fffd}");
        assert_eq!((cell(""), cell("\u{fc}")), ("-".to_owned(), "\u{fc}".to_owned()));
    }
}
