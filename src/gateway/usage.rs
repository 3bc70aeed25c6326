//! How many tokens an answer cost, read while it passes by.
//!
//! Nothing is parsed but the `usage` object itself. In JSON a quote within a string is escaped, so
//! the bytes `"usage"` are a key, or a string that is no more than this word; a colon tells which.
//! That holds for whole answers and for events, each of which is one line of JSON.

use std::{fmt, sync::LazyLock};

use memchr::memmem::Finder;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

const KEY: &[u8] = b"\"usage\"";
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

/// A longer object is not a `usage`; Vertex AI's have about 200 bytes.
const LONGEST: usize = 4 << 10;

/// Tokens, as Vertex AI counts them. Some partner models leave out what they wrote, and an embedding
/// writes nothing: what is not said is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
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
    Object(Nesting),
}

impl Default for Place {
    fn default() -> Self {
        Self::Key(0)
    }
}

/// Where in an object the next byte is.
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    /// Objects that are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// How many of the bytes are the object's, if it ends in them.
    fn follow(&mut self, data: &[u8]) -> Option<usize> {
        for (at, byte) in data.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'"' => self.in_string = !self.in_string,
                b'\\' if self.in_string => self.escaped = true,
                b'{' if !self.in_string => self.depth += 1,
                b'}' if !self.in_string => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

impl Scanner {
    /// The next bytes of the body.
    pub(super) fn read(&mut self, data: &[u8]) {
        let mut rest = data;
        while let Some((&byte, after)) = rest.split_first() {
            match &mut self.place {
                Place::Key(0) => {
                    let Some(at) = FINDER.find(rest) else {
                        self.place = Place::Key(begun(rest));
                        return;
                    };
                    rest = &rest[at + KEY.len()..];
                    self.place = Place::Value(false);
                }
                Place::Key(seen) => {
                    rest = after;
                    self.place = match seen_with(*seen, byte) {
                        KEY_SEEN => Place::Value(false),
                        seen => Place::Key(seen),
                    };
                }
                Place::Value(colon) => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => rest = after,
                    b':' if !*colon => {
                        rest = after;
                        *colon = true;
                    }
                    b'{' if *colon => {
                        self.object.clear();
                        self.place = Place::Object(Nesting::default());
                    }
                    _ => self.place = Place::Key(0),
                },
                Place::Object(nesting) => {
                    let room = LONGEST - self.object.len();
                    if room == 0 {
                        self.place = Place::Key(0);
                        continue;
                    }
                    let here = &rest[..rest.len().min(room)];
                    let end = nesting.follow(here);
                    let (taken, others) = rest.split_at(end.unwrap_or(here.len()));
                    self.object.extend_from_slice(taken);
                    rest = others;
                    if end.is_some() {
                        std::mem::swap(&mut self.object, &mut self.last);
                        self.place = Place::Key(0);
                    }
                }
            }
        }
    }

    /// The last usage that was read; `None` if it says nothing about tokens.
    pub(super) fn usage(&self) -> Option<Usage> {
        let usage: Usage = serde_json::from_slice(&self.last).ok()?;
        (usage != Usage::default()).then_some(usage)
    }
}

/// Nothing else of it is kept. Chat Completions have other names than Responses.
impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Usage;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Usage, A::Error> {
                let mut counts = Usage::default();
                while let Some(field) = map.next_key()? {
                    let of = match field {
                        Field::Input => &mut counts.input,
                        Field::Output => &mut counts.output,
                        Field::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    // What is no number of tokens says nothing.
                    *of = map.next_value::<Value>()?.as_u64().or(*of);
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum Field {
    #[serde(rename = "prompt_tokens", alias = "input_tokens")]
    Input,
    #[serde(rename = "completion_tokens", alias = "output_tokens")]
    Output,
    #[serde(other)]
    Other,
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
        Some(Usage { input: Some(input), output: Some(output) })
    }

    const fn of_input(input: u64) -> Option<Usage> {
        Some(Usage { input: Some(input), output: None })
    }

    const CASES: &[(&str, Option<Usage>)] = &[
        ("", None),
        ("no JSON", None),
        (r#"{"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#, usage(3, 5)),
        ("{\"usage\" \t:\r\n {\n\"prompt_tokens\" : 3 } }", of_input(3)),
        (r#"{"usage":{"completion_tokens":5}}"#, Some(Usage { input: None, output: Some(5) })),
        (r#"{"usage":{"prompt_tokens":3,"completion_tokens":0}}"#, usage(3, 0)),
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
        (r#"{"content":"usage","usage":{"prompt_tokens":1}}"#, of_input(1)),
        (r#"["usage","usage",{"usage":{"prompt_tokens":1}}]"#, of_input(1)),
        (r#"""usage":{"prompt_tokens":1}"#, of_input(1)),
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
        assert_eq!(scanner.usage(), of_input(1));
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
