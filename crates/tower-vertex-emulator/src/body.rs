//! Reading of request bodies: they are hashed and counted as they stream, and drained after an
//! early response.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ring::digest::{Context, SHA256};

use super::state::Live;

/// The limits of draining a body after an early response.
const DRAIN_BYTES: u64 = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// A request body that is measured as it is read.
pub(crate) struct MeteredBody {
    incoming: Incoming,
    hash: Context,
    length: u64,
    live: Arc<Live>,
    /// The client sent `Expect: 100-continue` and waits for permission to send the body.
    held_back: bool,
}

/// The reason why a body was not read completely.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    TooLarge,
    /// The client disconnected, so there is no one to respond to.
    Broken,
}

impl MeteredBody {
    pub(crate) fn new(incoming: Incoming, live: Arc<Live>, held_back: bool) -> Self {
        let mut body = Self { incoming, hash: Context::new(&SHA256), length: 0, live, held_back };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    /// The next bytes; `None` at the end.
    async fn data(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        // The check comes first: after an early response, hyper 1 does not end a body of known
        // length until the next request begins.
        while !self.incoming.is_end_stream() {
            match self.incoming.frame().await {
                None => break,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.hash.update(&data);
                    self.length += data.len() as u64;
                    return Some(Ok(data));
                }
            }
        }
        self.finish();
        None
    }

    fn finish(&mut self) {
        let digest = self.hash.clone().finish();
        let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        // The value is already set if the end is seen twice, and it is the same then.
        let _ = self.live.body.set((self.length, hex));
    }

    /// Reads the body, up to `limit` bytes.
    pub(crate) async fn read(&mut self, limit: u64) -> Result<Bytes, ReadError> {
        if self.incoming.size_hint().lower() > limit {
            return Err(ReadError::TooLarge);
        }
        self.held_back = false;
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        while let Some(data) = self.data().await {
            let data = data.map_err(|_| ReadError::Broken)?;
            if self.length > limit {
                return Err(ReadError::TooLarge);
            }
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                rest.reserve(self.incoming.size_hint().lower() as usize + first.len() + data.len());
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }

    /// Reads the rest in the background, so that a response sent before the end of the upload
    /// reaches the client. Closing an HTTP/1.1 connection with unread bytes resets it, and the
    /// reset destroys the data in the client's receive buffer.
    pub(crate) fn drain(mut self) {
        // A client that sent `Expect: 100-continue` has not started to send the body, and will not.
        if self.incoming.is_end_stream() || self.held_back {
            return;
        }
        tokio::spawn(async move {
            let read = async {
                while self.length < DRAIN_BYTES {
                    let Some(Ok(_)) = self.data().await else { break };
                }
            };
            let _ = tokio::time::timeout(DRAIN_TIME, read).await;
        });
    }
}
