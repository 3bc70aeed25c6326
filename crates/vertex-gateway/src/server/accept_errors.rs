//! [`AcceptErrors`] handles connections that could not be accepted, for every listener of this
//! program.

use std::{io, time::Duration};

use tokio::time::{Instant, sleep};

use crate::seldom::LogThrottle;

/// The pause after an error of the listener itself. Most often the process is out of descriptors,
/// and some will be closed soon.
const PAUSE: Duration = Duration::from_millis(50);

/// The errors of one listener. They are logged at intervals, not each time.
#[derive(Debug, Default)]
pub(crate) struct AcceptErrors(LogThrottle);

impl AcceptErrors {
    /// Returns the next connection. `accept` is called again after each error, and `what` is the
    /// message of the log.
    pub(crate) async fn until_accepted<T, F>(&self, what: &str, mut accept: impl FnMut() -> F) -> T
    where
        F: Future<Output = io::Result<T>>,
    {
        loop {
            match accept().await {
                Ok(accepted) => return accepted,
                Err(error) => self.wait(&error, what).await,
            }
        }
    }

    /// Logs the error and waits before the next try, unless the error concerns only one connection.
    pub(crate) async fn wait(&self, error: &io::Error, what: &str) {
        if is_of_one_connection(error) {
            return;
        }
        if let Some(times) = self.0.happened(Instant::now()) {
            tracing::warn!(%error, times, "{what}");
        }
        sleep(PAUSE).await;
    }
}

/// Whether the error concerns only one connection, so the next one may be accepted: the client has
/// already left, or its network has failed (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::Interrupted
    )
}

/// Accepts all waiting connections, except those whose clients have left.
pub(super) fn rest<T>(mut next: impl FnMut() -> io::Result<T>) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || {
        loop {
            match next() {
                Ok(socket) => return Some(socket),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::warn!(%error, "accepting the last connections failed");
                    }
                    return None;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_left_does_not_stop_the_accepting_of_waiting_connections() {
        use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
        let mut come = vec![
            Ok(1),
            Err(io::Error::from(ConnectionAborted)),
            Ok(2),
            Err(Interrupted.into()),
            Ok(3),
            Err(WouldBlock.into()),
            Ok(4),
        ]
        .into_iter();
        let rest: Vec<_> = rest(|| come.next().unwrap()).collect();
        assert_eq!(rest, [1, 2, 3]);
    }
}
