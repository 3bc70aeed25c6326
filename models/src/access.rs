//! The limits of requests in flight, and their queue.

#[path = "../../crates/vertex-gateway/src/access/concurrency.rs"]
#[rustfmt::skip]
mod concurrency;

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    model::{advance, block_on, poll_once},
    sync::Semaphore,
};

use self::concurrency::{LimitOptions, Limits, Permits};
use crate::{
    local_reply::LocalReply,
    runner::{Actor, EXHAUSTIVE, Model, act_without_tasks},
};

pub(crate) const MODELS: &[Model] = &[
    Model {
        name: "queue: three requests take turns",
        threads: 3,
        preemptions: Some(3),
        run: three_requests_take_turns,
        ..EXHAUSTIVE
    },
    Model {
        name: "queue: one of four requests may have to leave a full queue",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(3),
        run: one_of_four_requests_may_have_to_leave_a_full_queue,
        ..EXHAUSTIVE
    },
    Model {
        name: "queue: a request that leaves the queue takes no permit with it",
        threads: 4,
        preemptions: Some(2),
        preemptions_long: Some(3),
        run: a_request_that_leaves_the_queue_takes_no_permit_with_it,
        ..EXHAUSTIVE
    },
    Model {
        name: "queue: a client's permit is returned when the wait for the other ends early",
        threads: 3,
        preemptions: Some(3),
        run: a_clients_permit_is_returned_when_the_wait_for_the_other_ends_early,
        ..EXHAUSTIVE
    },
    Model {
        name: "queue: a wait that ends by time takes no permit with it",
        threads: 3,
        time_passes: true,
        run: a_wait_that_ends_by_time_takes_no_permit_with_it,
        ..EXHAUSTIVE
    },
];

/// A client with a limit of its own.
#[derive(Clone, Debug)]
struct Client(Arc<Semaphore>);

impl Client {
    fn concurrency(&self) -> Option<&Arc<Semaphore>> {
        Some(&self.0)
    }
}

/// Limits of one request in flight, and so many in the queue.
#[derive(Clone)]
struct Room {
    limits: Arc<Limits>,
    refused: Arc<AtomicUsize>,
}

impl Room {
    fn with_queue(max_queued_requests: usize) -> Self {
        let limits = Limits::new(&LimitOptions {
            max_connections: None,
            max_concurrent_requests: Some(1),
            max_queued_requests,
            queue_timeout: Duration::from_secs(10),
        });
        Self { limits: Arc::new(limits), refused: Arc::default() }
    }

    /// An actor that waits for its turn, and takes it.
    fn enter(&self) -> Actor {
        let room = self.clone();
        Box::new(move || room.hold(block_on(room.limits.enter(None))))
    }

    /// An actor that leaves if it has to wait.
    fn leave(&self) -> Actor {
        let room = self.clone();
        Box::new(move || {
            if let Some(entered) = poll_once(room.limits.enter(None)) {
                room.hold(entered);
            }
        })
    }

    fn hold(&self, entered: Result<Permits, LocalReply>) {
        match entered {
            Ok(permits) => drop(permits),
            Err(reply) => {
                assert_eq!(reply.code(), "overloaded");
                self.refused.fetch_add(1, SeqCst);
            }
        }
    }

    /// Returns the number of requests that were refused.
    fn check_at_the_end(&self) -> usize {
        assert_eq!(self.limits.waiting().load(Relaxed), 0, "no one is in the queue");
        let entered = self.limits.enter_at_once(None);
        assert!(entered.is_some(), "the permit is back");
        assert!(self.limits.enter_at_once(None).is_none(), "and there is one");
        self.refused.load(SeqCst)
    }
}

fn three_requests_take_turns() {
    let room = Room::with_queue(2);
    act_without_tasks((0..3).map(|_| room.enter()).collect());
    assert_eq!(room.check_at_the_end(), 0);
}

fn one_of_four_requests_may_have_to_leave_a_full_queue() {
    let room = Room::with_queue(2);
    act_without_tasks((0..4).map(|_| room.enter()).collect());
    assert!(room.check_at_the_end() <= 1);
}

fn a_request_that_leaves_the_queue_takes_no_permit_with_it() {
    let room = Room::with_queue(3);
    act_without_tasks(vec![room.enter(), room.enter(), room.leave(), room.leave()]);
    assert_eq!(room.check_at_the_end(), 0);
}

fn a_clients_permit_is_returned_when_the_wait_for_the_other_ends_early() {
    let room = Room::with_queue(3);
    let client = Client(Arc::new(Semaphore::new(1)));
    let leave = || {
        let (room, client) = (room.clone(), client.clone());
        Box::new(move || {
            if let Some(entered) = poll_once(room.limits.enter(Some(&client))) {
                room.hold(entered);
            }
        }) as Actor
    };
    act_without_tasks(vec![room.enter(), leave(), leave()]);
    assert_eq!(room.check_at_the_end(), 0);
    assert!(room.limits.enter_at_once(Some(&client)).is_some(), "the client's permit is back");
}

fn a_wait_that_ends_by_time_takes_no_permit_with_it() {
    let room = Room::with_queue(2);
    let late = Box::new(|| advance(Duration::from_secs(11)));
    act_without_tasks(vec![room.enter(), room.enter(), late]);
    room.check_at_the_end();
}
