/// Whether the fragments of a JSON object or array are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Progress {
    /// Reads the next fragment. The text is taken for valid JSON.
    pub(crate) fn feed(&mut self, fragment: &[u8]) {
        for &byte in fragment {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth = self.depth.saturating_add(1);
                    self.begun = true;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether the object or array has ended.
    pub(crate) fn is_complete(self) -> bool {
        self.begun && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_complete_after_its_last_bracket() {
        let text = r#" {"a":"}\"{","b":[1,{}]} "#;
        let mut progress = Progress::default();
        for (at, byte) in text.bytes().enumerate() {
            progress.feed(&[byte]);
            assert_eq!(progress.is_complete(), at >= text.len() - 2, "{at}");
        }
    }

    #[test]
    fn other_values_are_never_complete() {
        for text in ["", " ", "1", "\"x\"", "\"{}\"", "{", "}", "[DONE"] {
            let mut progress = Progress::default();
            progress.feed(text.as_bytes());
            assert!(!progress.is_complete(), "{text}");
        }
    }
}
