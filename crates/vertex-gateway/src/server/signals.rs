//! Signals from the system, and notifications to systemd.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use tokio::{signal, sync::Notify};

use crate::error::Error;

/// Returns a [`Notify`] that is notified on each SIGHUP, on systems that have this signal.
pub(crate) fn sighup() -> Result<Arc<Notify>, Error> {
    let told = Arc::new(Notify::new());
    #[cfg(unix)]
    {
        use signal::unix::{SignalKind, signal};
        let mut sighup = signal(SignalKind::hangup()).map_err(cannot_listen_for)?;
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            while sighup.recv().await.is_some() {
                told.notify_one();
            }
        });
    }
    Ok(told)
}

/// Sends `state` to systemd, if it started this process as a service of `Type=notify`.
pub(crate) fn notify_systemd(state: &str) {
    #[cfg(unix)]
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Custom(state)]) {
        tracing::warn!(%error, "notifying systemd failed");
    }
    #[cfg(not(unix))]
    let _ = state;
}

#[cfg(unix)]
fn cannot_listen_for(error: io::Error) -> Error {
    Error::new(format!("cannot listen for signals: {error}"))
}

/// A signal within this time after the first one is the same signal. A supervisor that signals a
/// process group, and each of its processes, sends two.
const SAME: Duration = Duration::from_millis(100);

/// The time from a signal to the end of the process, which a second signal shortens.
pub(crate) struct Ending {
    second: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Ending {
    /// This must be called when the first signal has arrived. A later signal is the second one.
    pub(crate) fn begin() -> Self {
        let second = async {
            tokio::time::sleep(SAME).await;
            match stop_signal() {
                Ok(stop) => stop.await,
                // Without a handler, a second signal cannot be detected.
                Err(_) => std::future::pending().await,
            }
        };
        Self { second: Box::pin(second) }
    }

    /// Waits while connections are still accepted.
    pub(crate) async fn delay(&mut self, delay: Duration) {
        tracing::info!(
            "received a signal; accepting connections for {delay:?} more (--drain-delay)"
        );
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            // A second signal also ends the wait for requests in flight.
            () = &mut self.second => self.second = Box::pin(std::future::ready(())),
        }
    }

    /// Waits until the time for requests in flight is over.
    pub(crate) async fn patience(self, limit: Option<Duration>) {
        let limit = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = limit => tracing::warn!("--drain-timeout has passed; cutting the requests in \
                 flight"),
            () = self.second => tracing::warn!("received a second signal; exiting at once"),
        }
    }
}

/// Waits for Ctrl-C or SIGTERM. This call installs the handlers, not the first poll.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()> + Send, Error> {
    #[cfg(unix)]
    {
        use signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen_for)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen_for)?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = signal::ctrl_c().await;
    })
}
