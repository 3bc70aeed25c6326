//! The body of a response, which holds its connection until it ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use tower_vertex::replay::detached;

/// A response body whose frames do not share the buffers of the connection. Trailers are removed:
/// they are headers that no layer has checked, and Vertex AI sends none. After the last byte the
/// connection is returned to the pool. If the body is dropped earlier, the connection is closed,
/// because the rest of this response would precede the next one.
#[derive(Debug)]
pub(crate) struct UpstreamBody<B> {
    body: Incoming,
    lease: Option<Lease<B>>,
}

impl<B> UpstreamBody<B> {
    pub(super) fn new(body: Incoming, lease: Lease<B>) -> Self
    where
        B: Send + 'static,
    {
        let mut this = Self { body, lease: Some(lease) };
        this.return_at_end();
        this
    }

    fn return_at_end(&mut self)
    where
        B: Send + 'static,
    {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl<B: Send + 'static> Body for UpstreamBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            // RFC 9110 §6.5.1 permits discarding trailers.
            if !matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
                break frame;
            }
        };
        match &frame {
            Some(Ok(_)) => self.return_at_end(),
            Some(Err(_)) => self.lease = None,
            None => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(detached))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
