//! A stream that reports its failure at its end: as a server-sent event, or as an element of an array.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{anthropic, google, json_array::Elements, openai};
use crate::{
    BoxError,
    replay::Coalesced,
    route::Protocol,
    sse::{EndMark, Lines},
};

/// The most bytes of an incomplete event that are held back. An image of a few hundred KiB, inline
/// in base64, is one event. The rest of a longer event is forwarded as it arrives.
///
/// The inputs of the fuzz targets are short, so their limit is lower.
const HOLD_LIMIT: usize = if cfg!(fuzzing) { 2 << 10 } else { 1 << 20 };

/// The parts of a stream, and the error that can be added after a complete one.
pub(super) enum StreamFormat {
    Events { lines: Lines, interrupted: &'static str },
    Array(Elements),
}

impl StreamFormat {
    /// Events, with the end mark of a protocol.
    pub(super) fn events(protocol: Protocol) -> Self {
        let (mark, interrupted) = match protocol {
            Protocol::OpenAi => (EndMark::DONE, openai::INTERRUPTED),
            // Gemini's streams have no end mark.
            Protocol::Gemini => (EndMark::NONE, google::INTERRUPTED_EVENT),
            Protocol::Anthropic => (EndMark::MESSAGE_STOP, anthropic::INTERRUPTED),
        };
        Self::Events { lines: Lines::until(mark), interrupted }
    }

    /// An array of Gemini's.
    pub(super) fn array() -> Self {
        Self::Array(Elements::default())
    }

    /// Reads the next bytes. Returns how many of them, from the first, leave no part incomplete.
    fn read(&mut self, data: &[u8]) -> usize {
        match self {
            Self::Events { lines, .. } => lines.read(data),
            Self::Array(elements) => elements.read(data),
        }
    }

    /// Whether the client has everything, so that a failure after it changes nothing.
    fn is_done(&self) -> bool {
        match self {
            Self::Events { lines, .. } => lines.is_done(),
            Self::Array(elements) => elements.is_done(),
        }
    }

    /// The bytes that report a failure after the complete parts. `None` if there can be none.
    fn interrupted(&self) -> Option<Bytes> {
        match self {
            Self::Events { interrupted, .. } => Some(Bytes::from_static(interrupted.as_bytes())),
            Self::Array(elements) => elements.interrupted(google::INTERRUPTED),
        }
    }
}

/// Forwards complete events and elements at once, and holds back the bytes of an incomplete one.
///
/// Complete lines of an incomplete event are held back too. Parsers join the `data` lines of an
/// event, so they would read an error behind such a line as part of that event. A blank line
/// between the two would complete an event whose rest is missing.
#[pin_project]
pub(super) struct Stream<B> {
    /// `None` after its end.
    #[pin]
    body: Option<B>,
    format: StreamFormat,
    /// The bytes that may be forwarded.
    ready: Coalesced,
    /// The bytes that are held back. They come after `ready`.
    held: Coalesced,
    trailers: Option<HeaderMap>,
    /// The incomplete event was over the limit, and its beginning has been forwarded.
    let_go: bool,
}

impl<B> Stream<B> {
    pub(super) fn new(body: B, format: StreamFormat) -> Self {
        Self {
            body: Some(body),
            format,
            ready: Coalesced::default(),
            held: Coalesced::default(),
            trailers: None,
            let_go: false,
        }
    }
}

impl<B> Stream<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        loop {
            if let Some(data) = this.ready.pop() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let Some(body) = this.body.as_mut().as_pin_mut().filter(|_| this.trailers.is_none())
            else {
                let data = this.held.pop().map(Frame::data);
                let last = data.or_else(|| this.trailers.take().map(Frame::trailers));
                return Poll::Ready(last.map(Ok));
            };
            match ready!(body.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => {
                        let complete = this.format.read(&data);
                        // An empty frame need not wait behind the held bytes.
                        let at_once = this.held.is_empty() || data.is_empty();
                        if at_once && complete == data.len() {
                            *this.let_go &= complete == 0;
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                        if complete > 0 {
                            this.ready.append_all(this.held);
                            this.ready.push_whole(data.split_to(complete));
                            *this.let_go = false;
                        }
                        this.held.push(data);
                        if *this.let_go || this.held.pinned() > HOLD_LIMIT {
                            this.ready.append_all(this.held);
                            *this.let_go = true;
                        }
                    }
                    Err(frame) => *this.trailers = frame.into_trailers().ok(),
                },
                None => this.body.set(None),
                Some(Err(error)) => {
                    this.body.set(None);
                    *this.held = Coalesced::default();
                    if this.format.is_done() {
                        continue;
                    }
                    let Some(interrupted) = this.format.interrupted().filter(|_| !*this.let_go)
                    else {
                        // The client has half an event already, so only an error can report the
                        // failure.
                        return Poll::Ready(Some(Err(error)));
                    };
                    let error: BoxError = error.into();
                    tracing::warn!(error = &*error, "a stream from Vertex AI ended early");
                    return Poll::Ready(Some(Ok(Frame::data(interrupted))));
                }
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.waiting() == 0
            && self.trailers.is_none()
            && self.body.as_ref().is_none_or(B::is_end_stream)
    }

    /// The number of bytes that have arrived and were not forwarded.
    fn waiting(&self) -> usize {
        self.ready.len() + self.held.len()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.body.as_ref().is_none_or(B::is_end_stream) {
            return SizeHint::with_exact(self.waiting() as u64);
        }
        // The inner body may still fail before its promised end, and then an event is added.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::Value;

    fn last_of(protocol: Protocol) -> (String, Value) {
        let last = StreamFormat::events(protocol).interrupted().unwrap();
        let text = std::str::from_utf8(&last).unwrap().strip_suffix("\n\n").unwrap();
        let (name, data) = text.split_once("data: ").unwrap();
        assert!(!data.contains(['\n', '\r']));
        (name.to_owned(), serde_json::from_str(data).unwrap())
    }

    #[test]
    fn the_last_event_is_json_in_the_form_of_each_protocol() {
        let (name, event) = last_of(Protocol::OpenAi);
        assert_eq!(name, "");
        assert_eq!(event["error"]["type"], "server_error");
        assert_eq!(event["error"]["code"], "stream_interrupted");
        assert!(event["error"]["param"].is_null());
        assert!(event["error"]["message"].as_str().unwrap().starts_with("the connection"));

        let (name, event) = last_of(Protocol::Gemini);
        assert_eq!(name, "");
        assert_eq!(event["error"]["code"], 503);
        assert_eq!(event["error"]["status"], "UNAVAILABLE");
        assert_eq!(event["error"]["details"][0]["reason"], "STREAM_INTERRUPTED");
        assert!(event["error"]["message"].as_str().unwrap().starts_with("the connection"));
        assert_eq!(serde_json::from_str::<Value>(google::INTERRUPTED).unwrap(), event);

        let (name, event) = last_of(Protocol::Anthropic);
        assert_eq!(name, "event: error\n");
        assert_eq!(event["type"], "error");
        assert_eq!(event["error"]["type"], "api_error");
        assert_eq!(event["error"]["details"]["error_code"], "stream_interrupted");
        assert!(event["error"]["message"].as_str().unwrap().starts_with("the connection"));
    }
}
