use std::{future::poll_fn, ops::Deref, sync::Arc, task::Poll, task::Waker};

use loom::sync::{Mutex, MutexGuard};

struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    value: T,
    version: u64,
    closed: bool,
    waiting: Vec<Waker>,
}

pub struct Sender<T>(Arc<Shared<T>>);

pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value, locked.
pub struct Ref<'a, T>(MutexGuard<'a, State<T>>);

#[derive(Debug)]
pub struct RecvError(());

pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State { value, version: 0, closed: false, waiting: Vec::new() };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Sender(Arc::clone(&shared)), Receiver { shared, seen: 0 })
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap()
    }

    /// Changes the state, and then wakes all that wait.
    fn change<R>(&self, change: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        result
    }
}

impl<T> Sender<T> {
    pub fn send_replace(&self, value: T) -> T {
        self.0.change(|state| {
            state.version += 1;
            std::mem::replace(&mut state.value, value)
        })
    }

    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.lock().version;
        Receiver { shared: Arc::clone(&self.0), seen }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.change(|state| state.closed = true);
    }
}

impl<T> Receiver<T> {
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        let state = self.shared.lock();
        if state.closed { Err(RecvError(())) } else { Ok(state.version != self.seen) }
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.lock())
    }

    pub async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<Ref<'_, T>, RecvError> {
        let Self { shared, seen } = self;
        let shared = &**shared;
        poll_fn(move |cx| {
            let mut state = shared.lock();
            *seen = state.version;
            if wanted(&state.value) {
                return Poll::Ready(Ok(Ref(state)));
            }
            if state.closed {
                return Poll::Ready(Err(RecvError(())));
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    pub async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.version != self.seen {
                self.seen = state.version;
                return Poll::Ready(Ok(()));
            }
            if state.closed {
                return Poll::Ready(Err(RecvError(())));
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}
