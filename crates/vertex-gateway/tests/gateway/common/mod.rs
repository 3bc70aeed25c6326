//! Helpers of the tests of the sidecar, in addition to those of all tests on real sockets.

pub(crate) mod certificates;
pub(crate) mod gateway;
pub(crate) mod load;
#[path = "../../../../../tests/common/mod.rs"]
mod shared;
#[cfg(target_os = "linux")]
pub(crate) mod vitals;

pub(crate) use self::shared::*;
