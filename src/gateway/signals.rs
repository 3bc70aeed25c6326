//! What the system tells this process, and what it is told.

use std::{future::Future, io, sync::Arc};

use tokio::{signal, sync::Notify};

use super::config::Failure;

/// Told on each SIGHUP, where there is such a signal.
pub(super) fn hang_up() -> Result<Arc<Notify>, Failure> {
    let told = Arc::new(Notify::new());
    #[cfg(unix)]
    {
        use signal::unix::{SignalKind, signal};
        let mut hang_up = signal(SignalKind::hangup()).map_err(cannot_listen_for)?;
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                told.notify_one();
            }
        });
    }
    Ok(told)
}

/// Tells systemd, if it started this as a service of `Type=notify`.
pub(super) fn tell_systemd(state: &str) {
    #[cfg(unix)]
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Custom(state)]) {
        tracing::warn!(%error, "systemd was not told");
    }
    #[cfg(not(unix))]
    let _ = state;
}

#[cfg(unix)]
fn cannot_listen_for(error: io::Error) -> Failure {
    Failure::new(format!("cannot listen for signals: {error}"))
}

/// Ctrl-C or SIGTERM, from now on; for ever if nobody can tell.
pub(super) async fn wait_again() {
    match stop_signal() {
        Ok(stop) => stop.await,
        Err(_) => std::future::pending().await,
    }
}

/// Ctrl-C or SIGTERM. The signal is taken from now on, not from the first poll.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
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
