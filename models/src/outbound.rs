//! The pool of connections, and how one passes from a response that ended to a request that waits.

#[path = "../../crates/vertex-gateway/src/outbound/pool.rs"]
#[rustfmt::skip]
mod pool;

use std::sync::Arc;

use hyper::client::conn::http1::Peer;
use tokio::model::block_on;

use self::pool::{Lease, Pool, PoolKey};
use crate::runner::{Actor, EXHAUSTIVE, Model, act_without_tasks};

pub(crate) const MODELS: &[Model] = &[
    Model {
        name: "pool: one connection serves three requests in turn",
        threads: 3,
        run: one_connection_serves_three_requests_in_turn,
        ..EXHAUSTIVE
    },
    Model {
        name: "pool: two connections go to two requests that wait",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(4),
        run: two_connections_go_to_two_requests_that_wait,
        ..EXHAUSTIVE
    },
    Model {
        name: "pool: a connection survives the request that it was passed to",
        threads: 3,
        run: a_connection_survives_the_request_that_it_was_passed_to,
        ..EXHAUSTIVE
    },
    Model {
        name: "pool: a connection that the peer closes is given to no one",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(4),
        run: a_connection_that_the_peer_closes_is_given_to_no_one,
        ..EXHAUSTIVE
    },
];

#[derive(Clone)]
struct Host {
    pool: Arc<Pool<()>>,
    key: PoolKey,
}

impl Host {
    fn new() -> Self {
        let uri = http::Uri::from_static("https://aiplatform.googleapis.com/");
        let key = PoolKey::of(&uri).expect("a host");
        Self { pool: Arc::new(Pool::new(None)), key }
    }

    /// A connection in use.
    fn connected(&self) -> (Lease<()>, Arc<Peer>) {
        let peer = Arc::new(Peer::default());
        (self.pool.lease(self.key.clone(), peer.connect()), peer)
    }

    /// One connection is in the pool.
    fn check_at_the_end(&self) {
        let lease = self.pool.take(&self.key);
        assert!(lease.is_some() && self.pool.take(&self.key).is_none());
    }

    /// An actor that waits for a connection, uses it and returns it.
    fn send(&self) -> Actor {
        let host = self.clone();
        Box::new(move || match host.pool.take_or_wait(&host.key) {
            Ok(lease) => lease.give_back(),
            Err(freed) => block_on(freed).expect("the pool keeps its end").give_back(),
        })
    }

    /// An actor that requests a connection, and leaves if it gets none at once.
    fn leave(&self) -> Actor {
        let host = self.clone();
        Box::new(move || match host.pool.take_or_wait(&host.key) {
            Ok(lease) => lease.give_back(),
            Err(freed) => drop(freed),
        })
    }
}

fn give_back(lease: Lease<()>) -> Actor {
    Box::new(move || lease.give_back())
}

fn one_connection_serves_three_requests_in_turn() {
    let host = Host::new();
    let (lease, peer) = host.connected();
    act_without_tasks(vec![host.send(), host.send(), give_back(lease)]);
    assert!(!peer.is_dropped());
    host.check_at_the_end();
}

fn two_connections_go_to_two_requests_that_wait() {
    let host = Host::new();
    let (first, second) = (host.connected(), host.connected());
    act_without_tasks(vec![host.send(), host.send(), give_back(first.0), give_back(second.0)]);
    let leases = [host.pool.take(&host.key), host.pool.take(&host.key)];
    assert!(leases.iter().all(Option::is_some), "both connections are in the pool");
}

fn a_connection_survives_the_request_that_it_was_passed_to() {
    let host = Host::new();
    let (lease, peer) = host.connected();
    act_without_tasks(vec![host.leave(), host.leave(), give_back(lease)]);
    assert!(!peer.is_dropped(), "the connection was closed");
    host.check_at_the_end();
}

fn a_connection_that_the_peer_closes_is_given_to_no_one() {
    let host = Host::new();
    let (lease, peer) = host.connected();
    let closing = Arc::clone(&peer);
    act_without_tasks(vec![
        host.leave(),
        host.leave(),
        Box::new(move || closing.close()),
        give_back(lease),
    ]);
    assert!(host.pool.take(&host.key).is_none());
}
