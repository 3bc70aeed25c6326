use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{ResponseContext, StreamCures, cure_body};
use crate::{
    body_headers::{has_type, is_encoded, remove_digests},
    replay::Coalesced,
};

/// The longest body, in bytes, that is collected for its cure. 16 MiB hold ten images in base64, or
/// 250 embeddings of 3072 numbers.
const BODY_LIMIT: usize = 16 << 20;

/// The body of a response, unchanged or cured. `Send` and `Sync` if `B` is.
///
/// A body of JSON is collected up to 16 MiB; a longer one is forwarded as it is. A stream of
/// server-sent events is cured event by event.
#[pin_project]
pub(crate) struct CuredBody<B> {
    /// `None` after its end.
    #[pin]
    body: Option<B>,
    cure: Curing,
    /// The bytes that may be forwarded.
    ready: VecDeque<Bytes>,
    trailers: Option<Box<HeaderMap>>,
}

enum Curing {
    /// Nothing is cured, or not any more.
    Nothing,
    Whole(Box<Collected>),
    Events(Box<StreamCures>),
}

/// A body that is collected. Boxed, because layers move bodies.
struct Collected {
    context: ResponseContext,
    data: Coalesced,
}

impl<B> CuredBody<B> {
    fn new(body: B, cure: Curing) -> Self {
        Self { body: Some(body), cure, ready: VecDeque::new(), trailers: None }
    }

    /// Cures the body of a successful response, if it can be read. The headers that describe the
    /// original bytes are removed.
    ///
    /// `response` must have a body: it is not for `HEAD`.
    pub(crate) fn cured(response: Response<B>, context: ResponseContext) -> Response<Self> {
        let headers = response.headers();
        let cure = if !response.status().is_success() || is_encoded(headers) {
            Curing::Nothing
        } else if has_type(headers, "text/event-stream") {
            Curing::Events(Box::new(StreamCures::new(context)))
        } else if has_type(headers, "application/json") {
            Curing::Whole(Box::new(Collected { context, data: Coalesced::default() }))
        } else {
            Curing::Nothing
        };
        let mut response = response.map(|body| Self::new(body, cure));
        if !matches!(response.body().cure, Curing::Nothing) {
            response.headers_mut().remove(CONTENT_LENGTH);
            remove_digests(response.headers_mut());
        }
        response
    }
}

impl Curing {
    /// Takes the next bytes of the body.
    fn push(&mut self, data: Bytes, ready: &mut VecDeque<Bytes>) {
        match self {
            Self::Nothing => ready.push_back(data),
            Self::Events(cures) => cures.push(data, ready),
            Self::Whole(collected) => {
                collected.data.push_whole(data);
                if collected.data.len() > BODY_LIMIT {
                    self.give_up(ready);
                }
            }
        }
    }

    /// Forwards the bytes that are held, as they are.
    fn give_up(&mut self, ready: &mut VecDeque<Bytes>) {
        if let Self::Whole(collected) = std::mem::replace(self, Self::Nothing) {
            ready.extend(collected.data);
        }
    }

    /// Cures the rest, after the end of the body.
    fn finish(&mut self, ready: &mut VecDeque<Bytes>) {
        let rest = match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => return,
            Self::Events(mut cures) => cures.finish(),
            Self::Whole(collected) => cure_body(&collected.context, joined(collected.data)),
        };
        if !rest.is_empty() {
            ready.push_back(rest);
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Whole(collected) => collected.data.is_empty(),
            Self::Events(cures) => cures.is_empty(),
        }
    }
}

fn joined(collected: Coalesced) -> Bytes {
    let length = collected.len();
    let mut pieces = collected.into_iter();
    let first = pieces.next().unwrap_or_default();
    if first.len() == length {
        return first;
    }
    let mut all = BytesMut::with_capacity(length);
    all.extend_from_slice(&first);
    pieces.for_each(|piece| all.extend_from_slice(&piece));
    all.freeze()
}

impl<B: Body<Data = Bytes>> Body for CuredBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        loop {
            if let Some(data) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if let Some(trailers) = this.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(*trailers))));
            }
            let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            match ready!(body.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.cure.push(data, this.ready),
                    Err(frame) => {
                        this.cure.finish(this.ready);
                        *this.trailers = frame.into_trailers().ok().map(Box::new);
                    }
                },
                None => {
                    this.body.set(None);
                    this.cure.finish(this.ready);
                }
                Some(Err(error)) => {
                    // A client must not take the part of a body for a complete one.
                    this.body.set(None);
                    *this.cure = Curing::Nothing;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty()
            && self.trailers.is_none()
            && self.cure.is_empty()
            && self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, &self.cure) {
            (Some(body), Curing::Nothing) if self.ready.is_empty() => body.size_hint(),
            _ if self.is_end_stream() => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}

/// Shows the kind of body, never its content.
impl<B> fmt::Debug for CuredBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.cure {
            Curing::Nothing => "CuredBody(unchanged)",
            Curing::Whole(..) => "CuredBody(json)",
            Curing::Events(_) => "CuredBody(events)",
        })
    }
}
