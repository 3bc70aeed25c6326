//! Whether a location is ejected for a while.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Closed, open or half-open. A relaxed atomic word is enough: it publishes no other data.
#[derive(Debug)]
pub(super) struct Circuit(AtomicU64);

/// The meaning of the word. Times are in milliseconds of the owner's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CircuitState {
    /// Requests go to the location; this many have failed in a row.
    Closed(u32),
    /// No requests go to the location until this time.
    Open(u64),
    /// Half-open: one request probes the location.
    Probing,
}

const OPEN: u64 = 1 << 63;
const PROBING: u64 = u64::MAX;
/// All later times are stored as this one.
const LATEST: u64 = PROBING - 1 - OPEN;

impl CircuitState {
    fn pack(self) -> u64 {
        match self {
            Self::Closed(failures) => u64::from(failures),
            Self::Open(until) => OPEN | until.min(LATEST),
            Self::Probing => PROBING,
        }
    }

    fn unpack(word: u64) -> Self {
        match word {
            PROBING => Self::Probing,
            open if open & OPEN != 0 => Self::Open(open & !OPEN),
            closed => Self::Closed(u32::try_from(closed).unwrap_or(u32::MAX)),
        }
    }
}

impl Circuit {
    pub(super) fn closed() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn state(&self) -> CircuitState {
        CircuitState::unpack(self.0.load(Relaxed))
    }

    /// Sets the state that `next` returns. Returns the states before and after, if it was set.
    fn update(
        &self,
        next: impl Fn(CircuitState) -> Option<CircuitState>,
    ) -> Option<(CircuitState, CircuitState)> {
        let mut word = self.0.load(Relaxed);
        loop {
            let before = CircuitState::unpack(word);
            let after = next(before)?;
            match self.0.compare_exchange_weak(word, after.pack(), Relaxed, Relaxed) {
                Ok(_) => return Some((before, after)),
                Err(other) => word = other,
            }
        }
    }

    /// Starts the probe by one request, if the circuit is open and its pause is over.
    pub(super) fn start_probe(&self, now: u64) -> bool {
        let due = |state| matches!(state, CircuitState::Open(until) if until <= now);
        self.update(|state| due(state).then_some(CircuitState::Probing)).is_some()
    }

    /// Ends that probe without a result: the next request may start another one.
    pub(super) fn give_up_probe(&self) {
        self.update(|state| (state == CircuitState::Probing).then_some(CircuitState::Open(0)));
    }

    /// Forgets the failures of a closed circuit. An open one stays open.
    pub(super) fn succeeded(&self) {
        self.update(|state| {
            matches!(state, CircuitState::Closed(1..)).then_some(CircuitState::Closed(0))
        });
    }

    /// Closes the circuit. Returns whether it was not closed before.
    pub(super) fn close(&self) -> bool {
        let close = |state| (state != CircuitState::Closed(0)).then_some(CircuitState::Closed(0));
        self.update(close).is_some_and(|(before, _)| !matches!(before, CircuitState::Closed(_)))
    }

    /// Counts a failure. Returns whether this one opened the circuit, until that time.
    pub(super) fn failed(&self, allowed: u32, until: u64) -> bool {
        let count = |state| match state {
            CircuitState::Closed(failures) if failures.saturating_add(1) < allowed => {
                Some(CircuitState::Closed(failures + 1))
            }
            CircuitState::Closed(_) => Some(CircuitState::Open(until)),
            // The request was sent before the circuit opened; its failure is not news.
            CircuitState::Open(_) | CircuitState::Probing => None,
        };
        matches!(self.update(count), Some((_, CircuitState::Open(_))))
    }

    /// Opens the circuit, or keeps it open, until that time. Returns whether it was closed before.
    pub(super) fn open(&self, until: u64) -> bool {
        let opened = self.update(|_| Some(CircuitState::Open(until)));
        matches!(opened, Some((CircuitState::Closed(_), _)))
    }

    /// Opens the circuit if it is closed, and returns whether it was.
    pub(super) fn open_if_closed(&self, until: u64) -> bool {
        let open =
            |state| matches!(state, CircuitState::Closed(_)).then_some(CircuitState::Open(until));
        self.update(open).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_survive_their_packing() {
        for state in [
            CircuitState::Closed(0),
            CircuitState::Closed(u32::MAX),
            CircuitState::Open(0),
            CircuitState::Open(LATEST),
            CircuitState::Probing,
        ] {
            assert_eq!(CircuitState::unpack(state.pack()), state);
        }
        assert_eq!(
            CircuitState::unpack(CircuitState::Open(u64::MAX).pack()),
            CircuitState::Open(LATEST)
        );
    }

    #[test]
    fn failures_in_a_row_open_a_circuit_and_a_success_between_resets_the_count() {
        let circuit = Circuit::closed();
        assert!(!circuit.failed(3, 100) && !circuit.failed(3, 100));
        circuit.succeeded();
        assert!(!circuit.failed(3, 100) && !circuit.failed(3, 100));
        assert!(circuit.failed(3, 100));
        assert_eq!(circuit.state(), CircuitState::Open(100));
        // Requests that were sent earlier change nothing.
        assert!(!circuit.failed(3, 200));
        circuit.succeeded();
        assert_eq!(circuit.state(), CircuitState::Open(100));
    }

    #[test]
    fn one_probe_at_a_time_starts_once_the_pause_is_over() {
        let circuit = Circuit::closed();
        assert!(!circuit.start_probe(1000));
        assert!(circuit.failed(1, 100));
        assert!(!circuit.start_probe(99));
        assert!(circuit.start_probe(100));
        assert!(!circuit.start_probe(1000));
        circuit.give_up_probe();
        assert!(circuit.start_probe(101));
        assert!(!circuit.open(200));
        assert!(!circuit.start_probe(199) && circuit.start_probe(200));
        assert!(circuit.close());
        assert_eq!(circuit.state(), CircuitState::Closed(0));
        assert!(!circuit.close());
        // There is no probe to give up: the circuit was closed meanwhile.
        circuit.give_up_probe();
        assert_eq!(circuit.state(), CircuitState::Closed(0));
    }

    #[test]
    fn only_one_of_many_threads_gets_the_probe() {
        let circuit = Circuit::closed();
        assert!(circuit.open_if_closed(5) && !circuit.open_if_closed(9));
        let won = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| circuit.start_probe(7))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
    }
}
