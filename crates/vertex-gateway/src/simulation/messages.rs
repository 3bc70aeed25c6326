//! Messages of HTTP/1.1, as the simulated peers read them.

use std::{future::poll_fn, io, pin::Pin};

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// How a body ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    /// It ends with the connection.
    Close,
}

/// The first line and the headers of a message.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) line: String,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn framing(&self) -> Option<Framing> {
        if self.header("transfer-encoding").is_some() {
            return Some(Framing::Chunked);
        }
        Some(Framing::Length(self.header("content-length")?.parse().ok()?))
    }

    pub(super) fn request_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    pub(super) fn response_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Close)
    }

    pub(super) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Whether the client accepts events.
    pub(super) fn is_stream(&self) -> bool {
        self.header("accept") == Some("text/event-stream")
    }
}

/// Reads the first line and the headers. Returns `None` if the connection ends before its first byte.
pub(super) async fn read_head<I: AsyncRead + Unpin>(
    io: &mut I,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Head>> {
    let mut searched = 0;
    loop {
        let found = buffer[searched..].windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(at) = found {
            let end = searched + at + 4;
            let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end);
            let mut lines = text.split("\r\n");
            let line = lines.next().unwrap_or_default().to_owned();
            let headers = lines.filter_map(|line| line.split_once(':'));
            let headers =
                headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
            return Ok(Some(Head { line, headers: headers.collect() }));
        }
        searched = buffer.len().saturating_sub(3);
        if io.read_buf(buffer).await? == 0 {
            return match buffer.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
}

/// Reads a body, and whether it ended as its framing says. `read` gets its length so far.
pub(super) async fn read_body<I: AsyncRead + Unpin>(
    io: &mut I,
    buffer: &mut Vec<u8>,
    framing: Framing,
    mut read: impl FnMut(usize),
) -> io::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    loop {
        match framing {
            Framing::Length(length) => {
                let more = buffer.len().min(length - body.len());
                body.extend(buffer.drain(..more));
                if body.len() == length {
                    return Ok((body, true));
                }
            }
            Framing::Close => body.append(buffer),
            Framing::Chunked => {
                while let Some((from, to, end)) = chunk(buffer)? {
                    body.extend_from_slice(&buffer[from..to]);
                    buffer.drain(..end);
                    if from == to {
                        return Ok((body, true));
                    }
                }
            }
        }
        read(body.len());
        // An error ends the body like a close, and what has arrived before it counts.
        match io.read_buf(buffer).await {
            Ok(0) => return Ok((body, matches!(framing, Framing::Close))),
            Ok(_) => {}
            Err(_) => return Ok((body, false)),
        }
    }
}

/// The bounds of the data of the first chunk, and its end, if the chunk is complete.
fn chunk(buffer: &[u8]) -> io::Result<Option<(usize, usize, usize)>> {
    let Some(line) = buffer.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let size =
        str::from_utf8(&buffer[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
    let size = size.ok_or(io::ErrorKind::InvalidData)?;
    let (from, to) = (line + 2, line + 2 + size);
    Ok((buffer.len() >= to + 2).then_some((from, to, to + 2)))
}

/// Whether the peer has closed an idle connection.
pub(super) async fn is_closed<I: AsyncRead + Unpin>(io: &mut I) -> bool {
    let mut byte = [0; 1];
    poll_fn(|cx| {
        let mut buf = ReadBuf::new(&mut byte);
        let polled = Pin::new(&mut *io).poll_read(cx, &mut buf);
        std::task::Poll::Ready(polled.is_ready())
    })
    .await
}
