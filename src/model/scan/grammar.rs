//! The grammar of RFC 8259: the state of a scan, and the levels around it.

/// The maximum nesting of arrays and objects. The parsers of Google's front end stop at 100.
pub(super) const DEEPEST: usize = 1024;

/// The token that may come next.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Value,
    /// After `[`: a value or `]`.
    FirstValue,
    /// After `{`: a key or `}`.
    FirstKey,
    Key,
    Colon,
    /// After a value: a comma, or the end of the array or object.
    After,
    /// Within a string.
    Text,
    /// After a backslash.
    Escape,
    /// Within `\u` and four digits: the number of missing digits, and the value of the others.
    Unicode(u8, u16),
    Number(Number),
    /// Within `true`, `false` or `null`: the number of bytes of it that were read.
    Literal(Literal, u8),
    /// The text is not JSON that every parser reads alike.
    Broken,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Literal {
    True,
    False,
    Null,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Literal {
    /// The state after the next byte, when `length` bytes were read.
    #[inline]
    pub(super) fn next(self, length: u8, byte: u8) -> Option<State> {
        let text: &[u8] = match self {
            Self::True => b"true",
            Self::False => b"false",
            Self::Null => b"null",
        };
        let rest = text.get(usize::from(length)..)?;
        match rest {
            [last] if byte == *last => Some(State::After),
            [next, _, ..] if byte == *next => Some(State::Literal(self, length + 1)),
            _ => None,
        }
    }
}

impl Number {
    #[inline]
    pub(super) fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
            _ => return None,
        })
    }

    #[inline]
    pub(super) fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Power)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Array,
    Object,
}

/// The arrays and objects around the position, a bit for each, so that no text makes it allocate.
#[derive(Debug)]
pub(super) struct Levels {
    pub(super) depth: usize,
    objects: [u64; DEEPEST / 64],
}

impl Default for Levels {
    fn default() -> Self {
        Self { depth: 0, objects: [0; DEEPEST / 64] }
    }
}

impl Levels {
    /// The state within a new level.
    #[inline]
    pub(super) fn push(&mut self, level: Level) -> Option<State> {
        let bits = self.objects.get_mut(self.depth / 64)?;
        let bit = 1 << (self.depth % 64);
        self.depth += 1;
        Some(match level {
            Level::Object => {
                *bits |= bit;
                State::FirstKey
            }
            Level::Array => {
                *bits &= !bit;
                State::FirstValue
            }
        })
    }

    #[inline]
    pub(super) fn top(&self) -> Option<Level> {
        let last = self.depth.checked_sub(1)?;
        let is_object = self.objects.get(last / 64)? >> (last % 64) & 1 == 1;
        Some(if is_object { Level::Object } else { Level::Array })
    }

    /// The state after the end of the innermost level, which must be `level`.
    #[inline]
    pub(super) fn pop(&mut self, level: Level) -> Option<State> {
        if self.top()? != level {
            return None;
        }
        self.depth -= 1;
        Some(State::After)
    }
}
