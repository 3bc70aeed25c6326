//! The commands, and the end: who is being served when a signal comes is served to the end.

use std::{
    io::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::{
    admin::Admin,
    app::Shared,
    catalog::Catalog,
    check,
    clients::{ClientSources, Clients},
    config::{Command, EmulatorOptions, Failure, Options, Subcommand, address, timeout},
    credentials::{Identity, find},
    endpoints,
    limits::Limits,
    listen::{Workers, accept, accept_rest, bind, cannot_listen},
    sight::Sight,
    signals::{self, hang_up, stop_signal, tell_systemd},
    token,
    watch::{self, Watched},
};
use crate::{auth::VertexAuthLayer, emulator::Emulator};

/// Does what the command line says; what serves does so until Ctrl-C or SIGTERM. Needs a Tokio
/// runtime.
///
/// # Errors
///
/// [`Failure`], a sentence with its remedy, if a setting is missing or wrong, there are no
/// credentials, the address is taken, a check found a fault, or a location did not answer.
pub async fn run(command: Command) -> Result<(), Failure> {
    match command.subcommand {
        None => serve(command.options).await,
        Some(Subcommand::Serve(options)) => serve(*options).await,
        Some(Subcommand::Check(options)) => check::check(*options).await,
        Some(Subcommand::Token(options)) => token::print(&options).await,
        Some(Subcommand::Endpoints(options)) => endpoints::list(&options).await,
        Some(Subcommand::Emulator(options)) => emulate(&options).await,
    }
}

async fn emulate(options: &EmulatorOptions) -> Result<(), Failure> {
    let addr = address("--listen", &options.listen)?;
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

async fn serve(mut options: Options) -> Result<(), Failure> {
    options.target.load()?;
    let options = &options;
    let addr = address("--listen", &options.listen)?;
    let sources = ClientSources::new(&options.clients, options.target.config());
    let watched_clients = Watched::new("client keys", sources.files());
    let clients = sources.load(&Clients::default())?;
    let watched_tls = Watched::new("certificate", options.tls.files());
    let tls = options.tls.load()?.map(Arc::new);
    let open = !clients.have_keys() && !tls.as_ref().is_some_and(|tls| tls.is_mutual());
    refuse_strangers(addr, open, options.clients.allow_unauthenticated)?;
    let target = &options.target;
    let owned_emulator = target.credentials.start_emulator().await?.map(Arc::new);
    let emulator = owned_emulator.as_deref();
    target.validate(&target.settings(emulator, None)?.with_some_project()?, emulator)?;
    let identity = find(target.credentials.search()?, emulator).await?;
    let info = identity.info.as_ref();
    let upstream = target.settings(emulator, info)?.upstream()?;
    let auth = VertexAuthLayer::new(identity.source.clone()).replay_limit(options.replay_limit);
    let auth = target.trusting(auth, &upstream, emulator, info)?;
    let watched_models =
        Watched::new("models", target.config().map(Into::into).into_iter().collect());
    let catalog = Catalog::new(
        target.clone(),
        upstream.clone(),
        auth.clone(),
        owned_emulator.clone(),
        identity.info.clone(),
        options.retry.clone(),
    );
    let catalog = Arc::new(catalog.await?);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let limits = Arc::new(Limits::new(&options.limits));
    let sight = Arc::new(Sight::new(auth.cache().clone(), Arc::clone(&limits)));
    sight.know(&catalog.layer().table());
    let shared = Arc::new(Shared {
        upstream: upstream.clone(),
        models: catalog.layer().clone().body_limit(options.max_request_bytes),
        auth: auth.clone(),
        clients: ArcSwap::from_pointee(clients),
        tls: tls.clone(),
        header_timeout: Duration::from_secs(options.header_timeout),
        limits,
        sight: Arc::clone(&sight),
        since: since.unwrap_or_default().as_secs(),
        max_request_bytes: options.max_request_bytes,
        retry: options.retry.layer(options.replay_limit),
        response_timeout: timeout(options.response_timeout),
        idle_timeout: timeout(options.idle_timeout),
        client_body_timeout: timeout(options.client_body_timeout),
        send_timeout: timeout(options.send_timeout),
    });
    // Before anybody is told that it serves: without them, either signal ends the process.
    let (stop, hang_up) = (stop_signal()?, hang_up()?);
    // What the system refuses stays as it was; `accept` waits when there are none left.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let workers = Workers::start(&shared, options.workers(), options.limits.max_connections)?;
    let (listener, addr) = bind(addr).await?;
    let admin = Admin::bind(&options.admin).await?;
    let admin_addr = admin.as_ref().map(Admin::addr);
    if !addr.ip().is_loopback() {
        if open {
            tracing::warn!(%addr, "whoever reaches this address uses your credentials");
        } else if shared.tls.is_none() {
            tracing::warn!(%addr, "keys travel in clear text, unless something in front does TLS");
        }
    }
    // Requests that come before the first token wait for it; a failure is logged, and tried again.
    auth.cache().keep_warm().map_err(|error| Failure::new(error.to_string()))?;
    if let Some(admin) = admin {
        tokio::spawn(admin.serve(Arc::clone(&sight)));
    }
    greet(addr, admin_addr, &shared, emulator, &identity);
    let mut watched = vec![watched_clients.reloading(move || {
        let clients = sources.load(&shared.clients.load())?;
        shared.clients.store(Arc::new(clients));
        Ok(())
    })];
    if let Some(tls) = tls {
        watched.push(watched_tls.reloading(move || tls.reload()));
    }
    if target.config().is_some() {
        let (catalog, runtime) = (Arc::clone(&catalog), Handle::current());
        let sight = Arc::clone(&sight);
        watched.push(watched_models.reloading(move || {
            runtime.block_on(catalog.reload())?;
            sight.know(&catalog.layer().table());
            Ok(())
        }));
    }
    tokio::spawn(watch::keep(watched, hang_up));
    if let Some(interval) = timeout(options.discovery_interval) {
        tokio::spawn(catalog.keep(interval));
    }
    tell_systemd("READY=1");
    accept(&listener, &workers, stop).await;
    sight.drain();
    tell_systemd("STOPPING=1");
    if let Some(delay) = timeout(options.drain_delay) {
        accept(&listener, &workers, tokio::time::sleep(delay)).await;
    }
    accept_rest(listener, &workers);
    stop_serving(workers, timeout(options.drain_timeout)).await;
    Ok(())
}

/// Accepts no more, and returns when the last answer has been sent or the time for it is over.
async fn stop_serving(workers: Workers, patience: Option<Duration>) {
    tracing::info!(connections = workers.connections(), "stopping when the last answer is sent");
    let patience = async {
        let timeout = async {
            match patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timeout => tracing::warn!("--drain-timeout is over: what is under way is cut"),
            () = signals::wait_again() => tracing::warn!("stopped at once by a second signal"),
        }
    };
    workers.drain(patience).await;
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
    tracing::info!(upstream = %shared.upstream, "forwarding");
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

/// To standard output, which may be closed: that is no reason to stop serving.
pub(super) fn say(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

/// One document on one line.
pub(super) fn say_json(document: &impl serde::Serialize) {
    // Nothing here has a key that is not text, which alone could fail.
    say(&[serde_json::to_string(document).unwrap_or_default()]);
}
