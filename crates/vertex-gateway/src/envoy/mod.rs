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
//! | `ext_authz` | a request: where it goes, with which token, or why not |
//! | `proto` | the same in Envoy's words |
//! | `ext_proc` | an attempt: its token, and what its answer says of it |
//! | `issued_tokens` | which tokens were given away |
//! | `socket` | loopback, a socket file or mutual TLS, and gRPC on it |

mod ext_authz;
mod ext_proc;
mod issued_tokens;
mod options;
mod proto;
mod socket;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

pub use self::options::ExtAuthzOptions;
use self::{
    issued_tokens::IssuedTokens,
    socket::{Address, Door},
};
use super::{
    access::Clients,
    config::retry::RetryOptions,
    error::Error,
    inbound::browser::Browsers,
    output::print_lines,
    server::{
        admin::Admin,
        bootstrap::{AccessControl, Backend},
        descriptors,
        signals::{Ending, notify_systemd, sighup, stop_signal},
    },
    telemetry::{Telemetry, trace},
    values::timeout,
};
use tower_vertex::{auth::VertexAuthLayer, model::VertexModelLayer, route::Upstream};

/// What all calls have in common.
struct ExtAuthzState {
    upstream: Upstream,
    /// It has the table in force.
    models: VertexModelLayer,
    auth: VertexAuthLayer,
    clients: Arc<ArcSwap<Clients>>,
    browsers: Arc<Browsers>,
    issued_tokens: IssuedTokens,
    telemetry: Arc<Telemetry>,
    /// When it began to serve, in seconds since 1970.
    since: u64,
    max_request_bytes: usize,
    /// Of a call itself: those of the request that it is about are in its body.
    max_header_bytes: usize,
    log_peer_address: bool,
}

/// Envoy does the retries: of a list of locations the first is used, however long it is.
const RETRY: RetryOptions =
    RetryOptions { max_attempts: u32::MAX, retry_max_delay: Duration::ZERO };
/// Of the runtime that all of it shares.
const WORKERS: usize = 1;

/// Serves Envoy until Ctrl-C or SIGTERM.
pub(crate) async fn serve(options: ExtAuthzOptions) -> Result<(), Error> {
    trace::warn_of_none("Envoy forwards the requests, and has its own traces");
    let (address, options) =
        (Address::parse(&options.listen, &options.serving.target.file)?, &options.serving);
    let access = AccessControl::open(options)?;
    address.refuse_strangers(access.is_mutual(), options.clients.allow_unauthenticated)?;
    let backend = Backend::find(&options.target, &RETRY, 0).await?;
    // Envoy's limits bound what is under way: nothing waits here.
    let telemetry = Arc::new(Telemetry::new(backend.auth.cache().clone(), Arc::default()));
    telemetry.register_models(&backend.catalog.layer().table());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let shared = Arc::new(ExtAuthzState {
        upstream: backend.upstream.clone(),
        models: backend.catalog.layer().clone(),
        auth: backend.auth.clone(),
        clients: Arc::clone(&access.clients),
        browsers: Arc::clone(&access.browsers),
        issued_tokens: IssuedTokens::default(),
        telemetry: Arc::clone(&telemetry),
        since: since.unwrap_or_default().as_secs(),
        max_request_bytes: options.max_request_bytes,
        log_peer_address: options.log.log_peer_address,
        max_header_bytes: options.max_header_bytes,
    });
    // Both before anybody is told that it serves, and may send one.
    let (stop, sighup) = (stop_signal()?, sighup()?);
    // A call of Envoy's takes no descriptor, so that a share of them is left.
    let connections = descriptors::share(descriptors::raise_limit(), WORKERS);
    let door = Door::bind(&address, access.tls.clone(), connections).await?;
    let admin = Admin::bind(&options.admin, &options.target.file).await?;
    // Requests that come before the first token wait for it; a failure is logged, and tried again.
    shared.auth.cache().keep_warm().map_err(|error| Error::new(error.to_string()))?;
    tracing::info!(credentials = %backend.identity, "found");
    tracing::info!(upstream = %shared.upstream, "routing Envoy's requests");
    if access.clients.load().have_keys() {
        tracing::info!(keys = access.clients.load().len(), "clients must send a key");
    }
    let mut lines = Vec::new();
    // In this process, it serves until the end.
    let emulator = backend.emulator.clone();
    lines.extend(emulator.as_ref().map(|vertex| format!("emulator listening on {}", vertex.url())));
    lines.push(format!("listening on {door}"));
    lines.extend(admin.as_ref().map(|admin| format!("admin on http://{}", admin.addr())));
    if let Some(admin) = admin {
        let browsers = Arc::clone(&access.browsers);
        tokio::spawn(admin.serve(Arc::clone(&telemetry), browsers, options.max_header_bytes));
    }
    print_lines(&lines);
    backend.spawn_reloads(access, options, &telemetry, sighup);
    notify_systemd("READY=1");
    door.accept(&shared, stop).await;
    let mut ending = Ending::begin();
    telemetry.drain();
    notify_systemd("STOPPING=1");
    if let Some(delay) = timeout(options.drain_delay) {
        door.accept(&shared, ending.delay(delay)).await;
    }
    door.drain(ending.patience(timeout(options.drain_timeout))).await;
    Ok(())
}
