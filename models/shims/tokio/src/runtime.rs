//! The handle of the runtime that [`run_tasks`](crate::model::run_tasks) is.

use std::future::Future;

use crate::task::{JoinHandle, spawn};

#[derive(Clone, Debug)]
pub struct Handle(());

#[derive(Debug)]
pub struct TryCurrentError(());

impl Handle {
    pub fn try_current() -> Result<Self, TryCurrentError> {
        Ok(Self(()))
    }

    pub fn spawn(&self, future: impl Future<Output: Send> + Send + 'static) -> JoinHandle {
        spawn(future)
    }
}
