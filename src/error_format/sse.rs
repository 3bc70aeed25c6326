//! A stream of server-sent events that reports its failure as an event.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{BoxError, replay::Coalesced, sse::Lines};

/// The last event of a stream that failed. openai-python 3.54 and openai-node 7.57 raise an
/// `APIError` for data with an `error`, regardless of the event's name. async-openai 0.43 cannot
/// take it for a chunk.
const INTERRUPTED: &str = concat!(
    r#"data: {"error":{"message":"the connection to Vertex AI broke in the middle of the response"#,
    r#", and the rest of it is missing; send the request again","type":"server_error","#,
    r#""param":null,"code":"stream_interrupted"}}"#,
    "\n\n",
);

/// The most bytes of an incomplete event that are held back. An image of a few hundred KiB, inline
/// in base64, is one event. The rest of a longer event is forwarded as it arrives.
const HOLD_LIMIT: usize = 1 << 20;

/// Forwards complete events at once, and holds back the bytes of an incomplete one.
///
/// Complete lines of an incomplete event are held back too. Parsers join the `data` lines of an
/// event, so they would read an error behind such a line as part of that event. A blank line
/// between the two would complete an event whose rest is missing.
#[pin_project]
pub(super) struct Events<B> {
    /// `None` after its end.
    #[pin]
    body: Option<B>,
    lines: Lines,
    /// The bytes that may be forwarded.
    ready: Coalesced,
    /// The bytes that are held back. They come after `ready`.
    held: Coalesced,
    trailers: Option<HeaderMap>,
    /// The incomplete event was over the limit, and its beginning has been forwarded.
    let_go: bool,
}

impl<B> Events<B> {
    pub(super) fn new(body: B) -> Self {
        Self {
            body: Some(body),
            lines: Lines::default(),
            ready: Coalesced::default(),
            held: Coalesced::default(),
            trailers: None,
            let_go: false,
        }
    }
}

impl<B> Events<B>
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
                        let complete = this.lines.read(&data);
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
                    if this.lines.is_done() {
                        continue;
                    }
                    if *this.let_go {
                        // The client has half an event already, so only an error can report the
                        // failure.
                        return Poll::Ready(Some(Err(error)));
                    }
                    let error: BoxError = error.into();
                    tracing::warn!(error = &*error, "a stream from Vertex AI ended early");
                    return Poll::Ready(Some(Ok(Frame::data(INTERRUPTED.into()))));
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

    #[test]
    fn the_last_event_is_json_in_openai_form() {
        let text = INTERRUPTED.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!text.contains(['\n', '\r']));
        let event: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(event["error"]["type"], "server_error");
        assert_eq!(event["error"]["code"], "stream_interrupted");
        assert!(event["error"]["param"].is_null());
        assert!(event["error"]["message"].as_str().unwrap().starts_with("the connection"));
    }
}
