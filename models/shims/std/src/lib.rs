//! The standard library with loom's mutex and loom's atomics, whose every use is a step that loom may delay.
//!
//! `Arc` and `Weak` are the usual ones: loom's have no weak pointers and cannot be a method's receiver.

pub use ::std::*;

pub mod sync {
    pub use ::std::sync::*;
    pub use loom::sync::{Mutex, MutexGuard};

    pub mod atomic {
        pub use loom::sync::atomic::*;
    }
}
