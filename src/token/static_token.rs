//! Sources without a token service: one fixed token, and a closure.

use std::{fmt, future::Future};

use super::{AccessToken, FetchReason, TokenFuture, TokenSource};
use crate::{BoxError, error::TokenError};

/// One fixed token, for tests and for scripts that end before it expires.
///
/// The token cannot be refreshed. If the service rejects it with a 401, the caller gets that 401.
#[derive(Clone, Debug)]
pub struct StaticToken {
    token: AccessToken,
}

impl StaticToken {
    /// Creates a source. `value` is the bare token, without `Bearer`.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`], in the cases of [`AccessToken::new`].
    pub fn new(value: impl AsRef<str>) -> Result<Self, TokenError> {
        Ok(Self { token: AccessToken::new(value, None)? })
    }
}

impl TokenSource for StaticToken {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        let token = self.token.clone();
        Box::pin(async move { Ok(token) })
    }
}

/// A source that calls a closure, which returns a future. See [`token_fn`].
#[derive(Clone, Copy)]
pub struct TokenFn<F> {
    f: F,
}

/// Creates a [`TokenSource`] from a closure: `token_fn(|reason| async { Ok(token) })`.
pub fn token_fn<F, Fut>(f: F) -> TokenFn<F>
where
    F: Fn(FetchReason) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<AccessToken, BoxError>> + Send + 'static,
{
    TokenFn { f }
}

impl<F, Fut> TokenSource for TokenFn<F>
where
    F: Fn(FetchReason) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<AccessToken, BoxError>> + Send + 'static,
{
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_> {
        Box::pin((self.f)(reason))
    }
}

impl<F> fmt::Debug for TokenFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFn").finish_non_exhaustive()
    }
}
