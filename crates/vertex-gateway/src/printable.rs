//! Characters that may be shown unchanged. In a line of the log, a text must not end the line, move
//! the cursor or reverse the order of the text around it.

use std::fmt::{self, Write};

/// Longest part of a model's name or of a path that is logged, in characters: a client may send
/// more.
const LONGEST: usize = 200;

/// Whether a character must be escaped: controls (C0, DEL, C1 with U+0085), other line ends
/// (U+2028, U+2029), and invisible characters that change how the text around them is shown.
pub(crate) fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A piece of a text.
pub(crate) enum Piece<'a> {
    Fit(&'a str),
    Unfit(char),
}

pub(crate) fn pieces(mut rest: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        // Nearly every text is of this kind.
        if !rest.is_empty() && rest.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Some(Piece::Fit(std::mem::take(&mut rest)));
        }
        let first = rest.chars().next()?;
        if is_unfit(first) {
            rest = rest.get(first.len_utf8()..)?;
            return Some(Piece::Unfit(first));
        }
        let (fit, after) = rest.split_at(rest.find(is_unfit).unwrap_or(rest.len()));
        rest = after;
        Some(Piece::Fit(fit))
    })
}

/// A writer that escapes as Rust does, such as `\n` and `\u{2028}`.
pub(crate) struct Escaping<'a, W>(pub(crate) &'a mut W);

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        pieces(text).try_for_each(|piece| match piece {
            Piece::Fit(text) => self.0.write_str(text),
            Piece::Unfit(c) => write!(self.0, "{}", c.escape_default()),
        })
    }
}

/// Escapes a text, for a label or a line.
pub(crate) fn fit(text: &str) -> String {
    let mut fit = String::with_capacity(text.len());
    // A `String` takes all that is written.
    let _ = Escaping(&mut fit).write_str(text);
    fit
}

/// The part of a client's text that is logged.
pub(crate) fn clip(text: &str) -> &str {
    if text.len() <= LONGEST {
        return text;
    }
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// A number as people write it, without an exponent.
pub(crate) fn decimal(value: f64) -> String {
    let mut text = value.to_string();
    if value.is_finite() && !text.contains('.') {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_direction_marks_are_escaped() {
        assert_eq!(fit("a\nb\r\u{1b}[2J"), r"a\nb\r\u{1b}[2J");
        assert_eq!(fit("\u{85}\u{2028}\u{2029}\u{202e}"), r"\u{85}\u{2028}\u{2029}\u{202e}");
        assert_eq!(
            fit("\u{7f}\u{9b}\u{200f}\u{2066}\u{feff}"),
            r"\u{7f}\u{9b}\u{200f}\u{2066}\u{feff}"
        );
        assert_eq!(fit("ü 🦀 \"q\" \\ é"), "ü 🦀 \"q\" \\ é");
        assert_eq!(fit(""), "");
    }

    #[test]
    fn a_number_has_no_exponent() {
        for (number, text) in [
            (3.4e-5, "0.000034"),
            (2.0, "2.0"),
            (1.5, "1.5"),
            (0.0, "0.0"),
            (1e21, "1000000000000000000000.0"),
        ] {
            assert_eq!(decimal(number), text);
        }
    }
}
