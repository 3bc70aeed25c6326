//! [`Decision`]: how the cache continues with a request that has no token at once.

use tokio::time::Instant;

use super::{CachedToken, flight::Flight};
use crate::error::TokenError;

/// The decision about a request, made under the lock.
pub(super) enum Decision {
    Use(CachedToken),
    /// Wait for the flight, at most until the time, if set. Then the cache decides again.
    Wait(Flight, Option<Instant>),
    Fail(TokenError),
}
