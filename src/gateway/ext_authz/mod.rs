//! What Envoy asks: whether a request may go on, where to, and with which token; and, of each answer
//! of Vertex AI, whether it was a 401 that a new token would heal.
//!
//! Two of Envoy's protocols on one socket. By `ext_authz` Envoy sends the head of a request, and its
//! body if it is told to, before it looks for an upstream; the answer has the token, the host and
//! the path, or an error in OpenAI's form. A filter there is not asked again when Envoy's router
//! retries, and Envoy 1.40 does not take `ext_authz` among the filters of an upstream. `ext_proc` it
//! does take there, once for each attempt: so that is how a rejected token is told, and replaced.
//!
//! | room | what it does |
//! |---|---|
//! | [`ExtAuthzOptions`] | what can be set |
//! | `check` | a request: where it goes, with which token, or why not |
//! | `verdict` | the same in Envoy's words |
//! | `heal` | an attempt: its token, and what its answer says of it |
//! | `handed` | which tokens were given away |
//! | `socket` | loopback, a socket file or mutual TLS, and gRPC on it |

mod check;
mod handed;
mod heal;
mod options;
mod socket;
mod verdict;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

pub use self::options::ExtAuthzOptions;
use self::{
    handed::Handed,
    socket::{Address, Door},
};
use super::{
    admin::Admin,
    clients::{ClientSources, Clients},
    config::{Failure, timeout},
    ground::{self, Ground},
    limits::{LimitOptions, Limits},
    retry::RetryOptions,
    run::say,
    sight::Sight,
    signals::{self, hang_up, stop_signal, tell_systemd},
    trace,
    watch::{self, Watched},
};
use crate::{auth::VertexAuthLayer, model::VertexModelLayer, route::Upstream};

/// What all calls have in common.
struct Shared {
    upstream: Upstream,
    /// It has the table in force.
    models: VertexModelLayer,
    auth: VertexAuthLayer,
    clients: ArcSwap<Clients>,
    handed: Handed,
    sight: Arc<Sight>,
    /// When it began to serve, in seconds since 1970.
    since: u64,
    max_request_bytes: usize,
}

/// Envoy does the retries: of a list of locations the first is used, however long it is.
const RETRY: RetryOptions = RetryOptions { max_attempts: u32::MAX, retry_max_delay: 0 };
/// And Envoy's limits bound what is under way, not these.
const LIMITS: LimitOptions = LimitOptions {
    max_connections: 0,
    max_concurrent_requests: 0,
    max_queued_requests: 0,
    queue_timeout: 0,
};

/// Serves Envoy until Ctrl-C or SIGTERM.
pub(super) async fn serve(mut options: ExtAuthzOptions) -> Result<(), Failure> {
    options.target.load()?;
    let options = &options;
    trace::warn_of_none("Envoy has the requests, and traces of its own");
    let address = Address::parse(&options.listen)?;
    let sources = ClientSources::new(&options.clients, options.target.config());
    let watched_clients = Watched::new("client keys", sources.files());
    let clients = sources.load(&Clients::default())?;
    let watched_tls = Watched::new("certificate", options.tls.files());
    let tls = options.tls.load()?.map(Arc::new);
    let mutual = tls.as_ref().is_some_and(|tls| tls.is_mutual());
    address.refuse_strangers(mutual, options.clients.allow_unauthenticated)?;
    let ground = Ground::find(&options.target, &RETRY, 0).await?;
    let Ground { emulator, identity, upstream, auth, catalog, watched: watched_models } = ground;
    let sight = Arc::new(Sight::new(auth.cache().clone(), Arc::new(Limits::new(&LIMITS))));
    sight.know(&catalog.layer().table());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let keys = clients.have_keys().then(|| clients.len());
    let shared = Arc::new(Shared {
        upstream,
        models: catalog.layer().clone(),
        auth,
        clients: ArcSwap::from_pointee(clients),
        handed: Handed::default(),
        sight: Arc::clone(&sight),
        since: since.unwrap_or_default().as_secs(),
        max_request_bytes: options.max_request_bytes,
    });
    // Both before anybody is told that it serves, and may send one.
    let (stop, hang_up) = (stop_signal()?, hang_up()?);
    // What the system refuses stays as it was.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let door = Door::bind(&address, tls.clone()).await?;
    let admin = Admin::bind(&options.admin).await?;
    // Requests that come before the first token wait for it; a failure is logged, and tried again.
    shared.auth.cache().keep_warm().map_err(|error| Failure::new(error.to_string()))?;
    tracing::info!(credentials = %identity, "found");
    tracing::info!(upstream = %shared.upstream, "sending Envoy's requests there");
    if let Some(keys) = keys {
        tracing::info!(keys, "clients must have a key");
    }
    let mut lines = Vec::new();
    lines.extend(emulator.as_ref().map(|vertex| format!("emulator listening on {}", vertex.url())));
    lines.push(format!("listening on {door}"));
    lines.extend(admin.as_ref().map(|admin| format!("admin on http://{}", admin.addr())));
    if let Some(admin) = admin {
        tokio::spawn(admin.serve(Arc::clone(&sight)));
    }
    say(&lines);
    let mut watched = vec![watched_clients.reloading({
        let shared = Arc::clone(&shared);
        move || {
            let clients = sources.load(&shared.clients.load())?;
            shared.clients.store(Arc::new(clients));
            Ok(())
        }
    })];
    if let Some(tls) = tls {
        watched.push(watched_tls.reloading(move || tls.reload()));
    }
    watched.extend(ground::reloading(watched_models, &catalog, &sight));
    tokio::spawn(watch::keep(watched, hang_up));
    if let Some(interval) = timeout(options.discovery_interval) {
        tokio::spawn(catalog.keep(interval));
    }
    tell_systemd("READY=1");
    door.accept(&shared, stop).await;
    sight.drain();
    tell_systemd("STOPPING=1");
    if let Some(delay) = timeout(options.drain_delay) {
        door.accept(&shared, tokio::time::sleep(delay)).await;
    }
    door.drain(patience(timeout(options.drain_timeout))).await;
    Ok(())
}

async fn patience(limit: Option<Duration>) {
    let limit = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = limit => tracing::warn!("--drain-timeout is over: Envoy's calls are cut"),
        () = signals::wait_again() => tracing::warn!("stopped at once by a second signal"),
    }
}
