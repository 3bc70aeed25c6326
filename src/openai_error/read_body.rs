use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, response::Parts};
use http_body::Body;
use pin_project::pin_project;
use tokio::{runtime::Handle, time::Sleep};

use super::{
    ErrorBody,
    chunks::Chunks,
    layer::ErrorSettings,
    translate::{self, UnreadReason},
};
use crate::polled::AFTER_READY;
use crate::{BoxError, replay::Coalesced, route::Upstream};

/// The bytes of the limit that a frame uses. Empty frames use some, so that they cannot continue
/// forever.
fn cost(data: &Bytes) -> usize {
    if data.is_empty() { size_of::<Bytes>() } else { data.len() }
}

/// Reads the body of an error, within its limits, and translates it.
#[pin_project]
pub(super) struct Reading<B> {
    /// `None` after the response was made from it.
    head: Option<Parts>,
    #[pin]
    body: Option<B>,
    data: Coalesced,
    trailers: Option<HeaderMap>,
    settings: ErrorSettings,
    /// The number of bytes that may still come.
    room: usize,
    /// Set by the first wait: most bodies come with their headers and need none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Reading<B> {
    pub(super) fn new(response: Response<B>, settings: &ErrorSettings) -> Self {
        let (head, body) = response.into_parts();
        Self {
            head: Some(head),
            body: Some(body),
            data: Coalesced::default(),
            trailers: None,
            settings: *settings,
            room: settings.body_limit,
            timer: None,
        }
    }
}

impl<B> Reading<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Returns the translated response. Must not be polled again after that.
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Response<ErrorBody<B>>> {
        let read = ready!(self.as_mut().poll_read(cx));
        let mut this = self.project();
        // Frees or closes the connection before the body is translated.
        this.body.set(None);
        let mut head = this.head.take().expect(AFTER_READY);
        let upstream = head.extensions.get::<Upstream>();
        let error = match read {
            Ok(()) => {
                this.data.seal();
                let body = contiguous(this.data);
                translate::translate(head.status, &head.headers, &body, upstream)
            }
            Err(why) => Some(translate::unread(head.status, &head.headers, why, upstream)),
        };
        let body = match error {
            Some(error) => Chunks::one(error.with_advice(head.status).into_body(&mut head.headers)),
            None => Chunks { data: std::mem::take(this.data), trailers: this.trailers.take() },
        };
        Poll::Ready(Response::from_parts(head, ErrorBody::chunks(body)))
    }

    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), UnreadReason>> {
        let mut this = self.project();
        let limit = this.settings.body_limit;
        loop {
            let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(Ok(())) };
            if body.is_end_stream() {
                return Poll::Ready(Ok(()));
            }
            if body.size_hint().lower() > *this.room as u64 {
                return Poll::Ready(Err(UnreadReason::TooLong(limit)));
            }
            let Poll::Ready(frame) = body.poll_frame(cx) else {
                let time = this.settings.body_timeout;
                ready!(poll_timer(this.timer, time, cx));
                return Poll::Ready(Err(UnreadReason::Late(time)));
            };
            match frame {
                None => return Poll::Ready(Ok(())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => match this.room.checked_sub(cost(&data)) {
                        Some(room) => {
                            *this.room = room;
                            this.data.push_whole(data);
                        }
                        None => return Poll::Ready(Err(UnreadReason::TooLong(limit))),
                    },
                    Err(frame) => *this.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    let error: BoxError = error.into();
                    tracing::debug!(error = &*error, "the body of an error response ended early");
                    return Poll::Ready(Err(UnreadReason::Broken));
                }
            }
        }
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
fn contiguous(data: &Coalesced) -> Cow<'_, [u8]> {
    match (data.get(0), data.get(1)) {
        (Some(only), None) => Cow::Borrowed(only),
        _ => Cow::Owned(data.sealed().flatten().copied().collect()),
    }
}
