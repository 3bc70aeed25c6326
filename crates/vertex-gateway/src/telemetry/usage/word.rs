//! [`Word`]: a key or a traffic type, without an allocation.

/// Longest key or traffic type, in bytes.
const LONGEST: usize = 40;

/// A short string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
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
    pub(super) fn push(&mut self, more: &[u8]) {
        match self.bytes.get_mut(self.length..self.length.saturating_add(more.len())) {
            Some(place) => {
                place.copy_from_slice(more);
                self.length += more.len();
            }
            None => self.spoil(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// Makes the string one that is no name: it is too long or has an escape.
    pub(super) fn spoil(&mut self) {
        self.length = LONGEST + 1;
    }

    /// The string; empty if it is longer than any name.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The string if it is a name: letters, digits and underscores.
    pub(super) fn text(&self) -> Option<&str> {
        let text = self.bytes();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let is_fit = !text.is_empty() && text.iter().all(is_name);
        std::str::from_utf8(text).ok().filter(|_| is_fit)
    }
}
