//! Runs simulations: the seeds of one run, and those that once found something.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use super::{Report, log::Log, plan::Plan, simulate};

/// Seeds of a run without `SIM_SEEDS`.
const SEEDS: u64 = 200;

/// Number of seeds whose traces are compared.
const SAME: usize = 20;

/// Seeds that found something, each with what it was.
const FOUND: [(u64, &str); 0] = [];

/// Sets the log of all threads, which ignores those without a simulation. With one for the threads of
/// simulations alone, a thread of another test could be the first to reach a log line, and tracing would disable
/// the line for all threads.
fn install_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Log).unwrap());
    // A thread may have reached its first log line before that, and have added the line to the known ones after it.
    tracing::callsite::rebuild_interest_cache();
}

/// Simulates a seed. A panic counts as a violation.
fn checked(seed: u64, is_verbose: bool) -> Report {
    install_log();
    catch_unwind(AssertUnwindSafe(|| simulate(seed, is_verbose))).unwrap_or_else(|_| Report {
        hash: 0,
        violations: vec!["a panic, which is printed above".to_owned()],
        trace: Vec::new(),
        events: BTreeMap::new(),
    })
}

/// The plan of a seed.
fn plan(seed: u64) -> Plan {
    Plan::draw(&mut fastrand::Rng::with_seed(seed))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// How often a seed is repeated until it fails again.
const REPEATS: usize = 100;

/// Fails with the trace of the seed.
fn fail(seed: u64, report: &Report) -> ! {
    let again =
        (0..REPEATS).map(|_| checked(seed, true)).find(|again| !again.violations.is_empty());
    let trace = again.map_or_else(
        || format!("{REPEATS} more simulations of the seed violate nothing"),
        |again| again.trace.join("\n"),
    );
    let violations = report.violations.join("\n  ");
    panic!(
        "{trace}\n\nseed {seed} violates:\n  {violations}\n\nrun it alone: SIM_SEED={seed} cargo test -p \
         vertex-gateway --all-features --lib simulation"
    );
}

#[test]
fn the_invariants_hold_for_every_seed() {
    let (first, seeds) = match number("SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (number("SIM_FIRST").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let events = Mutex::new(BTreeMap::<_, u64>::new());
    let failed = Mutex::new(BTreeMap::new());
    let began = Instant::now();
    let work = || loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= first + seeds {
            return;
        }
        let report = checked(seed, false);
        for (what, times) in &report.events {
            *events.lock().unwrap().entry(*what).or_default() += times;
        }
        if !report.violations.is_empty() {
            let mut failed = failed.lock().unwrap();
            if failed.is_empty() {
                println!("the first violation: after {:?}, by seed {seed}", began.elapsed());
            }
            failed.insert(seed, report);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    for (seed, report) in failed.iter().take(20) {
        println!("seed {seed}: {}", report.violations.join("; "));
    }
    if let Some((seed, report)) = failed.first_key_value() {
        println!("{} of {seeds} seeds violate an invariant", failed.len());
        fail(*seed, report);
    }
    if seeds == 1 {
        let report = checked(first, true);
        println!("{}", report.trace.join("\n"));
    }
    for (what, times) in events.into_inner().unwrap() {
        println!("{times:>9} {what}");
    }
    println!("{seeds} seeds in {:?}", began.elapsed());
}

#[test]
fn the_seeds_that_found_something_find_nothing_more() {
    for (seed, what) in FOUND {
        let report = checked(seed, false);
        if !report.violations.is_empty() {
            println!("this seed found: {what}");
            fail(seed, &report);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    // Tokio chooses by chance in which order waiters of a channel are woken, and `tokio_unstable` alone
    // lets a program seed it. So the clients of these seeds are alone.
    let alone = (0..).filter(|seed| plan(*seed).clients == 1 || cfg!(tokio_unstable));
    for seed in alone.take(SAME) {
        let (one, other) = (checked(seed, true), checked(seed, true));
        let differs = one.trace.iter().zip(&other.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.hash, other.hash, "seed {seed}");
    }
}
