//! The token that a request gets from the cache, and the futures that return it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue};

use super::AccessToken;
use crate::{Error, polled::AFTER_READY};

/// The token for one request.
#[derive(Clone)]
pub struct CachedToken {
    token: AccessToken,
    generation: u64,
}

impl CachedToken {
    pub(super) fn new(token: AccessToken, generation: u64) -> Self {
        Self { token, generation }
    }

    /// The `Authorization` header's value, marked sensitive.
    pub fn authorization(&self) -> &HeaderValue {
        self.token.authorization()
    }

    /// The further headers of requests with this token, if there are any. See
    /// [`AccessToken::with_headers`].
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.token.headers()
    }

    pub(crate) fn access_token(&self) -> &AccessToken {
        &self.token
    }

    /// The token's number: 1 for the first token, increased by one for each different token.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for CachedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedToken").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The outcome of a refresh that a 401 caused. It is in the extensions of the response that the
/// caller of `VertexAuth` gets. [`TokenCache::rejected`](super::TokenCache::rejected) returns
/// `SameToken`, `Failed` or `Throttled` if there is no newer token.
#[doc(alias = "401")]
#[doc(alias = "unauthorized")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RefreshOutcome {
    /// The token was refreshed, and this is the response to the replayed request.
    Replayed,
    /// The source returned the same token, so a replay would be in vain. Google's metadata server
    /// does so until minutes before the token expires.
    SameToken,
    /// No token could be fetched.
    Failed(Error),
    /// Too many 401s required a refresh lately; see
    /// [`forced_refreshes`](super::TokenCacheBuilder::forced_refreshes).
    Throttled,
    /// The refresh was started, but the request's body was not kept: it is longer than the replay
    /// limit, the budget was used up, or the body failed.
    NotReplayable,
}

impl RefreshOutcome {
    /// Name of the outcome in logs and metrics, such as `replayed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::SameToken => "same_token",
            Self::Failed(_) => "failed",
            Self::Throttled => "throttled",
            Self::NotReplayable => "not_replayable",
        }
    }
}

/// The newer token after a 401, or why there is none.
pub(super) type Rejected = Result<CachedToken, RefreshOutcome>;

/// The future of [`TokenCache::get`](super::TokenCache::get). It is ready at once, without a box,
/// if a valid token is cached. Dropping it never ends a fetch that others wait for.
#[must_use = "futures do nothing unless polled"]
pub struct CachedTokenFuture(Waiting<Result<CachedToken, Error>>);

/// The future of [`TokenCache::rejected`](super::TokenCache::rejected). The refresh continues if
/// the future is dropped.
#[must_use = "the refresh continues, but its outcome is not seen"]
pub struct RejectionFuture(Waiting<Rejected>);

enum Waiting<T> {
    Ready(Option<T>),
    Flight(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T: Unpin> Waiting<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match self {
            Self::Ready(value) => match value.take() {
                Some(value) => Poll::Ready(value),
                None => panic!("{AFTER_READY}"),
            },
            Self::Flight(future) => {
                let value = ready!(future.as_mut().poll(cx));
                *self = Self::Ready(None);
                Poll::Ready(value)
            }
        }
    }
}

macro_rules! waiting {
    ($future:ident => $output:ty) => {
        impl $future {
            pub(super) fn ready(value: $output) -> Self {
                Self(Waiting::Ready(Some(value)))
            }

            pub(super) fn waiting(future: impl Future<Output = $output> + Send + 'static) -> Self {
                Self(Waiting::Flight(Box::pin(future)))
            }
        }

        impl Future for $future {
            type Output = $output;

            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                self.0.poll(cx)
            }
        }

        impl fmt::Debug for $future {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($future)).finish_non_exhaustive()
            }
        }
    };
}
waiting!(CachedTokenFuture => Result<CachedToken, Error>);
waiting!(RejectionFuture => Result<CachedToken, RefreshOutcome>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_has_the_name_of_the_metric() {
        let failed = RefreshOutcome::Failed(crate::error::TokenError::NoRuntime.into());
        let outcomes = [
            RefreshOutcome::Replayed,
            RefreshOutcome::SameToken,
            failed,
            RefreshOutcome::Throttled,
            RefreshOutcome::NotReplayable,
        ];
        let names = ["replayed", "same_token", "failed", "throttled", "not_replayable"];
        assert_eq!(outcomes.each_ref().map(RefreshOutcome::as_str), names);
    }
}
