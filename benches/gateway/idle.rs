//! Streams that have begun and are idle, as those of a model that thinks.

use std::{
    cell::RefCell,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};
use tower::BoxError;

use crate::{
    client::{Client, Target},
    exchange::Question,
    load::on_this_thread,
    process::Server,
};

/// The number of streams that begin at a time.
pub const BEGINNING: usize = 32;

/// The measurements of many idle streams.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Resident memory of the server for each stream, in bytes.
    pub memory: f64,
    /// The quantiles of the times to the first byte, in seconds: 0.5, 0.99 and 1.
    pub first: [f64; 3],
}

/// Opens this number of streams, and measures the memory when all of them are open.
pub fn idle(target: &Target, server: &Server, streams: usize) -> Result<Idle, BoxError> {
    let question = Rc::new(Question::idle(target.manner));
    let settle = || thread::sleep(Duration::from_millis(300));
    settle();
    let before = server.memory()?;
    on_this_thread(async {
        let turns = Rc::new(Semaphore::new(BEGINNING));
        let open = Rc::new(RefCell::new(Vec::with_capacity(streams)));
        let mut all = JoinSet::new();
        for _ in 0..streams {
            let (target, turns, open, question) =
                (target.clone(), Rc::clone(&turns), Rc::clone(&open), Rc::clone(&question));
            all.spawn_local(async move {
                let _turn = turns.acquire().await?;
                let began = Instant::now();
                let mut client = Client::connect(&target).await?;
                client.begin(&question).await?;
                open.borrow_mut().push((began.elapsed(), client));
                Ok::<_, BoxError>(())
            });
        }
        while let Some(stream) = all.join_next().await {
            stream??;
        }
        settle();
        let memory = server.memory()?.saturating_sub(before) as f64 / streams as f64;
        let mut first: Vec<_> = open.borrow().iter().map(|(first, _)| *first).collect();
        first.sort_unstable();
        let at = |of: f64| first[((streams - 1) as f64 * of).round() as usize].as_secs_f64();
        Ok(Idle { memory, first: [at(0.5), at(0.99), at(1.0)] })
    })
}
