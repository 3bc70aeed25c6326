use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project::pin_project;
use tower::BoxError;

use super::Upstream;
use crate::polled::AFTER_READY;

/// The response of the inner service, or the error of a request that was not sent.
///
/// The extensions of an unsuccessful response contain the [`Upstream`] that sent it.
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<F> {
    #[pin]
    kind: Kind<F>,
}

#[pin_project(project = KindProj)]
enum Kind<F> {
    Inner(#[pin] F, Upstream),
    Error(Option<BoxError>),
    Done,
}

impl<F> ResponseFuture<F> {
    pub(super) fn inner(future: F, upstream: Upstream) -> Self {
        Self { kind: Kind::Inner(future, upstream) }
    }

    pub(super) fn error(error: BoxError) -> Self {
        Self { kind: Kind::Error(Some(error)) }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<B>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        let result = match kind.as_mut().project() {
            KindProj::Inner(future, upstream) => {
                ready!(future.poll(cx)).map_err(Into::into).map(|mut response| {
                    // An insertion allocates, which a success must not cost.
                    if !response.status().is_success() {
                        response.extensions_mut().insert(upstream.clone());
                    }
                    response
                })
            }
            KindProj::Error(error) => match error.take() {
                Some(error) => Err(error),
                None => panic!("{AFTER_READY}"),
            },
            KindProj::Done => panic!("{AFTER_READY}"),
        };
        kind.set(Kind::Done);
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
