//! Channels and the semaphore. Each operation is one critical section of one mutex of loom.

pub mod oneshot;
mod semaphore;
pub mod watch;

pub use semaphore::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};
