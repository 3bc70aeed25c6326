use std::ops::Range;

use bytes::Bytes;

/// Replaces ranges of bytes, in ascending order. Bytes in which nothing is replaced are not copied.
pub(super) struct Writer<'a> {
    data: &'a Bytes,
    /// The bytes before this position are in `edited`, or were removed.
    written: usize,
    edited: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(data: &'a Bytes) -> Self {
        Self { data, written: 0, edited: Vec::new() }
    }

    /// Puts `new` in the place of a range. The range must not begin before the end of an earlier
    /// one; if it does, it is ignored.
    pub(super) fn replace(&mut self, range: Range<usize>, new: &[u8]) {
        let Some(unchanged) = self.data.get(self.written..range.start) else { return };
        if self.edited.capacity() == 0 {
            // Most edits make the text shorter.
            self.edited.reserve(self.data.len() + new.len());
        }
        self.edited.extend_from_slice(unchanged);
        self.edited.extend_from_slice(new);
        self.written = range.end;
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        self.replace(range, &[]);
    }

    /// The bytes up to `end`, with all replacements.
    pub(super) fn finish(mut self, end: usize) -> Bytes {
        if self.written == 0 && self.edited.is_empty() {
            return self.data.slice(..end);
        }
        self.edited.extend_from_slice(self.data.get(self.written..end).unwrap_or_default());
        self.edited.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_replaced_in_order() {
        let data = Bytes::from_static(b"0123456789");
        let mut writer = Writer::new(&data);
        writer.remove(1..3);
        writer.replace(5..5, b"x");
        writer.replace(4..6, b"ignored");
        writer.replace(6..7, b"yz");
        assert_eq!(writer.finish(9), "034x5yz78");
    }

    #[test]
    fn bytes_are_put_before_the_first_one() {
        let data = Bytes::from_static(b"01");
        let mut writer = Writer::new(&data);
        writer.replace(0..0, b"x");
        assert_eq!(writer.finish(2), "x01");
    }

    #[test]
    fn bytes_without_a_change_are_not_copied() {
        let data = Bytes::from(b"0123456789".to_vec());
        let same = Writer::new(&data).finish(4);
        assert_eq!((&*same, same.as_ptr()), (&b"0123"[..], data.as_ptr()));
        let mut writer = Writer::new(&data);
        writer.remove(0..10);
        assert_eq!(writer.finish(10), "");
    }
}
