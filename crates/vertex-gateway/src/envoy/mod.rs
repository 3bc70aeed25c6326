//! Serves the calls of Envoy. For a request, Envoy learns whether it may be forwarded, to which
//! upstream and with which token. For a 401 from Vertex AI, it learns whether a new token makes a
//! retry worthwhile.
//!
//! One socket serves two of Envoy's protocols. With `ext_authz`, Envoy sends the head of a request,
//! and its body if configured to, before it selects an upstream. The response has the token, the
//! host and the path, or an error in the form of the
//! client's protocol. Envoy does not call such a filter again when
//! its router retries, and Envoy 1.40 does not accept `ext_authz` among the filters of an upstream.
//! It accepts `ext_proc` there and calls it once for each attempt. So `ext_proc` detects and
//! replaces a rejected token.
//!
//! | file | what it does |
//! |---|---|
//! | [`ExtAuthzOptions`] | the options |
//! | `ext_authz` | decides on a request: its upstream and its token, or an error |
//! | `proto` | converts the decision to Envoy's messages |
//! | `ext_proc` | replaces a rejected token for another attempt |
//! | `issued_tokens` | the tokens that were issued to Envoy |
//! | `socket` | gRPC over loopback, a socket file or mutual TLS |

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
    socket::{Address, GrpcListener},
};
use super::{
    access::Clients,
    config::retry::RetryOptions,
    error::Error,
    inbound::browser::Browsers,
    models::publishers::PublisherLists,
    output::print_lines,
    server::{
        admin::Admin,
        descriptors,
        signals::{Ending, notify_systemd, sighup, stop_signal},
        startup::{AccessControl, Backend},
    },
    status::{Actions, Facts, Sources, Status, actions::Action},
    telemetry::{Telemetry, trace},
    values::timeout,
};
use tower_vertex::{auth::VertexAuthLayer, model::VertexModelLayer, redact, route::Upstream};

/// The state that all calls share.
struct ExtAuthzState {
    upstream: Upstream,
    /// Holds the current table.
    models: VertexModelLayer,
    publishers: Arc<PublisherLists>,
    auth: VertexAuthLayer,
    clients: Arc<ArcSwap<Clients>>,
    browsers: Arc<Browsers>,
    issued_tokens: IssuedTokens,
    telemetry: Arc<Telemetry>,
    /// The start of the server, in seconds since 1970.
    since: u64,
    max_request_bytes: usize,
    /// Limit for the headers of a call itself. The headers of the checked request are in its body.
    max_header_bytes: usize,
    log_peer_address: bool,
}

/// Envoy does the retries. The first location of a list is used, so the list may have any length.
const RETRY: RetryOptions =
    RetryOptions { max_attempts: u32::MAX, retry_max_delay: Duration::ZERO };
/// One runtime serves all connections.
const WORKERS: usize = 1;

/// Serves Envoy until Ctrl-C or SIGTERM.
pub(crate) async fn serve(options: ExtAuthzOptions) -> Result<(), Error> {
    trace::warn_of_none("Envoy forwards the requests, and has its own traces");
    let (address, options) =
        (Address::parse(&options.listen, &options.serving.target.file)?, &options.serving);
    let access = AccessControl::open(options)?;
    address.refuse_strangers(access.is_mutual(), options.clients.allow_unauthenticated)?;
    let backend = Backend::find(options, &RETRY, 0).await?;
    // Envoy's limits bound the requests in flight, so nothing waits here.
    let telemetry = Telemetry::new(backend.auth.cache().clone(), Arc::default(), None);
    let has_emulator = backend.emulator.is_some();
    let admin = Admin::bind(&options.admin, &options.target.file, has_emulator).await?;
    let has_page = admin.is_some() && options.admin.has_page();
    let telemetry = Arc::new(telemetry.recording(has_page));
    telemetry.register_models(&backend.models.layer().table());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let shared = Arc::new(ExtAuthzState {
        upstream: backend.upstream.clone(),
        models: backend.models.layer().clone(),
        publishers: Arc::clone(&backend.publishers),
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
    // Both are installed before the server reports that it is ready, because a signal may follow at
    // once.
    let (stop, sighup) = (stop_signal()?, sighup()?);
    // A call of Envoy takes no descriptor of its own, so half of the share stays free.
    let connections = descriptors::share(descriptors::raise_limit(), WORKERS);
    let listener = GrpcListener::bind(&address, access.tls.clone(), connections).await?;
    // Requests that arrive before the first token wait for it. A failure is logged, and the fetch
    // is retried.
    shared.auth.cache().keep_warm().map_err(|error| Error::new(error.to_string()))?;
    tracing::info!(credentials = %backend.identity, "found");
    tracing::info!(upstream = %shared.upstream, "routing Envoy's requests");
    if access.clients.load().have_keys() {
        tracing::info!(keys = access.clients.load().len(), "clients must send a key");
    }
    let mut lines = Vec::new();
    // An emulator in this process serves until the end.
    let emulator = backend.emulator.clone();
    lines.extend(emulator.as_ref().map(|vertex| format!("emulator listening on {}", vertex.url())));
    lines.push(format!("listening on {listener}"));
    lines.extend(admin.iter().flat_map(Admin::lines));
    let page = has_page.then(|| Status::start(status_page(&shared, &listener, &backend, &access)));
    if let Some(admin) = admin {
        let (telemetry, page) = (Arc::clone(&telemetry), page.clone());
        let browsers = Arc::clone(&access.browsers);
        tokio::spawn(admin.serve(telemetry, page, browsers, options.max_header_bytes));
    }
    print_lines(&lines);
    backend.spawn_reloads(access, options, &telemetry, sighup);
    notify_systemd("READY=1");
    listener.accept(&shared, stop).await;
    let mut ending = Ending::begin();
    telemetry.drain();
    notify_systemd("STOPPING=1");
    if let Some(delay) = timeout(options.drain_delay) {
        listener.accept(&shared, ending.delay(delay)).await;
    }
    listener.drain(ending.patience(timeout(options.drain_timeout))).await;
    if let Some(page) = page {
        page.end().await;
    }
    Ok(())
}

/// The sources of the status page, which starts nothing here.
fn status_page(
    shared: &ExtAuthzState,
    listener: &GrpcListener,
    backend: &Backend,
    access: &AccessControl,
) -> Sources {
    let why = "Envoy forwards the requests; use `vertex-gateway check` on this machine";
    let show = |text: &str| redact::value(text).to_string();
    let upstream = &shared.upstream;
    let facts = Facts {
        listening_on: listener.to_string(),
        upstream: show(&upstream.to_string()),
        project: upstream.project().map(show),
        location: upstream.location().map(|location| show(location.as_str())),
        credentials: backend.identity.to_string(),
        tls: access.tls.is_some(),
        client_certificates: access.is_mutual(),
        emulator: backend.emulator.is_some(),
        workers: WORKERS,
    };
    Sources {
        facts,
        telemetry: Arc::clone(&shared.telemetry),
        clients: Arc::clone(&shared.clients),
        models: shared.models.clone(),
        browsers: Arc::clone(&shared.browsers),
        actions: Actions { check: Action::Refused(why), chat: Action::Refused(why) },
    }
}
