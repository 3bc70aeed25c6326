//! The members of an Anthropic request that its URL depends on, and the position of `model`.
//!
//! Vertex AI has `model` and `stream` in the URL of such a request, so both have to be known exactly,
//! and the body loses `model`.

use std::ops::Range;

use super::{MOST_OFTEN, Model};
use crate::error::ModelError;

const STREAM: &str = "stream";
const VERSION: &str = "anthropic_version";

/// An Anthropic request that was scanned.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::model) struct Message {
    pub(in crate::model) model: Model,
    /// The bytes to remove so that the object has no `model`: each member with exactly one comma, in
    /// order.
    pub(in crate::model) cuts: Vec<Range<usize>>,
    /// The value of `stream`.
    pub(in crate::model) stream: bool,
    /// Whether the object has an `anthropic_version`.
    pub(in crate::model) has_version: bool,
    /// The position of the bracket that ends the object.
    pub(in crate::model) end: usize,
    /// Whether the object has no other members than `model`.
    pub(in crate::model) is_empty: bool,
}

/// A top-level member with a meaning here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Member {
    Model,
    Stream,
    Version,
    #[default]
    Other,
}

/// The members that were seen.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// The position of the key of the current member.
    key: usize,
    /// The end of the last value of `model`.
    value_end: usize,
    is_model: bool,
    cuts: Vec<Range<usize>>,
    /// The position of the comma after the last other member.
    comma: Option<usize>,
    /// Whether there is a member besides `model`.
    has_others: bool,
    stream: Option<bool>,
    has_version: bool,
    /// The position of the bracket that ends the object; `None` if the text is not an object.
    end: Option<usize>,
    problem: Option<ModelError>,
}

impl Members {
    /// Begins a key at `at`.
    pub(super) fn begin_key(&mut self, at: usize) {
        self.key = at;
    }

    /// Reads a key whose text is decoded.
    #[inline]
    pub(super) fn key(&mut self, key: &str) -> Member {
        self.is_model = key == "model";
        self.has_others |= !self.is_model;
        // The length distinguishes almost all keys.
        match key.len() {
            _ if self.is_model => Member::Model,
            6 if key == STREAM => Member::Stream,
            17 if key == VERSION => {
                if self.has_version {
                    self.refuse(ModelError::AmbiguousMember { name: VERSION });
                }
                self.has_version = true;
                Member::Version
            }
            6 if key.eq_ignore_ascii_case(STREAM) => {
                self.refuse(ModelError::AmbiguousMember { name: STREAM });
                Member::Other
            }
            17 if key.eq_ignore_ascii_case(VERSION) => {
                self.refuse(ModelError::AmbiguousMember { name: VERSION });
                Member::Other
            }
            _ => Member::Other,
        }
    }

    /// Reads the first byte of the value of `stream`.
    pub(super) fn stream(&mut self, byte: u8) {
        // Without a value, or with `null`, the response is not streamed.
        let stream = match byte {
            b't' => true,
            b'f' | b'n' => false,
            _ => return self.refuse(ModelError::NotABoolean { name: STREAM }),
        };
        if self.stream.is_some_and(|before| before != stream) {
            self.refuse(ModelError::AmbiguousMember { name: STREAM });
        }
        self.stream = Some(stream);
    }

    /// Ends a value of `model` before `end`.
    pub(super) fn end_of_model(&mut self, end: usize) {
        self.value_end = end;
    }

    /// Reads the comma after a member.
    pub(super) fn comma(&mut self, at: usize) {
        if self.is_model {
            self.cut(self.key..at + 1);
        } else {
            self.comma = Some(at);
        }
    }

    /// Reads the bracket that ends the object.
    pub(super) fn end(&mut self, at: usize) {
        self.end = Some(at);
        if !std::mem::take(&mut self.is_model) {
            return;
        }
        // The comma before this member is the one after the last other member.
        if let Some(comma) = self.comma {
            let place = self.cuts.partition_point(|cut| cut.start < comma);
            self.cuts.insert(place, comma..comma + 1);
        }
        self.cut(self.key..self.value_end);
    }

    fn cut(&mut self, range: Range<usize>) {
        // More are refused anyway.
        if self.cuts.len() <= MOST_OFTEN {
            self.cuts.push(range);
        }
    }

    fn refuse(&mut self, problem: ModelError) {
        self.problem.get_or_insert(problem);
    }

    /// The position of the bracket that ends the object, and whether there is a member besides `model`;
    /// `None` if the text is not an object.
    pub(super) fn end_of_others(&self) -> Option<(usize, bool)> {
        Some((self.end?, self.has_others))
    }

    /// Whether the text is an object.
    pub(super) fn is_object(&self) -> bool {
        self.end.is_some()
    }

    /// The message of a text that is an object with this `model`.
    pub(super) fn finish(self, model: Model) -> Result<Message, ModelError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        Ok(Message {
            model,
            cuts: self.cuts,
            stream: self.stream.unwrap_or_default(),
            has_version: self.has_version,
            end: self.end.unwrap_or_default(),
            is_empty: !self.has_others,
        })
    }
}
