//! The parsers of this crate, for the fuzz targets in `fuzz/`.
//!
//! The module exists only with `--cfg fuzzing`, which `fuzz/build` sets. It is part of no release.

use std::{sync::Arc, time::Duration};

use clap::CommandFactory as _;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_vertex::route::{Protocol, Upstream};

use crate::{
    access::Clients,
    cli::args::Command,
    config::{
        discovered::Discovered,
        parse::{ConfigFile, FileOptions},
    },
    inbound::{activity::Activity, framing, strict_io::StrictIo},
    telemetry::usage::{Scanner, Usage},
};

/// The tokens of a response: the fields of the gateway's own `Usage`, in their order.
pub type Tokens = ([Option<u64>; 5], Option<Box<str>>);

/// Reads the usage of a response that arrives in these chunks.
pub fn usage<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Option<Tokens> {
    let mut scanner = Scanner::default();
    chunks.into_iter().for_each(|chunk| scanner.read(chunk, false));
    tokens(&scanner)
}

/// Reads the usage of a response that arrives as one chunk, which is known to be its last.
pub fn usage_of_whole(body: &[u8]) -> Option<Tokens> {
    let mut scanner = Scanner::default();
    scanner.read(body, true);
    tokens(&scanner)
}

fn tokens(scanner: &Scanner) -> Option<Tokens> {
    let Usage { input, cached, cache_creation, output, reasoning, traffic_type } =
        scanner.usage()?;
    Some(([input, cached, cache_creation, output, reasoning], traffic_type))
}

/// Follows the framing of HTTP/1.1 byte by byte.
#[derive(Debug)]
pub struct Framing(framing::Framing);

impl Default for Framing {
    /// The begin of a connection.
    fn default() -> Self {
        Self(framing::Framing::new())
    }
}

/// The part of a connection that a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Data of a body.
    Body,
    /// A request head, or the frame around the data of a body.
    Other,
    /// HTTP/2, which has no lines.
    Http2,
}

impl Framing {
    /// Follows the next byte. After an error it must not be called again.
    ///
    /// # Errors
    ///
    /// The reason why the line that ends here is refused.
    pub fn follow(&mut self, byte: u8) -> Result<Part, &'static str> {
        let is_data = self.0.is_in_data();
        self.0.follow(&[byte]).map_err(|error| error.why)?;
        Ok(match (self.0.is_http2(), is_data) {
            (true, _) => Part::Http2,
            (false, true) => Part::Body,
            (false, false) => Part::Other,
        })
    }

    /// The number of complete request heads.
    pub fn heads(&self) -> u64 {
        self.0.heads()
    }

    /// Whether the last request is complete, and no other has begun.
    pub fn is_between_requests(&self) -> bool {
        self.0.is_before_body() && !self.0.is_in_head()
    }
}

/// The connection that the gateway gives to hyper.
pub fn strict_io<I: AsyncRead + AsyncWrite + Unpin>(io: I) -> impl AsyncRead + AsyncWrite + Unpin {
    StrictIo::new(io, Duration::from_secs(30), Activity::new())
}

/// The options that a configuration file may set. Making them is slow.
#[derive(Debug)]
pub struct KnownOptions(FileOptions);

impl Default for KnownOptions {
    fn default() -> Self {
        Self(FileOptions::of(&Command::command()))
    }
}

impl KnownOptions {
    /// Reads the text of a configuration file, with its table of models over this upstream.
    ///
    /// # Errors
    ///
    /// The reason that the gateway would print behind the name of the file.
    pub fn configuration(&self, text: &str, base: Upstream) -> Result<(), String> {
        let file = ConfigFile::parse(text, &self.0)?;
        let table = file.table(base, &Discovered::default(), None);
        table.map(drop).map_err(|error| error.to_string())
    }
}

/// The client keys of a file.
#[derive(Debug)]
pub struct ClientKeys(Clients);

impl ClientKeys {
    /// Reads the text of the file.
    ///
    /// # Errors
    ///
    /// The reason that the gateway would print behind the name of the file.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        Clients::of_file(text, &[], &Clients::default()).map(Self)
    }

    /// The number of clients.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The name of the client with these headers.
    ///
    /// # Errors
    ///
    /// The message of the refusal.
    pub fn owner(&self, headers: &HeaderMap) -> Result<Option<Arc<str>>, String> {
        let client = self.0.authenticate(headers, None, Protocol::OpenAi);
        let client = client.map_err(|refusal| refusal.to_string())?;
        Ok(client.map(|client| Arc::clone(client.name())))
    }
}
