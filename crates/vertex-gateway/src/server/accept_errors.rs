//! [`AcceptErrors`]: connections that could not be accepted, by every listener of this program.

use std::{io, time::Duration};

use tokio::time::sleep;

use crate::seldom::LogThrottle;

/// The pause after an error of the listener itself. Most often the process is out of descriptors, and
/// some are closed soon.
const PAUSE: Duration = Duration::from_millis(50);

/// The errors of one listener, which are logged now and then and not each time.
#[derive(Debug, Default)]
pub(crate) struct AcceptErrors(LogThrottle);

impl AcceptErrors {
    /// The next connection. `accept` is called again after each error, and `what` is the message of the
    /// log.
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

    /// Logs the error and waits before the next try, unless the error is of that one connection.
    pub(crate) async fn wait(&self, error: &io::Error, what: &str) {
        if is_of_one_connection(error) {
            return;
        }
        if let Some(times) = self.0.happened(std::time::Instant::now()) {
            tracing::warn!(%error, times, "{what}");
        }
        sleep(PAUSE).await;
    }
}

/// Whether the next connection may be accepted all the same: this client has left already, or its
/// network has failed (accept(2)).
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

/// All connections that are accepted without waiting, except those whose client has left.
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
    fn a_connection_that_left_does_not_end_the_accepting_of_the_rest() {
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
