use std::{
    fmt,
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Sleep;
use tower::Service;

use super::{layer::RetrySettings, run::Run};
use crate::{BoxError, Error, polled::AFTER_READY, replay::ReplayBody};

/// The future of [`VertexRetry`](super::VertexRetry).
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<S, B>
where
    S: Service<Request<ReplayBody<B>>>,
{
    #[pin]
    state: State<S::Future>,
    /// `None` for a request that is refused.
    run: Option<Box<Run<S, B>>>,
}

#[pin_project(project = StateProj)]
enum State<F> {
    Failed(Option<BoxError>),
    Sending(#[pin] F),
    Waiting(Pin<Box<Sleep>>),
    /// The service for the next attempt is not ready yet.
    Readying,
    Done,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<ReplayBody<B>>> + Clone,
    B: Body + Send + 'static,
{
    pub(super) fn failed(error: Error) -> Self {
        Self { state: State::Failed(Some(error.into())), run: None }
    }

    /// `service` must be ready.
    pub(super) fn send(
        service: &mut S,
        settings: &Arc<RetrySettings>,
        request: Request<B>,
    ) -> Self {
        let (run, answer) = Run::start(service, settings, request);
        Self { state: State::Sending(answer), run: Some(run) }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    R: Body,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let (state, Some(run)) = (this.state.as_mut().project(), &mut *this.run) else {
                let StateProj::Failed(error) = this.state.project() else {
                    panic!("{AFTER_READY}")
                };
                let Some(error) = error.take() else { panic!("{AFTER_READY}") };
                return Poll::Ready(Err(error));
            };
            let next = match state {
                StateProj::Sending(answer) => {
                    let result = ready!(answer.poll(cx)).map_err(Into::into);
                    match run.settle(result, cx) {
                        ControlFlow::Continue(Duration::ZERO) => State::Readying,
                        ControlFlow::Continue(wait) => {
                            State::Waiting(Box::pin(tokio::time::sleep(wait)))
                        }
                        ControlFlow::Break(result) => {
                            this.state.set(State::Done);
                            return Poll::Ready(result);
                        }
                    }
                }
                StateProj::Waiting(wait) => {
                    ready!(wait.as_mut().poll(cx));
                    State::Readying
                }
                StateProj::Readying => {
                    let Some(next) = &mut run.next else { panic!("{AFTER_READY}") };
                    if let Err(error) = ready!(next.service.poll_ready(cx)) {
                        let error = run.not_ready(error.into());
                        this.state.set(State::Done);
                        return Poll::Ready(Err(error));
                    }
                    match run.send_next() {
                        Some(answer) => State::Sending(answer),
                        None => State::Done,
                    }
                }
                StateProj::Failed(_) | StateProj::Done => panic!("{AFTER_READY}"),
            };
            this.state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<ReplayBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
