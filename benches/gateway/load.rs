//! The load: many clients without a pause, requests at a constant rate, streams.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    sync::Semaphore,
    task::{JoinSet, LocalSet},
};
use tower::BoxError;

use crate::{
    client::{Client, Target},
    exchange::{EVENTS, Question},
    tick::Ticks,
};

/// The measurements of the clients.
#[derive(Debug)]
pub struct Load {
    pub elapsed: Duration,
    /// The duration of each request, the shortest first.
    pub took: Vec<Duration>,
    /// The requests that were due but had no response at the end.
    pub missed: usize,
}

impl Load {
    fn new(began: Instant, mut took: Vec<Duration>, missed: usize) -> Self {
        let elapsed = began.elapsed();
        took.sort_unstable();
        Self { elapsed, took, missed }
    }

    pub fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The quantile in seconds; half of all requests took less than `quantile(0.5)`.
    pub fn quantile(&self, of: f64) -> f64 {
        let last = self.took.len().saturating_sub(1);
        self.took.get((last as f64 * of).round() as usize).map_or(f64::NAN, Duration::as_secs_f64)
    }
}

/// Runs the clients on this thread.
pub fn on_this_thread<T>(work: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}

/// Runs this number of clients concurrently, for this duration. Each sends the next request when it
/// has the whole response.
pub fn closed(target: &Target, clients: usize, duration: Duration) -> Result<Load, BoxError> {
    without_pause(target, &Question::chat(target.manner), clients, duration)
}

/// The same with streams of 51 events.
pub fn streams(target: &Target, clients: usize, duration: Duration) -> Result<Load, BoxError> {
    without_pause(target, &Question::stream(target.manner, EVENTS), clients, duration)
}

fn without_pause(
    target: &Target,
    question: &Question,
    clients: usize,
    duration: Duration,
) -> Result<Load, BoxError> {
    on_this_thread(async {
        let connected = connect(target, clients).await?;
        let began = Instant::now();
        let mut all = JoinSet::new();
        for mut client in connected {
            let question = question.clone();
            all.spawn_local(async move {
                let mut took = Vec::new();
                // Each client sends at least one request, regardless of the duration.
                while took.is_empty() || began.elapsed() < duration {
                    took.push(client.ask(&question).await?.whole);
                }
                Ok::<_, BoxError>(took)
            });
        }
        let mut took = Vec::new();
        while let Some(client) = all.join_next().await {
            took.extend(client??);
        }
        Ok(Load::new(began, took, 0))
    })
}

/// Sends this number of requests per second, whether the server has responded to the earlier ones
/// or not. The time of a request counts from the moment at which it was due, so a server that
/// stops for a moment makes all requests late that were due meanwhile ("coordinated omission" would
/// count one).
pub fn open(
    target: &Target,
    connections: usize,
    per_second: u32,
    duration: Duration,
) -> Result<Load, BoxError> {
    let period = Duration::from_secs(1) / per_second;
    let number = (duration.as_nanos() / period.as_nanos()).max(1) as usize;
    let question = Rc::new(Question::chat(target.manner));
    on_this_thread(async {
        let connected = connect(target, connections).await?;
        let due = Rc::new((Semaphore::new(0), RefCell::new(VecDeque::new())));
        let took = Rc::new(RefCell::new(Vec::with_capacity(number)));
        let mut all = JoinSet::new();
        for mut client in connected {
            let (question, due, took) = (Rc::clone(&question), Rc::clone(&due), Rc::clone(&took));
            all.spawn_local(async move {
                // The semaphore is closed when all requests have been sent.
                while let Ok(permit) = due.0.acquire().await {
                    permit.forget();
                    let Some(at) = due.1.borrow_mut().pop_front() else { break };
                    client.ask(&question).await?;
                    took.borrow_mut().push(Instant::now().saturating_duration_since(at));
                }
                Ok::<_, BoxError>(())
            });
        }
        let ticks = Ticks::every(period)?;
        let began = Instant::now();
        let mut sent = 0;
        while sent < number {
            for _ in 0..ticks.next().await?.min((number - sent) as u64) {
                sent += 1;
                due.1.borrow_mut().push_back(began + period * sent as u32);
                due.0.add_permits(1);
            }
        }
        // A server that is too slow for the rate gets as much time again.
        let patience = duration.max(Duration::from_secs(1));
        while took.borrow().len() < number && began.elapsed() < duration + patience {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if let Some(ended) = all.try_join_next() {
                ended??;
            }
        }
        let mut took = took.take();
        // The others have waited for at least this long.
        let missed = number - took.len();
        took.extend(due.1.borrow().iter().map(|at: &Instant| at.elapsed()));
        took.resize(number, began.elapsed());
        Ok(Load::new(began, took, missed))
    })
}

/// One client that requests short streams, one after another. Returns the times to their first
/// bytes.
pub fn first_bytes(target: &Target, number: usize) -> Result<Load, BoxError> {
    let question = Question::stream(target.manner, 2);
    on_this_thread(async {
        let mut client = Client::connect(target).await?;
        let began = Instant::now();
        let mut took = Vec::with_capacity(number);
        for _ in 0..number {
            took.push(client.ask(&question).await?.first);
        }
        Ok(Load::new(began, took, 0))
    })
}

async fn connect(target: &Target, clients: usize) -> Result<Vec<Client>, BoxError> {
    let mut connected = Vec::with_capacity(clients);
    for _ in 0..clients {
        connected.push(Client::connect(target).await?);
    }
    Ok(connected)
}

/// Waits until a server gives the right response.
pub fn wait_for(target: &Target, patience: Duration) -> Result<(), BoxError> {
    let deadline = Instant::now() + patience;
    let question = Question::chat(target.manner);
    on_this_thread(async {
        loop {
            let once = async { Client::connect(target).await?.ask(&question).await };
            match once.await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
}
