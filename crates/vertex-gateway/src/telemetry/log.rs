//! The log: on standard error, short for people who look on, as text, or as JSON for machines.
//!
//! A thread of its own writes it. When nobody reads standard error, or its disk is full, lines are
//! lost and counted; no request waits for them.

mod json;
mod text;

use std::{
    env,
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
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
use crate::{error::Error, values::non_empty};
use tower_vertex::shown;

/// What is behind standard error may pause for so many lines before some are lost; they have
/// about 400 bytes each.
const LINES: usize = 16 << 10;
/// Lines that come fast are written together.
const BUFFER: usize = 64 << 10;
/// The lines that were lost because too many waited, if there is a log. One for the process, as the
/// log is.
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

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum LogFormat {
    /// `short` in a terminal, `text` elsewhere.
    Auto,
    /// For people who watch: one line a request, with its result.
    Short,
    /// All fields, as `name=value`.
    Text,
    /// One object a line, with `timestamp` (RFC 3339, UTC), `level`, `target`, `message` and all
    /// fields.
    Json,
}

/// Writes what is left of the log when it is dropped, for up to a second.
#[derive(Debug)]
#[must_use = "lines are lost that were not written when it is dropped"]
pub struct LogGuard(#[allow(dead_code)] WorkerGuard);

/// Starts the log of the process in this form, at the level that `VERTEX_GATEWAY_LOG` (a filter of
/// `tracing`, such as `warn,tower_vertex=info`) says, or else at `level`.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<LogGuard, Error> {
    let set = env::var("VERTEX_GATEWAY_LOG").ok();
    let filter = non_empty(&set).unwrap_or(level);
    // The parser's own error repeats parts of it.
    let filter = EnvFilter::try_new(filter).map_err(|_| {
        Error::new(format!(
            "invalid VERTEX_GATEWAY_LOG {:?}: give a level, such as warn, or a filter, such as {LEVEL}",
            shown::value(filter)
        ))
    })?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES)
        .thread_name("log")
        .finish(LineBuffer { writer: io::stderr(), buffer: Vec::with_capacity(BUFFER) });
    let _ = LOST.set(writer.error_counter());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let is_terminal = io::stderr().is_terminal();
    match format {
        LogFormat::Short => log.event_format(Short { colours: is_terminal }).init(),
        LogFormat::Auto if is_terminal => log.event_format(Short { colours: true }).init(),
        LogFormat::Auto | LogFormat::Text => log.event_format(Text).init(),
        LogFormat::Json => {
            log.event_format(Json).init();
            // In the middle of JSON, nobody reads what the default hook writes.
            panic::set_hook(Box::new(panicked));
        }
    }
    Ok(LogGuard(guard))
}

/// Writes lines that come fast together, and counts those that it cannot write.
struct LineBuffer<W> {
    writer: W,
    buffer: Vec<u8>,
}

impl<W: Write> Write for LineBuffer<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + lines.len() > BUFFER {
            // Those that were there before are counted if they are lost, and these are not.
            let _ = self.flush();
        }
        self.buffer.extend_from_slice(lines);
        Ok(lines.len())
    }

    /// What cannot be written is let go: who comes back to a full disk wants the lines of now.
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

/// The level where nothing else is said.
pub(crate) const LEVEL: &str = "warn,tower_vertex=info,vertex_gateway=info";

fn panicked(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    tracing::error!(at, panic = text, "panicked");
}

/// How many lines were lost, because nobody read them or there was no place for them.
pub(crate) fn lost_lines() -> u64 {
    UNWRITTEN.load(Relaxed) + LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room.
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
