//! What a connection of a client is doing: whether a request is in flight on it, since when none is,
//! and whether it is to be closed.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tracing::field::{DisplayValue, display};

use super::send_timeout::Stalls;

/// A request that was refused for want of a key closes its connection, unless one with a key came
/// on it in this time: a proxy in front sends the requests of many clients over one connection.
const SHARED: Duration = Duration::from_secs(30);

/// Of one connection. What reads, what serves and what writes it share this.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Who is at the other end, if the log is to tell.
    peer_address: OnceLock<SocketAddr>,
    opened: Instant,
    /// Requests that were given to the service.
    begun: AtomicUsize,
    /// Those whose responses hyper has taken to the last byte, or given up.
    ended: AtomicUsize,
    /// Those of them whose responses the socket has taken to the last byte.
    sent: AtomicUsize,
    /// When the last of these was sent, in milliseconds since it was opened.
    quiet_since: AtomicU64,
    /// Whether the socket takes nothing at the moment.
    is_blocked: AtomicBool,
    is_http2: AtomicBool,
    /// Whether what is being read is the first line of a request.
    in_request_line: AtomicBool,
    /// Whether what is being read is the head of a request.
    in_head: AtomicBool,
    /// Requests in flight of clients that may ask.
    good: AtomicUsize,
    /// When the last of these came or ended, in milliseconds since it was opened, and one more; 0 for
    /// never.
    let_in: AtomicU64,
    /// It is to be closed when its requests have ended.
    close: Notify,
    /// It is to be dropped.
    evict: Notify,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            peer_address: OnceLock::new(),
            opened: Instant::now(),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            in_request_line: AtomicBool::new(false),
            in_head: AtomicBool::new(false),
            good: AtomicUsize::new(0),
            let_in: AtomicU64::new(0),
            close: Notify::new(),
            evict: Notify::new(),
        })
    }

    /// The log is to tell who is at the other end.
    pub(crate) fn comes_from(&self, peer: SocketAddr) {
        // An IPv4 address is shown as one, whatever the listener is.
        let _ = self.peer_address.set(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    }

    /// Who is at the other end, if the log is to tell.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address.get().copied()
    }

    /// The same as a field of a line.
    pub(crate) fn shown_peer_address(&self) -> Option<DisplayValue<SocketAddr>> {
        self.peer_address().map(display)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A request is given to the service. It is in flight until the call is dropped, which is to
    /// live as long as the body of its response.
    pub(crate) fn call(self: &Arc<Self>, version: Version) -> InFlightRequest {
        self.begun.fetch_add(1, Relaxed);
        if version == Version::HTTP_2 {
            self.speaks_http2();
        }
        InFlightRequest { activity: Arc::clone(self), is_authenticated: AtomicBool::new(false) }
    }

    pub(crate) fn speaks_http2(&self) {
        self.is_http2.store(true, Relaxed);
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    pub(crate) fn reads_request_line(&self, reads: bool) {
        self.in_request_line.store(reads, Relaxed);
    }

    pub(crate) fn reads_head(&self, reads: bool) {
        self.in_head.store(reads, Relaxed);
    }

    pub(crate) fn is_in_request_line(&self) -> bool {
        self.in_request_line.load(Relaxed)
    }

    /// The socket takes nothing more for now.
    pub(crate) fn blocked(&self) {
        self.is_blocked.store(true, Relaxed);
    }

    /// The socket has taken all that hyper wanted to write.
    pub(crate) fn flushed(&self) {
        self.is_blocked.store(false, Relaxed);
        let ended = self.ended.load(Relaxed);
        if self.sent.swap(ended, Relaxed) != ended {
            self.quiet_since.store(self.now(), Relaxed);
        }
    }

    /// Whether no request has come yet.
    pub(crate) fn is_new(&self) -> bool {
        self.begun.load(Relaxed) == 0
    }

    /// Whether all responses were sent to their ends.
    pub(crate) fn is_quiet(&self) -> bool {
        self.sent.load(Relaxed) == self.begun.load(Relaxed)
    }

    /// For how long it has been so; `None` if a request is in flight, or the socket is blocked.
    pub(crate) fn quiet_for(&self) -> Option<Duration> {
        let since = Duration::from_millis(self.quiet_since.load(Relaxed));
        let is_quiet = self.is_quiet() && !self.is_blocked.load(Relaxed);
        is_quiet.then(|| self.opened.elapsed().saturating_sub(since))
    }

    /// Waits until it has been quiet for so long.
    async fn quiet(&self, time: Duration) {
        loop {
            match self.quiet_for().map(|quiet| time.saturating_sub(quiet)) {
                Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
                // Nothing announces the end of a response.
                None => sleep(time.min(Duration::from_millis(100))).await,
            }
        }
    }

    /// Waits until it has been quiet for so long between requests. Over HTTP/1.1 the wait for the
    /// first request, and a head that has begun, have a timeout of their own in `StrictIo`.
    pub(crate) async fn idle(&self, time: Duration) {
        let is_idle = || self.is_http2() || !self.is_new() && !self.in_head.load(Relaxed);
        loop {
            let quiet = self.quiet_for().filter(|_| is_idle()).unwrap_or_default();
            let Some(left) = time.checked_sub(quiet).filter(|left| !left.is_zero()) else { return };
            sleep(left).await;
        }
    }

    /// Of a connection that is closing: waits until it has been quiet for so long from now on. What the
    /// client had sent before it read of the closing is still served (RFC 9113 §6.8).
    pub(crate) async fn lingered(&self, time: Duration) {
        self.quiet_since.fetch_max(self.now(), Relaxed);
        self.quiet(time).await;
    }

    /// For how long the connection has been a stranger's: since it was opened, or since it was no longer
    /// shared with a client that may ask. `None` while such a client's request is in flight on it, and
    /// for [`SHARED`] after that.
    pub(crate) fn strange_for(&self) -> Option<Duration> {
        if self.good.load(Relaxed) > 0 {
            return None;
        }
        match self.let_in.load(Relaxed) {
            0 => Some(self.opened.elapsed()),
            at => Duration::from_millis(self.now().saturating_sub(at)).checked_sub(SHARED),
        }
    }

    /// Whether no request of a client that may ask has ever come.
    pub(crate) fn is_strangers(&self) -> bool {
        self.let_in.load(Relaxed) == 0
    }

    /// Waits until the connection has been closing for so long, and is a stranger's: nothing that is in
    /// flight for a stranger is worth more time.
    pub(crate) async fn outstayed(&self, time: Duration) {
        sleep(time).await;
        while self.strange_for().is_none() {
            sleep(time).await;
        }
    }

    /// A request was refused before its client was let in. Whether the connection is to be closed.
    pub(crate) fn refused(&self) -> bool {
        let closes = self.strange_for().is_some();
        if closes && self.is_http2() {
            // An HTTP/1.1 client is told by its response.
            self.close.notify_one();
        }
        closes
    }

    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Drops the connection.
    pub(crate) fn evict(&self) {
        self.evict.notify_one();
    }

    /// Waits until the connection is to be dropped. A client that was let in meanwhile keeps it.
    pub(crate) async fn evicted(&self) {
        loop {
            self.evict.notified().await;
            if self.strange_for().is_some() {
                return;
            }
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlightRequest {
    activity: Arc<Activity>,
    is_authenticated: AtomicBool,
}

impl InFlightRequest {
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The client has shown a good key, or need not have one.
    pub(crate) fn let_in(&self) {
        let activity = &self.activity;
        if !self.is_authenticated.swap(true, Relaxed) {
            activity.good.fetch_add(1, Relaxed);
        }
        activity.let_in.store(activity.now().saturating_add(1), Relaxed);
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Relaxed)
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        let activity = &self.activity;
        if self.is_authenticated() {
            activity.let_in.store(activity.now().saturating_add(1), Relaxed);
            activity.good.fetch_sub(1, Relaxed);
        }
        activity.ended.fetch_add(1, Relaxed);
    }
}

/// A piece of a response: over HTTP/2 a client that takes less of it within `--send-timeout` takes
/// nothing. A DATA frame is not longer either.
const PIECE: usize = 16 << 10;
/// hyper 1.12 hands a piece to h2 as soon as one byte of it may be sent, and asks for the next. With
/// its last byte held back, it knows that the rest may be sent, too. Short pieces go whole: they wait
/// for no memory's sake.
const SHORT: usize = 4 << 10;

/// The body of a response, whose request is in flight until its end.
#[pin_project]
pub(crate) struct SentBody<B> {
    #[pin]
    body: B,
    /// Of the last frame.
    rest: Bytes,
    /// Where HTTP/2 sends it.
    stalls: Option<Stalls>,
    _call: InFlightRequest,
}

impl<B> SentBody<B> {
    /// To be called by the future that answers the request.
    pub(crate) fn new(body: B, call: InFlightRequest) -> Self {
        let stalls = call.activity().is_http2().then(Stalls::of_this_stream).flatten();
        Self { body, rest: Bytes::new(), stalls, _call: call }
    }
}

/// Takes the next piece off.
fn piece(rest: &mut Bytes, is_last: bool) -> Bytes {
    let length = match rest.len() {
        length if length > PIECE => PIECE,
        length if length > 1 && (is_last || length > SHORT) => length - 1,
        length => length,
    };
    rest.split_to(length)
}

impl<B: Body<Data = Bytes>> Body for SentBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(stalls) = this.stalls else { return this.body.poll_frame(cx) };
        if !this.rest.is_empty() {
            stalls.handed_over(true);
            let is_last = this.body.is_end_stream();
            return Poll::Ready(Some(Ok(Frame::data(piece(this.rest, is_last)))));
        }
        let frame = this.body.as_mut().poll_frame(cx);
        stalls.handed_over(matches!(frame, Poll::Ready(Some(Ok(_)))));
        match frame {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(data) => {
                    *this.rest = data;
                    Frame::data(piece(this.rest, this.body.is_end_stream()))
                }
                Err(frame) => frame,
            }))),
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut with_rest = SizeHint::new();
        if let Some(upper) = hint.upper() {
            with_rest.set_upper(upper.saturating_add(rest));
        }
        with_rest.set_lower(hint.lower().saturating_add(rest));
        with_rest
    }
}
