//! The gateway of a simulation: its real stack and its real workers, on the simulated network.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use clap::Parser as _;
use tokio::sync::{mpsc::UnboundedReceiver, watch};
use tower_vertex::{
    auth::VertexAuthLayer,
    connect::Network,
    model::{ModelRoute, ModelTable, VertexModelLayer},
    retry::VertexRetryLayer,
    route::Upstream,
    token::TokenCache,
};

use super::{
    client::{ALIAS, ALIAS_UPSTREAM, DIRECT, STRANGE, key},
    network::SimSocket,
    tokens::Source,
    upstream::VERTEX,
    world::{World, wall_clock},
};
use crate::{
    access::{
        Clients,
        concurrency::{LimitOptions, Limits},
    },
    cli::{args::Command, serve::Options},
    config::parse::ClientRules,
    inbound::browser::{Browsers, Listener},
    models::publishers::PublisherLists,
    proxy::handler::GatewayState,
    server::worker::Workers,
    telemetry::{Telemetry, trace::Traces},
};

/// The parts of a gateway that the checks look at.
pub(super) struct Gateway {
    pub(super) state: Arc<GatewayState>,
    pub(super) cache: TokenCache,
}

/// The options of all simulations, which are expensive to parse.
fn options() -> &'static Options {
    static OPTIONS: OnceLock<Options> = OnceLock::new();
    OPTIONS.get_or_init(|| Command::parse_from(["vertex-gateway", "--list-models", "off"]).options)
}

/// The root certificates are expensive to read. No simulation needs them.
fn network() -> Network {
    static NETWORK: OnceLock<Network> = OnceLock::new();
    let network = NETWORK.get_or_init(|| Network::builder().ignore_environment().build().unwrap());
    network.clone()
}

fn upstream(host: &str) -> Upstream {
    let upstream = Upstream::builder().project("p").location("us-central1");
    upstream.origin(format!("http://{host}")).build().unwrap()
}

/// The table of models; `number` is how often it was loaded.
pub(super) fn table(number: usize) -> ModelTable {
    let locations = ["us-central1", "europe-west4", "asia-east1"];
    let several = ModelRoute::new()
        .model(ALIAS_UPSTREAM)
        .locations(locations.into_iter().take(2 + number % 2));
    let strange = ModelRoute::new().model(DIRECT).upstream(upstream("stranger.sim"));
    let table = ModelTable::builder(upstream(VERTEX)).route(ALIAS, several).route(STRANGE, strange);
    table.build().unwrap()
}

/// The clients after reload `number`: one of them may be missing.
pub(super) fn clients(world: &World, number: usize, before: &Clients) -> Clients {
    if !world.plan.keys {
        return Clients::default();
    }
    let names: Vec<_> = (0..world.plan.clients)
        .filter(|client| number % 3 != 1 || *client > 0)
        .chain([world.plan.clients])
        .collect();
    let entries: Vec<_> = names.iter().map(|client| key(*client)).collect();
    let rules: Vec<ClientRules> = names
        .iter()
        .filter(|_| world.plan.per_client > 0)
        .map(|client| {
            let rules = serde_json::json!({
                "name": format!("client-{client}"),
                "max_concurrent_requests": world.plan.per_client + u32::from(number % 4 == 2),
            });
            serde_json::from_value(rules).unwrap()
        })
        .collect();
    Clients::of_file(entries.join("\n").as_bytes(), &rules, before).unwrap()
}

impl Gateway {
    pub(super) fn new(world: &Arc<World>) -> Self {
        let (plan, options) = (&world.plan, options());
        let cache = TokenCache::builder().wall_clock(wall_clock).build(Source(Arc::clone(world)));
        let auth = VertexAuthLayer::with_cache(cache.clone())
            .replay_limit(plan.replay_limit)
            .trust_origin(format!("http://{VERTEX}"))
            .unwrap();
        let limits = Arc::new(Limits::new(&LimitOptions {
            max_connections: Some(plan.max_connections),
            max_concurrent_requests: Some(plan.max_concurrent),
            max_queued_requests: plan.max_queued,
            queue_timeout: plan.queue_timeout,
        }));
        let max_request_bytes = 30_000;
        let mut compat = options.compat.clone();
        if !plan.compat {
            compat.compat = "off".parse().unwrap();
        }
        let compat = compat.layer(max_request_bytes);
        let telemetry =
            Arc::new(Telemetry::new(cache.clone(), limits.waiting(), Some(compat.clone())));
        let models = VertexModelLayer::new(table(0)).body_limit(max_request_bytes);
        let listing = options.serving.listing.clone();
        let lists = PublisherLists::new(listing, network(), auth.clone(), models.clone(), None);
        let loaded = clients(world, 0, &Clients::default());
        let state = Arc::new(GatewayState {
            upstream: upstream(VERTEX),
            models,
            publishers: lists,
            compat,
            auth,
            retry: VertexRetryLayer::new()
                .max_attempts(plan.max_attempts)
                .replay_limit(plan.replay_limit),
            browsers: Arc::new(
                Browsers::new(&options.serving.browsers, loaded.have_keys(), false).unwrap(),
            ),
            clients: Arc::new(ArcSwap::from_pointee(loaded)),
            // Every host name is served, also without keys.
            listener: Listener::Open,
            health_path: None,
            tls: None,
            tls_handshake_timeout: Duration::from_secs(10),
            request_header_timeout: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(10),
            http2_ping_interval: Duration::from_secs(10),
            http2_ping_timeout: Duration::from_secs(10),
            max_header_bytes: 64 << 10,
            limits,
            telemetry,
            traces: Traces::from_env().unwrap(),
            since: 0,
            connection_lifetime: plan.connection_lifetime,
            network: network(),
            max_request_bytes,
            log_peer_address: false,
            response_header_timeout: Some(plan.response_header_timeout),
            stream_idle_timeout: Some(plan.stream_idle_timeout),
            request_body_timeout: Some(plan.request_body_timeout),
            send_timeout: Some(plan.send_timeout),
        });
        Self { state, cache }
    }
}

/// Starts the workers on the runtime of the simulation.
pub(super) fn start_workers(world: &World, state: &Arc<GatewayState>) -> Workers<SimSocket> {
    let run = |_, work| {
        tokio::spawn(work);
        Ok(())
    };
    let connections = Some(world.plan.max_connections);
    Workers::start_with(state, world.plan.workers, connections, run).unwrap()
}

/// Accepts connections until the gateway stops, and then those that had been opened before.
pub(super) async fn accept(
    mut sockets: UnboundedReceiver<SimSocket>,
    workers: Workers<SimSocket>,
    mut stop: watch::Receiver<bool>,
) -> Workers<SimSocket> {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = sockets.recv() => accepted,
        };
        let Some(socket) = accepted else { break };
        let room = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            room = workers.room() => room,
        };
        workers.admit(socket, room).unwrap();
    }
    sockets.close();
    while let Some(socket) = sockets.recv().await {
        workers.admit(socket, None).unwrap();
    }
    workers
}
