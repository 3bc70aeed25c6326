//! Events that differ from an earlier one only in their content.
//!
//! Almost all events of a stream are the same before the content and behind it. Once a parser has
//! found the edit of one, the same edit is right for each event with the same bytes around its
//! content. These events are recognised by two comparisons and by a search for the end of a string.

use std::ops::Range;

use memchr::{memchr, memchr3};

/// The most bytes around the content that are remembered. Gemini's have some 250.
const LONGEST: usize = 4096;

/// An event that was cured.
#[derive(Debug)]
pub(super) struct Known {
    /// Up to the quotation mark before the content.
    before: Vec<u8>,
    /// From the quotation mark behind the content to the end of the event.
    after: Vec<u8>,
    removed: Option<Removed>,
}

/// The part that the cure removed.
#[derive(Debug)]
enum Removed {
    /// A range of `before`.
    Before(Range<usize>),
    /// A range of `after`.
    After(Range<usize>),
}

/// An event that is known.
pub(super) struct Match {
    /// Its length in bytes.
    pub(super) length: usize,
    /// The range that has to be removed.
    pub(super) removed: Option<Range<usize>>,
}

impl Known {
    /// Learns from an event: `text` is its JSON text, `content` the string in this text that may
    /// differ, and `cured` the text after its cure. `None` if the cure did something else than to
    /// remove a part outside of the content.
    pub(super) fn learn(
        event: &[u8],
        text: Range<usize>,
        content: &Range<usize>,
        cured: Option<&str>,
    ) -> Option<Self> {
        let content = text.start + content.start + 1..text.start + content.end.checked_sub(1)?;
        let (before, after) = (event.get(..content.start)?, event.get(content.end..)?);
        if before.len() + after.len() > LONGEST {
            return None;
        }
        let removed = match cured {
            None => None,
            Some(cured) => {
                let removed = removal(event.get(text.clone())?, cured.as_bytes())?;
                let removed = text.start + removed.start..text.start + removed.end;
                Some(if removed.end <= content.start {
                    Removed::Before(removed)
                } else {
                    let start = removed.start.checked_sub(content.end)?;
                    Removed::After(start..removed.end - content.end)
                })
            }
        };
        Some(Self { before: before.to_vec(), after: after.to_vec(), removed })
    }

    /// The event that `data` begins with, if it is known.
    #[inline]
    pub(super) fn read(&self, data: &[u8]) -> Option<Match> {
        let rest = data.strip_prefix(&*self.before)?;
        let content = string_length(rest)?;
        if !rest.get(content..)?.starts_with(&self.after) {
            return None;
        }
        let after = self.before.len() + content;
        let removed = self.removed.as_ref().map(|removed| match removed {
            Removed::Before(range) => range.clone(),
            Removed::After(range) => after + range.start..after + range.end,
        });
        Some(Match { length: after + self.after.len(), removed })
    }
}

/// The length of a string's content. `None` if it does not end, or has a line end, which belongs to
/// the stream and not to a string.
fn string_length(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let special = at + memchr3(b'"', b'\\', b'\n', data.get(at..)?)?;
        match data.get(special)? {
            b'"' => {
                let has_cr = memchr(b'\r', data.get(..special)?).is_some();
                return (!has_cr).then_some(special);
            }
            b'\\' if data.get(special + 1)? >= &b' ' => at = special + 2,
            _ => return None,
        }
    }
}

/// The range without which `text` is `shorter`.
fn removal(text: &[u8], shorter: &[u8]) -> Option<Range<usize>> {
    let length = text.len().checked_sub(shorter.len())?;
    let start = text.iter().zip(shorter).take_while(|(one, other)| one == other).count();
    (text.get(start + length..)? == shorter.get(start..)?).then_some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str =
        "data: {\"delta\":{\"content\":\"Hi\",\"role\":\"assistant\"},\"index\":0}\n\n";
    const CURED: &str = "{\"delta\":{\"content\":\"Hi\"},\"index\":0}";

    fn learn(event: &str, content: &str, cured: Option<&str>) -> Option<Known> {
        let text = 6..event.trim_end().len();
        let at = event.find(content).unwrap() - 6;
        Known::learn(event.as_bytes(), text, &(at..at + content.len()), cured)
    }

    #[test]
    fn an_event_with_another_content_is_cured_alike() {
        let known = learn(EVENT, "\"Hi\"", Some(CURED)).unwrap();
        for content in ["", "x", r#"\"\\\" \u0022 "#, "ünï", r"\n\n"] {
            let event = EVENT.replace("Hi", content);
            let Match { length, removed } = known.read(event.as_bytes()).unwrap();
            assert_eq!(length, event.len());
            let mut cured = event.clone();
            cured.replace_range(removed.unwrap(), "");
            assert_eq!(cured, format!("data: {}\n\n", CURED.replace("Hi", content)));
            // The event is found before another one, and not before its end.
            let two = format!("{event}{event}");
            assert_eq!(known.read(two.as_bytes()).unwrap().length, event.len());
            for end in 0..event.len() {
                assert!(known.read(&event.as_bytes()[..end]).is_none());
            }
        }
    }

    #[test]
    fn a_role_before_the_content_is_removed_too() {
        let event = "data: {\"role\":\"assistant\",\"content\":\"Hi\"}\r\n\r\n";
        let known = learn(event, "\"Hi\"", Some("{\"content\":\"Hi\"}")).unwrap();
        let removed = known.read(event.as_bytes()).unwrap().removed.unwrap();
        assert_eq!(removed.len(), "\"role\":\"assistant\",".len());
        assert!(removed.end <= event.find(":\"Hi").unwrap());
    }

    #[test]
    fn an_event_that_differs_elsewhere_is_not_known() {
        let known = learn(EVENT, "\"Hi\"", Some(CURED)).unwrap();
        for event in [
            EVENT.replace("\"index\":0", "\"index\":1"),
            EVENT.replace("\"Hi\"", "null"),
            EVENT.replace("Hi", "a\nb"),
            EVENT.replace("Hi", "a\rb"),
            EVENT.replace("Hi", "a\\\nb"),
            EVENT.replace("data: ", "data:"),
            EVENT.replace("Hi\"", "Hi\" "),
            EVENT.replace("\n\n", "\r\n\r\n"),
        ] {
            assert!(known.read(event.as_bytes()).is_none(), "{event:?}");
        }
    }

    #[test]
    fn an_edit_of_the_content_is_not_learned() {
        assert!(learn(EVENT, "\"Hi\"", Some(&CURED.replace("Hi", "H"))).is_none());
        assert!(learn(EVENT, "\"Hi\"", Some("{}")).is_none());
        assert!(learn(EVENT, "\"Hi\"", Some(&CURED.replace("index", "position"))).is_none());
        assert!(learn(EVENT, "\"Hi\"", None).unwrap().removed.is_none());
        for (length, is_learned) in [(LONGEST, true), (LONGEST + 1, false)] {
            let spaces = " ".repeat(length - (EVENT.len() - "Hi".len()));
            let event = EVENT.replace("}\n", &format!("{spaces}}}\n"));
            assert_eq!(learn(&event, "\"Hi\"", None).is_some(), is_learned, "{length}");
        }
    }
}
