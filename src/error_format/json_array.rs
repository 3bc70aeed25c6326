//! The elements of a stream that is one JSON array.

use bytes::Bytes;

/// Finds the ends of the elements of an array of objects, which is how Gemini streams without
/// `alt=sse`. It reads strings and braces only, and checks nothing else.
#[derive(Debug, Default)]
pub(super) struct Elements {
    place: Place,
    /// The number of open brackets and braces, the array's included.
    depth: usize,
    in_string: bool,
    after_backslash: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeArray,
    /// After the opening bracket of the array, or after a comma.
    BeforeElement,
    Element,
    AfterElement,
    AfterArray,
    /// The text is not an array of objects.
    Unknown,
}

impl Elements {
    /// Whether the array is complete.
    pub(super) fn is_done(&self) -> bool {
        self.place == Place::AfterArray
    }

    /// Reads the next bytes. Returns how many of them, from the first, leave no element incomplete.
    pub(super) fn read(&mut self, data: &[u8]) -> usize {
        let mut complete = 0;
        let mut at = 0;
        while let Some(&byte) = data.get(at) {
            if self.in_string && !self.after_backslash && !matches!(byte, b'"' | b'\\') {
                let rest = &data[at..];
                at += memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                continue;
            }
            at += 1;
            self.take(byte);
            if self.place != Place::Element {
                complete = at;
            }
        }
        complete
    }

    fn take(&mut self, byte: u8) {
        if self.in_string {
            self.in_string = self.after_backslash || byte != b'"';
            self.after_backslash = !self.after_backslash && byte == b'\\';
            return;
        }
        self.place = match (self.place, byte) {
            (place, b' ' | b'\t' | b'\n' | b'\r') => place,
            (Place::BeforeArray, b'[') => {
                self.depth = 1;
                Place::BeforeElement
            }
            (Place::BeforeElement, b'{') => {
                self.depth += 1;
                Place::Element
            }
            (Place::BeforeElement | Place::AfterElement, b']') => Place::AfterArray,
            (Place::AfterElement, b',') => Place::BeforeElement,
            (Place::Element, b'"') => {
                self.in_string = true;
                Place::Element
            }
            (Place::Element, b'{' | b'[') => {
                self.depth += 1;
                Place::Element
            }
            (Place::Element, b'}' | b']') => {
                self.depth -= 1;
                if self.depth == 1 { Place::AfterElement } else { Place::Element }
            }
            (Place::Element, _) => Place::Element,
            _ => Place::Unknown,
        };
    }

    /// The bytes that follow the complete elements: `error` as the last one, and no bracket that closes
    /// the array. The libraries of Google for Python skip an element that they do not know, and report an
    /// array that stays open (`_rest_streaming_base` of PyPI `google-api-core` 2.44), so without this
    /// `ChatVertexAI` would take the stream for complete. `None` if the text is not such an array.
    pub(super) fn interrupted(&self, error: &str) -> Option<Bytes> {
        let before = match self.place {
            Place::BeforeArray => "[",
            // An incomplete element is dropped. The bracket or the comma before it was forwarded.
            Place::BeforeElement | Place::Element => "",
            Place::AfterElement => ",\n",
            Place::AfterArray | Place::Unknown => return None,
        };
        Some(format!("{before}{error}\n").into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ERROR: &str = r#"{"error":{"code":503}}"#;
    const ARRAY: &str = "[{\"a\":[1,{\"b\":\"x]}\\\\\\\"{\"}]}\n,\r\n{\"c\":\"\u{fc}\"} , {}\n]\n";

    #[test]
    fn a_break_at_any_byte_leaves_an_array_of_the_complete_elements_and_the_error() {
        let whole: Vec<Value> = serde_json::from_str(ARRAY).unwrap();
        for at in 0..ARRAY.len() {
            let text = &ARRAY.as_bytes()[..at];
            for size in [1, 2, 5, 1000] {
                let (mut elements, mut came, mut held) = (Elements::default(), vec![], vec![]);
                for part in text.chunks(size) {
                    let complete = elements.read(part);
                    if complete > 0 {
                        came.append(&mut held);
                    }
                    came.extend_from_slice(&part[..complete]);
                    held.extend_from_slice(&part[complete..]);
                }
                if elements.is_done() {
                    assert_eq!(came, text);
                    continue;
                }
                came.extend_from_slice(&elements.interrupted(ERROR).unwrap());
                assert!(serde_json::from_slice::<Value>(&came).is_err(), "the array stays open");
                came.push(b']');
                let mut read: Vec<Value> = serde_json::from_slice(&came).unwrap();
                assert_eq!(read.pop().unwrap()["error"]["code"], 503);
                assert_eq!(read, whole[..read.len()]);
                // All elements that were complete have arrived.
                let ends =
                    ["}]}\n", "\u{fc}\"}", ", {}"].map(|end| ARRAY.find(end).unwrap() + end.len());
                let ends = [ends[0] - 1, ends[1], ends[2]];
                assert_eq!(read.len(), ends.iter().filter(|end| **end <= at).count(), "{at}");
            }
        }
    }

    #[test]
    fn other_json_gets_no_error() {
        for text in ["{", "[1", "[[", "x", "\"", "[]]", "[{}{"] {
            let mut elements = Elements::default();
            assert_eq!(elements.read(text.as_bytes()), text.len(), "{text}");
            assert_eq!(elements.interrupted(ERROR), None, "{text}");
        }
        let mut elements = Elements::default();
        elements.read(b" [ ] ");
        assert!(elements.is_done() && elements.interrupted(ERROR).is_none());
    }
}
