//! Spawned tasks.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

#[derive(Clone, Debug)]
pub struct AbortHandle(Arc<AtomicBool>);

#[derive(Debug)]
pub struct JoinHandle(AbortHandle);

struct Finish(AbortHandle);

pub fn spawn(future: impl Future<Output: Send> + Send + 'static) -> JoinHandle {
    let handle = AbortHandle(Arc::default());
    let finish = Finish(handle.clone());
    crate::model::add(Box::pin(async move {
        future.await;
        drop(finish);
    }));
    JoinHandle(handle)
}

impl AbortHandle {
    pub fn is_finished(&self) -> bool {
        self.0.load(SeqCst)
    }
}

impl JoinHandle {
    pub fn abort_handle(&self) -> AbortHandle {
        self.0.clone()
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.0.store(true, SeqCst);
    }
}
