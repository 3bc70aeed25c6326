use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::sync::Mutex;

struct State<T> {
    value: Option<T>,
    sender_gone: bool,
    receiver_gone: bool,
    waiting: Option<Waker>,
}

pub struct Sender<T>(Arc<Mutex<State<T>>>);

pub struct Receiver<T>(Arc<Mutex<State<T>>>);

pub mod error {
    #[derive(Debug)]
    pub struct RecvError(pub(super) ());

    #[derive(Debug, PartialEq, Eq)]
    pub enum TryRecvError {
        Empty,
        Closed,
    }
}

pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { value: None, sender_gone: false, receiver_gone: false, waiting: None };
    let state = Arc::new(Mutex::new(state));
    (Sender(Arc::clone(&state)), Receiver(state))
}

impl<T> Sender<T> {
    pub fn is_closed(&self) -> bool {
        self.0.lock().unwrap().receiver_gone
    }

    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = self.0.lock().unwrap();
        if state.receiver_gone {
            return Err(value);
        }
        state.value = Some(value);
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap();
        state.sender_gone = true;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// No value can be sent from now on. A value that was sent before can still be received.
    pub fn close(&mut self) {
        self.0.lock().unwrap().receiver_gone = true;
    }

    pub fn try_recv(&mut self) -> Result<T, error::TryRecvError> {
        let mut state = self.0.lock().unwrap();
        match state.value.take() {
            Some(value) => Ok(value),
            None if state.sender_gone => Err(error::TryRecvError::Closed),
            None => Err(error::TryRecvError::Empty),
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, error::RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock().unwrap();
        match state.value.take() {
            Some(value) => Poll::Ready(Ok(value)),
            None if state.sender_gone => Poll::Ready(Err(error::RecvError(()))),
            None => {
                state.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap();
        state.receiver_gone = true;
        let value = state.value.take();
        drop(state);
        drop(value);
    }
}
