//! The sidecar, from its options to its end, for `serve` and for `run`.

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, sync::Notify};

use super::{serve::Options, status_page::sources};
use crate::{
    access::concurrency::Limits,
    error::Error,
    inbound::browser::Listener,
    proxy::handler::GatewayState,
    server::{
        admin::Admin,
        descriptors,
        listener::{accept, accept_rest, bind},
        signals::{Ending, notify_systemd},
        startup::{AccessControl, Backend, ServingOptions},
        worker::Workers,
    },
    status::Status,
    telemetry::{Telemetry, trace::Traces},
    values::timeout,
};

/// A sidecar that listens. Its clients wait until it serves.
pub(super) struct Sidecar {
    pub(super) addr: SocketAddr,
    /// The lines to print about the admin listener.
    pub(super) admin_lines: Vec<String>,
    pub(super) state: Arc<GatewayState>,
    pub(super) backend: Backend,
    serving: ServingOptions,
    access: AccessControl,
    listener: TcpListener,
    workers: Workers,
    telemetry: Arc<Telemetry>,
    /// `None` without a status page.
    status: Option<Arc<Status>>,
    traces: Traces,
}

impl Sidecar {
    /// Finds the credentials, checks the settings, and listens at `addr`.
    pub(super) async fn start(
        options: &Options,
        addr: SocketAddr,
        access: AccessControl,
    ) -> Result<Self, Error> {
        let serving = &options.serving;
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
        let state = Arc::new(GatewayState {
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
        let workers = Workers::start(&state, options.workers(), limit_options.max_connections)?;
        let (listener, addr) = bind(addr).await?;
        // Requests that arrive before the first token wait for it. A failure is logged, and the
        // fetch is tried again.
        backend.auth.cache().keep_warm().map_err(|error| Error::new(error.to_string()))?;
        let admin_lines = admin.iter().flat_map(Admin::lines).collect();
        let mut status = None;
        if let Some(admin) = admin {
            if has_page {
                let is_local = admin.is_local();
                let sources = sources(options, addr, is_local, &state, &backend, &access)?;
                status = Some(Status::start(sources));
            }
            let (telemetry, page) = (Arc::clone(&telemetry), status.clone());
            let browsers = Arc::clone(&access.browsers);
            tokio::spawn(admin.serve(telemetry, page, browsers, serving.max_header_bytes));
        }
        let serving = serving.clone();
        Ok(Self {
            addr,
            admin_lines,
            state,
            backend,
            serving,
            access,
            listener,
            workers,
            telemetry,
            status,
            traces,
        })
    }

    /// Serves until `stop`, and then accepts connections for `drain_delay` more. Requests in flight
    /// have the time of `--drain-timeout` to end. A notification of `again` reloads all files.
    pub(super) async fn serve(
        self,
        stop: impl Future<Output = ()>,
        again: Arc<Notify>,
        drain_delay: Option<Duration>,
    ) -> Result<(), Error> {
        let Self { backend, serving, access, listener, workers, telemetry, status, traces, .. } =
            self;
        // The emulator runs in this process, so it has to live as long as this function.
        let _emulator = backend.emulator.clone();
        backend.spawn_reloads(access, &serving, &telemetry, again);
        notify_systemd("READY=1");
        accept(&listener, &workers, stop).await?;
        let mut ending = Ending::begin();
        telemetry.drain();
        notify_systemd("STOPPING=1");
        if let Some(delay) = drain_delay {
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
}

/// The URL of clients.
pub(super) fn listening_on(addr: SocketAddr, state: &GatewayState) -> String {
    format!("{}://{addr}", if state.tls.is_some() { "https" } else { "http" })
}
