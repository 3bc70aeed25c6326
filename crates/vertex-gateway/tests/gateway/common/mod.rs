//! What the tests of the sidecar share, besides what all tests on real sockets share.

pub(crate) mod certificates;
pub(crate) mod gateway;
pub(crate) mod load;
#[path = "../../../../../tests/common/mod.rs"]
mod shared;
#[cfg(target_os = "linux")]
pub(crate) mod vitals;

pub(crate) use self::shared::*;
