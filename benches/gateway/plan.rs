//! The amount of work.

use std::time::Duration;

#[derive(Debug)]
pub struct Plan {
    pub rounds: usize,
    pub warm_up: Duration,
    /// The length of each load.
    pub duration: Duration,
    /// Clients that send requests without a pause.
    pub clients: usize,
    /// Requests per second of the open loop, and the connections that share them.
    pub rate: u32,
    pub connections: usize,
    /// The rate for a proxy that could not bear that of the others.
    pub slow_rate: u32,
    /// Clients that request streams without a pause.
    pub streams: usize,
    /// Streams whose first bytes are measured, one after another.
    pub first_bytes: usize,
    pub idle_streams: usize,
    pub idle_rounds: usize,
}

impl Plan {
    pub const WHOLE: Self = Self {
        rounds: 5,
        warm_up: Duration::from_millis(300),
        duration: Duration::from_millis(1500),
        clients: 32,
        rate: 8000,
        connections: 64,
        slow_rate: 50,
        streams: 32,
        first_bytes: 200,
        idle_streams: 1000,
        idle_rounds: 3,
    };

    pub const QUICK: Self = Self {
        rounds: 3,
        duration: Duration::from_millis(700),
        first_bytes: 100,
        idle_rounds: 1,
        ..Self::WHOLE
    };

    pub const TEST: Self = Self {
        rounds: 1,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(50),
        clients: 4,
        rate: 200,
        streams: 2,
        first_bytes: 2,
        idle_streams: 8,
        idle_rounds: 1,
        ..Self::WHOLE
    };
}
