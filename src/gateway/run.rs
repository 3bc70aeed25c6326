//! Listening, and the end: who is being served when a signal comes is served to the end.

use std::{any::Any, future::Future, io::Write, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal,
};
use tower_http::catch_panic::CatchPanic;

use super::{
    app::App,
    check,
    config::{Command, EmulatorOptions, Failure, Options, Subcommand, listen},
    credentials::{Identity, find},
    directory, endpoints,
    refusal::Refusal,
    token,
    unreadable::{Calls, Connection},
};
use crate::{auth::VertexAuthLayer, emulator::Emulator, model::VertexModelLayer, route::Upstream};

/// A client that has not sent a request's head by then is not going to.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

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
    let app = App::new(options, upstream.clone(), models.clone(), auth.clone())?;
    let stop = stop_signal()?;
    // What the system refuses stays as it was; `accept` waits when there are none left.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let listener = TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, &error))?;
    let addr = listener.local_addr().map_err(|error| cannot_listen(addr, &error))?;
    if !addr.ip().is_loopback() {
        tracing::warn!(%addr, "whoever reaches this address uses your credentials");
    }
    // Requests that come before the first token wait for it; a failure is logged, and tried again.
    auth.cache().keep_warm().map_err(|error| Failure::new(error.to_string()))?;
    greet(addr, emulator, &identity, &upstream);
    if let Some(interval) = options.discovery_interval().filter(|_| target.has_names()) {
        let base = upstream.clone();
        tokio::spawn(directory::keep(target.clone(), base, auth, models, directory, interval));
    }
    accept(listener, app, stop).await;
    Ok(())
}

fn greet(addr: SocketAddr, emulator: Option<&Emulator>, identity: &Identity, upstream: &Upstream) {
    tracing::info!(credentials = %identity, "found");
    tracing::info!(%upstream, "forwarding");
    let mut lines = Vec::new();
    if let Some(emulator) = emulator {
        lines.push(format!("emulator listening on {}", emulator.url()));
    }
    lines.push(format!("listening on http://{addr}"));
    if emulator.is_some() {
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
async fn accept(listener: TcpListener, app: App, stop: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => serve_connection(socket, app.clone(), &connections),
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

fn serve_connection(socket: TcpStream, app: App, connections: &GracefulShutdown) {
    // Without it, each small chunk of a stream waits for an acknowledgement. A socket that
    // refuses is slow, not wrong.
    let _ = socket.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let calls = Calls::default();
    let socket = Connection::new(TokioIo::new(socket), calls.clone());
    let service = tower::service_fn(move |request| {
        calls.one_more();
        app.clone().serve(request)
    });
    let service = TowerToHyperService::new(CatchPanic::custom(service, panicked));
    let connection = builder.serve_connection(socket, service).into_owned();
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error, "connection ended");
        }
    });
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
