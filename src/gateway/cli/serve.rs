//! The commands, and the end: who is being served when a signal comes is served to the end.

use clap::CommandFactory as _;

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use super::{
    check,
    command::{Command, EmulatorOptions, Options, Subcommand},
    endpoints, token,
};
#[cfg(feature = "ext-authz")]
use crate::gateway::telemetry::log::LEVEL;
use crate::{
    emulator::Emulator,
    gateway::{
        access::concurrency::Limits,
        config::{
            credentials::Identity,
            file::{ConfigFile, FileOptions, address},
        },
        envoy,
        error::Failure,
        inbound::browser::Listener,
        output::say,
        proxy::handler::Shared,
        server::{
            admin::Admin,
            bootstrap::{AccessControl, Backend},
            descriptors,
            listener::{Workers, accept, accept_rest, bind, cannot_listen},
            signals::{Ending, hang_up, stop_signal, tell_systemd},
        },
        telemetry::{
            Telemetry,
            log::{self, LogFormat, LogGuard},
            trace::Traces,
        },
        values::timeout,
    },
    shown,
};

/// Does what the command line says; what serves does so until Ctrl-C or SIGTERM. Needs a Tokio
/// runtime.
///
/// # Errors
///
/// [`Failure`], a sentence with its remedy, if a setting is missing or wrong, there are no
/// credentials, the address is taken, a check found a fault, or a location did not answer.
pub async fn run(mut command: Command) -> Result<(), Failure> {
    if let Some(target) = command.target() {
        target.load(&FileOptions::of(&Command::command()))?;
    }
    match command.subcommand {
        None => serve(command.options).await,
        Some(Subcommand::Serve(options)) => serve(*options).await,
        Some(Subcommand::Check(options)) => check::check(*options).await,
        Some(Subcommand::Token(options)) => token::print(&options).await,
        Some(Subcommand::Endpoints(options)) => endpoints::list(&options).await,
        Some(Subcommand::Emulator(options)) => emulate(&options).await,
        #[cfg(feature = "ext-authz")]
        Some(Subcommand::ExtAuthz(options)) => envoy::serve(*options).await,
    }
}

async fn emulate(options: &EmulatorOptions) -> Result<(), Failure> {
    let addr = address::<EmulatorOptions>("--listen", &options.listen, &ConfigFile::default())?;
    let emulator = Emulator::builder().listen(addr).tls(options.tls).host_aware(options.host_aware);
    let emulator = emulator.start().await.map_err(|error| cannot_listen(addr, &error))?;
    let mut lines = vec![format!("emulator listening on {}", emulator.url())];
    if options.tls {
        lines.push(format!("emulator control on {}", emulator.control_url()));
    }
    say(&lines);
    stop_signal()?.await;
    Ok(())
}

async fn serve(options: Options) -> Result<(), Failure> {
    let (options, serving) = (&options, &options.serving);
    let addr = address::<Options>("--listen", &options.listen, &serving.target.file)?;
    let access = AccessControl::open(serving)?;
    let open = !access.clients.load().have_keys() && !access.is_mutual();
    refuse_strangers(addr, open, serving.clients.allow_unauthenticated)?;
    let traces = Traces::from_env()?;
    let backend = Backend::find(&serving.target, &options.retry, options.replay_limit).await?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let share = descriptors::share(descriptors::raise_limit(), options.workers());
    let limit_options = options.limits.or(share);
    let limits = Arc::new(Limits::new(&limit_options));
    let telemetry = Arc::new(Telemetry::new(backend.auth.cache().clone(), limits.waiting()));
    let models = backend.catalog.layer().clone().body_limit(serving.max_request_bytes);
    telemetry.register_models(&models.table());
    let shared = Arc::new(Shared {
        upstream: backend.upstream.clone(),
        models,
        auth: backend.auth.clone(),
        clients: Arc::clone(&access.clients),
        tls: access.tls.clone(),
        browsers: Arc::clone(&access.browsers),
        listener: Listener::at(addr.ip()),
        health_path: options.health_path.clone(),
        header_timeout: options.header_timeout,
        max_header_bytes: serving.max_header_bytes,
        limits,
        telemetry: Arc::clone(&telemetry),
        traces: traces.clone(),
        since: since.unwrap_or_default().as_secs(),
        connection_lifetime: options.outbound.lifetime(),
        max_request_bytes: serving.max_request_bytes,
        log_peer: serving.log.log_peer,
        retry: options.retry.layer(options.replay_limit),
        response_timeout: timeout(options.response_timeout),
        idle_timeout: timeout(options.idle_timeout),
        client_body_timeout: timeout(options.client_body_timeout),
        send_timeout: timeout(options.send_timeout),
    });
    // Both before anybody is told that it serves, and may send one.
    let (stop, hang_up) = (stop_signal()?, hang_up()?);
    let workers = Workers::start(&shared, options.workers(), limit_options.max_connections)?;
    let (listener, addr) = bind(addr).await?;
    let admin = Admin::bind(&serving.admin, &serving.target.file).await?;
    let admin_addr = admin.as_ref().map(Admin::addr);
    if !addr.ip().is_loopback() {
        if open {
            tracing::warn!(%addr, "whoever reaches this address uses your credentials");
        } else if shared.tls.is_none() {
            tracing::warn!(%addr, "keys travel in clear text, unless something in front does TLS");
        }
    }
    // Requests that come before the first token wait for it; a failure is logged, and tried again.
    backend.auth.cache().keep_warm().map_err(|error| Failure::new(error.to_string()))?;
    if let Some(admin) = admin {
        let browsers = Arc::clone(&access.browsers);
        tokio::spawn(admin.serve(Arc::clone(&telemetry), browsers, serving.max_header_bytes));
    }
    greet(addr, admin_addr, &shared, backend.emulator.as_deref(), &backend.identity);
    // In this process, it serves until the end.
    let _emulator = backend.emulator.clone();
    backend.keep(access, serving, &telemetry, hang_up);
    tell_systemd("READY=1");
    accept(&listener, &workers, stop).await?;
    let mut ending = Ending::begin();
    telemetry.drain();
    tell_systemd("STOPPING=1");
    if let Some(delay) = timeout(serving.drain_delay) {
        accept(&listener, &workers, ending.delay(delay)).await?;
    }
    accept_rest(listener, &workers);
    tracing::info!(connections = workers.connections(), "stopping when the last answer is sent");
    workers.drain(ending.patience(timeout(serving.drain_timeout))).await;
    traces.flush().await;
    Ok(())
}

/// Without a way to tell who asks, only this machine is served.
fn refuse_strangers(addr: SocketAddr, open: bool, allowed: bool) -> Result<(), Failure> {
    if !open || allowed || addr.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "whoever reaches {addr} would use your credentials: give clients keys with \
         --client-key-file or ask for their certificates with --tls-client-ca; or, if only friends \
         can reach it, pass --allow-unauthenticated"
    )))
}

fn greet(
    addr: SocketAddr,
    admin: Option<SocketAddr>,
    shared: &Shared,
    emulator: Option<&Emulator>,
    identity: &Identity,
) {
    let keys = shared.clients.load().len();
    let scheme = if shared.tls.is_some() { "https" } else { "http" };
    tracing::info!(credentials = %identity, "found");
    let upstream = shared.upstream.to_string();
    tracing::info!(upstream = %shown::value(&upstream), "forwarding");
    if keys > 0 {
        tracing::info!(keys, "clients must have a key");
    }
    let mut lines = Vec::new();
    if let Some(emulator) = emulator {
        lines.push(format!("emulator listening on {}", emulator.url()));
    }
    lines.push(format!("listening on {scheme}://{addr}"));
    lines.extend(admin.map(|addr| format!("admin on http://{addr}")));
    if emulator.is_some() && keys == 0 && shared.tls.is_none() {
        lines.push(format!(
            r#"
try it:
  curl http://{addr}/v1/chat/completions -H 'content-type: application/json' -d '{{"model": "google/gemini-2.5-flash", "messages": [{{"role": "user", "content": "hello"}}]}}'

or let any OpenAI SDK use it:
  export OPENAI_BASE_URL=http://{addr}/v1
  export OPENAI_API_KEY=unused
"#
        ));
    }
    say(&lines);
}

/// Starts the log of the process, as the command line and `VERTEX_GATEWAY_LOG` (a filter of
/// `tracing`, such as `warn,tower_vertex=info`) say. Call it once, before [`run`].
///
/// # Errors
///
/// [`Failure`], if the variable is no such filter.
///
/// # Panics
///
/// If the process has a global `tracing` subscriber already.
pub fn start_log(command: &Command) -> Result<LogGuard, Failure> {
    let (level, format) = match &command.subcommand {
        // They report what is worth knowing themselves.
        Some(Subcommand::Check(_) | Subcommand::Token(_) | Subcommand::Endpoints(_)) => {
            ("off", LogFormat::Auto)
        }
        Some(Subcommand::Emulator(_)) => (LEVEL, LogFormat::Auto),
        Some(Subcommand::Serve(options)) => (LEVEL, options.serving.log.log_format),
        #[cfg(feature = "ext-authz")]
        Some(Subcommand::ExtAuthz(options)) => (LEVEL, options.serving.log.log_format),
        None => (LEVEL, command.options.serving.log.log_format),
    };
    log::start(level, format)
}
