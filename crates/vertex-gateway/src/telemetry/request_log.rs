//! The record of a request: what the log, the metrics and the traces are told when it has ended.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, StatusCode};

use super::{operation::operation, usage::Usage};
use crate::{local_reply::LocalReply, printable::clip};

/// The target of the lines of requests. The target of the folder `access` is the same, so that whoever
/// filters these lines would filter its own, too: it logs nothing.
pub(crate) const ACCESS: &str = "vertex_gateway::access_log";

/// What is known of a request. It is complete when the last byte of its answer was taken, or nobody
/// waits for it any more.
#[derive(Debug)]
pub(crate) struct RequestLog {
    /// The request's `x-request-id`, or one that was made here.
    pub(crate) id: HeaderValue,
    /// The id of its trace, if there are traces.
    pub(crate) trace_id: Option<String>,
    pub(crate) method: Method,
    /// The beginning of its path, in memory of its own: the request's URI keeps the whole head alive.
    pub(crate) path: Box<str>,
    /// What a model was asked to do.
    pub(crate) operation: Option<&'static str>,
    /// The name of the key that was used.
    pub(crate) client: Option<Arc<str>>,
    /// As the client wrote it.
    pub(crate) model: Option<Arc<str>>,
    /// Where it was sent the last time; `None` if it was not, or if that is not known.
    pub(crate) location: Option<Arc<str>>,
    /// How often it was sent, replays after a 401 not counted; `None` if it was not.
    pub(crate) attempts: Option<usize>,
    /// How often that was to another location than the time before.
    pub(crate) failovers: usize,
    /// `None` if the client left before there was an answer.
    pub(crate) status: Option<StatusCode>,
    pub(crate) arrived: Instant,
    /// From its arrival to the first byte of the answer's body.
    pub(crate) first_byte: Option<Duration>,
    /// The code of the error that was answered here.
    pub(crate) error_code: Option<&'static str>,
    /// Why it was answered with an error: the gateway's own sentence, or Vertex AI's.
    pub(crate) error_message: Option<String>,
    /// Who is at the other end of the connection, if that is to be told.
    pub(crate) peer_address: Option<SocketAddr>,
    /// What came of a 401 to the access token; known at the end.
    pub(crate) token_replay: Option<&'static str>,
    /// Bytes of the answer's body.
    pub(crate) bytes_sent: u64,
    /// How the answer ended.
    pub(crate) end: End,
    /// What it cost, as far as it was read; `None` for what is fetched.
    pub(crate) usage: Option<Usage>,
}

/// How an answer ended, as far as its body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last byte.
    Complete,
    /// The client closed it early.
    ClientClosed,
    /// Vertex AI, or the network on the path to it, closed it early.
    UpstreamReset,
    /// No byte arrived from Vertex AI for too long.
    UpstreamIdle,
}

impl End {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientClosed => "client_closed",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamIdle => "upstream_idle",
        }
    }
}

impl RequestLog {
    pub(crate) fn new(id: HeaderValue, method: Method, path: &str) -> Self {
        Self {
            id,
            trace_id: None,
            operation: operation(&method, path),
            method,
            path: clip(path).into(),
            client: None,
            model: None,
            location: None,
            attempts: None,
            failovers: 0,
            status: None,
            arrived: Instant::now(),
            first_byte: None,
            error_code: None,
            error_message: None,
            peer_address: None,
            token_replay: None,
            bytes_sent: 0,
            end: End::ClientClosed,
            usage: None,
        }
    }

    /// It is answered here.
    pub(crate) fn refuse(&mut self, refusal: &LocalReply) {
        self.error_code = Some(refusal.code());
        self.error_message = Some(refusal.to_string());
    }

    /// The line of a request. Nothing of its content, nor of its answer's, is in it.
    pub(crate) fn write(&self, status: u16, seconds: f64) {
        let usage = self.usage.as_ref();
        tracing::info!(
            target: ACCESS,
            request_id = self.id.to_str().ok(),
            trace_id = self.trace_id.as_deref(),
            method = clip(self.method.as_str()),
            path = (!self.path.is_empty()).then_some(&*self.path),
            client = self.client.as_deref(),
            model = self.model.as_deref().map(clip),
            location = self.location.as_deref(),
            status,
            error_code = self.error_code,
            error_message = self.error_message.as_deref().map(clip),
            peer_address = self.peer_address.map(display),
            end = self.end.as_str(),
            attempts = self.attempts,
            token_replay = self.token_replay,
            time_to_first_byte_seconds = self.first_byte.map(|first| micros(first.as_secs_f64())),
            duration_seconds = micros(seconds),
            bytes_sent = self.bytes_sent,
            input_tokens = usage.and_then(|usage| usage.input),
            cache_read_input_tokens = usage.and_then(|usage| usage.cached),
            output_tokens = usage.and_then(|usage| usage.output),
            reasoning_output_tokens = usage.and_then(|usage| usage.reasoning),
            traffic_type = usage.and_then(|usage| usage.traffic_type.as_deref()),
            "request",
        );
    }
}

/// To the microsecond.
fn micros(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
