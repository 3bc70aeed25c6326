//! `vertex-gateway serve`, the sidecar. Requests in flight when a signal arrives are served to
//! their end.

use std::{net::SocketAddr, num::NonZeroUsize, thread, time::Duration};

use clap::Args;

use super::{greeting::greet, sidecar::Sidecar};
use crate::{
    access::concurrency::LimitOptions,
    config::{compat::CompatOptions, parse::address, retry::RetryOptions},
    error::Error,
    outbound::OutboundOptions,
    server::{
        signals::{sighup, stop_signal},
        startup::{AccessControl, ServingOptions},
    },
    values::{number, parsed, shown_debug, size, time, timeout},
};

/// The options of `vertex-gateway serve`.
#[derive(Clone, Args)]
pub struct Options {
    /// Address and port on which clients are served; port 0 chooses a free port
    #[arg(
        long,
        value_name = "ADDR",
        env = "VERTEX_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: String,

    /// Options that `serve` and `ext-authz` share.
    #[command(flatten)]
    pub serving: ServingOptions,

    /// Path at which --listen responds to health checks, such as /healthz: with 200, or with 503
    /// after SIGTERM. A health check needs no key, and its response has no body [default: none]
    #[arg(
        long,
        value_name = "PATH",
        env = "VERTEX_GATEWAY_HEALTH_PATH",
        value_parser = parsed(health_path)
    )]
    pub health_path: Option<String>,

    /// Time for a TLS handshake with a client, at least 1s
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_TLS_HANDSHAKE_TIMEOUT",
        default_value = "10s",
        value_parser = time(Duration::from_secs(1))
    )]
    pub tls_handshake_timeout: Duration,

    /// Time for the first line and the headers of a request to arrive, from their first byte, or
    /// from the start of a new connection; at least 1s. Then the connection is closed
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_REQUEST_HEADER_TIMEOUT",
        default_value = "30s",
        value_parser = time(Duration::from_secs(1))
    )]
    pub request_header_timeout: Duration,

    /// Time for which a connection of a client stays open between requests, at least 1s. It must
    /// be longer than the idle timeout of a load balancer in front
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_KEEPALIVE_TIMEOUT",
        default_value = "30s",
        value_parser = time(Duration::from_secs(1))
    )]
    pub keepalive_timeout: Duration,

    /// Interval of the pings to a client over HTTP/2 that has a request in flight, at least 1s
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_HTTP2_PING_INTERVAL",
        default_value = "30s",
        value_parser = time(Duration::from_secs(1))
    )]
    pub http2_ping_interval: Duration,

    /// Time for a client over HTTP/2 to acknowledge a ping, at least 1s. Then its connection is
    /// closed
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_HTTP2_PING_TIMEOUT",
        default_value = "30s",
        value_parser = time(Duration::from_secs(1))
    )]
    pub http2_ping_timeout: Duration,

    /// Longest request body that is kept in memory, so that the request can be sent again after a
    /// 401 or for another attempt; 0 keeps none
    #[arg(
        long,
        value_name = "SIZE",
        env = "VERTEX_GATEWAY_REPLAY_LIMIT",
        default_value = "32MiB",
        value_parser = size()
    )]
    pub replay_limit: usize,

    /// Time from when a request leaves the queue until the headers of Vertex AI's response arrive.
    /// It includes the fetch of a token and all attempts, but not the client's upload. A dedicated
    /// endpoint may take an hour. 0 for no limit
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_RESPONSE_HEADER_TIMEOUT",
        default_value = "3610s",
        value_parser = time(Duration::ZERO)
    )]
    pub response_header_timeout: Duration,

    /// Time without a byte from Vertex AI within a response, after which the response is reset; 0
    /// for no limit
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_STREAM_IDLE_TIMEOUT",
        default_value = "10m",
        value_parser = time(Duration::ZERO)
    )]
    pub stream_idle_timeout: Duration,

    /// Time for the body of a request to arrive, after which the request gets 408; 0 for no limit
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_REQUEST_BODY_TIMEOUT",
        default_value = "5m",
        value_parser = time(Duration::ZERO)
    )]
    pub request_body_timeout: Duration,

    /// Time in which a client reads no byte of its response, after which its connection is closed,
    /// or over HTTP/2 its stream is reset; 0 for no limit
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_SEND_TIMEOUT",
        default_value = "1m",
        value_parser = time(Duration::ZERO)
    )]
    pub send_timeout: Duration,

    /// Options about connections to Vertex AI.
    #[command(flatten)]
    pub outbound: OutboundOptions,

    /// Threads that serve connections, from 1 to 256 [default: one for each processor]
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VERTEX_GATEWAY_WORKERS",
        value_parser = number::<usize>(1..=256)
    )]
    pub workers: Option<usize>,

    /// Retry options.
    #[command(flatten)]
    pub retry: RetryOptions,

    /// Cures of requests and responses.
    #[command(flatten)]
    pub compat: CompatOptions,

    /// Concurrency limits.
    #[command(flatten)]
    pub limits: LimitOptions,
}

shown_debug!(Options: listen; serving, outbound, retry, compat, limits);

/// Parses the path of health checks, which has to be in the form that requests have.
fn health_path(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\\"".contains(&byte);
    if text.starts_with('/') && text.bytes().all(is_fit) {
        return Ok(text.to_owned());
    }
    Err("give a path that starts with a slash, such as /healthz, without a query".to_owned())
}

impl Options {
    pub(crate) fn workers(&self) -> usize {
        let processors = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.workers.unwrap_or_else(processors)
    }
}

/// Serves until Ctrl-C or SIGTERM.
pub(super) async fn serve(options: Options) -> Result<(), Error> {
    let serving = &options.serving;
    let addr = address::<Options>("--listen", &options.listen, &serving.target.file)?;
    let access = AccessControl::open(serving)?;
    let open = !access.clients.load().have_keys() && !access.is_mutual();
    refuse_strangers(addr, open, serving.clients.allow_unauthenticated)?;
    let sidecar = Sidecar::start(&options, addr, access).await?;
    // The handlers come before the report that the gateway serves: from then on, a signal may
    // arrive.
    let (stop, sighup) = (stop_signal()?, sighup()?);
    warn_of_strangers(&sidecar, open);
    greet(&sidecar);
    sidecar.serve(stop, sighup, timeout(serving.drain_delay)).await
}

/// Without keys or client certificates, only this machine is served.
fn refuse_strangers(addr: SocketAddr, open: bool, allowed: bool) -> Result<(), Error> {
    if !open || allowed || addr.ip().is_loopback() {
        return Ok(());
    }
    Err(Error::new(format!(
        "every client that can reach {addr} could use your credentials: set client keys with \
             --client-key-file, or require client certificates with --tls-client-ca; if only \
             trusted clients can reach the address, pass --allow-unauthenticated"
    )))
}

fn warn_of_strangers(sidecar: &Sidecar, open: bool) {
    let addr = sidecar.addr;
    if addr.ip().is_loopback() {
        return;
    }
    if open {
        tracing::warn!(%addr, "every client that can reach this address can use your credentials");
    } else if sidecar.state.tls.is_none() {
        tracing::warn!(%addr, "clients send their keys in clear text, unless a proxy in front \
             terminates TLS");
    }
}
