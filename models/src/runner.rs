//! Runs a model, and prints what it covered.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loom::model::Builder;
use tokio::model;

/// A closure that loom runs once for each interleaving of the threads that it starts.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) threads: usize,
    /// Whether the model moves the clock.
    pub(crate) time_passes: bool,
    pub(crate) runtimes_are_lost: bool,
    /// How often a thread may be preempted in an interleaving, apart from where it waits. `None` for
    /// any number: the model is exhaustive.
    pub(crate) preemptions: Option<usize>,
    /// The same for the long form.
    pub(crate) preemptions_long: Option<usize>,
    pub(crate) run: fn(),
}

/// After this time the long form continues with the next model.
const LONGEST: Duration = Duration::from_secs(600);

/// A model that has no bound in either form.
pub(crate) const EXHAUSTIVE: Model = Model {
    name: "",
    threads: 0,
    time_passes: false,
    runtimes_are_lost: false,
    preemptions: None,
    preemptions_long: None,
    run: || (),
};

impl Model {
    /// Returns the number of interleavings.
    pub(crate) fn check(&self, long: bool) -> usize {
        let bound = if long { self.preemptions_long } else { self.preemptions };
        let mut builder = Builder::new();
        builder.max_branches = 20_000;
        if long {
            builder.max_duration = Some(LONGEST);
        }
        // The environment sets both for experiments.
        builder.preemption_bound = builder.preemption_bound.or(bound);
        let extent = match builder.preemption_bound {
            None => "all".to_owned(),
            Some(bound) => format!("{bound} preemptions"),
        };
        print!("{:<72} {} threads  {extent:<14}", self.name, self.threads);
        std::io::Write::flush(&mut std::io::stdout()).expect("standard output");
        let count = Arc::new(AtomicUsize::new(0));
        let (start, counted, run) = (Instant::now(), Arc::clone(&count), self.run);
        model::let_time_pass(self.time_passes);
        model::let_runtimes_be_lost(self.runtimes_are_lost);
        builder.check(move || {
            counted.fetch_add(1, Relaxed);
            model::begin_at(Duration::ZERO);
            run();
            model::end();
        });
        let count = count.load(Relaxed);
        let cut = if long && start.elapsed() >= LONGEST { "  cut by time" } else { "" };
        println!("{count:>9} {:>8.2?}{cut}", start.elapsed());
        count
    }
}

/// A thread of a model.
pub(crate) type Actor = Box<dyn FnOnce() + Send>;

/// Runs each actor on a thread of its own and, on this thread, the tasks that they spawn. All threads end, or
/// loom reports a deadlock.
pub(crate) fn act(actors: Vec<Actor>) {
    let left = Arc::new(AtomicUsize::new(actors.len()));
    let threads: Vec<_> = actors
        .into_iter()
        .map(|actor| {
            let left = Arc::clone(&left);
            loom::thread::spawn(move || {
                actor();
                if left.fetch_sub(1, Relaxed) == 1 {
                    model::end_tasks();
                }
            })
        })
        .collect();
    model::run_tasks();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

/// Runs the last actor on this thread, and no tasks.
pub(crate) fn act_without_tasks(mut actors: Vec<Actor>) {
    let last = actors.pop().expect("an actor");
    let threads: Vec<_> = actors.into_iter().map(loom::thread::spawn).collect();
    last();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}
