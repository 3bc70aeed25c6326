//! [`ConnectionRegistry`] lists the open connections and selects one to close when there is no
//! room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedSemaphorePermit;

use super::connection::FIRST_CALL;
use crate::inbound::activity::Activity;

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionRegistry(Mutex<HashMap<u64, Arc<Activity>>>);

/// A connection that is registered until it is dropped.
#[derive(Debug)]
pub(super) struct RegisteredConnection {
    number: u64,
    pub(super) activity: Arc<Activity>,
    open: Arc<ConnectionRegistry>,
    _room: Option<OwnedSemaphorePermit>,
}

impl ConnectionRegistry {
    pub(super) fn admit(
        self: &Arc<Self>,
        number: u64,
        room: Option<OwnedSemaphorePermit>,
    ) -> RegisteredConnection {
        let activity = Activity::new();
        self.lock().insert(number, Arc::clone(&activity));
        RegisteredConnection { number, activity, open: Arc::clone(self), _room: room }
    }

    /// Closes the connection that has been without an admitted client for the longest, even if a
    /// request is in flight on it. Connections that never carried a request of an admitted client
    /// come first.
    pub(super) fn evict_a_stranger(&self) {
        let open = self.lock();
        let strangers = open.iter().filter_map(|(number, activity)| {
            // A client that has just connected is about to send its request.
            let age = activity.strange_for().filter(|age| *age >= FIRST_CALL)?;
            Some(((activity.is_strangers(), age, std::cmp::Reverse(*number)), activity))
        });
        if let Some((_, activity)) = strangers.max_by_key(|(rank, _)| *rank) {
            activity.evict();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        // The map is consistent between two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RegisteredConnection {
    fn drop(&mut self) {
        self.open.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_without_an_admitted_client_for_the_longest_is_evicted() {
        let open = Arc::<ConnectionRegistry>::default();
        let mut all = Vec::new();
        for number in 0..4 {
            all.push(open.admit(number, None));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let is_evicted = |of: &RegisteredConnection| of.activity.evicted().now_or_never().is_some();
        let evicted = |all: &[RegisteredConnection]| {
            open.evict_a_stranger();
            all.iter().map(is_evicted).collect::<Vec<_>>()
        };
        let call = |of: &RegisteredConnection| of.activity.call(http::Version::HTTP_11);
        // The first connection has shown a valid key. The second one has a request in flight, but
        // no valid key.
        let good = call(&all[0]);
        good.let_in();
        let _refused = call(&all[1]);
        assert_eq!(evicted(&all), [false, true, false, false]);
        drop(all.remove(1));
        // A client that is admitted between the selection and the eviction keeps its connection.
        open.evict_a_stranger();
        let late = call(&all[1]);
        late.let_in();
        assert_eq!(all.iter().map(is_evicted).collect::<Vec<_>>(), [false, false, false]);
        // The streams run for an hour, and a key is revoked then.
        tokio::time::advance(Duration::from_secs(3600)).await;
        drop((good, late));
        assert_eq!(evicted(&all), [false, false, true]);
        drop(all.pop());
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(evicted(&all), [false, false]);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(evicted(&all), [true, false]);
        drop(all);
        assert!(open.lock().is_empty());
    }
}
