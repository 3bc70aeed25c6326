//! Reads the body of an error to its end, within a limit of bytes and of time.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use pin_project::pin_project;
use tokio::{runtime::Handle, time::Sleep};

use crate::replay::Coalesced;

/// The limits that fit the errors of Vertex AI, which have about 600 bytes, and a few KiB with every
/// detail.
pub(crate) const ERROR_LIMIT: usize = 256 << 10;
pub(crate) const ERROR_TIMEOUT: Duration = Duration::from_secs(10);

/// The bytes of the limit that a frame uses. Empty frames use some, so that they cannot continue
/// forever.
fn cost(data: &Bytes) -> usize {
    if data.is_empty() { size_of::<Bytes>() } else { data.len() }
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(crate) enum NotRead<E> {
    /// The body is longer than the limit.
    TooLong,
    /// The body failed with this error.
    Broken(E),
    /// The body was not complete in time.
    Late,
}

/// A body that is being read.
#[pin_project]
pub(crate) struct BodyReader<B> {
    #[pin]
    body: B,
    data: Coalesced,
    trailers: Option<HeaderMap>,
    /// The number of bytes that may still come.
    room: usize,
    timeout: Duration,
    /// Set by the first wait: most bodies come with their headers and need none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> BodyReader<B> {
    /// Reads at most `limit` bytes, within `timeout`.
    pub(crate) fn new(body: B, limit: usize, timeout: Duration) -> Self {
        let data = Coalesced::default();
        Self { body, data, trailers: None, room: limit, timeout, timer: None }
    }

    /// Takes what has been read. The data is sealed.
    pub(crate) fn take(self: Pin<&mut Self>) -> (Coalesced, Option<HeaderMap>) {
        let this = self.project();
        this.data.seal();
        (std::mem::take(this.data), this.trailers.take())
    }
}

impl<B> BodyReader<B>
where
    B: Body<Data = Bytes>,
{
    /// Ready when the body has been read to its end, or will not be read further.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NotRead<B::Error>>> {
        let mut this = self.project();
        loop {
            if this.body.is_end_stream() {
                return Poll::Ready(Ok(()));
            }
            if this.body.size_hint().lower() > *this.room as u64 {
                return Poll::Ready(Err(NotRead::TooLong));
            }
            let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
                ready!(poll_timer(this.timer, *this.timeout, cx));
                return Poll::Ready(Err(NotRead::Late));
            };
            match frame {
                None => return Poll::Ready(Ok(())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let room = this.room.checked_sub(cost(&data));
                        *this.room = room.unwrap_or_default();
                        this.data.push_whole(data);
                        if room.is_none() {
                            return Poll::Ready(Err(NotRead::TooLong));
                        }
                    }
                    Err(frame) => *this.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => return Poll::Ready(Err(NotRead::Broken(error))),
            }
        }
    }
}

impl<B: Body<Data = Bytes>> BodyReader<B> {
    /// The next frame after those that were read.
    pub(crate) fn poll_rest(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }
}

/// Ready when `time` has passed since the first call.
fn poll_timer(
    timer: &mut Option<Pin<Box<Sleep>>>,
    time: Duration,
    cx: &mut Context<'_>,
) -> Poll<()> {
    // Tokio's timer panics without a runtime.
    if timer.is_none() && Handle::try_current().is_err() {
        return Poll::Pending;
    }
    timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(time))).as_mut().poll(cx)
}

/// All pieces as one slice. The pieces must be sealed.
pub(crate) fn contiguous(data: &Coalesced) -> Cow<'_, [u8]> {
    match (data.get(0), data.get(1)) {
        (Some(only), None) => Cow::Borrowed(only),
        _ => Cow::Owned(data.sealed().flatten().copied().collect()),
    }
}
