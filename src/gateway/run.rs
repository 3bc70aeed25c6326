//! Listening, and the end: who is being served when a signal comes is served to the end.

use std::{
    any::Any,
    future::Future,
    io::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    signal,
};
use tower_http::catch_panic::CatchPanic;

use super::{
    app::{App, Shared},
    check,
    clients::{ClientSources, Clients},
    config::{Command, EmulatorOptions, Failure, Options, Subcommand, listen},
    credentials::{Identity, find},
    directory, endpoints,
    limits::Limits,
    refusal::Refusal,
    tls::Tls,
    token,
    unreadable::{Calls, Connection},
    watch::{self, Watched},
};
use crate::{auth::VertexAuthLayer, emulator::Emulator, model::VertexModelLayer, route::Upstream};

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
    let addr = listen(&options.listen)?;
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
    let addr = listen(&options.listen)?;
    let sources = ClientSources::new(&options.clients, options.target.config());
    let watched_clients = Watched::new("client keys", sources.files());
    let clients = sources.load(&Clients::default())?;
    let watched_tls = Watched::new("certificate", options.tls.files());
    let tls = options.tls.load()?.map(Arc::new);
    let open = !clients.have_keys() && !tls.as_ref().is_some_and(|tls| tls.is_mutual());
    refuse_strangers(addr, open, options.clients.allow_unauthenticated)?;
    let target = &options.target;
    let emulator = target.credentials.start_emulator().await?;
    let emulator = emulator.as_ref();
    target.validate(&target.settings(emulator, None)?.with_some_project()?, emulator)?;
    let identity = find(target.credentials.search()?, emulator).await?;
    let info = identity.info.as_ref();
    let upstream = target.settings(emulator, info)?.upstream()?;
    let auth = VertexAuthLayer::new(identity.source.clone()).replay_limit(options.replay_limit);
    let auth = target.trusting(auth, &upstream, emulator, info)?;
    let directory = target.look_up(&upstream, &auth).await?;
    let models = VertexModelLayer::new(target.models(&upstream, &auth, &directory)?)
        .body_limit(options.max_request_bytes);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let shared = Arc::new(Shared {
        upstream: upstream.clone(),
        models: models.clone(),
        auth: auth.clone(),
        clients: ArcSwap::from_pointee(clients),
        limits: Arc::new(Limits::new(&options.limits)),
        sight: Arc::default(),
        since: since.unwrap_or_default().as_secs(),
        max_request_bytes: options.max_request_bytes,
        response_timeout: options.response_timeout(),
        idle_timeout: options.idle_timeout(),
    });
    let app = App::new(Arc::clone(&shared))?;
    let stop = stop_signal()?;
    // What the system refuses stays as it was; `accept` waits when there are none left.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let listener = TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, &error))?;
    let addr = listener.local_addr().map_err(|error| cannot_listen(addr, &error))?;
    if open && !addr.ip().is_loopback() {
        tracing::warn!(%addr, "whoever reaches this address uses your credentials");
    }
    // Requests that come before the first token wait for it; a failure is logged, and tried again.
    auth.cache().keep_warm().map_err(|error| Failure::new(error.to_string()))?;
    greet(addr, tls.is_some(), shared.clients.load().len(), emulator, &identity, &upstream);
    let mut watched = Vec::new();
    watched.push(watched_clients.reloading(move || {
        let clients = sources.load(&shared.clients.load())?;
        shared.clients.store(Arc::new(clients));
        Ok(())
    }));
    if let Some(tls) = tls.clone() {
        watched.push(watched_tls.reloading(move || tls.reload()));
    }
    tokio::spawn(watch::keep(watched, Arc::default()));
    if let Some(interval) = options.discovery_interval().filter(|_| target.has_names()) {
        let base = upstream.clone();
        tokio::spawn(directory::keep(target.clone(), base, auth, models, directory, interval));
    }
    let door = Door { app, tls, header_timeout: Duration::from_secs(options.header_timeout) };
    accept(listener, Arc::new(door), stop).await;
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
    tls: bool,
    keys: usize,
    emulator: Option<&Emulator>,
    identity: &Identity,
    upstream: &Upstream,
) {
    let scheme = if tls { "https" } else { "http" };
    tracing::info!(credentials = %identity, "found");
    tracing::info!(%upstream, "forwarding");
    if keys > 0 {
        tracing::info!(keys, "clients must have a key");
    }
    let mut lines = Vec::new();
    if let Some(emulator) = emulator {
        lines.push(format!("emulator listening on {}", emulator.url()));
    }
    lines.push(format!("listening on {scheme}://{addr}"));
    if emulator.is_some() && keys == 0 && !tls {
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

fn cannot_listen(addr: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot listen on {addr}: {error}; choose another address with --listen"))
}

/// Serves until `stop`; then accepts no more, and returns when the last answer has been sent.
async fn accept(listener: TcpListener, door: Arc<Door>, stop: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let serving = Arc::clone(&door).serve(socket, connections.watcher());
                    tokio::spawn(serving);
                }
                Err(error) => {
                    // Out of descriptors, most likely: some will be back soon.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    tracing::info!(connections = connections.count(), "stopping when the last answer is sent");
    tokio::select! {
        () = connections.shutdown() => {}
        () = wait_again() => tracing::warn!("stopped at once by a second signal"),
    }
}

/// What each connection comes through.
struct Door {
    app: App,
    tls: Option<Arc<Tls>>,
    header_timeout: Duration,
}

impl Door {
    async fn serve(self: Arc<Self>, socket: TcpStream, watcher: Watcher) {
        // Without it, each small chunk of a stream waits for an acknowledgement. A socket that
        // refuses is slow, not wrong.
        let _ = socket.set_nodelay(true);
        match &self.tls {
            None => self.serve_http(socket, watcher).await,
            Some(tls) => match tls.accept(socket).await {
                Ok(socket) => self.serve_http(socket, watcher).await,
                Err(error) => tracing::info!(%error, "no TLS handshake"),
            },
        }
    }

    async fn serve_http<I>(&self, socket: I, watcher: Watcher)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.header_timeout);
        builder.http2().timer(TokioTimer::new());
        let calls = Calls::default();
        let socket = Connection::new(TokioIo::new(socket), calls.clone());
        let app = self.app.clone();
        let service = tower::service_fn(move |request| {
            calls.one_more();
            app.clone().serve(request)
        });
        let service = TowerToHyperService::new(CatchPanic::custom(service, panicked));
        let connection = watcher.watch(builder.serve_connection(socket, service).into_owned());
        if let Err(error) = connection.await {
            tracing::debug!(error, "connection ended");
        }
    }
}

fn panicked(_: Box<dyn Any + Send>) -> Response<Full<Bytes>> {
    Refusal::panicked().to_response().map(Full::new)
}

async fn wait_again() {
    match stop_signal() {
        Ok(stop) => stop.await,
        Err(_) => std::future::pending().await,
    }
}

/// Ctrl-C or SIGTERM. The signal is taken from now on, not from the first poll.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    #[cfg(unix)]
    {
        use signal::unix::{SignalKind, signal};
        let cannot = |error| Failure::new(format!("cannot listen for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = signal::ctrl_c().await;
    })
}
