//! The limit of open files, and the number of connections that it allows.

/// Descriptors for everything that is not a request: the listeners, the connections of the admin
/// listener and to the token server, the log, and the reloaded files.
const RESERVE: u64 = 64;
/// Descriptors of one worker, whose runtime has its own event queue.
const OF_A_WORKER: u64 = 8;

/// Raises the limit of open files as far as the system permits, and returns the limit.
pub(crate) fn raise_limit() -> u64 {
    // If the system refuses, the limit is unchanged but unknown. Every system allows at least 1024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024)
}

/// The number of client connections, and of requests, for which the descriptors suffice. Each
/// connection takes one descriptor, and each request takes another one to Vertex AI.
pub(crate) fn share(descriptors: u64, workers: usize) -> usize {
    let reserve = RESERVE.saturating_add(OF_A_WORKER.saturating_mul(workers as u64));
    let free = descriptors.saturating_sub(reserve);
    // With too few descriptors for the reserve, some clients are served nevertheless.
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
