use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, response::Parts};
use http_body::Body;
use pin_project::pin_project;

use super::{
    ErrorBody,
    layer::ErrorSettings,
    service::ClientForm,
    translate::{self, UnreadReason},
};
use crate::{
    BoxError,
    body_reader::{BodyReader, NotRead, contiguous},
    polled::AFTER_READY,
    replay::Chunks,
    route::Upstream,
};

/// Reads the body of an error, within its limits, and translates it.
#[pin_project]
pub(super) struct Reading<B> {
    /// `None` after the response was made from it.
    head: Option<Parts>,
    #[pin]
    body: Option<BodyReader<B>>,
    settings: ErrorSettings,
    client: ClientForm,
}

impl<B> Reading<B> {
    pub(super) fn new(response: Response<B>, settings: &ErrorSettings, client: ClientForm) -> Self {
        let (head, body) = response.into_parts();
        let body = BodyReader::new(body, settings.body_limit, settings.body_timeout);
        Self { head: Some(head), body: Some(body), settings: *settings, client }
    }
}

impl<B> Reading<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Returns the translated response. Must not be polled again after that.
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<ErrorBody<B>>> {
        let mut this = self.project();
        let mut body = this.body.as_mut().as_pin_mut().expect(AFTER_READY);
        let read = ready!(body.as_mut().poll(cx));
        let (data, trailers) = body.take();
        // Frees or closes the connection before the body is translated.
        this.body.set(None);
        let mut head = this.head.take().expect(AFTER_READY);
        let upstream = head.extensions.get::<Upstream>();
        let error = match read {
            Ok(()) => {
                translate::translate(head.status, &head.headers, &contiguous(&data), upstream)
            }
            Err(why) => {
                let why = match why {
                    NotRead::TooLong => UnreadReason::TooLong(this.settings.body_limit),
                    NotRead::Late => UnreadReason::Late(this.settings.body_timeout),
                    NotRead::Broken(error) => {
                        let error: BoxError = error.into();
                        tracing::debug!(
                            error = &*error,
                            "the body of an error response ended early"
                        );
                        UnreadReason::Broken
                    }
                };
                Some(translate::unread(head.status, &head.headers, why, upstream))
            }
        };
        let body = match error {
            Some(error) if error.is_in_form(this.client.protocol) => {
                error.put_retry_after(&mut head.headers);
                Chunks { data, trailers }
            }
            Some(error) => {
                let (protocol, status) = (this.client.protocol, head.status);
                let error = error.with_advice(protocol, status, this.client.requested.as_ref());
                Chunks::one(error.into_body(protocol, status, &mut head.headers))
            }
            None => Chunks { data, trailers },
        };
        Poll::Ready(Response::from_parts(head, ErrorBody::chunks(body)))
    }
}
