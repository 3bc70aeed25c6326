//! A timer for limits that begin again and again, and almost never expire.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A time limit that is cleared whenever something happens. The timer beneath is not reset each
/// time, but only when it fires before the current end of the limit.
#[derive(Debug, Default)]
pub(crate) struct LazyTimer {
    end: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl LazyTimer {
    /// Something has happened: the limit begins again with the next poll.
    pub(crate) fn clear(&mut self) {
        self.end = None;
    }

    /// Ready when nothing has happened for `limit`, from the first poll after it was cleared.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let end = *self.end.get_or_insert_with(|| Instant::now() + limit);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cleared_limit_begins_again() {
        const LIMIT: Duration = Duration::from_secs(10);
        let (mut timer, began) = (LazyTimer::default(), Instant::now());
        for _ in 0..3 {
            let early = tokio::time::timeout(LIMIT / 2, poll_fn(|cx| timer.poll_over(cx, LIMIT)));
            assert!(early.await.is_err());
            timer.clear();
        }
        poll_fn(|cx| timer.poll_over(cx, LIMIT)).await;
        assert_eq!(began.elapsed().as_secs(), 25);
    }
}
