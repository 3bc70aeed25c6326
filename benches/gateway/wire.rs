//! A response over HTTP/1.1 while it arrives: the status, and the bytes of the body without their
//! framing.

use tower::BoxError;

/// The position in a response.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Head,
    /// The number of bytes of the body that are missing.
    Counted(usize),
    /// The line with the size of a chunk, of which these digits have arrived.
    Size(usize),
    /// The number of bytes that are missing in a chunk, with the line end after it.
    Chunk(usize),
    /// The empty line after the last chunk.
    Trailer(usize),
    End,
}

#[derive(Debug, Default)]
pub struct Response {
    place: Place,
    head: Vec<u8>,
    pub status: u16,
}

/// The size of a chunk is followed by an extension.
const EXTENSION: usize = 1 << 62;

impl Response {
    pub fn is_complete(&self) -> bool {
        matches!(self.place, Place::End)
    }

    /// Passes the bytes of the body to `body`. `data` may end anywhere.
    pub fn feed(&mut self, mut data: &[u8], mut body: impl FnMut(&[u8])) -> Result<(), BoxError> {
        while !data.is_empty() {
            data = match &mut self.place {
                Place::Head => self.head(data)?,
                Place::Counted(missing) => {
                    let (now, rest) = data.split_at(data.len().min(*missing));
                    body(now);
                    *missing -= now.len();
                    if *missing == 0 {
                        self.place = Place::End;
                    }
                    rest
                }
                Place::Size(size) => {
                    match data[0] {
                        b'\n' => {
                            let size = *size & !EXTENSION;
                            self.place =
                                if size == 0 { Place::Trailer(0) } else { Place::Chunk(size + 2) };
                        }
                        b'\r' => {}
                        b';' => *size |= EXTENSION,
                        _ if *size & EXTENSION != 0 => {}
                        digit => {
                            let digit = char::from(digit).to_digit(16).ok_or("a wrong chunk")?;
                            *size = *size * 16 + digit as usize;
                        }
                    }
                    &data[1..]
                }
                Place::Chunk(missing) => {
                    let (now, rest) = data.split_at(data.len().min(*missing));
                    *missing -= now.len();
                    // The last two bytes are the line end.
                    let end = 2_usize.saturating_sub(*missing).min(now.len());
                    body(&now[..now.len() - end]);
                    if *missing == 0 {
                        self.place = Place::Size(0);
                    }
                    rest
                }
                Place::Trailer(length) => {
                    match data[0] {
                        b'\n' if *length == 0 => self.place = Place::End,
                        b'\n' => *length = 0,
                        b'\r' => {}
                        _ => *length += 1,
                    }
                    &data[1..]
                }
                Place::End => return Err("bytes after a response".into()),
            };
        }
        Ok(())
    }

    fn head<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], BoxError> {
        let before = self.head.len();
        self.head.extend_from_slice(data);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(&self.head)? else {
            return Ok(&[]);
        };
        self.status = response.code.ok_or("no status")?;
        let value = |name| {
            let header =
                response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.map(|header| String::from_utf8_lossy(header.value))
        };
        self.place = match (value("content-length"), value("transfer-encoding")) {
            (Some(length), _) => match length.parse()? {
                0 => Place::End,
                length => Place::Counted(length),
            },
            (None, Some(_)) => Place::Size(0),
            (None, None) => return Err("a response without a length".into()),
        };
        Ok(&data[length - before..])
    }
}
