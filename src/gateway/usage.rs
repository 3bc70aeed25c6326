//! How many tokens an answer cost, read while it passes by.

/// Tokens, as Vertex AI counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// Finds the `usage` of an answer, whole or in events.
#[derive(Debug, Default)]
pub(super) struct Scanner {}

impl Scanner {
    /// The next bytes of the body.
    pub(super) fn read(&mut self, _data: &[u8]) {}

    /// The last usage that was read.
    pub(super) fn usage(&self) -> Option<Usage> {
        None
    }
}
