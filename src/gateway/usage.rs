//! How many tokens an answer cost, read while it passes by.
//!
//! Nothing is parsed but the `usage` object itself. In JSON a quote within a string is escaped, so
//! the bytes `"usage"` are a key, or a string that is no more than this word; a colon tells which.
//! That holds for whole answers and for events, each of which is one line of JSON.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::Value;

const KEY: &[u8] = b"\"usage\"";
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

/// A longer object is not a `usage`; Vertex AI's have about 200 bytes.
const LONGEST: usize = 4 << 10;

/// Tokens, as Vertex AI counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// Finds the `usage` of an answer, whole or in events, however it is cut into chunks.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    place: Place,
    /// The object that is being read.
    object: Vec<u8>,
    /// The last one that was read to its end.
    last: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many bytes of the key have been seen.
    Key(usize),
    /// After the key, and its colon if `true`.
    Value(bool),
    Object {
        depth: usize,
        in_string: bool,
        escaped: bool,
    },
}

impl Default for Place {
    fn default() -> Self {
        Self::Key(0)
    }
}

impl Scanner {
    /// The next bytes of the body.
    pub(super) fn read(&mut self, data: &[u8]) {
        let mut rest = data;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            self.place = match self.place {
                Place::Key(0) => {
                    let here = &data[data.len() - after.len() - 1..];
                    let Some(at) = FINDER.find(here) else {
                        self.place = Place::Key(begun(here));
                        return;
                    };
                    rest = &here[at + KEY.len()..];
                    Place::Value(false)
                }
                Place::Key(seen) => match seen_with(seen, byte) {
                    KEY_SEEN => Place::Value(false),
                    seen => Place::Key(seen),
                },
                Place::Value(colon) => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => Place::Value(colon),
                    b':' if !colon => Place::Value(true),
                    b'{' if colon => {
                        self.object.clear();
                        self.object.push(byte);
                        Place::Object { depth: 1, in_string: false, escaped: false }
                    }
                    _ => Place::Key(seen_with(0, byte)),
                },
                Place::Object { .. } if self.object.len() == LONGEST => {
                    Place::Key(seen_with(0, byte))
                }
                Place::Object { depth, in_string, escaped } => {
                    self.object.push(byte);
                    self.within(depth, in_string, escaped, byte)
                }
            };
        }
    }

    fn within(&mut self, depth: usize, in_string: bool, escaped: bool, byte: u8) -> Place {
        let (depth, in_string, escaped) = match byte {
            _ if escaped => (depth, in_string, false),
            b'\\' if in_string => (depth, true, true),
            b'"' => (depth, !in_string, false),
            b'{' if !in_string => (depth + 1, false, false),
            b'}' if !in_string => (depth - 1, false, false),
            _ => (depth, in_string, false),
        };
        if depth > 0 {
            return Place::Object { depth, in_string, escaped };
        }
        std::mem::swap(&mut self.object, &mut self.last);
        Place::Key(0)
    }

    /// The last usage that was read; `None` if it says nothing about tokens.
    pub(super) fn usage(&self) -> Option<Usage> {
        let object: Value = serde_json::from_slice(&self.last).ok()?;
        // Chat Completions have the first names, Responses the second ones.
        let tokens = |one: &str, other: &str| {
            object.get(one).or_else(|| object.get(other)).and_then(Value::as_u64)
        };
        let input = tokens("prompt_tokens", "input_tokens");
        let output = tokens("completion_tokens", "output_tokens");
        // Some partner models leave out what they wrote, and an embedding writes nothing.
        (input.is_some() || output.is_some())
            .then(|| Usage { input: input.unwrap_or(0), output: output.unwrap_or(0) })
    }
}

const KEY_SEEN: usize = KEY.len();

/// How much of the key has been seen with one more byte. Only its first byte comes back in it.
fn seen_with(seen: usize, byte: u8) -> usize {
    if byte == KEY[seen] { seen + 1 } else { usize::from(byte == KEY[0]) }
}

/// How much of the key the end of `data` is.
fn begun(data: &[u8]) -> usize {
    (1..KEY.len()).rev().find(|&length| data.ends_with(&KEY[..length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]]) -> Option<Usage> {
        let mut scanner = Scanner::default();
        for chunk in chunks {
            scanner.read(chunk);
        }
        scanner.usage()
    }

    const fn usage(input: u64, output: u64) -> Option<Usage> {
        Some(Usage { input, output })
    }

    const CASES: &[(&str, Option<Usage>)] = &[
        ("", None),
        ("no JSON", None),
        (r#"{"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#, usage(3, 5)),
        ("{\"usage\" \t:\r\n {\n\"prompt_tokens\" : 3 } }", usage(3, 0)),
        (r#"{"usage":{"completion_tokens":5}}"#, usage(0, 5)),
        (r#"{"usage":{"input_tokens":7,"output_tokens":9}}"#, usage(7, 9)),
        (r#"{"usage":{"prompt_tokens":null,"completion_tokens":-5}}"#, None),
        (r#"{"usage":{}}"#, None),
        (r#"{"usage":null}"#, None),
        (r#"{"usage":{"prompt_tokens":3"#, None),
        (
            r#"{"usage":{"extra":{"a":"}\"}{\\"},"prompt_tokens":1,"completion_tokens":2},"x":{}}"#,
            usage(1, 2),
        ),
        // What a text says about itself is no usage.
        (r#"{"content":"{\"usage\":{\"prompt_tokens\":1}}"}"#, None),
        (r#"{"content":"usage","usage":{"prompt_tokens":1}}"#, usage(1, 0)),
        (r#"["usage","usage",{"usage":{"prompt_tokens":1}}]"#, usage(1, 0)),
        (r#"""usage":{"prompt_tokens":1}"#, usage(1, 0)),
        (
            "data: {\"usage\":null,\"choices\":[]}\n\ndata: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6}}\n\ndata: [DONE]\n\n",
            usage(4, 6),
        ),
        (
            "data: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":1}}\n\ndata: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\n",
            usage(4, 2),
        ),
    ];

    #[test]
    fn usage_is_read_however_the_bytes_are_cut() {
        for &(text, expected) in CASES {
            let bytes = text.as_bytes();
            assert_eq!(read(&[bytes]), expected, "{text}");
            let each: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(read(&each), expected, "byte by byte: {text}");
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    assert_eq!(read(&chunks), expected, "at {first} and {second}: {text}");
                }
            }
        }
    }

    #[test]
    fn an_object_without_an_end_is_given_up() {
        let mut scanner = Scanner::default();
        scanner.read(br#"{"usage":{"#);
        for _ in 0..1000 {
            scanner.read(&[b' '; 1000]);
        }
        assert!(scanner.object.capacity() <= 2 * LONGEST, "{}", scanner.object.capacity());
        scanner.read(br#"},"usage":{"prompt_tokens":1}}"#);
        assert_eq!(scanner.usage(), usage(1, 0));
    }

    #[test]
    fn the_end_of_a_long_answer_is_found() {
        let mut answer = br#"{"content":"usage","#.repeat(1 << 20);
        answer.extend(br#""usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
        let chunks: Vec<&[u8]> = answer.chunks(16 << 10).collect();
        assert_eq!(read(&chunks), usage(1, 2));
    }

    proptest! {
        #[test]
        fn whatever_comes_the_cuts_do_not_matter(
            text in r#"(\{|\}|"usage"|"|:|,| |\\|"prompt_tokens":[0-9]|x){0,40}"#,
            cuts in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&chunks), read(&[bytes]));
        }
    }
}
