//! The token usage of a response, read while the response is forwarded.
//!
//! Vertex AI sends it as `usage`: in a response, in the last chunk of a stream, or in the response
//! within an event of the Responses API. Nothing else of a response is read, and only these numbers
//! are kept. A `usage` that a model or a client wrote is not counted, because it is nested deeper
//! or within a string.
//!
//! For Gemini, `completion_tokens` excludes the reasoning tokens, which Google bills as output, and
//! `total_tokens` includes them: 27 of the prompt, 45 of the completion and 504 of reasoning are
//! 576. For partner models, and in the Responses API, the other numbers include the reasoning
//! tokens. So output is the excess of `total_tokens` over the prompt, if that is more.

use memchr::{memchr, memchr2, memchr3};

/// Longest key or traffic type, in bytes.
const LONGEST: usize = 40;
/// No response has more tokens. A larger number is wrong, and would spoil a sum.
const MOST: u64 = 1 << 40;

/// Tokens as Google bills them. Some partner models omit the output tokens, and an embedding has
/// none, so a missing number is not 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Includes the cached tokens.
    pub(crate) input: Option<u64>,
    /// The part of `input` that was read from a cache.
    pub(crate) cached: Option<u64>,
    /// Includes the reasoning tokens.
    pub(crate) output: Option<u64>,
    /// The part of `output` that is reasoning.
    pub(crate) reasoning: Option<u64>,
    /// The quota that was used, such as `ON_DEMAND` or `PROVISIONED_THROUGHPUT`.
    pub(crate) traffic_type: Option<Box<str>>,
}

/// The numbers of one `usage` as Vertex AI sends them.
#[derive(Clone, Copy, Debug, Default)]
struct RawUsage {
    prompt: Option<u64>,
    cached: Option<u64>,
    completion: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
    traffic_type: Word,
}

impl RawUsage {
    /// Combines this `usage` with the one before it. The last one of a stream takes precedence, but
    /// one without a number only adds its traffic type.
    fn after(mut self, before: Self) -> Self {
        let Self { prompt, cached, completion, reasoning, total, .. } = self;
        let numbers = [prompt, cached, completion, reasoning, total];
        if self.traffic_type.text().is_none() {
            self.traffic_type = before.traffic_type;
        }
        if numbers.iter().any(Option::is_some) {
            self
        } else {
            Self { traffic_type: self.traffic_type, ..before }
        }
    }

    fn usage(&self) -> Usage {
        let beyond = self.total.zip(self.prompt).and_then(|(all, prompt)| all.checked_sub(prompt));
        // For an embedding, the total equals the prompt.
        let output = self.completion.max(beyond.filter(|more| *more > 0));
        let output = match self.reasoning {
            // A part cannot exceed the whole, so these are separate numbers.
            Some(reasoning) if output.is_none_or(|output| reasoning > output) => {
                Some(self.completion.unwrap_or(0) + reasoning)
            }
            _ => output,
        };
        Usage {
            input: self.prompt,
            cached: self.cached,
            output,
            reasoning: self.reasoning,
            traffic_type: self.traffic_type.text().map(Into::into),
        }
    }
}

/// Finds the `usage` of a response, as one JSON value or in events, for any split into chunks.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    form: Form,
    place: ScanState,
    /// Open objects that can contain a count, the outermost first.
    path: [Object; Object::DEEPEST],
    depth: usize,
    /// Number of open objects within those that cannot contain a count.
    others: usize,
    /// The last string, if it is short.
    word: Word,
    /// The `usage` that is currently read.
    now: RawUsage,
    /// The last complete `usage`.
    last: RawUsage,
}

/// The format of the body, according to its first byte.
#[derive(Clone, Copy, Debug, Default)]
enum Form {
    #[default]
    Unknown,
    /// One JSON value.
    Whole,
    /// Events, each with a line of JSON. The field is whether the current line has any bytes yet.
    Events(bool),
}

#[derive(Clone, Copy, Debug, Default)]
enum ScanState {
    #[default]
    Between,
    /// In a string; `escaped` is `true` after a backslash. The purpose of the string is known at
    /// its end.
    Text { escaped: bool, of: Option<Count> },
    /// After a string, which is a key if a colon follows.
    Word,
    /// After a key and its colon.
    Value(Value),
    /// In a number; `None` if it is not a number of tokens.
    Number(Count, Option<u64>),
}

/// The purpose of the value after a key.
#[derive(Clone, Copy, Debug)]
enum Value {
    Object(Object),
    Count(Count),
    Other,
}

/// An object that can contain a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Object {
    #[default]
    Answer,
    Response,
    Usage,
    InputDetails,
    OutputDetails,
    Extra,
    Google,
}

#[derive(Clone, Copy, Debug)]
enum Count {
    Prompt,
    Cached,
    Completion,
    Reasoning,
    Total,
    TrafficType,
}

impl Object {
    /// `Answer`, `Response`, `Usage`, `Extra`, `Google`.
    const DEEPEST: usize = 5;

    /// Chat Completions and Responses use different names.
    fn value(self, key: &[u8]) -> Value {
        match (self, key) {
            (Self::Answer, b"response") => Value::Object(Self::Response),
            (Self::Answer | Self::Response, b"usage") => Value::Object(Self::Usage),
            (Self::Usage, b"prompt_tokens" | b"input_tokens") => Value::Count(Count::Prompt),
            (Self::Usage, b"completion_tokens" | b"output_tokens") => {
                Value::Count(Count::Completion)
            }
            (Self::Usage, b"total_tokens") => Value::Count(Count::Total),
            (Self::Usage, b"prompt_tokens_details" | b"input_tokens_details") => {
                Value::Object(Self::InputDetails)
            }
            (Self::InputDetails, b"cached_tokens") => Value::Count(Count::Cached),
            (Self::Usage, b"completion_tokens_details" | b"output_tokens_details") => {
                Value::Object(Self::OutputDetails)
            }
            (Self::OutputDetails, b"reasoning_tokens") => Value::Count(Count::Reasoning),
            (Self::Usage, b"extra_properties") => Value::Object(Self::Extra),
            (Self::Extra, b"google") => Value::Object(Self::Google),
            (Self::Google, b"traffic_type") => Value::Count(Count::TrafficType),
            _ => Value::Other,
        }
    }
}

/// A short string.
#[derive(Clone, Copy, Debug)]
struct Word {
    bytes: [u8; LONGEST],
    /// Larger than [`LONGEST`] if the string is too long or has an escape.
    length: usize,
}

impl Default for Word {
    fn default() -> Self {
        Self { bytes: [0; LONGEST], length: 0 }
    }
}

impl Word {
    fn push(&mut self, more: &[u8]) {
        match self.bytes.get_mut(self.length..self.length.saturating_add(more.len())) {
            Some(place) => {
                place.copy_from_slice(more);
                self.length += more.len();
            }
            None => self.spoil(),
        }
    }

    fn spoil(&mut self) {
        self.length = LONGEST + 1;
    }

    /// The string; empty if it is longer than any name.
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The string if it is a name: letters, digits and underscores.
    fn text(&self) -> Option<&str> {
        let text = self.bytes();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let is_fit = !text.is_empty() && text.iter().all(is_name);
        std::str::from_utf8(text).ok().filter(|_| is_fit)
    }
}

impl Scanner {
    /// Reads the next bytes of the body.
    pub(crate) fn read(&mut self, data: &[u8]) {
        if let Form::Unknown = self.form {
            match data.trim_ascii_start().first() {
                None => return,
                Some(b'{' | b'[') => self.form = Form::Whole,
                Some(_) => self.form = Form::Events(false),
            }
        }
        let Form::Events(mut has_bytes) = self.form else { return self.scan(data) };
        let mut rest = data;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if has_bytes || !matches!(line, b"" | b"\r") {
                self.scan(line);
            } else {
                // A broken event does not affect the next one.
                (self.place, self.depth, self.others) = (ScanState::Between, 0, 0);
            }
            has_bytes = false;
        }
        self.scan(rest);
        self.form = Form::Events(has_bytes || !matches!(rest, b"" | b"\r"));
    }

    fn scan(&mut self, mut rest: &[u8]) {
        while let Some((&byte, after)) = rest.split_first() {
            match self.place {
                ScanState::Text { escaped: true, of } => {
                    self.word.spoil();
                    self.place = ScanState::Text { escaped: false, of };
                    rest = after;
                }
                ScanState::Text { of, .. } => {
                    let end = memchr2(b'"', b'\\', rest);
                    // Objects without counts have no names that are needed.
                    if self.others == 0 {
                        self.word.push(&rest[..end.unwrap_or(rest.len())]);
                    }
                    let Some(end) = end else { return };
                    self.place = match (rest[end], of) {
                        (b'\\', of) => ScanState::Text { escaped: true, of },
                        (_, Some(Count::TrafficType)) => {
                            self.now.traffic_type = self.word;
                            ScanState::Between
                        }
                        (_, Some(_)) => ScanState::Between,
                        (_, None) => ScanState::Word,
                    };
                    rest = &rest[end + 1..];
                }
                ScanState::Number(count, number) => {
                    let digit = u64::from(byte.wrapping_sub(b'0'));
                    let number = match byte {
                        b'0'..=b'9' => number
                            .and_then(|number| number.checked_mul(10)?.checked_add(digit))
                            .filter(|number| *number <= MOST),
                        b'+' | b'-' | b'.' | b'e' | b'E' => None,
                        _ => {
                            if number.is_some() {
                                self.count(count, number);
                            }
                            self.place = ScanState::Between;
                            continue;
                        }
                    };
                    self.place = ScanState::Number(count, number);
                    rest = after;
                }
                // Most bytes of a response are here, or in strings.
                _ if self.others > 0 => {
                    let Some(at) = memchr3(b'"', b'{', b'}', rest) else { return };
                    match rest[at] {
                        b'{' => self.others += 1,
                        b'}' => (self.others, self.place) = (self.others - 1, ScanState::Between),
                        _ => self.text(None),
                    }
                    rest = &rest[at + 1..];
                }
                // Here nothing else means anything.
                ScanState::Between if !matches!(byte, b'"' | b'{' | b'}') => rest = after,
                ScanState::Between | ScanState::Word | ScanState::Value(_) => {
                    self.structure(byte);
                    rest = after;
                }
            }
        }
    }

    /// Reads the next byte in an object that can contain a count, or outside of any object.
    fn structure(&mut self, byte: u8) {
        let of = self.depth.checked_sub(1).map(|innermost| self.path[innermost]);
        match (byte, self.place) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => {}
            (b'"', ScanState::Value(Value::Count(count))) => self.text(Some(count)),
            // The text between events is not JSON.
            (b'"', _) if of.is_some() || matches!(self.form, Form::Whole) => self.text(None),
            (b':', ScanState::Word) => {
                let key = self.word.bytes();
                self.place = ScanState::Value(of.map_or(Value::Other, |of| of.value(key)));
            }
            (b'0'..=b'9', ScanState::Value(Value::Count(count))) => {
                self.place = ScanState::Number(count, Some(u64::from(byte - b'0')));
            }
            (b'{', place) => {
                let object = match place {
                    ScanState::Value(Value::Object(object)) => Some(object),
                    _ if of.is_none() => Some(Object::Answer),
                    _ => None,
                };
                match object {
                    Some(object) => {
                        if object == Object::Usage {
                            self.now = RawUsage::default();
                        }
                        self.path[self.depth] = object;
                        self.depth += 1;
                    }
                    None => self.others = 1,
                }
                self.place = ScanState::Between;
            }
            (b'}', _) => {
                if of == Some(Object::Usage) {
                    self.last = self.now.after(self.last);
                }
                self.depth = self.depth.saturating_sub(1);
                self.place = ScanState::Between;
            }
            _ => self.place = ScanState::Between,
        }
    }

    fn text(&mut self, of: Option<Count>) {
        self.word.length = 0;
        self.place = ScanState::Text { escaped: false, of };
    }

    fn count(&mut self, count: Count, number: Option<u64>) {
        let RawUsage { prompt, cached, completion, reasoning, total, .. } = &mut self.now;
        *match count {
            Count::Prompt => prompt,
            Count::Cached => cached,
            Count::Completion => completion,
            Count::Reasoning => reasoning,
            Count::Total => total,
            Count::TrafficType => return,
        } = number;
    }

    /// The last usage that was read; `None` if it has no number and no traffic type.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let usage = self.last.usage();
        (usage != Usage::default()).then_some(usage)
    }
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

    fn usage(input: u64, output: u64) -> Option<Usage> {
        Some(Usage { input: Some(input), output: Some(output), ..Usage::default() })
    }

    fn of_input(input: u64) -> Option<Usage> {
        Some(Usage { input: Some(input), ..Usage::default() })
    }

    fn thought(input: u64, output: u64, reasoning: u64) -> Option<Usage> {
        Some(Usage { reasoning: Some(reasoning), ..usage(input, output)? })
    }

    fn with(cached: u64, usage: Option<Usage>) -> Option<Usage> {
        Some(Usage { cached: Some(cached), ..usage? })
    }

    fn taken(traffic_type: &str, usage: Option<Usage>) -> Option<Usage> {
        Some(Usage { traffic_type: Some(traffic_type.into()), ..usage.unwrap_or_default() })
    }

    fn cases() -> Vec<(&'static str, Option<Usage>)> {
        vec![
            ("", None),
            (" \n", None),
            ("no JSON", None),
            (
                r#"{"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#,
                usage(3, 5),
            ),
            ("{\"usage\" \t:\r\n {\n\"prompt_tokens\" : 3 } }", of_input(3)),
            ("\u{feff}{\"usage\":{\"prompt_tokens\":3}}", of_input(3)),
            (
                r#"{"usage":{"completion_tokens":5}}"#,
                Some(Usage { output: Some(5), ..Usage::default() }),
            ),
            (r#"{"usage":{"prompt_tokens":3,"completion_tokens":0}}"#, usage(3, 0)),
            (r#"{"usage":{"prompt_tokens":3,"total_tokens":3}}"#, of_input(3)),
            (r#"{"usage":{"input_tokens":7,"output_tokens":9}}"#, usage(7, 9)),
            // The example in Google's documentation of Gemini.
            (
                r#"{"usage":{"completion_tokens":45,"completion_tokens_details":{"reasoning_tokens":504},"extra_properties":{"google":{"traffic_type":"ON_DEMAND"}},"prompt_tokens":27,"total_tokens":576}}"#,
                taken("ON_DEMAND", thought(27, 549, 504)),
            ),
            // The API of AI Studio does not list the reasoning tokens.
            (
                r#"{"usage":{"completion_tokens":45,"prompt_tokens":27,"total_tokens":576}}"#,
                usage(27, 549),
            ),
            // All output is reasoning.
            (
                r#"{"usage":{"completion_tokens_details":{"reasoning_tokens":91},"prompt_tokens":9,"total_tokens":100}}"#,
                thought(9, 91, 91),
            ),
            // The example in Google's documentation of Grok, where the output includes the
            // reasoning tokens.
            (
                r#"{"usage":{"input_tokens":335,"input_tokens_details":{"cached_tokens":320},"output_tokens":305,"output_tokens_details":{"reasoning_tokens":284},"total_tokens":640}}"#,
                with(320, thought(335, 305, 284)),
            ),
            (
                r#"{"usage":{"prompt_tokens":50,"completion_tokens":20,"total_tokens":70,"prompt_tokens_details":{"cached_tokens":40,"audio_tokens":1}}}"#,
                with(40, usage(50, 20)),
            ),
            // A part cannot exceed the whole.
            (
                r#"{"usage":{"completion_tokens":45,"completion_tokens_details":{"reasoning_tokens":504},"prompt_tokens":27}}"#,
                thought(27, 549, 504),
            ),
            (
                r#"{"usage":{"completion_tokens":45,"prompt_tokens":27,"total_tokens":20}}"#,
                usage(27, 45),
            ),
            // A value that is not a number of tokens is ignored, and does not affect the others.
            (r#"{"usage":{"prompt_tokens":null,"completion_tokens":-5}}"#, None),
            (
                r#"{"usage":{"prompt_tokens":3,"completion_tokens":1e400,"total_tokens":1.5e1}}"#,
                of_input(3),
            ),
            (
                r#"{"usage":{"prompt_tokens":"3","completion_tokens":5,"total_tokens":true}}"#,
                Some(Usage { output: Some(5), ..Usage::default() }),
            ),
            (
                r#"{"usage":{"prompt_tokens":18446744073709551615,"completion_tokens":99999999999999999999999,"total_tokens":1099511627777}}"#,
                None,
            ),
            (r#"{"usage":{"prompt_tokens":[7],"completion_tokens":{"prompt_tokens":8}}}"#, None),
            (r#"{"usage":{"prompt_tokens":1,"prompt_tokens":2,"prompt_tokens":-3}}"#, of_input(2)),
            (r#"{"usage":{}}"#, None),
            (r#"{"usage":null}"#, None),
            (r#"{"usage":[{"prompt_tokens":3}]}"#, None),
            (r#"{"usage":"prompt_tokens","prompt_tokens":3}"#, None),
            (r#"{"usage":{"prompt_tokens":3"#, None),
            (r#"{"usage":{"prompt_tokens":3,"x":1"#, None),
            (
                r#"{"usage":{"extra":{"a":"}\"}{\\"},"prompt_tokens":1,"completion_tokens":2},"x":{}}"#,
                usage(1, 2),
            ),
            (r#"{"usage":{"total_tokens":9,"extra":{"usage":{"prompt_tokens":9}}}}"#, None),
            // A traffic type is one word.
            (
                r#"{"usage":{"extra_properties":{"google":{"traffic_type":"PROVISIONED_THROUGHPUT"}}}}"#,
                taken("PROVISIONED_THROUGHPUT", None),
            ),
            (r#"{"usage":{"extra_properties":{"google":{"traffic_type":"a b"}}}}"#, None),
            (r#"{"usage":{"extra_properties":{"google":{"traffic_type":"A\u0042"}}}}"#, None),
            (
                r#"{"usage":{"extra_properties":{"google":{"traffic_type":"AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDDE"}}}}"#,
                None,
            ),
            // A `usage` in a text or a tool is not counted.
            (r#"{"content":"{\"usage\":{\"prompt_tokens\":1}}"}"#, None),
            (r#"["{\"usage\":{\"prompt_tokens\":1}}"]"#, None),
            (r#"{"content":"usage","usage":{"prompt_tokens":1}}"#, of_input(1)),
            (r#"["usage","usage",{"usage":{"prompt_tokens":1}}]"#, of_input(1)),
            (
                r#"{"usage":{"prompt_tokens":1},"metadata":{"usage":{"prompt_tokens":9}},"tools":[{"usage":{"prompt_tokens":9}}]}"#,
                of_input(1),
            ),
            (r#"""usage":{"prompt_tokens":1}"#, None),
            // The last `usage` of a stream takes precedence.
            (
                "data: {\"usage\":null,\"choices\":[]}\n\ndata: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6}}\n\ndata: [DONE]\n\n",
                usage(4, 6),
            ),
            (
                "data: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":1}}\n\ndata: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\n",
                usage(4, 2),
            ),
            (
                "data: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2,\"extra_properties\":{\"google\":{\"traffic_type\":\"A\"}}}}\r\n\r\ndata: {\"usage\":{}}\r\n\r\n",
                taken("A", usage(4, 2)),
            ),
            (
                "data: {\"usage\":{\"extra_properties\":{\"google\":{\"traffic_type\":\"B\"}}}}\n\ndata: {\"usage\":{\"prompt_tokens\":4}}\n\n",
                taken("B", of_input(4)),
            ),
            (
                "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\nevent: response.completed\ndata: {\"response\":{\"output\":[{\"usage\":{\"input_tokens\":9}}],\"usage\":{\"input_tokens\":4,\"output_tokens\":6}},\"type\":\"response.completed\"}\n\n",
                usage(4, 6),
            ),
            // A broken event, or a comment, does not affect the others.
            (
                "data: {\"choices\":[{\"text\":\"\n\n: a \"comment\ndata: {\"usage\":{\"prompt_tokens\":4}}\n\n",
                of_input(4),
            ),
        ]
    }

    #[test]
    fn usage_is_read_for_any_split_into_chunks() {
        for (text, expected) in cases() {
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
    fn a_scanner_allocates_no_memory() {
        let mut scanner = Scanner::default();
        scanner.read(br#"{"usage":{"#);
        for open in [&b"{"[..], b"\"", b"a", b"9", b"\\", b"{\"usage\":"] {
            scanner.read(&open.repeat(1 << 20));
        }
        // All of the scanner is on the stack.
        assert!(std::mem::size_of::<Scanner>() < 400, "{}", std::mem::size_of::<Scanner>());
        assert!(!std::mem::needs_drop::<Scanner>());
    }

    #[test]
    fn the_usage_at_the_end_of_a_long_response_is_found() {
        let mut answer = br#"{"choices":[{"content":"usage"}"#.to_vec();
        answer.extend(br#",{"content":"\"usage\":{\n"}"#.repeat(1 << 20));
        answer.extend(br#"],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
        let chunks: Vec<&[u8]> = answer.chunks(16 << 10).collect();
        assert_eq!(read(&chunks), usage(1, 2));
    }

    proptest! {
        #[test]
        fn the_split_into_chunks_does_not_change_the_usage_of_any_text(
            text in r#"(\{|\}|"usage"|"|:|,| |\\|\n|"prompt_tokens":[0-9]|"response"|x){0,40}"#,
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
