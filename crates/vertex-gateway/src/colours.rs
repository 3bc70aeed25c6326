//! Colours, for people. They are in a terminal alone, unless `NO_COLOR` forbids or `CLICOLOR_FORCE`
//! demands them.

use std::fmt;

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use anstyle::{AnsiColor, Style};

pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();

/// Whether text that is written to this stream may have colours.
pub(crate) fn are_shown(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// A text in a style, or as it is if `colours` is false.
pub(crate) fn painted(colours: bool, style: Style, text: impl fmt::Display) -> impl fmt::Display {
    let style = if colours { style } else { Style::new() };
    Painted { style, text }
}

struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { style, text } = self;
        write!(f, "{style}{text}{style:#}")
    }
}
