//! Bodies in pieces, and the polls that drive layers without a runtime.

use std::{
    cell::Cell,
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower::Service;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    Broken,
}

/// A body that arrives piece by piece: it is pending before each piece.
#[derive(Debug)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    end: End,
    waits: bool,
    is_waiting: bool,
    /// The number of bytes that were given.
    given: Rc<Cell<usize>>,
}

impl Pieces {
    pub fn new(pieces: &[&[u8]], end: End) -> Self {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        Self { pieces, end, waits: false, is_waiting: false, given: Rc::default() }
    }

    /// Makes the body pending before each piece.
    pub fn waiting(mut self) -> Self {
        (self.waits, self.is_waiting) = (true, true);
        self
    }

    pub fn given(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.given)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if std::mem::replace(&mut self.is_waiting, false) {
            return Poll::Pending;
        }
        self.is_waiting = self.waits;
        match self.pieces.pop_front() {
            Some(piece) => {
                self.given.set(self.given.get() + piece.len());
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None if self.end == End::Broken => {
                self.end = End::Complete;
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
            }
            None => Poll::Ready(None),
        }
    }
}

/// All bytes of a body, and whether it failed. The body must not be pending twice in a row.
pub fn collect<B>(body: B) -> (Vec<u8>, bool)
where
    B: Body<Data = Bytes>,
{
    let mut all = Vec::new();
    let failed = each_frame(body, |data| {
        if let Some(data) = data {
            all.extend_from_slice(&data);
        }
    });
    (all, failed)
}

/// Calls `take` with the data of each frame, and with `None` each time that the body is pending. Returns
/// whether the body failed.
pub fn each_frame<B>(body: B, mut take: impl FnMut(Option<Bytes>)) -> bool
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    let mut pending = 0;
    loop {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Pending => {
                pending += 1;
                assert!(pending < 1 << 16, "the body never ends");
                take(None);
            }
            Poll::Ready(None) => return false,
            Poll::Ready(Some(Err(_))) => return true,
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    take(Some(data));
                }
            }
        }
    }
}

/// Sends a request through a service that waits for nothing but the bodies of this module.
pub fn call<S, B>(service: &mut S, request: Request<B>) -> Result<S::Response, S::Error>
where
    S: Service<Request<B>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut response = pin!(service.call(request));
    for _ in 0..1 << 16 {
        if let Poll::Ready(result) = response.as_mut().poll(&mut cx) {
            return result;
        }
    }
    panic!("the response never comes");
}

/// The innermost service: it collects the body of a request, and makes the response.
pub fn inner<B, R>(
    respond: impl Fn(Request<Vec<u8>>) -> Response<R> + Clone,
) -> impl Service<
    Request<B>,
    Response = Response<R>,
    Error = Infallible,
    Future = std::future::Ready<Result<Response<R>, Infallible>>,
> + Clone
where
    B: Body<Data = Bytes>,
{
    tower::service_fn(move |request: Request<B>| {
        let (head, body) = request.into_parts();
        let (body, _) = collect(body);
        std::future::ready(Ok(respond(Request::from_parts(head, body))))
    })
}
