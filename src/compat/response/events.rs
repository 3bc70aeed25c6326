//! Events that each have one JSON text.
//!
//! **Evidence.** A client of OpenAI's API parses the data of every event but `[DONE]` as JSON.
//! After some 15 seconds without output, Vertex AI sends `data: : keepalive` (anomalyco/opencode#50871,
//! with xai/grok), at which the parsers of the SDKs fail. An empty `data` has the same effect. Models
//! that send several `data` lines in one event are the subject of rexxars/eventsource-parser#31.
//! The standard joins such lines with line ends, which are legal in JSON between its tokens, but
//! openai-python and openai-node take each event for one JSON text.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>
//!
//! **Rule.** Data that is empty or begins with a colon becomes a comment, which clients skip. The
//! lines of one JSON text become one line. A line that follows a complete JSON text or a comment
//! begins an event of its own, because no JSON text continues after its end. At the end of a stream, an event with a
//! complete text gets the blank line that it lacks. Everything else stays.
//!
//! **Cost.** Events of one `data` line, which are usual, are recognised by the first line end.

use std::ops::Range;

use memchr::memchr2;

use crate::compat::json::{Progress, Value};

const FIELD: &[u8] = b"data:";

/// A line with the field `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataLine {
    pub(super) start: usize,
    pub(super) value: Range<usize>,
    /// The start of the next line.
    pub(super) next: usize,
}

/// The value of an event that consists of one `data` line and a blank one.
#[inline]
pub(super) fn only_value(event: &[u8]) -> Option<Range<usize>> {
    let value = event.strip_prefix(FIELD)?;
    let end = event.len() - value.len() + memchr2(b'\n', b'\r', value)?;
    let rest = event.get(end..)?;
    if !rest.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
        return None;
    }
    Some(without_space(event, FIELD.len())..end)
}

/// The `data` lines within a range of bytes, which begins at a line start.
pub(super) fn data_lines(data: &[u8], span: Range<usize>) -> Vec<DataLine> {
    let mut lines = Vec::new();
    let mut start = span.start;
    while let Some(rest) = data.get(start..span.end).filter(|rest| !rest.is_empty()) {
        let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let end = start + length;
        let next = match rest.get(length..) {
            Some([b'\r', b'\n', ..]) => end + 2,
            Some([_, ..]) => end + 1,
            _ => end,
        };
        if rest.starts_with(FIELD) {
            let value = without_space(data, start + FIELD.len()).min(end)..end;
            lines.push(DataLine { start, value, next });
        }
        start = next;
    }
    lines
}

/// The position behind the space that may follow a colon.
fn without_space(data: &[u8], at: usize) -> usize {
    at + usize::from(data.get(at) == Some(&b' '))
}

/// Whether data is empty or a comment.
#[inline]
pub(super) fn is_comment(value: &[u8]) -> bool {
    matches!(value.trim_ascii_start().first(), None | Some(b':'))
}

/// The data of one or several lines.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) lines: Vec<DataLine>,
    pub(super) text: Vec<u8>,
    progress: Progress,
    /// Whether the text is JSON, once it has as many closing brackets as opening ones.
    is_json: Option<bool>,
}

impl Group {
    pub(super) fn push(&mut self, line: DataLine, value: &[u8]) {
        if !self.lines.is_empty() {
            self.text.push(b'\n');
        }
        self.progress.feed(value);
        self.text.extend_from_slice(value);
        self.lines.push(line);
        self.is_json = match self.is_json {
            // Nothing continues a complete text.
            Some(_) => Some(false),
            None if self.progress.is_complete() => Some(Value::parse_bytes(&self.text).is_some()),
            None => None,
        };
    }

    pub(super) fn is_comment(&self) -> bool {
        is_comment(&self.text)
    }

    /// Whether no further line can belong to this data.
    pub(super) fn is_complete(&self) -> bool {
        self.is_comment() || self.text.trim_ascii() == b"[DONE]" || self.is_json()
    }

    /// Whether the data is a JSON object or array.
    pub(super) fn is_json(&self) -> bool {
        self.is_json == Some(true)
    }

    /// The data in one line. Line ends within JSON are between its tokens.
    pub(super) fn one_line(&self) -> Vec<u8> {
        self.text.iter().copied().filter(|byte| *byte != b'\n').collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_usual_event_is_found_by_its_first_line_end() {
        for (event, value) in [
            ("data: x y\n\n", Some("x y")),
            ("data:x\r\n\r\n", Some("x")),
            ("data:  x\n\n", Some(" x")),
            ("data: \n\n", Some("")),
            ("data:\n\n", Some("")),
            ("data: a\ndata: b\n\n", None),
            ("event: x\ndata: a\n\n", None),
            ("data: a\n: comment\n\n", None),
            (": comment\n", None),
            ("data\n\n", None),
            ("data: a", None),
            ("\n", None),
        ] {
            let found = only_value(event.as_bytes()).map(|range| &event[range]);
            assert_eq!(found, value, "{event:?}");
        }
    }

    #[test]
    fn data_lines_are_found_among_others() {
        let text = "skip\n: c\ndata: a\r\nid: 1\rdata:\ndata:b";
        let lines = data_lines(text.as_bytes(), 5..text.len());
        let values: Vec<_> = lines.iter().map(|line| &text[line.value.clone()]).collect();
        assert_eq!(values, ["a", "", "b"]);
        let starts: Vec<_> = lines.iter().map(|line| &text[line.start..line.next]).collect();
        assert_eq!(starts, ["data: a\r\n", "data:\n", "data:b"]);
    }

    #[test]
    fn a_group_is_complete_at_the_end_of_its_text() {
        for (values, complete) in [
            (&["{}"][..], true),
            (&["{", "\"a\":1", "}"], true),
            (&["{", "\"a\":1"], false),
            (&["{a}"], false),
            (&["[DONE]"], true),
            (&[""], true),
            (&[": keepalive"], true),
            (&["1"], false),
            (&["text"], false),
        ] {
            let mut group = Group::default();
            let line = DataLine { start: 0, value: 0..0, next: 0 };
            values.iter().for_each(|value| group.push(line.clone(), value.as_bytes()));
            assert_eq!(group.is_complete(), complete, "{values:?}");
        }
    }
}
