//! The framing of a client's requests: where each begins and ends, strictly according to RFC 9112.

use memchr::memchr;

/// Number of bytes of a line that are kept: enough for each field that determines where a request
/// ends.
const LONGEST: usize = 128;

/// The lines with which HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: [&[u8]; 4] = [b"PRI * HTTP/2.0", b"", b"SM", b""];

/// Follows the requests of a connection.
#[derive(Debug)]
pub(crate) struct Framing {
    at: At,
    /// The current line.
    line: Line,
    fields: FramingHeaders,
    /// Number of complete request heads.
    heads: u64,
}

/// A line, as far as it has been read.
#[derive(Debug, Default)]
struct Line {
    /// The first bytes of the line, at most [`LONGEST`].
    begin: Vec<u8>,
    /// The length of the line, including the bytes that are not kept.
    length: u64,
    last_byte: u8,
}

impl Line {
    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST - self.begin.len();
        self.begin.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.length += bytes.len() as u64;
        self.last_byte = bytes.last().copied().unwrap_or(self.last_byte);
    }

    fn clear(&mut self) {
        self.begin.clear();
        self.length = 0;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The first line of the connection.
    First,
    RequestLine,
    Field,
    ChunkSize,
    Data {
        left: u64,
        chunked: bool,
    },
    /// The end of the line after a chunk's data.
    ChunkEnd,
    Trailer,
    /// The rest of HTTP/2's preface.
    Preface(usize),
    /// HTTP/2, which has no lines.
    Http2,
}

/// A line that violates the framing rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramingError {
    /// The position of the line's end in the bytes that were followed.
    pub(crate) at: usize,
    pub(crate) why: &'static str,
}

/// The framing fields of a request, as far as they have been read.
#[derive(Debug, Default)]
struct FramingHeaders {
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self { at: At::First, line: Line::default(), fields: FramingHeaders::default(), heads: 0 }
    }

    /// Whether the first line of a request has begun and has not ended.
    pub(crate) fn is_in_request_line(&self) -> bool {
        matches!(self.at, At::First | At::RequestLine) && self.line.length > 0
    }

    /// Whether the next byte belongs to a request head.
    pub(crate) fn is_before_body(&self) -> bool {
        matches!(self.at, At::First | At::RequestLine | At::Field)
    }

    /// Whether the next byte belongs to a body: to its data, or to the lines around a chunk.
    pub(crate) fn is_in_body(&self) -> bool {
        matches!(self.at, At::ChunkSize | At::Data { .. } | At::ChunkEnd | At::Trailer)
    }

    /// Whether the next byte is data of a body.
    #[cfg(fuzzing)]
    pub(crate) fn is_in_data(&self) -> bool {
        matches!(self.at, At::Data { .. })
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.at == At::Http2
    }

    /// Number of complete request heads so far.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a request head has begun and is not complete.
    pub(crate) fn is_in_head(&self) -> bool {
        match self.at {
            At::First | At::RequestLine => self.line.length > 0,
            At::Field | At::Preface(_) => true,
            _ => false,
        }
    }

    /// Follows the next bytes. After an error it must not be called again.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.at {
                At::Http2 => return Ok(()),
                At::Data { left, chunked } => {
                    let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left - skipped as u64;
                    self.at = match (left, chunked) {
                        (0, true) => At::ChunkEnd,
                        (0, false) => At::RequestLine,
                        _ => At::Data { left, chunked },
                    };
                    rest = &rest[skipped..];
                }
                _ => {
                    let Some(end) = memchr(b'\n', rest) else {
                        self.line.keep(rest);
                        return Ok(());
                    };
                    // A line that arrived in one piece, as most do, is checked in place.
                    let ended = if self.line.length == 0 {
                        self.line_ended(&rest[..end.min(LONGEST)], end as u64, rest[..end].last())
                    } else {
                        let mut line = std::mem::take(&mut self.line);
                        line.keep(&rest[..end]);
                        let ended =
                            self.line_ended(&line.begin, line.length, Some(&line.last_byte));
                        line.clear();
                        self.line = line;
                        ended
                    };
                    if let Err(why) = ended {
                        return Err(FramingError { at: bytes.len() - rest.len() + end, why });
                    }
                    rest = &rest[end + 1..];
                }
            }
        }
        Ok(())
    }

    /// Processes a line, given its first bytes, its length and its last byte.
    fn line_ended(
        &mut self,
        begin: &[u8],
        length: u64,
        last: Option<&u8>,
    ) -> Result<(), &'static str> {
        if last != Some(&b'\r') {
            return Err("a line ends without a carriage return");
        }
        let whole = length <= LONGEST as u64;
        let line = if whole { &begin[..begin.len() - 1] } else { begin };
        self.at = match self.at {
            At::First if line == PREFACE[0] => At::Preface(1),
            At::Preface(next) if PREFACE.get(next) == Some(&line) => match next + 1 {
                next if next < PREFACE.len() => At::Preface(next),
                _ => At::Http2,
            },
            At::Preface(_) => return Err("not the preface of HTTP/2"),
            // RFC 9112 §2.2: empty lines before a request are skipped.
            at @ (At::First | At::RequestLine) if line.is_empty() => at,
            At::First | At::RequestLine => {
                self.fields = FramingHeaders::default();
                At::Field
            }
            At::Field if line.is_empty() => {
                self.heads += 1;
                match &self.fields {
                    FramingHeaders { chunked: true, .. } => At::ChunkSize,
                    FramingHeaders { length: None | Some(0), .. } => At::RequestLine,
                    FramingHeaders { length: Some(left), .. } => {
                        At::Data { left: *left, chunked: false }
                    }
                }
            }
            At::Field => {
                self.fields.add(line, whole)?;
                At::Field
            }
            At::ChunkSize => match chunk_size(line, whole)? {
                0 => At::Trailer,
                left => At::Data { left, chunked: true },
            },
            At::ChunkEnd if line.is_empty() => At::ChunkSize,
            At::ChunkEnd => return Err("a chunk is longer than its size"),
            At::Trailer if line.is_empty() => At::RequestLine,
            at => at,
        };
        Ok(())
    }
}

impl FramingHeaders {
    fn add(&mut self, line: &[u8], whole: bool) -> Result<(), &'static str> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err("a header continues on the next line");
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = trim(value.get(1..).unwrap_or_default());
        if name.eq_ignore_ascii_case(b"host") {
            if std::mem::replace(&mut self.host, true) {
                return Err("more than one Host");
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err("more than one Content-Length");
            }
            let length = whole.then(|| number(value, 10)).flatten();
            self.length = Some(length.ok_or("a Content-Length that is not a number")?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if std::mem::replace(&mut self.chunked, true) {
                return Err("more than one Transfer-Encoding");
            }
            if !whole || !value.eq_ignore_ascii_case(b"chunked") {
                return Err("a Transfer-Encoding that is not chunked");
            }
        }
        if self.chunked && self.length.is_some() {
            return Err("both Content-Length and Transfer-Encoding");
        }
        Ok(())
    }
}

/// The size must end within the kept part of its line; the text after a `;` need not.
fn chunk_size(line: &[u8], whole: bool) -> Result<u64, &'static str> {
    let end = line.iter().position(|byte| *byte == b';');
    if end.is_none() && !whole {
        return Err("a chunk size that is too long");
    }
    let size = trim_end(&line[..end.unwrap_or(line.len())]);
    number(size, 16).ok_or("a chunk size that is not a number")
}

/// Removes the blanks of RFC 9110 §5.6.3, and no other bytes.
fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'));
    &text[..end.map_or(0, |last| last + 1)]
}

fn trim(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    trim_end(&text[begin.unwrap_or(text.len())..])
}

/// Only digits are valid: `from_str_radix` alone would accept a sign.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    let digits = text.iter().all(|byte| char::from(*byte).is_digit(radix));
    u64::from_str_radix(str::from_utf8(text).ok().filter(|_| digits)?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows the text in one piece and byte by byte, and compares the results.
    fn follow(text: &str) -> Result<Framing, &'static str> {
        let whole = {
            let mut framing = Framing::new();
            framing.follow(text.as_bytes()).map(|()| framing).map_err(|refused| refused.why)
        };
        let mut framing = Framing::new();
        let by_one = text.bytes().try_for_each(|byte| framing.follow(&[byte]));
        let by_one = by_one.map_err(|refused| refused.why);
        assert_eq!(by_one.err(), whole.as_ref().err().copied(), "{text:?}");
        if let Ok(whole) = &whole {
            assert_eq!(whole.at, framing.at, "{text:?}");
        }
        whole
    }

    #[test]
    fn requests_are_followed_to_their_last_byte() {
        const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let long = format!("GET /{} HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(500), "b".repeat(500));
        for text in [
            GET.to_owned(),
            format!("\r\n\r\n{GET}{GET}"),
            long,
            format!("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n\n\n\n{GET}"),
            format!("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n{GET}"),
            format!(
                "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
                 a;x=\"y\"\r\n0123\n56789\r\n1 \r\n\n\r\n0\r\na: b\r\n\r\n{GET}"
            ),
        ] {
            assert_eq!(follow(&text).unwrap().at, At::RequestLine, "{text:?}");
            let mut text = text;
            text += "GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n";
            assert_eq!(follow(&text).unwrap_err(), "more than one Content-Length", "{text:?}");
        }
        let framing = follow("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n").unwrap();
        assert_eq!(framing.at, At::Http2);
    }

    #[test]
    fn ambiguous_framing_is_rejected() {
        let long = "1".repeat(200);
        for (fields, why) in [
            ("a: b\nc: d\r\n", "a line ends without"),
            ("a: b\r\n\n", "a line ends without"),
            ("Host: a\r\nhost: a\r\n", "more than one Host"),
            ("a: b\r\n c\r\n", "continues on the next line"),
            ("a: b\r\n\tc\r\n", "continues on the next line"),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", "more than one Content-Length"),
            ("Content-Length: 1, 1\r\n", "a Content-Length that is not"),
            ("Content-Length: +1\r\n", "a Content-Length that is not"),
            ("Content-Length:\r\n", "a Content-Length that is not"),
            (&format!("Content-Length: {long}\r\n"), "a Content-Length that is not"),
            ("Content-Length: 18446744073709551616\r\n", "a Content-Length that is not"),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "both"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", "both"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", "more than one Transfer"),
            ("Transfer-Encoding: gzip, chunked\r\n", "a Transfer-Encoding that is not"),
            ("Transfer-Encoding: xchunked\r\n", "a Transfer-Encoding that is not"),
            ("Content-Length: 1\u{c}\r\n", "a Content-Length that is not"),
            ("Transfer-Encoding: chunked\r\n\r\n+1\r\n", "a chunk size"),
            (&format!("Transfer-Encoding: chunked\r\n\r\n{}2f\r\n", "0".repeat(130)), "too long"),
            (&format!("Transfer-Encoding: chunked\r\n\r\n1{}\r\n", " ".repeat(130)), "too long"),
            ("Transfer-Encoding: chunked\r\n\r\n\r\n", "a chunk size"),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "longer than its size"),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n", "a line ends without"),
            ("Transfer-Encoding: chunked\r\n\r\n1;\n", "a line ends without"),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\n\n", "a line ends without"),
        ] {
            let error = follow(&format!("POST / HTTP/1.1\r\n{fields}")).map(drop).unwrap_err();
            assert!(error.starts_with(why) || error.contains(why), "{fields:?}: {error}");
        }
        let refused = Framing::new().follow(b"GET / HTTP/1.1\r\nHost: x\n\r\n").unwrap_err();
        assert_eq!(refused.at, 23);
    }

    /// The same rules for a whole text at once; returns the state at its end. This is slow, and
    /// short enough to be compared with RFC 9112 by eye.
    fn reference(mut text: &[u8]) -> Option<At> {
        fn line<'a>(text: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
            let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
                return Some(None);
            };
            let line = text[..end].strip_suffix(b"\r")?;
            *text = &text[end + 1..];
            Some(Some(line))
        }
        macro_rules! line {
            ($at:expr) => {
                match line(&mut text)? {
                    Some(line) => line,
                    None => return Some($at),
                }
            };
        }
        let mut first = At::First;
        loop {
            if line!(first).is_empty() {
                continue;
            }
            first = At::RequestLine;
            let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
            loop {
                let field = line!(At::Field);
                if field.is_empty() {
                    break;
                }
                if field.starts_with(b" ") || field.starts_with(b"\t") {
                    return None;
                }
                let (name, value) = match field.iter().position(|byte| *byte == b':') {
                    Some(colon) => (&field[..colon], &field[colon + 1..]),
                    None => (field, &b""[..]),
                };
                let value = str::from_utf8(value).unwrap().trim_matches([' ', '\t']);
                match name.to_ascii_lowercase().as_slice() {
                    b"host" => hosts += 1,
                    b"content-length" => lengths.push(value),
                    b"transfer-encoding" => codings.push(value.to_ascii_lowercase()),
                    _ => {}
                }
            }
            let size = |text: &str, radix| {
                text.chars().all(|digit| digit.is_digit(radix)).then_some(())?;
                u64::from_str_radix(text, radix).ok()
            };
            let data = |text: &mut &[u8], left: u64, chunked| {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(text.len());
                *text = &text[taken..];
                let left = left - taken as u64;
                (left > 0).then_some(At::Data { left, chunked })
            };
            match (hosts, lengths.as_slice(), codings.as_slice()) {
                (0 | 1, [], []) => {}
                (0 | 1, [length], []) => {
                    if let Some(at) = data(&mut text, size(length, 10)?, false) {
                        return Some(at);
                    }
                }
                (0 | 1, [], [coding]) if coding == "chunked" => loop {
                    let line = str::from_utf8(line!(At::ChunkSize)).unwrap();
                    let left = size(line.split(';').next()?.trim_end_matches([' ', '\t']), 16)?;
                    if left == 0 {
                        while !line!(At::Trailer).is_empty() {}
                        break;
                    }
                    if let Some(at) = data(&mut text, left, true) {
                        return Some(at);
                    }
                    if !line!(At::ChunkEnd).is_empty() {
                        return None;
                    }
                },
                _ => return None,
            }
        }
    }

    /// After these zeros, one more byte of the line is kept.
    const ZEROS: &str = match str::from_utf8(&[b'0'; LONGEST - 1]) {
        Ok(zeros) => zeros,
        Err(_) => unreachable!(),
    };
    const BLANKS: &str = match str::from_utf8(&[b' '; LONGEST]) {
        Ok(blanks) => blanks,
        Err(_) => unreachable!(),
    };

    proptest::proptest! {
        /// The strict reader may reject lines that are longer than it keeps. The reference accepts
        /// all that the strict reader accepts, and their states are the same then.
        #[test]
        fn the_reference_accepts_all_that_the_strict_reader_accepts(
            parts in proptest::collection::vec(proptest::sample::select(&[
                "POST / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "Host: x\r\n", "\r\n", "\r\n", "\n", "\r",
                "Content-Length: 3\r\n", "Content-Length: 0\r\n", "Content-Length:", "4", "\r\n",
                "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n\r\n",
                "transfer-encoding", ":", " ", "\t", "Chunked", "; q=\"x\"", "0\r\n", "0\r\n\r\n",
                "3\r\nabc\r\n", "a", "abc", "0", "00000000000000000000000000000000", "1", "2f", "\r\n",
                "                                                                ", "x: y\r\n",
                "x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
            ][..]), 0..24),
            chunks in proptest::collection::vec(proptest::sample::select(&[
                ZEROS, "2f", "1\r\n", "\r\n", "; q\r\n", "3\r\nabc\r\n", "0\r\n", BLANKS,
            ][..]), 0..8),
        ) {
            let mut text = String::new();
            if !chunks.is_empty() {
                text += "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
            }
            let text = text + &chunks.concat() + &parts.concat();
            if let Ok(framing) = follow(&text) {
                proptest::prop_assert_eq!(Some(framing.at), reference(text.as_bytes()));
            }
        }
    }
}
