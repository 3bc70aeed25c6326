//! `vertex-gateway serve`, the sidecar. Requests in flight when a signal arrives are served to
//! their end.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use clap::Args;

use super::status_page::sources;
use crate::{
    access::concurrency::{LimitOptions, Limits},
    config::{compat::CompatOptions, credentials::Identity, parse::address, retry::RetryOptions},
    error::Error,
    inbound::browser::Listener,
    outbound::OutboundOptions,
    output::print_lines,
    proxy::handler::GatewayState,
    server::{
        admin::Admin,
        descriptors,
        listener::{accept, accept_rest, bind},
        signals::{Ending, notify_systemd, sighup, stop_signal},
        startup::{AccessControl, Backend, ServingOptions},
        worker::Workers,
    },
    status::Status,
    telemetry::{Telemetry, trace::Traces},
    values::{number, parsed, shown_debug, size, time, timeout},
};
use tower_vertex::redact;
use tower_vertex_emulator::Emulator;

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
    let (options, serving) = (&options, &options.serving);
    let addr = address::<Options>("--listen", &options.listen, &serving.target.file)?;
    let access = AccessControl::open(serving)?;
    let open = !access.clients.load().have_keys() && !access.is_mutual();
    refuse_strangers(addr, open, serving.clients.allow_unauthenticated)?;
    let traces = Traces::from_env()?;
    let backend = Backend::find(serving, &options.retry, options.replay_limit).await?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let share = descriptors::share(descriptors::raise_limit(), options.workers());
    let limit_options = options.limits.or(share);
    let limits = Arc::new(Limits::new(&limit_options));
    let compat = options.compat.layer(serving.max_request_bytes);
    let (tokens, waiting) = (backend.auth.cache().clone(), limits.waiting());
    let telemetry = Telemetry::new(tokens, waiting, Some(compat.clone()));
    let has_emulator = backend.emulator.is_some();
    let admin = Admin::bind(&serving.admin, &serving.target.file, has_emulator).await?;
    let has_page = admin.is_some() && serving.admin.has_page();
    let telemetry = Arc::new(telemetry.recording(has_page));
    let models = backend.models.layer().clone().body_limit(serving.max_request_bytes);
    telemetry.register_models(&models.table());
    let shared = Arc::new(GatewayState {
        upstream: backend.upstream.clone(),
        models,
        publishers: Arc::clone(&backend.publishers),
        compat,
        auth: backend.auth.clone(),
        clients: Arc::clone(&access.clients),
        tls: access.tls.clone(),
        browsers: Arc::clone(&access.browsers),
        listener: Listener::at(addr.ip()),
        health_path: options.health_path.clone(),
        tls_handshake_timeout: options.tls_handshake_timeout,
        request_header_timeout: options.request_header_timeout,
        keepalive_timeout: options.keepalive_timeout,
        http2_ping_interval: options.http2_ping_interval,
        http2_ping_timeout: options.http2_ping_timeout,
        max_header_bytes: serving.max_header_bytes,
        limits,
        telemetry: Arc::clone(&telemetry),
        traces: traces.clone(),
        since: since.unwrap_or_default().as_secs(),
        connection_lifetime: options.outbound.lifetime(),
        network: serving.target.credentials.network.network()?,
        max_request_bytes: serving.max_request_bytes,
        log_peer_address: serving.log.log_peer_address,
        retry: options.retry.layer(options.replay_limit),
        response_header_timeout: timeout(options.response_header_timeout),
        stream_idle_timeout: timeout(options.stream_idle_timeout),
        request_body_timeout: timeout(options.request_body_timeout),
        send_timeout: timeout(options.send_timeout),
    });
    // The handlers come before the report that the gateway serves: from then on, a signal may
    // arrive.
    let (stop, sighup) = (stop_signal()?, sighup()?);
    let workers = Workers::start(&shared, options.workers(), limit_options.max_connections)?;
    let (listener, addr) = bind(addr).await?;
    if !addr.ip().is_loopback() {
        if open {
            tracing::warn!(%addr, "every client that can reach this address can use your \
                 credentials");
        } else if shared.tls.is_none() {
            tracing::warn!(%addr, "clients send their keys in clear text, unless a proxy in front \
                 terminates TLS");
        }
    }
    // Requests that arrive before the first token wait for it. A failure is logged, and the fetch
    // is tried again.
    backend.auth.cache().keep_warm().map_err(|error| Error::new(error.to_string()))?;
    let admin_lines: Vec<_> = admin.iter().flat_map(Admin::lines).collect();
    let mut status = None;
    if let Some(admin) = admin {
        if has_page {
            let is_local = admin.is_local();
            let sources = sources(options, addr, is_local, &shared, &backend, &access)?;
            status = Some(Status::start(sources));
        }
        let (telemetry, page) = (Arc::clone(&telemetry), status.clone());
        let browsers = Arc::clone(&access.browsers);
        tokio::spawn(admin.serve(telemetry, page, browsers, serving.max_header_bytes));
    }
    greet(addr, admin_lines, &shared, backend.emulator.as_deref(), &backend.identity);
    // The emulator runs in this process, so it has to live as long as this function.
    let _emulator = backend.emulator.clone();
    backend.spawn_reloads(access, serving, &telemetry, sighup);
    notify_systemd("READY=1");
    accept(&listener, &workers, stop).await?;
    let mut ending = Ending::begin();
    telemetry.drain();
    notify_systemd("STOPPING=1");
    if let Some(delay) = timeout(serving.drain_delay) {
        accept(&listener, &workers, ending.delay(delay)).await?;
    }
    accept_rest(listener, &workers);
    tracing::info!(
        connections = workers.connections(),
        "no longer accepting connections; waiting \
         for requests in flight"
    );
    workers.drain(ending.patience(timeout(serving.drain_timeout))).await;
    traces.flush().await;
    if let Some(status) = status {
        status.end().await;
    }
    Ok(())
}

/// The URL of clients.
pub(super) fn listening_on(addr: SocketAddr, shared: &GatewayState) -> String {
    format!("{}://{addr}", if shared.tls.is_some() { "https" } else { "http" })
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

fn greet(
    addr: SocketAddr,
    admin: Vec<String>,
    shared: &GatewayState,
    emulator: Option<&Emulator>,
    identity: &Identity,
) {
    let keys = shared.clients.load().len();
    tracing::info!(credentials = %identity, "found");
    let upstream = shared.upstream.to_string();
    tracing::info!(upstream = %redact::value(&upstream), "forwarding");
    if let Some(proxy) = shared.network.proxy_for(shared.upstream.uri()) {
        tracing::info!(proxy = %redact::value(&proxy), "connecting through a proxy");
    }
    if keys > 0 {
        tracing::info!(keys, "clients must send a key");
    }
    let mut lines = Vec::new();
    if let Some(emulator) = emulator {
        lines.push(format!("emulator listening on {}", emulator.url()));
    }
    lines.push(format!("listening on {}", listening_on(addr, shared)));
    lines.extend(admin);
    if emulator.is_some() && keys == 0 && shared.tls.is_none() {
        lines.push(format!(
            r#"
try it:
  curl http://{addr}/v1/chat/completions -H 'content-type: application/json' -d '{{"model": "google/gemini-2.5-flash", "messages": [{{"role": "user", "content": "hello"}}]}}'

or set up any OpenAI SDK:
  export OPENAI_BASE_URL=http://{addr}/v1
  export OPENAI_API_KEY=unused
"#
        ));
    }
    print_lines(&lines);
}
