//! The log on standard error: short lines for people who watch, text, or JSON for machines.
//!
//! A separate thread writes the log. If standard error is not read, or its disk is full, lines are
//! lost and counted. No request waits for them.

mod json;
mod text;

use std::{
    env,
    fs::OpenOptions,
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use clap::{Args, ValueEnum, builder::FalseyValueParser};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use self::{
    json::Json,
    text::{Short, Text},
};
use crate::{colours, error::Error, values::non_empty};
use tower_vertex::redact;

/// The reader of standard error may pause for this many lines before some are lost. A line has
/// about 400 bytes.
const LINES: usize = 16 << 10;
/// Size of the buffer in which lines that follow each other quickly are written together.
const BUFFER: usize = 64 << 10;
/// Counter of the lines that were lost because too many were waiting, if there is a log. There is
/// one per process, as for the log.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();
/// The lines that were lost because they could not be written.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);

/// The options about the log.
#[derive(Clone, Debug, Args)]
pub struct LogOptions {
    /// Format of the log on standard error
    #[arg(long, value_name = "FORMAT", env = "VERTEX_GATEWAY_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,

    /// Log the address of each client, which is personal data in many countries
    #[arg(long, env = "VERTEX_GATEWAY_LOG_PEER_ADDRESS", value_parser = FalseyValueParser::new())]
    pub log_peer_address: bool,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum LogFormat {
    /// `short` in a terminal, `text` elsewhere.
    Auto,
    /// For people who watch: one line a request, with its result in columns.
    Short,
    /// All fields, as `name=value`.
    Text,
    /// One object a line, with `timestamp` (RFC 3339, UTC), `level`, `target`, `message` and all
    /// fields.
    Json,
}

/// Writes the rest of the log when it is dropped, for up to a second.
#[derive(Debug)]
#[must_use = "lines are lost that were not written when it is dropped"]
pub struct LogGuard(#[allow(dead_code)] WorkerGuard);

/// Starts the log of the process in this format. The level is that of `VERTEX_GATEWAY_LOG` (a
/// filter of `tracing`, such as `warn,tower_vertex=info`), or else `level`.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<LogGuard, Error> {
    let stderr = io::stderr();
    let (is_terminal, colours) = (stderr.is_terminal(), colours::are_shown(&stderr));
    start_with(stderr, level, format, is_terminal, colours)
}

/// The same at the end of a file, which an option `--log-file` of `O` names. Others cannot read a new
/// file.
pub(crate) fn start_in<O: Args>(
    path: &Path,
    level: &str,
    format: LogFormat,
) -> Result<LogGuard, Error> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path);
    let file = file.map_err(|error| Error::of_file::<O>("--log-file", path, error))?;
    start_with(file, level, format, false, false)
}

fn start_with(
    writer: impl Write + Send + 'static,
    level: &str,
    format: LogFormat,
    is_terminal: bool,
    colours: bool,
) -> Result<LogGuard, Error> {
    let set = env::var("VERTEX_GATEWAY_LOG").ok();
    let filter = non_empty(&set).unwrap_or(level);
    // The parser's own error repeats parts of the value.
    let filter = EnvFilter::try_new(filter).map_err(|_| {
        Error::new(format!(
            "invalid VERTEX_GATEWAY_LOG {:?}: give a level, such as warn, or a filter, such as {LEVEL}",
            redact::value(filter)
        ))
    })?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES)
        .thread_name("log")
        .finish(LineBuffer { writer, buffer: Vec::with_capacity(BUFFER) });
    let _ = LOST.set(writer.error_counter());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Short => log.event_format(Short { colours }).init(),
        LogFormat::Auto if is_terminal => log.event_format(Short { colours }).init(),
        LogFormat::Auto | LogFormat::Text => log.event_format(Text).init(),
        LogFormat::Json => {
            log.event_format(Json).init();
            // The default hook writes text, which a reader of JSON does not see.
            panic::set_hook(Box::new(panicked));
        }
    }
    Ok(LogGuard(guard))
}

/// Writes lines that follow each other quickly together, and counts lines that cannot be written.
struct LineBuffer<W> {
    writer: W,
    buffer: Vec<u8>,
}

impl<W: Write> Write for LineBuffer<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + lines.len() > BUFFER {
            // If the earlier lines are lost, they are counted. The new lines are kept.
            let _ = self.flush();
        }
        self.buffer.extend_from_slice(lines);
        Ok(lines.len())
    }

    /// Lines that cannot be written are dropped, because current lines are more useful once the
    /// disk has room again.
    fn flush(&mut self) -> io::Result<()> {
        let mut rest = &self.buffer[..];
        let mut written = Ok(());
        while !rest.is_empty() && written.is_ok() {
            match self.writer.write(rest) {
                Ok(0) => written = Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => rest = &rest[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => written = Err(error),
            }
        }
        let lost = memchr::memchr_iter(b'\n', rest).count();
        UNWRITTEN.fetch_add(lost as u64, Relaxed);
        self.buffer.clear();
        written.and_then(|()| self.writer.flush())
    }
}

/// The default level.
pub(crate) const LEVEL: &str = "warn,tower_vertex=info,vertex_gateway=info";

fn panicked(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    tracing::error!(at, panic = text, "panicked");
}

/// Number of lines that were lost, because they were not read or could not be written.
pub(crate) fn lost_lines() -> u64 {
    UNWRITTEN.load(Relaxed) + LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with limited room.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.1 - self.0.len());
            if length == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let mut lines = LineBuffer { writer: Disk(Vec::new(), 10), buffer: Vec::new() };
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }
        assert!(lines.flush().is_err());
        assert_eq!((&*lines.writer.0, lost_lines()), (&b"one\ntwo\nth"[..], 2));
        lines.writer = Disk(Vec::new(), 10);
        lines.write_all(b"five\n").unwrap();
        lines.flush().unwrap();
        assert_eq!((&*lines.writer.0, lost_lines()), (&b"five\n"[..], 2));
    }
}
