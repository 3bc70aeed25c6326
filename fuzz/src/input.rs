//! The division of an input into controls and a text.

/// An input: the bytes before the first line end, and those behind it. So seeds are files of text.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub controls: &'a [u8],
    pub text: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn of(data: &'a [u8]) -> Option<Self> {
        let end = data.iter().position(|byte| *byte == b'\n')?;
        Some(Self { controls: &data[..end], text: &data[end + 1..] })
    }

    /// Takes the first control, as a number below `count`. `0` counts as 0, `1` as 1, and so on.
    pub fn choose(&mut self, count: usize) -> usize {
        let Some((first, rest)) = self.controls.split_first() else { return 0 };
        self.controls = rest;
        usize::from(first.wrapping_sub(b'0')) % count
    }

    /// Cuts the text into pieces. Their lengths are the controls, again and again: `0` cuts a piece of one
    /// byte, `1` one of two bytes, and so on. Without controls, the text is one piece.
    pub fn pieces(&self) -> Vec<&'a [u8]> {
        let (mut pieces, mut rest) = (Vec::new(), self.text);
        let mut controls = self.controls.iter().cycle();
        while !rest.is_empty() {
            let length = match controls.next() {
                Some(control) => 1 + usize::from(control.wrapping_sub(b'0')),
                None => rest.len(),
            };
            let (piece, after) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}
