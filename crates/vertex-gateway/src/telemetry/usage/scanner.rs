//! [`Scanner`]: finds the usage in the bytes of a response.

use std::sync::LazyLock;

use memchr::{memchr, memchr2, memchr3, memmem::Finder};

use super::{RawUsage, Usage, word::Word};

/// The beginning of the names of all objects with counts. A name with an escape is not counted.
static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("usage"));

/// No response has more tokens. A larger number is wrong, and would spoil a sum.
const MOST: u64 = 1 << 40;

/// Finds the usage of a response, as one JSON value or in events, for any split into chunks.
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
    /// Anthropic's, in `message_start`.
    Message,
    Usage,
    /// Gemini's `usageMetadata`.
    Metadata,
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
    Thoughts,
    ToolUse,
    CacheRead,
    CacheCreation,
    TrafficType,
}

impl Object {
    /// `Answer`, `Response`, `Usage`, `Extra`, `Google`.
    const DEEPEST: usize = 5;

    /// Chat Completions and Responses use different names, and so do Gemini and Anthropic.
    fn value(self, key: &[u8]) -> Value {
        match (self, key) {
            (Self::Answer, b"response") => Value::Object(Self::Response),
            (Self::Answer, b"message") => Value::Object(Self::Message),
            (Self::Answer | Self::Response | Self::Message, b"usage") => Value::Object(Self::Usage),
            (Self::Answer, b"usageMetadata") => Value::Object(Self::Metadata),
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
            (Self::Usage, b"cache_read_input_tokens") => Value::Count(Count::CacheRead),
            (Self::Usage, b"cache_creation_input_tokens") => Value::Count(Count::CacheCreation),
            (Self::Metadata, b"promptTokenCount") => Value::Count(Count::Prompt),
            (Self::Metadata, b"cachedContentTokenCount") => Value::Count(Count::Cached),
            (Self::Metadata, b"candidatesTokenCount") => Value::Count(Count::Completion),
            (Self::Metadata, b"thoughtsTokenCount") => Value::Count(Count::Thoughts),
            (Self::Metadata, b"toolUsePromptTokenCount") => Value::Count(Count::ToolUse),
            (Self::Metadata, b"totalTokenCount") => Value::Count(Count::Total),
            (Self::Metadata, b"trafficType") => Value::Count(Count::TrafficType),
            (Self::Google, b"traffic_type") => Value::Count(Count::TrafficType),
            _ => Value::Other,
        }
    }
}

/// Whether a line, or a part of one, has no content. A carriage return ends a line, too, so there may be any
/// number of them.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| *byte == b'\r')
}

/// Whether the last event is complete.
fn ends_event(data: &[u8]) -> bool {
    data.ends_with(b"\n\n") || data.ends_with(b"\n\r\n")
}

impl Scanner {
    /// Reads the next bytes of the body. `is_last` says that they are known to be the last ones.
    pub(crate) fn read(&mut self, data: &[u8], is_last: bool) {
        if let Form::Unknown = self.form {
            match data.trim_ascii_start().first() {
                None => return,
                Some(b'{') if is_last && self.read_end_of(data) => return,
                Some(b'{' | b'[') => self.form = Form::Whole,
                Some(_) => self.form = Form::Events(false),
            }
        }
        let Form::Events(mut has_bytes) = self.form else { return self.scan(data) };
        if !has_bytes && self.is_at_rest() && ends_event(data) && NAME.find(data).is_none() {
            // Most frames of a stream are whole events without a count.
            return;
        }
        let mut rest = data;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if has_bytes || !is_blank(line) {
                self.scan(line);
            } else {
                // A broken event does not affect the next one.
                (self.place, self.depth, self.others) = (ScanState::Between, 0, 0);
            }
            has_bytes = false;
        }
        self.scan(rest);
        self.form = Form::Events(has_bytes || !is_blank(rest));
    }

    /// Reads a body that is one object and arrived as one piece from its first `usage`, if that is one of its own
    /// members, as in most responses. So all that is before it is skipped. Returns `false` and reads nothing if this
    /// body may be another one.
    fn read_end_of(&mut self, data: &[u8]) -> bool {
        let Some(at) = NAME.find(data) else { return true };
        let before = &data[..at];
        // A quote that is not escaped begins a string here, because no string is followed by a letter.
        if !before.ends_with(b"\"") || before.ends_with(b"\\\"") {
            return false;
        }
        // The name is one of the outermost object if all that is after it closes one object, and that at the end.
        (self.form, self.depth) = (Form::Whole, 1);
        let mut rest = &data[at - 1..];
        while let Some(end) = memchr(b'}', rest) {
            let (now, after) = rest.split_at(end + 1);
            self.scan(now);
            rest = after;
            if self.depth == 0 {
                break;
            }
        }
        let is_end = self.depth == 0 && rest.trim_ascii_start().is_empty();
        if !is_end {
            *self = Self::default();
        }
        is_end
    }

    /// Whether no event before has left anything open.
    fn is_at_rest(&self) -> bool {
        matches!(self.place, ScanState::Between) && self.depth == 0 && self.others == 0
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
                        if matches!(object, Object::Usage | Object::Metadata) {
                            let began_message = of == Some(Object::Message);
                            self.now = RawUsage { began_message, ..RawUsage::default() };
                        }
                        self.path[self.depth] = object;
                        self.depth += 1;
                    }
                    None => self.others = 1,
                }
                self.place = ScanState::Between;
            }
            (b'}', _) => {
                if matches!(of, Some(Object::Usage | Object::Metadata)) {
                    self.last = self.now.after(self.last);
                }
                self.depth = self.depth.saturating_sub(1);
                self.place = ScanState::Between;
            }
            _ => self.place = ScanState::Between,
        }
    }

    fn text(&mut self, of: Option<Count>) {
        self.word.clear();
        self.place = ScanState::Text { escaped: false, of };
    }

    fn count(&mut self, count: Count, number: Option<u64>) {
        let now = &mut self.now;
        *match count {
            Count::Prompt => &mut now.prompt,
            Count::Cached => &mut now.cached,
            Count::Completion => &mut now.completion,
            Count::Reasoning => &mut now.reasoning,
            Count::Total => &mut now.total,
            Count::Thoughts => &mut now.thoughts,
            Count::ToolUse => &mut now.tool_use,
            Count::CacheRead => &mut now.cache_read,
            Count::CacheCreation => &mut now.cache_creation,
            Count::TrafficType => return,
        } = number;
    }

    /// The last usage that was read; `None` if it has no number and no traffic type.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let usage = self.last.usage();
        (usage != Usage::default()).then_some(usage)
    }
}
