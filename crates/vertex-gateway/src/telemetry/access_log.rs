//! The record of a request, from which the log, the metrics and the traces are written at its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use super::{operation::operation, usage::Usage};
use crate::{local_reply::LocalReply, printable::clip};

/// The target of request lines. A filter for the folder `access` also matches these lines, because
/// filters match prefixes. The folder logs nothing itself.
pub(crate) const ACCESS: &str = "vertex_gateway::access_log";

/// The record of a request. It is complete when the last byte of the response was taken, or when
/// the client no longer waits for it.
#[derive(Debug)]
pub(crate) struct RequestLog {
    /// The request's `x-request-id`, or a generated one.
    pub(crate) id: HeaderValue,
    /// The id of its trace, if there are traces.
    pub(crate) trace_id: Option<String>,
    pub(crate) method: Method,
    /// The beginning of the path, copied, because the request's URI would keep the whole request
    /// head alive.
    pub(crate) path: Box<str>,
    /// The operation on the model.
    pub(crate) operation: Option<&'static str>,
    /// The name of the client key.
    pub(crate) client: Option<Arc<str>>,
    /// The model as the client wrote it.
    pub(crate) model: Option<Arc<str>>,
    /// The model at Vertex AI, if it is another one.
    pub(crate) upstream_model: Option<Arc<str>>,
    /// The location of the last attempt; `None` if there was none, or if the location is unknown.
    pub(crate) location: Option<Arc<str>>,
    /// Number of attempts, without replays after a 401; `None` if there was none.
    pub(crate) attempts: Option<usize>,
    /// Number of attempts at another location than the attempt before.
    pub(crate) failovers: usize,
    /// `None` if the client left before there was a response.
    pub(crate) status: Option<StatusCode>,
    pub(crate) arrived: Instant,
    /// Time from the arrival of the request to the first byte of the response body.
    pub(crate) first_byte: Option<Duration>,
    /// The code of an error response that the gateway made.
    pub(crate) error_code: Option<&'static str>,
    /// The message of an error response, of the gateway or of Vertex AI.
    pub(crate) error_message: Option<String>,
    /// The address of the peer, if it is logged.
    pub(crate) peer_address: Option<SocketAddr>,
    /// The outcome of the token refresh after a 401; known at the end.
    pub(crate) token_replay: Option<&'static str>,
    /// Bytes of the response body.
    pub(crate) bytes_sent: u64,
    /// How the response ended.
    pub(crate) end: End,
    /// The usage that was read from the response; `None` for a stored response that is fetched.
    pub(crate) usage: Option<Usage>,
}

/// How the body of a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The last byte was sent.
    Complete,
    /// The client closed the response early.
    ClientClosed,
    /// Vertex AI, or the network on the path to it, closed the response early.
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
            upstream_model: None,
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

    /// Records an error response of the gateway.
    pub(crate) fn refuse(&mut self, refusal: &LocalReply) {
        self.error_code = Some(refusal.code());
        self.error_message = Some(refusal.to_string());
    }

    /// Writes the log line of a request. It has no content of the request or of the response.
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
            upstream_model = self.upstream_model.as_deref(),
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
            cache_creation_input_tokens = usage.and_then(|usage| usage.cache_creation),
            output_tokens = usage.and_then(|usage| usage.output),
            reasoning_output_tokens = usage.and_then(|usage| usage.reasoning),
            traffic_type = usage.and_then(|usage| usage.traffic_type.as_deref()),
            "request",
        );
    }
}

/// Rounds to microseconds.
fn micros(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
