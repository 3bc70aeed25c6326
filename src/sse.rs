//! The lines and the events of a stream of server-sent events.

/// Finds the ends of events. A line ends with LF, CR LF or CR; an event ends with an empty line.
/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>
#[derive(Debug, Default)]
pub(crate) struct Lines {
    mark: EndMark,
    place: Place,
    /// The incomplete event has a line that is not a comment.
    fields: bool,
    /// One of its lines is the end mark.
    done_line: bool,
    /// An event with the end mark is complete.
    done: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    /// The same, if no LF follows.
    AfterCr,
    /// Within a line whose first bytes are those of the end mark; this many match.
    DoneSoFar(usize),
    Line,
}

/// The line whose event is the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndMark {
    line: &'static [u8],
    /// The position of the value in the line; spaces may come before it.
    value: usize,
}

impl EndMark {
    /// OpenAI's.
    pub(crate) const DONE: Self = Self { line: b"data:[DONE]", value: 5 };
    /// Anthropic's.
    pub(crate) const MESSAGE_STOP: Self = Self { line: b"event:message_stop", value: 6 };
    pub(crate) const NONE: Self = Self { line: b"", value: 0 };
}

impl Default for EndMark {
    fn default() -> Self {
        Self::DONE
    }
}

impl Lines {
    /// Lines of a stream with this end mark. The default is OpenAI's.
    pub(crate) fn until(mark: EndMark) -> Self {
        Self { mark, ..Self::default() }
    }

    /// Whether an event with the end mark is complete.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Reads the next bytes. Returns how many of them, from the first, leave no event incomplete.
    pub(crate) fn read(&mut self, data: &[u8]) -> usize {
        let mut complete = 0;
        while let Some(length) = self.read_event(&data[complete..]) {
            complete += length;
        }
        complete
    }

    /// Reads up to the first byte after which no event is incomplete. Returns how many bytes these
    /// are, or `None` if all bytes were read and an event is incomplete.
    pub(crate) fn read_event(&mut self, data: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = data.get(at) {
            if self.place == Place::Line && !ends_line(byte) {
                at += line_length(&data[at..]);
                continue;
            }
            at += 1;
            if self.take(byte) {
                return Some(at);
            }
        }
        None
    }

    /// Whether no event is incomplete after this byte.
    fn take(&mut self, byte: u8) -> bool {
        match (self.place, byte) {
            (Place::AfterCr, b'\n') => self.place = Place::LineStart,
            (Place::LineStart | Place::AfterCr, b'\n' | b'\r') => {
                self.done |= self.done_line;
                (self.done_line, self.fields) = (false, false);
                self.place = Place::after(byte);
            }
            (Place::LineStart | Place::AfterCr, _) => {
                // A line that starts with a colon is a comment.
                self.fields |= byte != b':';
                self.place = if self.mark.line.first() == Some(&byte) {
                    Place::DoneSoFar(1)
                } else {
                    Place::Line
                };
                return false;
            }
            (Place::DoneSoFar(length), b'\n' | b'\r') => {
                self.done_line |= length == self.mark.line.len();
                self.place = Place::after(byte);
            }
            (Place::Line, b'\n' | b'\r') => self.place = Place::after(byte),
            (Place::DoneSoFar(length), _) => {
                self.place = match self.mark.line.get(length) {
                    Some(next) if *next == byte => Place::DoneSoFar(length + 1),
                    Some(_) if length == self.mark.value && byte == b' ' => self.place,
                    _ => Place::Line,
                };
                return false;
            }
            (Place::Line, _) => return false,
        }
        !self.fields
    }
}

impl Place {
    fn after(line_end: u8) -> Self {
        if line_end == b'\r' { Self::AfterCr } else { Self::LineStart }
    }
}

fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// How many bytes there are before the end of the first line, or in all.
fn line_length(data: &[u8]) -> usize {
    memchr::memchr2(b'\n', b'\r', data).unwrap_or(data.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line() {
        for (text, complete) in [
            ("", 0),
            ("data: a", 0),
            ("data: a\n", 0),
            ("data: a\n\n", 9),
            ("data: a\r\r", 9),
            ("data: a\r\n\r", 10),
            ("data: a\r\n\r\n", 11),
            ("data: a\n\ndata: b\n", 9),
            ("data: a\n\ndata: b\n\n", 18),
            ("event: x\ndata: a\n\n\n", 19),
            (": keep-alive", 0),
            (": keep-alive\n", 13),
            (": keep-alive\r\n", 14),
            ("data: a\n: keep-alive\n", 0),
            ("data: a\n\n: keep-alive", 9),
            ("\n\n\n", 3),
            ("event: x\n\n", 10),
        ] {
            assert_eq!(Lines::default().read(text.as_bytes()), complete, "{text:?}");
            // The result is the same byte by byte.
            let mut lines = Lines::default();
            let ends = text.bytes().enumerate().filter(|(_, byte)| lines.read(&[*byte]) == 1);
            assert_eq!(ends.last().map_or(0, |(at, _)| at + 1), complete, "{text:?}");
        }
    }

    #[test]
    fn the_end_mark_is_an_event_of_its_own() {
        for (text, done) in [
            ("data: [DONE]\n\n", true),
            ("data:[DONE]\r\n\r\n", true),
            ("data: a\n\ndata: [DONE]\n\ndata: b", true),
            ("id: 1\ndata: [DONE]\n\n", true),
            ("data: [DONE]\n", false),
            ("data: [DONE", false),
            ("data: [DONE]x\n\n", false),
            ("data: [DON]\n\n", false),
            ("data: \"[DONE]\"\n\n", false),
            ("dat a:[DONE]\n\n", false),
            (": data: [DONE]\n\n", false),
        ] {
            let mut lines = Lines::default();
            lines.read(text.as_bytes());
            assert_eq!(lines.done, done, "{text:?}");
            let mut lines = Lines::default();
            for byte in text.bytes() {
                lines.read(&[byte]);
            }
            assert_eq!(lines.done, done, "{text:?}");
        }
    }

    #[test]
    fn each_protocol_has_its_own_end_mark() {
        const DONE: &str = "data: [DONE]\n\n";
        const STOP: &str = "event: message_stop\ndata: {}\n\n";
        for (mark, text, done) in [
            (EndMark::DONE, DONE, true),
            (EndMark::DONE, STOP, false),
            (EndMark::MESSAGE_STOP, STOP, true),
            (EndMark::MESSAGE_STOP, "event:message_stop\r\ndata:{}\r\n\r\n", true),
            (EndMark::MESSAGE_STOP, "event: message_stop\ndata: {}\n", false),
            (EndMark::MESSAGE_STOP, "event: message_delta\ndata: {}\n\n", false),
            (EndMark::MESSAGE_STOP, "data: message_stop\n\n", false),
            (EndMark::MESSAGE_STOP, DONE, false),
            (EndMark::NONE, DONE, false),
            (EndMark::NONE, "\n\n", false),
        ] {
            let mut lines = Lines::until(mark);
            assert_eq!(
                lines.read(text.as_bytes()) == text.len(),
                text.ends_with("\n\n") || text.ends_with("\r\n\r\n")
            );
            assert_eq!(lines.is_done(), done, "{mark:?} {text:?}");
        }
    }
}
