//! The part of Tokio that the checked files use, over loom's mutex: each operation is one step that loom may
//! delay. Tokio's own operations look the same from outside, and its authors check them with loom too.
//!
//! The models use [`model`] instead of a runtime.

pub mod model;
pub mod runtime;
pub mod sync;
pub mod task;
pub mod time;

pub use task::spawn;
