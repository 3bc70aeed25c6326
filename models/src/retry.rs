//! The circuit breaker: its word, and the permits over it.

#[path = "../../src/retry/circuit_breaker.rs"]
#[rustfmt::skip]
mod circuit_breaker;
#[path = "../../src/retry/locations.rs"]
#[rustfmt::skip]
mod locations;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::model::begin_at;

use self::{
    circuit_breaker::{Circuit, CircuitState},
    locations::{Ejection, Locations, Permit},
};
use crate::{
    route::Upstream,
    runner::{Actor, EXHAUSTIVE, Model, act_without_tasks},
};

pub(crate) const MODELS: &[Model] = &[
    Model {
        name: "circuit: one of three failures opens it",
        threads: 3,
        preemptions: Some(3),
        run: one_of_the_failures_opens_it::<3>,
        ..EXHAUSTIVE
    },
    Model {
        name: "circuit: one of three requests probes an open circuit",
        threads: 3,
        preemptions: Some(3),
        run: one_of_the_requests_probes_an_open_circuit::<3>,
        ..EXHAUSTIVE
    },
    Model {
        name: "circuit: a failure, a success and a refusal leave a state of theirs",
        threads: 4,
        preemptions: Some(2),
        run: a_failure_a_success_and_a_refusal_leave_a_state_of_theirs,
        ..EXHAUSTIVE
    },
    Model {
        name: "locations: a probe that is dropped makes room for one other",
        threads: 3,
        preemptions: Some(3),
        run: a_probe_that_is_dropped_makes_room_for_one_other::<3>,
        ..EXHAUSTIVE
    },
    Model {
        name: "locations: a probe ends by failure or drop, and the next may start",
        threads: 3,
        preemptions: Some(3),
        run: a_probe_ends_by_failure_or_drop_and_the_next_may_start,
        ..EXHAUSTIVE
    },
];

fn actors(count: usize, actor: impl Fn() + Clone + Send + 'static) -> Vec<Actor> {
    (0..count).map(|_| Box::new(actor.clone()) as Actor).collect()
}

fn one_of_the_failures_opens_it<const THREADS: usize>() {
    let (circuit, opened) = (Arc::new(Circuit::closed()), Arc::new(AtomicUsize::new(0)));
    let (shared, count) = (Arc::clone(&circuit), Arc::clone(&opened));
    act_without_tasks(actors(THREADS, move || {
        count.fetch_add(usize::from(shared.failed(3, 100)), SeqCst);
    }));
    assert_eq!(opened.load(SeqCst), 1);
    assert_eq!(circuit.state(), CircuitState::Open(100));
}

fn one_of_the_requests_probes_an_open_circuit<const THREADS: usize>() {
    let (circuit, probes) = (Arc::new(Circuit::closed()), Arc::new(AtomicUsize::new(0)));
    assert!(circuit.open_if_closed(100));
    let (shared, count) = (Arc::clone(&circuit), Arc::clone(&probes));
    act_without_tasks(actors(THREADS, move || {
        count.fetch_add(usize::from(shared.start_probe(100)), SeqCst);
    }));
    assert_eq!(probes.load(SeqCst), 1);
    assert_eq!(circuit.state(), CircuitState::Probing);
}

/// No update is lost: what each call returned fits one order of all of them.
fn a_failure_a_success_and_a_refusal_leave_a_state_of_theirs() {
    let circuit = Arc::new(Circuit::closed());
    let (opened, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let fail = || {
        let (circuit, opened) = (Arc::clone(&circuit), Arc::clone(&opened));
        Box::new(move || {
            opened.fetch_add(usize::from(circuit.failed(2, 100)), SeqCst);
        })
    };
    let close = || {
        let (circuit, closed) = (Arc::clone(&circuit), Arc::clone(&closed));
        Box::new(move || {
            closed.fetch_add(usize::from(circuit.close()), SeqCst);
        })
    };
    let succeed = || {
        let circuit = Arc::clone(&circuit);
        Box::new(move || circuit.succeeded())
    };
    act_without_tasks(vec![fail(), fail(), succeed(), close()]);
    let is_open = circuit.state() == CircuitState::Open(100);
    let (opened, closed) = (opened.load(SeqCst), closed.load(SeqCst));
    assert_eq!(opened, closed + usize::from(is_open), "{:?}", circuit.state());
}

const EJECTION: Ejection = Ejection { failure_threshold: 1, time: Duration::from_secs(30) };

/// Two locations, of which the first one is ejected and due for a probe.
fn one_is_due() -> Locations {
    let upstreams = ["first", "second"].map(|name| Upstream(name.to_owned()));
    let locations = Locations::new(upstreams).expect("two locations");
    let permit = locations.choose(&[]).expect("a permit");
    permit.failed(Duration::ZERO, EJECTION);
    assert!(!is_probe(&locations.choose(&[]).expect("a permit")), "it is ejected");
    begin_at(Duration::from_secs(31));
    locations
}

/// Whether a permit for an ejected location, while the other one is not, is for a probe.
fn is_probe(permit: &Permit) -> bool {
    permit.upstream().0 == "first"
}

fn a_probe_that_is_dropped_makes_room_for_one_other<const THREADS: usize>() {
    let (locations, probes) = (one_is_due(), Arc::new(AtomicUsize::new(0)));
    let (shared, count) = (locations.clone(), Arc::clone(&probes));
    act_without_tasks(actors(THREADS, move || {
        let permit = shared.choose(&[]).expect("a permit");
        if is_probe(&permit) {
            assert_eq!(count.fetch_add(1, SeqCst), 0, "two probes at a time");
            count.fetch_sub(1, SeqCst);
        }
        drop(permit);
    }));
    assert!(is_probe(&locations.choose(&[]).expect("a permit")), "the place is free");
}

fn a_probe_ends_by_failure_or_drop_and_the_next_may_start() {
    let (locations, probes) = (one_is_due(), Arc::new(AtomicUsize::new(0)));
    let probe = |end: fn(Permit)| {
        let (locations, probes) = (locations.clone(), Arc::clone(&probes));
        Box::new(move || {
            let permit = locations.choose(&[]).expect("a permit");
            if is_probe(&permit) {
                assert_eq!(probes.fetch_add(1, SeqCst), 0, "two probes at a time");
                probes.fetch_sub(1, SeqCst);
            }
            end(permit);
        }) as Actor
    };
    act_without_tasks(vec![
        probe(drop),
        probe(drop),
        probe(|permit| {
            if is_probe(&permit) {
                permit.failed(Duration::ZERO, EJECTION);
            }
        }),
    ]);
    begin_at(Duration::from_secs(62));
    assert!(is_probe(&locations.choose(&[]).expect("a permit")), "the place is free");
}
