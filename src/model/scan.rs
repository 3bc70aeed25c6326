//! A scanner that finds `model` in JSON as its bytes arrive.
//!
//! [`Scanner`] checks a text by RFC 8259. It takes chunks of any length and remembers only its
//! position and the top-level `model`. Its result is valid only if the whole text is JSON that
//! every parser reads alike. A text that only lenient parsers accept (comments, single quotes, a
//! trailing comma, a byte order mark, text after the end) has no `model` here. So no request is
//! sent elsewhere for a name that its receiver does not see.
//!
//! The scanner is our own for three reasons. The chunks of a body are not contiguous, and a parser
//! would need them copied together first. The lazy iterator of `sonic_rs` 0.5.10, no faster even
//! without that copy, accepts text after the end of an object. And the scanner runs during the
//! upload. It reads long strings, which take most of the time, 64 bytes at a time, and the compiler
//! turns this into vector instructions.

mod grammar;
mod message;
mod references;
mod text;
mod vacancy;

use std::ops::Range;

use self::{
    grammar::{Level, Levels, Literal, Number, State},
    message::{Member, Members},
    references::{ItemText, Search},
    text::{Captured, Utf8, plain},
};
pub(super) use self::{message::Message, vacancy::Vacancy};
use crate::error::ModelError;

/// The longest name, in bytes after its escapes are decoded. Vertex AI's names have fewer than 200.
pub(super) const LONGEST_NAME: usize = 1024;

/// The most times that `model` may occur. Each one takes memory here at no cost to its sender.
const MOST_OFTEN: usize = 64;

/// The number of bytes that are checked for UTF-8 and then scanned while in the processor's cache.
const BLOCK: usize = 32 << 10;

/// The `model` of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Model {
    /// Its value, with escapes decoded.
    pub(super) name: String,
    /// The position of each `model` value at the top level, including its quotation marks.
    pub(super) spans: Vec<Range<usize>>,
}

/// Scans a JSON text piece by piece.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    levels: Levels,
    /// The total length of the blocks that were scanned.
    at: usize,
    utf8: Utf8,
    /// The role of the string that is being read.
    role: Role,
    captured: Captured,
    /// The position at which the string that is being read begins.
    start: usize,
    /// The member whose value comes next.
    member: Member,
    members: Members,
    /// A top-level key differs from `model` only in the case of its letters.
    other_case: bool,
    /// The value of the first top-level `model`; `Some(None)` is `null`.
    asked: Option<Option<String>>,
    spans: Vec<Range<usize>>,
    problem: Option<ModelError>,
    /// The search for stored references, which runs beside the search for the model.
    search: Search,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Value,
    Key,
    TopKey,
    Model,
    /// A key of an item of `input`.
    ItemKey,
    /// The `type` or the `role` of such an item.
    Item(ItemText),
}

impl Role {
    fn is_captured(self) -> bool {
        matches!(self, Self::TopKey | Self::Model | Self::ItemKey | Self::Item(_))
    }
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Value,
            levels: Levels::default(),
            at: 0,
            utf8: Utf8::default(),
            role: Role::Value,
            captured: Captured::default(),
            start: 0,
            member: Member::Other,
            members: Members::default(),
            other_case: false,
            asked: None,
            spans: Vec::new(),
            problem: None,
            search: Search::default(),
        }
    }

    /// Scans the next bytes of the text.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(BLOCK) {
            if matches!(self.state, State::Broken) {
                return;
            }
            let scanned = if self.utf8.feed(block) { self.scan(block) } else { None };
            self.state = scanned.unwrap_or(State::Broken);
            self.at += block.len();
        }
    }

    /// Whether the text is complete JSON. `false` for a number alone, which could continue.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.state, State::After) && self.levels.depth == 0
    }

    /// Whether the text, which is complete, refers to something that was stored; `None` if it is
    /// not JSON.
    pub(super) fn refers_to_stored(&self) -> Option<bool> {
        self.is_json().then(|| self.search.found())
    }

    /// The `model` of the text. `None` if the text has none, if it is `null`, and if the text is
    /// not JSON.
    ///
    /// # Errors
    /// The text is JSON, but its `model` is not a name, or there are several.
    pub(super) fn finish(self) -> Result<Option<Model>, ModelError> {
        // A text that is a number alone has no `model` either.
        if !self.is_json() {
            return Ok(None);
        }
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let Some(asked) = self.asked else { return Ok(None) };
        if self.other_case {
            // Some parsers (Go's) match keys in any case, and the last one wins.
            return Err(ModelError::Ambiguous);
        }
        Ok(asked.map(|name| Model { name, spans: self.spans }))
    }

    /// The text as a request of Anthropic's Messages, which needs a `model`.
    ///
    /// # Errors
    /// The text is not JSON, its `model` is missing or not a name, or there are several, or parsers
    /// could read another `stream` or `anthropic_version`.
    pub(super) fn finish_message(mut self) -> Result<Message, ModelError> {
        if !self.is_json() || !self.members.is_object() {
            return Err(ModelError::NotJson);
        }
        let members = std::mem::take(&mut self.members);
        let model = self.finish()?.filter(|model| !model.name.is_empty());
        members.finish(model.ok_or(ModelError::Missing)?)
    }

    /// The state after `block`; `None` if the text is not JSON.
    fn scan(&mut self, block: &[u8]) -> Option<State> {
        let mut state = self.state;
        let mut i = 0;
        while let Some(&byte) = block.get(i) {
            state = match state {
                State::Text => {
                    let (next, length) = self.string(&block[i..], self.at + i)?;
                    (state, i) = (next, i + length);
                    continue;
                }
                State::Number(number) => match number.next(byte) {
                    Some(number) => State::Number(number),
                    None if number.is_whole() => {
                        // This byte comes after the number.
                        state = State::After;
                        continue;
                    }
                    None => return None,
                },
                State::Escape => self.escape(byte)?,
                State::Unicode(left, unit) => self.digit(left, unit, byte)?,
                State::Literal(literal, length) => literal.next(length, byte)?,
                State::Broken => return None,
                state if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => state,
                State::FirstValue if byte == b']' => self.levels.pop(Level::Array)?,
                State::FirstValue | State::Value => self.value(byte, self.at + i)?,
                State::FirstKey if byte == b'}' => self.end_of_object(self.at + i)?,
                State::FirstKey | State::Key if byte == b'"' => {
                    let role = match self.levels.depth {
                        1 => {
                            self.members.begin_key(self.at + i);
                            Role::TopKey
                        }
                        depth if self.search.looks_at(depth) => Role::ItemKey,
                        _ => Role::Key,
                    };
                    self.begin(role, self.at + i)
                }
                State::FirstKey | State::Key => return None,
                State::Colon if byte == b':' => State::Value,
                State::Colon => return None,
                State::After => match (byte, self.levels.top()?) {
                    (b',', Level::Object) => {
                        if self.levels.depth == 1 {
                            self.members.comma(self.at + i);
                        }
                        State::Key
                    }
                    (b',', Level::Array) => State::Value,
                    (b'}', _) => self.end_of_object(self.at + i)?,
                    (b']', _) => self.levels.pop(Level::Array)?,
                    _ => return None,
                },
            };
            i += 1;
        }
        Some(state)
    }

    /// Reads bytes of a string, at `at`. Returns the state after them, and their number.
    fn string(&mut self, bytes: &[u8], at: usize) -> Option<(State, usize)> {
        let captured = self.role.is_captured();
        let mut i = 0;
        loop {
            let rest = &bytes[i..];
            let length = plain(rest);
            if captured && length > 0 {
                self.captured.push(&rest[..length]);
            }
            i += length;
            match (rest.get(length), rest.get(length + 1)) {
                (None, _) => return Some((State::Text, i)),
                (Some(b'"'), _) => return Some((self.end_of_string(at + i + 1)?, i + 1)),
                (Some(b'\\'), None) => return Some((State::Escape, i + 1)),
                (Some(b'\\'), Some(escaped)) => {
                    i += 2;
                    match self.escape(*escaped)? {
                        State::Text => {}
                        state => return Some((state, i)),
                    }
                }
                // A control character.
                (Some(_), _) => return None,
            }
        }
    }

    /// Reads the first byte of a value.
    fn value(&mut self, byte: u8, at: usize) -> Option<State> {
        let member = std::mem::take(&mut self.member);
        let is_model = member == Member::Model;
        if member == Member::Stream {
            self.members.stream(byte);
        }
        let item = self.search.value(byte);
        if is_model && byte == b'n' {
            self.note(None);
            self.record_value(at..at + "null".len());
        } else if is_model && byte != b'"' {
            self.problem.get_or_insert(ModelError::NotAString);
        }
        Some(match byte {
            b'"' if is_model => self.begin(Role::Model, at),
            b'"' => self.begin(item.map_or(Role::Value, Role::Item), at),
            b'{' => self.levels.push(Level::Object)?,
            b'[' => self.levels.push(Level::Array)?,
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            b't' => State::Literal(Literal::True, 1),
            b'f' => State::Literal(Literal::False, 1),
            b'n' => State::Literal(Literal::Null, 1),
            _ => return None,
        })
    }

    /// Begins a string.
    fn begin(&mut self, role: Role, at: usize) -> State {
        (self.role, self.start) = (role, at);
        self.captured.clear();
        State::Text
    }

    fn escape(&mut self, byte: u8) -> Option<State> {
        let decoded = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return Some(State::Unicode(4, 0)),
            _ => return None,
        };
        if self.role.is_captured() {
            self.captured.push(&[decoded]);
        }
        Some(State::Text)
    }

    /// Reads one of the four digits after `\u`.
    fn digit(&mut self, left: u8, unit: u16, byte: u8) -> Option<State> {
        let digit = char::from(byte).to_digit(16)?;
        let unit = unit << 4 | digit as u16;
        if left > 1 {
            return Some(State::Unicode(left - 1, unit));
        }
        if self.role.is_captured() {
            self.captured.push_unit(unit);
        }
        Some(State::Text)
    }

    /// Ends the string that is being read, which ends before `end`.
    fn end_of_string(&mut self, end: usize) -> Option<State> {
        match self.role {
            Role::Value => return Some(State::After),
            Role::Key => return Some(State::Colon),
            Role::ItemKey => {
                self.search.item_key(self.captured.text().ok().flatten().unwrap_or_default());
                return Some(State::Colon);
            }
            Role::Item(what) => {
                self.search
                    .item_text(what, self.captured.text().ok().flatten().unwrap_or_default());
                return Some(State::After);
            }
            Role::TopKey | Role::Model => {}
        }
        // Parsers differ in their treatment of half a surrogate pair.
        let text = self.captured.text().ok()?;
        if self.role == Role::TopKey {
            let key = text.unwrap_or_default();
            self.search.key(key);
            self.member = self.members.key(key);
            let is_model = self.member == Member::Model;
            self.other_case |= !is_model && key.eq_ignore_ascii_case("model");
            return Some(State::Colon);
        }
        match text.map(str::to_owned) {
            Some(name) => self.note(Some(name)),
            None => drop(self.problem.get_or_insert(ModelError::TooLong)),
        }
        self.members.end_of_model(end);
        self.record_value(self.start..end);
        Some(State::After)
    }

    /// Records the position of a value of `model`.
    fn record_value(&mut self, at: Range<usize>) {
        if self.spans.len() < MOST_OFTEN {
            self.spans.push(at);
        } else {
            self.problem.get_or_insert(ModelError::Ambiguous);
        }
    }

    fn end_of_object(&mut self, at: usize) -> Option<State> {
        if self.levels.depth == 1 {
            self.members.end(at);
        }
        self.search.end_of_object(self.levels.depth);
        self.levels.pop(Level::Object)
    }

    /// Records a `model` at the top level.
    fn note(&mut self, name: Option<String>) {
        match &self.asked {
            None => self.asked = Some(name),
            Some(first) if *first == name => {}
            Some(_) => drop(self.problem.get_or_insert(ModelError::Ambiguous)),
        }
    }
}

#[cfg(test)]
mod tests;
