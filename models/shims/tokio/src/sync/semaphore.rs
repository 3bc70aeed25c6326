use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::sync::Mutex;

/// First come, first served: a permit that is released goes to the one that waits longest.
pub struct Semaphore(Mutex<State>);

#[derive(Default)]
struct State {
    free: usize,
    last_number: usize,
    waiting: VecDeque<(usize, Waker)>,
    /// The numbers that got a permit and have not been polled since.
    granted: Vec<usize>,
}

#[derive(Debug)]
pub struct OwnedSemaphorePermit(Arc<Semaphore>);

#[derive(Debug)]
pub struct AcquireError(());

#[derive(Debug, PartialEq, Eq)]
pub enum TryAcquireError {
    Closed,
    NoPermits,
}

impl Semaphore {
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    pub fn new(permits: usize) -> Self {
        Self(Mutex::new(State { free: permits, ..State::default() }))
    }

    pub fn available_permits(&self) -> usize {
        self.0.lock().unwrap().free
    }

    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        let mut state = self.0.lock().unwrap();
        if state.free == 0 {
            return Err(TryAcquireError::NoPermits);
        }
        state.free -= 1;
        drop(state);
        Ok(OwnedSemaphorePermit(self))
    }

    pub fn acquire_owned(self: Arc<Self>) -> Acquire {
        Acquire { semaphore: self, number: 0 }
    }

    fn release(&self) {
        let mut state = self.0.lock().unwrap();
        match state.waiting.pop_front() {
            Some((number, waker)) => {
                state.granted.push(number);
                drop(state);
                waker.wake();
            }
            None => state.free += 1,
        }
    }
}

pub struct Acquire {
    semaphore: Arc<Semaphore>,
    /// The place in the queue; 0 if there is none.
    number: usize,
}

impl Future for Acquire {
    type Output = Result<OwnedSemaphorePermit, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let semaphore = Arc::clone(&self.semaphore);
        let mut state = semaphore.0.lock().unwrap();
        if self.number == 0 {
            if state.free > 0 {
                state.free -= 1;
            } else {
                state.last_number += 1;
                self.number = state.last_number;
                let place = (self.number, cx.waker().clone());
                state.waiting.push_back(place);
                return Poll::Pending;
            }
        } else if let Some(at) = state.granted.iter().position(|number| *number == self.number) {
            state.granted.swap_remove(at);
            self.number = 0;
        } else {
            let waiting = state.waiting.iter_mut().find(|(number, _)| *number == self.number);
            waiting.expect("a place in the queue").1 = cx.waker().clone();
            return Poll::Pending;
        }
        drop(state);
        Poll::Ready(Ok(OwnedSemaphorePermit(semaphore)))
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if self.number == 0 {
            return;
        }
        let mut state = self.semaphore.0.lock().unwrap();
        state.waiting.retain(|(number, _)| *number != self.number);
        if let Some(at) = state.granted.iter().position(|number| *number == self.number) {
            state.granted.swap_remove(at);
            drop(state);
            self.semaphore.release();
        }
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Semaphore")
    }
}
