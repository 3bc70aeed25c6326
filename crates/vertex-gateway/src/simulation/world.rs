//! The state that all parts of a simulation share: its random numbers, its trace, its clocks, and what was
//! observed.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use super::{network::Connection, plan::Plan, tokens::Tokens, weather::ClientPermits};

/// One request as the upstream saw it.
pub(super) struct Sent {
    pub(super) outcome: Outcome,
    /// The body of the response.
    pub(super) body: Vec<u8>,
    /// Whether the upstream itself has ended the exchange early.
    pub(super) is_cut: bool,
    pub(super) connection: Connection,
}

impl Sent {
    /// Whether a fault may have kept the response from the gateway.
    pub(super) fn is_disturbed(&self) -> bool {
        self.is_cut || self.connection.was_disturbed()
    }
}

/// How the upstream replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did not reply: the connection ended, or the request was not complete.
    None,
    /// The status of the response.
    Status(u16),
}

/// One line of the log about a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) status: u64,
    pub(super) end: String,
    pub(super) bytes_sent: u64,
    pub(super) attempts: u64,
    pub(super) error_code: String,
}

/// The response that a client got.
#[derive(Clone, Debug, Default)]
pub(super) struct Got {
    /// `None` without a response.
    pub(super) status: Option<u16>,
    pub(super) body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub(super) is_complete: bool,
    pub(super) is_stream: bool,
    /// Whether the connection was used before. The gateway may have closed it in the meantime.
    pub(super) is_reused: bool,
    /// The id in the response.
    pub(super) id: Option<String>,
}

/// Everything about one request of a client.
#[derive(Default)]
pub(super) struct Request {
    pub(super) sent: Vec<Sent>,
    pub(super) records: Vec<Record>,
    pub(super) got: Option<Got>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) requests: BTreeMap<usize, Request>,
    pub(super) violations: Vec<String>,
    hash: u64,
    lines: Vec<String>,
    events: BTreeMap<&'static str, u64>,
    /// The connections to the upstream and of the clients, for faults.
    pub(super) upstream_connections: Vec<Connection>,
    pub(super) client_connections: Vec<Connection>,
    /// Until this time, no connection to the upstream can be opened.
    pub(super) upstream_down_until: Option<Instant>,
    pub(super) steps: u32,
    /// Whether a fault of the network has hit a client's connection.
    pub(super) has_hit_clients: bool,
    pub(super) permits: Vec<ClientPermits>,
    /// Whether the gateway has begun to stop.
    pub(super) is_draining: bool,
}

/// A simulation.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) tokens: Tokens,
    state: Mutex<State>,
    rng: Mutex<fastrand::Rng>,
    began: Instant,
    is_verbose: bool,
}

thread_local! {
    /// How far the wall clock of this thread is ahead of its beginning, without the simulated time.
    static STEPPED: Cell<i64> = const { Cell::new(0) };
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The start of each simulation by the wall clock, in seconds since 1970.
const START: i64 = 1_800_000_000;

/// The wall clock of the simulation on this thread.
pub(super) fn wall_clock() -> SystemTime {
    let elapsed = BEGAN.get().map_or(Duration::ZERO, |began| began.elapsed());
    let start = u64::try_from(START + STEPPED.get()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(start) + elapsed
}

impl World {
    pub(super) fn new(seed: u64, is_verbose: bool) -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let began = Instant::now();
        STEPPED.set(0);
        BEGAN.set(Some(began));
        let world = Arc::new(Self {
            tokens: Tokens::default(),
            state: Mutex::default(),
            rng: Mutex::new(rng),
            began,
            is_verbose,
            plan,
        });
        world.event("plan", || format!("{:?}", world.plan));
        world
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Draws with the generator of the simulation.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap())
    }

    /// Whether an event of this probability, in thousandths, happens.
    pub(super) fn happens(&self, thousandths: u32) -> bool {
        self.draw(|rng| rng.u32(0..1000)) < thousandths
    }

    pub(super) fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.draw(|rng| rng.u64(range)))
    }

    /// Accesses a request.
    pub(super) fn with_request<T>(
        &self,
        number: usize,
        access: impl FnOnce(&mut Request) -> T,
    ) -> T {
        access(self.state().requests.entry(number).or_default())
    }

    /// Adds an event to the trace. `detail` is written only if the trace is printed.
    pub(super) fn event<D: Display>(&self, what: &'static str, detail: impl FnOnce() -> D) {
        let at = self.began.elapsed();
        let mut state = self.state();
        *state.events.entry(what).or_default() += 1;
        for value in [
            u64::try_from(at.as_micros()).unwrap_or(0),
            what.len() as u64,
            what.as_bytes()[0].into(),
        ] {
            state.hash = (state.hash ^ value).wrapping_mul(0x100_0000_01b3).rotate_left(23);
        }
        if self.is_verbose {
            drop(state);
            let line = format!("{:>10.3} {what} {}", at.as_secs_f64(), detail());
            self.state().lines.push(line);
        }
    }

    /// Reports that an invariant does not hold.
    pub(super) fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        self.event("VIOLATED", || what.clone());
        self.state().violations.push(what);
    }

    pub(super) fn step_wall_clock(&self, seconds: i64) {
        STEPPED.set(STEPPED.get() + seconds);
        self.state().steps += 1;
        self.event("clock step", || format!("{seconds} s"));
    }

    /// How often each event happened.
    pub(super) fn events(&self) -> BTreeMap<&'static str, u64> {
        self.state().events.clone()
    }

    /// Counts something that is no event of the trace.
    pub(super) fn count(&self, what: &'static str) {
        *self.state().events.entry(what).or_default() += 1;
    }

    /// The hash of the trace and the lines of it.
    pub(super) fn trace(&self) -> (u64, Vec<String>) {
        let state = self.state();
        (state.hash, state.lines.clone())
    }
}

/// The number of a request in its id; ids look like `sim-7`.
pub(super) fn number_of(id: &str) -> Option<usize> {
    id.strip_prefix("sim-")?.parse().ok()
}
