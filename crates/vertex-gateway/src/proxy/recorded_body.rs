//! The record of one request, from its arrival to the last byte of its response.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::context::RequestContext;
use crate::telemetry::{
    Telemetry,
    access_log::{End, RequestLog},
    reason::ErrorText,
    trace::Trace,
    usage::Scanner,
};

/// A request in flight. Its drop reports it to [`Telemetry`]: after the last byte of the response
/// was taken, or when the client no longer waits for it.
pub(crate) struct RequestRecord {
    pub(crate) log: RequestLog,
    /// The client, the attempts and their outcome.
    pub(crate) context: Arc<RequestContext>,
    pub(crate) trace: Trace,
    scanner: Scanner,
    error: ErrorText,
    telemetry: Arc<Telemetry>,
}

impl RequestRecord {
    pub(crate) fn new(
        id: HeaderValue,
        method: Method,
        path: &str,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        telemetry.request_started();
        Self {
            log: RequestLog::new(id, method, path),
            context: Arc::default(),
            trace: Trace::default(),
            scanner: Scanner::default(),
            error: ErrorText::default(),
            telemetry,
        }
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// The body of a response to a client.
#[pin_project]
pub(crate) struct RecordedBody<B> {
    #[pin]
    body: B,
    /// Boxed, because many layers move a response; `None` for a request that is not recorded.
    record: Option<Box<RequestRecord>>,
}

impl<B> RecordedBody<B> {
    pub(crate) fn new(body: B, mut record: Box<RequestRecord>) -> Self
    where
        B: Body,
    {
        // A body that is not sent is not polled.
        if record.log.method == Method::HEAD || body.is_end_stream() {
            record.log.end = End::Complete;
        }
        Self { body, record: Some(record) }
    }

    /// The response to a request that is not recorded.
    pub(crate) fn unrecorded(body: B) -> Self {
        Self { body, record: None }
    }
}

impl<B: Body<Data = Bytes>> Body for RecordedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(record) = this.record else { return this.body.poll_frame(cx) };
        let Some(frame) = ready!(this.body.as_mut().poll_frame(cx)).transpose()? else {
            record.log.end = End::Complete;
            return Poll::Ready(None);
        };
        // Not every caller polls again after the last frame.
        let is_last = this.body.is_end_stream();
        if let Some(data) = frame.data_ref() {
            record.log.first_byte.get_or_insert_with(|| record.log.arrived.elapsed());
            record.log.bytes_sent += data.len() as u64;
            if record.log.error_message.is_none() && record.log.status.is_some_and(is_error) {
                record.error.read(data);
            }
            // The usage of a stored response was counted when it was created.
            if record.log.method == Method::POST {
                record.scanner.read(data, is_last);
            }
        }
        if is_last {
            record.log.end = End::Complete;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let log = &mut self.log;
        self.context.write_to(log);
        log.usage = self.scanner.usage();
        if log.error_message.is_none() && log.status.is_some_and(is_error) {
            log.error_message = self.error.message();
        }
        log.trace_id = self.trace.id();
        self.telemetry.request_finished(log);
        std::mem::take(&mut self.trace).end(log);
    }
}
