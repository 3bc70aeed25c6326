//! Events that happen to the whole gateway: revocations, steps of the clock, reloads, outages, partitions.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    gateway::{clients, table},
    network::Connection,
    upstream::stall,
    world::World,
};
use crate::proxy::handler::GatewayState;

/// Lets the events of the plan happen, one after the other.
pub(super) async fn happen(world: Arc<World>, state: Arc<GatewayState>) {
    let mut loads = 0;
    for _ in 0..world.plan.events {
        let longest = world.plan.longest_pause * 2 + 4000;
        sleep(world.millis(0..longest)).await;
        let pick = |connections: &[Connection]| {
            let open: Vec<_> =
                connections.iter().filter(|known| !known.is_over()).cloned().collect();
            world.draw(|rng| rng.choice(open))
        };
        match world.draw(|rng| rng.u32(0..10)) {
            0 => {
                world.event("token revoked", || "");
                world.tokens.revoke();
            }
            1 | 2 => {
                let steps = [-7200, -300, -5, 5, 300, 7200];
                world.step_wall_clock(world.draw(|rng| steps[rng.usize(0..steps.len())]));
            }
            3 => {
                loads += 1;
                world.event("clients reloaded", || loads);
                let loaded = clients(&world, loads, &state.clients.load());
                state.clients.store(Arc::new(loaded));
                world.note_permits(&state);
            }
            4 => {
                loads += 1;
                world.event("models reloaded", || loads);
                state.models.set_table(table(loads));
            }
            5 => {
                let time = world.millis(0..60_000);
                world.event("upstream down", || format!("{time:?}"));
                world.state().upstream_down_until = Some(Instant::now() + time);
            }
            6 => {
                let connection = pick(&world.state().upstream_connections.clone());
                if let Some(connection) = connection {
                    let time = world.millis(0..100_000);
                    world.event("upstream stalls", || format!("{time:?}"));
                    tokio::spawn(stall(connection, time));
                }
            }
            7 => {
                let connection = pick(&world.state().upstream_connections.clone());
                if let Some(connection) = connection {
                    world.event("upstream resets", || "");
                    connection.fail(io::ErrorKind::ConnectionReset);
                }
            }
            of_client => {
                let connection = pick(&world.state().client_connections.clone());
                if let Some(connection) = connection {
                    world.state().has_hit_clients = true;
                    world.event("client's connection fails", || of_client);
                    match of_client {
                        8 => connection.stall(world.millis(0..60_000)),
                        _ => connection.fail(io::ErrorKind::ConnectionReset),
                    }
                }
            }
        }
    }
}

/// The permits of one client, and how many there are.
pub(super) type ClientPermits = (Arc<Semaphore>, usize);

/// Ends all partitions and outages.
pub(super) fn clear_up(world: &World) {
    let mut state = world.state();
    state.upstream_down_until = None;
    let all: Vec<_> =
        state.upstream_connections.iter().chain(&state.client_connections).cloned().collect();
    drop(state);
    all.iter().for_each(Connection::heal);
}

/// How long the gateway may take until nothing is in flight.
pub(super) const QUIET: Duration = Duration::from_secs(300);
