//! Sources without a service behind them: one fixed token, and a closure.

use std::{fmt, future::Future};

use super::{AccessToken, FetchReason, TokenFuture, TokenSource};
use crate::{BoxError, error::TokenError};

/// One token for ever, for tests and for scripts that end before it does.
///
/// It cannot be refreshed: after the service has answered 401 to it, that 401 goes to the caller.
#[derive(Clone, Debug)]
pub struct StaticToken {
    token: AccessToken,
}

impl StaticToken {
    /// `value` is the bare token, without `Bearer`.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`], as for [`AccessToken::new`].
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

/// A source made of a closure that returns a future. See [`token_fn`].
#[derive(Clone, Copy)]
pub struct TokenFn<F> {
    f: F,
}

/// Makes a [`TokenSource`] of a closure: `token_fn(|reason| async { Ok(token) })`.
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
