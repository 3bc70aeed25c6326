use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body;
use pin_project::pin_project;

use super::{
    ErrorBody, layer::ErrorSettings, read_body::Reading, service::ClientForm, stream::StreamFormat,
};
use crate::{
    BoxError, Error,
    body_headers::{has_type, is_encoded},
    polled::AFTER_READY,
    replay::Chunks,
    route::Protocol,
};

/// The future of [`VertexError`](super::VertexError).
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<F, B> {
    #[pin]
    state: State<F, B>,
}

#[pin_project(project = StateProj)]
enum State<F, B> {
    Waiting {
        #[pin]
        response: F,
        settings: ErrorSettings,
        client: ClientForm,
        head_only: bool,
    },
    /// The order of the layers is wrong, so nothing was sent.
    Refused(Option<Error>, Protocol),
    /// The body of an error is being read for its translation.
    Reading(Pin<Box<Reading<B>>>),
    Done,
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn new(
        response: F,
        settings: ErrorSettings,
        client: ClientForm,
        head_only: bool,
    ) -> Self {
        Self { state: State::Waiting { response, settings, client, head_only } }
    }

    pub(super) fn refused(error: Error, protocol: Protocol) -> Self {
        Self { state: State::Refused(Some(error), protocol) }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ErrorBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let result = match state.as_mut().project() {
                StateProj::Waiting { response, settings, client, head_only } => {
                    let result = ready!(response.poll(cx)).map(|mut response| {
                        void_length(response.headers_mut());
                        (kind(&response, client, *head_only), response)
                    });
                    match result {
                        Ok((Kind::Error, response)) => {
                            let reading = Reading::new(response, settings, client.clone());
                            state.set(State::Reading(Box::pin(reading)));
                            continue;
                        }
                        Ok((Kind::Stream(format), response)) => {
                            Ok(response.map(|body| ErrorBody::stream(body, format)))
                        }
                        Ok((Kind::Other, response)) => Ok(response.map(ErrorBody::inner)),
                        Err(error) => Err(error),
                    }
                }
                StateProj::Refused(error, protocol) => {
                    let Some(error) = error.take() else { panic!("{AFTER_READY}") };
                    let body = |body| ErrorBody::chunks(Chunks::one(body));
                    Ok(error.to_response_for(*protocol).map(body))
                }
                StateProj::Reading(reading) => Ok(ready!(reading.as_mut().poll(cx))),
                StateProj::Done => panic!("{AFTER_READY}"),
            };
            state.set(State::Done);
            return Poll::Ready(result);
        }
    }
}

enum Kind {
    Error,
    Stream(StreamFormat),
    Other,
}

fn kind<B: Body>(response: &Response<B>, client: &ClientForm, head_only: bool) -> Kind {
    let (status, headers) = (response.status(), response.headers());
    if head_only || is_encoded(headers) {
        Kind::Other
    } else if status.is_success() {
        stream_format(headers, client).map_or(Kind::Other, Kind::Stream)
    } else if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        // These have no body, regardless of their headers.
        Kind::Other
    } else {
        Kind::Error
    }
}

/// The format of a stream that may end with one more event or element; `None` for other responses. A
/// stream with a length may not: the client would take the added bytes as part of that length, and it
/// notices missing bytes by itself.
fn stream_format(headers: &HeaderMap, client: &ClientForm) -> Option<StreamFormat> {
    if headers.contains_key(header::CONTENT_LENGTH) {
        None
    } else if has_type(headers, "text/event-stream") {
        Some(StreamFormat::events(client.protocol))
    } else if client.reads_array && has_type(headers, "application/json") {
        Some(StreamFormat::array())
    } else {
        None
    }
}

/// RFC 9112 §6.3: a Transfer-Encoding overrides a Content-Length, which must not be forwarded.
fn void_length(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
