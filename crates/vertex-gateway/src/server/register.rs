//! [`ConnectionRegistry`]: the connections that are open, and which of them is closed when there is no room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedSemaphorePermit;

use super::connection::FIRST_CALL;
use crate::inbound::activity::Activity;

/// All connections that are open.
#[derive(Debug, Default)]
pub(super) struct ConnectionRegistry(Mutex<HashMap<u64, Arc<Activity>>>);

/// A connection in the register until it is dropped.
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

    /// Closes the connection that has been a stranger's for the longest, whatever is in flight on it.
    /// Connections that never carried a request of an admitted client come first.
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
    async fn the_connection_that_was_a_strangers_for_the_longest_makes_room() {
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
        // The first has shown a key. The second is being answered, but not as one that may ask.
        let good = call(&all[0]);
        good.let_in();
        let _refused = call(&all[1]);
        assert_eq!(evicted(&all), [false, true, false, false]);
        drop(all.remove(1));
        // Whoever is let in between the look and the end stays.
        open.evict_a_stranger();
        let late = call(&all[1]);
        late.let_in();
        assert_eq!(all.iter().map(is_evicted).collect::<Vec<_>>(), [false, false, false]);
        // A stream of an hour, and a key that is revoked then.
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
