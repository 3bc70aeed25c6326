//! File descriptors: how many there are, and for how many clients they are enough.

/// Descriptors for all that is not a request: the listeners, the admin listener's connections, those
/// to the token server, the log, and files that are read again.
const RESERVE: u64 = 64;
/// Each worker has a runtime, with a queue of events of its own.
const OF_A_WORKER: u64 = 8;

/// Raises the limit of open files as far as the system lets it, and says what it is now.
pub(crate) fn raise_limit() -> u64 {
    // What the system refuses stays as it was, which it does not tell then. Nobody has fewer.
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024)
}

/// For how many connections of clients the descriptors are enough, and for how many requests: each has
/// one, and a request has one more to Vertex AI.
pub(crate) fn share(descriptors: u64, workers: usize) -> usize {
    let reserve = RESERVE.saturating_add(OF_A_WORKER.saturating_mul(workers as u64));
    let free = descriptors.saturating_sub(reserve);
    // With too few for a reserve, some are served all the same.
    usize::try_from((free / 2).max(descriptors / 8).max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_of_descriptors_is_left() {
        for (descriptors, workers, wanted) in [
            (1024, 2, 472),
            (120, 2, 20),
            (64, 2, 8),
            (20, 1, 2),
            (0, 1, 1),
            (1 << 20, 64, 524_000),
        ] {
            assert_eq!(share(descriptors, workers), wanted, "{descriptors}, {workers}");
        }
        assert!(share(u64::MAX, 64) > 1 << 20);
    }
}
