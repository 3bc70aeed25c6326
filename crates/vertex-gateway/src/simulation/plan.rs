//! The plan that a seed draws before its simulation begins: the settings of the gateway, and how hostile
//! its surroundings are. Everything else is drawn while the simulation runs.

use std::time::Duration;

use fastrand::Rng;

use super::network::Link;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Makes the requests of each seed different.
    pub(super) salt: u64,
    pub(super) clients: usize,
    pub(super) requests_per_client: usize,
    /// Whether clients use HTTP/2, in thousandths of them.
    pub(super) http2: u32,
    /// The longest time of a client before a request.
    pub(super) longest_pause: u64,
    /// Thousandths of the requests that the client does not wait for.
    pub(super) leaving: u32,
    /// Thousandths of the clients that read slowly.
    pub(super) slow: u32,
    /// Thousandths of the responses of the upstream that are errors.
    pub(super) errors: u32,
    /// Thousandths of the exchanges with the upstream that a fault of the network disturbs.
    pub(super) faults: u32,
    /// Thousandths of the fetches of a token that fail, hang or return the same token.
    pub(super) token_faults: u32,
    /// Number of events such as a revocation, a step of the clock, or a reload.
    pub(super) events: usize,
    /// Seconds.
    pub(super) token_lifetime: u64,
    pub(super) workers: usize,
    pub(super) max_attempts: u32,
    pub(super) max_concurrent: usize,
    pub(super) max_queued: usize,
    pub(super) max_connections: usize,
    pub(super) per_client: u32,
    pub(super) replay_limit: usize,
    pub(super) compat: bool,
    pub(super) keys: bool,
    pub(super) queue_timeout: Duration,
    pub(super) response_header_timeout: Duration,
    pub(super) stream_idle_timeout: Duration,
    pub(super) request_body_timeout: Duration,
    pub(super) send_timeout: Duration,
    pub(super) connection_lifetime: Option<Duration>,
    /// Whether the drain begins while clients still send.
    pub(super) drains_early: bool,
    pub(super) drain_timeout: Duration,
    pub(super) link: Link,
    pub(super) longest_body: usize,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let salt = rng.u64(..);
        let mut of = |choices: &[u32]| choices[rng.usize(0..choices.len())];
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let plan = Self {
            salt,
            clients: of(&[1, 1, 2, 2, 3, 4, 6]) as usize,
            requests_per_client: of(&[1, 1, 2, 2, 3, 4]) as usize,
            http2: of(&[0, 0, 0, 300, 1000]),
            longest_pause: of(&[1, 10, 1000, 30_000, 300_000]).into(),
            leaving: of(&[0, 0, 100, 400]),
            slow: of(&[0, 0, 100, 500]),
            errors: of(&[0, 50, 200, 600]),
            faults: of(&[0, 0, 50, 200, 500]),
            token_faults: of(&[0, 0, 100, 500]),
            events: of(&[0, 1, 2, 6]) as usize,
            token_lifetime: of(&[5, 30, 300, 3600]).into(),
            workers: of(&[1, 1, 1, 2]) as usize,
            max_attempts: of(&[1, 1, 2, 3]),
            max_concurrent: of(&[0, 1, 2, 5]) as usize,
            max_queued: of(&[0, 1, 10]) as usize,
            max_connections: of(&[0, 0, 1, 3]) as usize,
            per_client: of(&[0, 0, 1, 2]),
            replay_limit: of(&[0, 1 << 10, 32 << 20, 32 << 20]) as usize,
            compat: of(&[0, 1]) == 1,
            keys: of(&[0, 1, 1]) == 1,
            queue_timeout: seconds(of(&[0, 2, 10])),
            response_header_timeout: seconds(of(&[5, 30, 120])),
            stream_idle_timeout: seconds(of(&[5, 30])),
            request_body_timeout: seconds(of(&[5, 30])),
            send_timeout: seconds(of(&[5, 20])),
            connection_lifetime: Some(of(&[0, 1, 20])).filter(|s| *s > 0).map(seconds),
            drains_early: of(&[0, 0, 0, 1]) == 1,
            drain_timeout: seconds(of(&[1, 20, 600])),
            link: Link {
                latency: Duration::from_millis(of(&[0, 0, 1, 20, 500]).into()),
                capacity: of(&[100, 1000, 16 << 10, 64 << 10]) as usize,
                piece: of(&[7, 100, 64 << 10, 64 << 10]) as usize,
                reset_destroys: of(&[0, 1]) == 1,
            },
            longest_body: of(&[200, 200, 5000, 40_000]) as usize,
        };
        // Many small pieces take much of a run's time, and find no more than a few do.
        let most = plan.link.capacity.min(plan.link.piece) * 50;
        Self { longest_body: plan.longest_body.min(most), ..plan }
    }
}
