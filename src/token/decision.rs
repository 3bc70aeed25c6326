//! [`Decision`]: what becomes of a request that has no token at once.

use tokio::time::Instant;

use super::{CachedToken, flight::Flight};
use crate::error::TokenError;

/// What a request gets when it is decided under the lock.
pub(super) enum Decision {
    Use(CachedToken),
    /// For the flight, but not beyond the time, if there is one: then it is decided anew.
    Wait(Flight, Option<Instant>),
    Fail(TokenError),
}
