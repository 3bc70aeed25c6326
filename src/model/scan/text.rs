//! Strings: bytes that need no decoding, UTF-8 across chunks, and decoded text.

use super::LONGEST_NAME;

/// The number of bytes that are checked together in a string that is at least this long.
const BLOCK: usize = 64;

/// The number of bytes at the start of `bytes` that need no decoding: no quotation mark, no
/// backslash, no control character.
pub(super) fn plain(bytes: &[u8]) -> usize {
    let start = &bytes[..bytes.len().min(BLOCK)];
    let mut length = plain_words(start);
    if length < BLOCK {
        return length;
    }
    for block in bytes.as_chunks::<BLOCK>().0.iter().skip(1) {
        // No short-circuits: this becomes vector instructions, on any processor.
        if block.iter().fold(false, |any, &byte| any | is_special(byte)) {
            break;
        }
        length += BLOCK;
    }
    length + plain_words(&bytes[length..])
}

/// The same as [`plain`], by words of 8 bytes, which suits short strings.
fn plain_words(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte below `n`, for `n` up to 128. The bits after the first such
        // byte may be wrong, because of a borrow.
        let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let special = below(word, 0x20) | equal(b'"') | equal(b'\\');
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let before = bytes.len() - rest.len();
    before + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}

fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Checks that pieces of a text are UTF-8 together.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The first bytes of a character whose last bytes are still missing.
    begun: [u8; 4],
    length: usize,
}

impl Utf8 {
    /// Whether the text is valid so far.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while self.length > 0 {
            let Some((first, rest)) = bytes.split_first() else { return true };
            let Some(place) = self.begun.get_mut(self.length) else { return false };
            (*place, bytes) = (*first, rest);
            self.length += 1;
            match std::str::from_utf8(&self.begun[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        let Err(error) = std::str::from_utf8(bytes) else { return true };
        let begun = &bytes[error.valid_up_to()..];
        if error.error_len().is_some() || begun.len() > self.begun.len() {
            return false;
        }
        self.begun[..begun.len()].copy_from_slice(begun);
        self.length = begun.len();
        true
    }
}

/// The decoded text of a string, up to the length that matters.
#[derive(Debug, Default)]
pub(super) struct Captured {
    text: Vec<u8>,
    too_long: bool,
    /// The first half of a surrogate pair, whose second half must follow.
    half: Option<u16>,
    /// The string has one half of a pair without the other.
    unpaired: bool,
}

/// The error for a string with half a surrogate pair.
#[derive(Debug)]
pub(super) struct Unpaired;

impl Captured {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        (self.too_long, self.half, self.unpaired) = (false, None, false);
    }

    /// Appends text without escapes, or the character that an escape stands for.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unpaired |= self.half.take().is_some();
        if self.text.len() + bytes.len() > LONGEST_NAME {
            self.too_long = true;
        } else {
            self.text.extend_from_slice(bytes);
        }
    }

    /// Appends the unit of a `\u` and its four digits.
    pub(super) fn push_unit(&mut self, unit: u16) {
        let units = [self.half.unwrap_or(unit), unit];
        if self.half.is_none() && matches!(unit, 0xd800..0xdc00) {
            self.half = Some(unit);
            return;
        }
        let units = if self.half.take().is_some() { &units[..] } else { &units[1..] };
        let mut decoded = char::decode_utf16(units.iter().copied());
        match decoded.next() {
            Some(Ok(character)) => self.push(character.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => self.unpaired = true,
        }
    }

    /// The whole text; `None` if it was too long to keep.
    pub(super) fn text(&self) -> Result<Option<&str>, Unpaired> {
        if self.unpaired || self.half.is_some() {
            return Err(Unpaired);
        }
        if self.too_long {
            return Ok(None);
        }
        // The bytes come from text that was checked, or from escapes for whole characters.
        std::str::from_utf8(&self.text).map(Some).map_err(|_| Unpaired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_bytes_are_counted_up_to_the_first_special_one_wherever_it_is() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                let mut word = [b'x'; 8];
                word[at] = byte;
                assert_eq!(plain(&word), if is_special(byte) { at } else { 8 }, "{word:?}");
            }
        }
        for at in 0..300 {
            let mut bytes = [b'x'; 300];
            bytes[at] = b'"';
            assert_eq!(plain(&bytes), at);
        }
        for length in 0..200 {
            for special in [None, Some(b'"'), Some(b'\\'), Some(0), Some(0x1f), Some(b'\n')] {
                let mut bytes = vec![b'x'; length];
                bytes.extend(special);
                bytes.extend([0x7f, 0x80, 0xff, b' ', b'!', b'#', b'[', b']', 0xa2, 0xdc, 0x9f]);
                let expected = if special.is_some() { length } else { bytes.len() };
                assert_eq!(plain(&bytes), expected, "{special:?} at {length}");
            }
        }
    }

    #[test]
    fn utf8_is_judged_alike_regardless_of_the_chunks() {
        for (text, good) in [
            (&b"abc"[..], true),
            ("a\u{e9}\u{20ac}\u{1f600}z".as_bytes(), true),
            (b"a\xff", false),
            (b"\x80", false),
            (b"a\xe2\x82z", false),
            (b"\xc0\xa2", false),
            (b"\xed\xa0\x80", false),
            (b"\xf4\x90\x80\x80", false),
            (b"\xf0\x9f\x98\x80\x80", false),
        ] {
            for size in 1..=text.len() {
                let mut utf8 = Utf8::default();
                let judged = text.chunks(size).all(|piece| utf8.feed(piece));
                assert_eq!(judged, good, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn surrogates_count_only_in_pairs() {
        let text = |units: &[&[u16]]| {
            let mut captured = Captured::default();
            for (number, units) in units.iter().enumerate() {
                if number > 0 {
                    captured.push(b"-");
                }
                units.iter().for_each(|unit| captured.push_unit(*unit));
            }
            captured.text().ok().flatten().map(str::to_owned)
        };
        assert_eq!(text(&[&[0x6d, 0x20ac, 0xd83d, 0xde00]]).unwrap(), "m\u{20ac}\u{1f600}");
        assert_eq!(text(&[&[0xd83d, 0xde00, 0xd83d, 0xde00]]).unwrap(), "\u{1f600}\u{1f600}");
        for bad in [
            &[&[0xd83d][..]][..],
            &[&[0xde00]],
            &[&[0xde00, 0xd83d]],
            &[&[0xd83d, 0xd83d, 0xde00]],
            &[&[0xd83d, 0x61]],
            &[&[0xd83d], &[0xde00]],
        ] {
            assert_eq!(text(bad), None, "{bad:x?}");
        }
    }
}
