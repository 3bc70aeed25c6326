//! Simulates the gateway with clients, an upstream and a token endpoint that fail, on one thread and in
//! simulated time.
//!
//! The real stack runs, from an accepted connection to the connection to the upstream: `server::worker`,
//! `server::connection`, hyper, `proxy::handler` with all layers, the pool, the token cache with
//! `keep_warm`, the log and the metrics. Replaced are the listener and TCP (`network`), the wall clock
//! (`world`), the token source (`tokens`), and the files of keys and models (`gateway`). There is no TLS.
//!
//! A seed draws a plan: the settings of the gateway and the chances of faults. Then:
//!
//! - clients (`client`) upload and read slowly, leave, reset, or vanish without a word, over HTTP/1.1 and
//!   HTTP/2;
//! - the upstream (`upstream`) replies early, late or never, with 200, 307, 400, 401, 404, 429 and 5xx, with and
//!   without `Retry-After`; it resets or closes at any byte, closes idle connections, sends stray bytes;
//! - the token endpoint fails, hangs, returns the same token, or a token without a lifetime;
//! - the weather (`weather`) revokes tokens, steps the wall clock, reloads keys and models, stalls and
//!   resets connections, and takes the upstream down; the gateway may drain in the middle of it.
//!
//! The invariants (`checks`, `tokens`):
//!
//! - Every request ends, in bounded simulated time. No request waits in the queue while permits are free.
//! - The upstream gets a request again only after a 401 (once in each attempt), or after a failure that may be
//!   retried, at most `--max-attempts` times, and only if its body was kept. It gets each body unchanged.
//! - No connection is opened to a host that is not trusted, not even for a model's entry or a redirect.
//! - Permits, gauges and connections return to zero, and no task is left at the end.
//! - Tokens are fetched one at a time, not before they are due, with the pauses after failures, and forced only
//!   for a token that was refused, at most so often.
//! - A body of a 200 is what the upstream sent, or its beginning and visibly incomplete. Without a fault on
//!   the path, it arrives.
//! - Each request has exactly one record in the log, which agrees with what the client got.
//!
//! | to | run, with `cargo test -p vertex-gateway --all-features --lib simulation` |
//! |---|---|
//! | simulate 200 seeds | nothing more |
//! | simulate more of them | `SIM_SEEDS=10000`, from `SIM_FIRST=…` |
//! | see the trace of one | `SIM_SEED=42`, and `-- --nocapture` |
//!
//! A failure prints the seeds and the trace of the first one. Such a seed belongs in the list in `tests`, so
//! that it runs each time.
//!
//! The same seed gives the same trace, with one exception. Tokio wakes the waiters of a watch channel, such as
//! the requests that wait for one token, in an order that it chooses by chance. Only with
//! `RUSTFLAGS='--cfg tokio_unstable'` can it be seeded, which the simulation does then. Without it, a failing
//! seed is repeated until it fails again.

mod checks;
mod client;
mod gateway;
mod log;
mod messages;
mod network;
mod plan;
mod tests;
mod tokens;
mod upstream;
mod weather;
mod world;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::{mpsc, watch},
    time::sleep,
};

use self::{
    client::Client,
    gateway::{Gateway, accept, start_workers},
    weather::QUIET,
    world::World,
};
use crate::outbound::simulated::use_network;

/// The outcome of one simulation.
pub(super) struct Report {
    /// The same for the same seed.
    pub(super) hash: u64,
    pub(super) violations: Vec<String>,
    /// Empty unless the simulation is verbose.
    pub(super) trace: Vec<String>,
    /// How often each event happened.
    pub(super) events: BTreeMap<&'static str, u64>,
}

/// Runs the simulation of a seed.
pub(super) fn simulate(seed: u64, is_verbose: bool) -> Report {
    fastrand::seed(seed);
    let mut builder = Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let (world, end) = runtime.block_on(async {
        let world = World::new(seed, is_verbose);
        log::collect_for(Some((Arc::clone(&world), is_verbose)));
        use_network(Some(upstream::dial(&world)));
        let end = run(&world).await;
        (world, end)
    });
    let (hash, _) = world.trace();
    // Drops everything that the gateway has cut.
    drop(runtime);
    if let Some(gateway) = &end {
        world.check_quiet(&gateway.state);
        world.check_connections(&gateway.state.telemetry);
    }
    world.check_requests(end.is_some());
    log::collect_for(None);
    use_network(None);
    let (_, trace) = world.trace();
    let violations = std::mem::take(&mut world.state().violations);
    Report { hash, violations, trace, events: world.events() }
}

/// Runs the gateway to its end. Returns it if requests were aborted; they end with the runtime.
async fn run(world: &Arc<World>) -> Option<Gateway> {
    let gateway = Gateway::new(world);
    let state = Arc::clone(&gateway.state);
    world.note_permits(&state);
    gateway.cache.keep_warm().unwrap();
    let (listener, sockets) = mpsc::unbounded_channel();
    let (stop, stopping) = watch::channel(false);
    let accepting = tokio::spawn(accept(sockets, start_workers(world, &state), stopping));
    let clients = (0..world.plan.clients).map(|index| {
        let client = Client { world: Arc::clone(world), index, listener: listener.clone() };
        tokio::spawn(client.run())
    });
    let clients: Vec<_> = clients.collect();
    let weather = tokio::spawn(weather::happen(Arc::clone(world), Arc::clone(&state)));
    let (watched, watching) = (Arc::clone(world), Arc::clone(&state));
    let watch = tokio::spawn(async move { watched.watch_the_queue(&watching).await });
    let all = async {
        for client in clients {
            if let Err(error) = client.await {
                world.violated(format!("a client: {error}"));
            }
        }
        let _ = weather.await;
        watch.abort();
    };
    let mut all = std::pin::pin!(all);
    let mut are_done = false;
    if world.plan.drains_early {
        let pause = world.millis(0..world.plan.longest_pause + 5000);
        are_done = tokio::time::timeout(pause, &mut all).await.is_ok();
    } else {
        all.as_mut().await;
        weather::clear_up(world);
        sleep(QUIET).await;
        world.check_quiet(&state);
        world.check_connections(&state.telemetry);
    }
    world.event("drain", || "");
    world.state().is_draining |= world.plan.drains_early;
    state.telemetry.drain();
    stop.send_replace(true);
    let workers = match accepting.await {
        Ok(workers) => workers,
        Err(error) => {
            world.violated(format!("the listener: {error}"));
            return None;
        }
    };
    if !workers.drain(sleep(world.plan.drain_timeout)).await {
        world.event("cut", || "");
        return Some(gateway);
    }
    if world.plan.drains_early {
        weather::clear_up(world);
        if !are_done {
            all.await;
        }
        world.check_quiet(&state);
    }
    // Everything that the gateway has started ends with it.
    sleep(Duration::from_secs(60)).await;
    world.check_connections(&state.telemetry);
    drop((gateway, state));
    sleep(Duration::from_secs(3600)).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    if tasks > 0 {
        world.violated(format!("{tasks} tasks are left at the end"));
    }
    None
}
