//! The division of a text into the chunks of a stream.

/// Number of chunks in a streamed response, unless the request sets it.
const CHUNKS: usize = 5;

/// A text in this many pieces of about the same length, between characters.
pub(crate) struct Pieces {
    text: String,
    ends: Vec<usize>,
    count: usize,
}

impl Pieces {
    pub(crate) fn new(text: impl Into<String>, count: Option<usize>) -> Self {
        let text = text.into();
        let mut ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        ends.push(text.len());
        Self { text, ends, count: count.unwrap_or(CHUNKS).max(1) }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, index: usize) -> &str {
        let characters = self.ends.len() - 1;
        let end = |piece: usize| self.ends[characters * piece.min(self.count) / self.count];
        &self.text[end(index)..end(index + 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_to_the_text() {
        for text in ["", "a", "Grüße 🦀 aus dem Emulator"] {
            for count in [None, Some(1), Some(3), Some(1000)] {
                let pieces = Pieces::new(text, count);
                let whole: String = (0..pieces.count()).map(|i| pieces.get(i)).collect();
                assert_eq!(whole, text);
            }
        }
    }
}
