//! The state of a client's connection: whether a request is in flight on it, how long it has been
//! idle, and whether it has to be closed.

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

/// A request without a valid key closes its connection, unless a request with a valid key has used
/// the connection within this time: a proxy in front sends the requests of many clients over one
/// connection.
const SHARED: Duration = Duration::from_secs(30);

/// The state of one connection, shared by the code that reads, serves and writes it.
#[derive(Debug)]
pub(crate) struct Activity {
    /// The address of the client, if the log should have it.
    peer_address: OnceLock<SocketAddr>,
    opened: Instant,
    /// Number of requests that the service has received.
    begun: AtomicUsize,
    /// Number of requests whose responses hyper has taken to the last byte, or dropped.
    ended: AtomicUsize,
    /// Number of these requests whose responses the socket has taken to the last byte.
    sent: AtomicUsize,
    /// When the last of these responses was sent, in milliseconds since the connection was opened.
    quiet_since: AtomicU64,
    /// Whether the socket takes no bytes at the moment.
    is_blocked: AtomicBool,
    is_http2: AtomicBool,
    /// Whether the client is sending the first line of a request.
    in_request_line: AtomicBool,
    /// Whether the client is sending a request head.
    in_head: AtomicBool,
    /// Number of requests in flight of admitted clients.
    admitted: AtomicUsize,
    /// When the last of these requests was admitted or ended, in milliseconds since the connection
    /// was opened, plus one; 0 if there was none.
    admitted_at: AtomicU64,
    /// Notified when the connection has to be closed after the requests in flight.
    close: Notify,
    /// Notified when the connection has to be dropped.
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
            admitted: AtomicUsize::new(0),
            admitted_at: AtomicU64::new(0),
            close: Notify::new(),
            evict: Notify::new(),
        })
    }

    /// Sets the address of the client for the log.
    pub(crate) fn comes_from(&self, peer: SocketAddr) {
        // An IPv4 address is logged as one, even if the listener is IPv6.
        let _ = self.peer_address.set(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    }

    /// The address of the client, if the log should have it.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address.get().copied()
    }

    /// The same address as a field of a log line.
    pub(crate) fn shown_peer_address(&self) -> Option<DisplayValue<SocketAddr>> {
        self.peer_address().map(display)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts a request that the service has received. It is in flight until the returned value is
    /// dropped, which therefore has to live as long as the body of the response.
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

    /// The socket takes no more bytes for now.
    pub(crate) fn blocked(&self) {
        self.is_blocked.store(true, Relaxed);
    }

    /// The socket has taken all bytes that hyper had to write.
    pub(crate) fn flushed(&self) {
        self.is_blocked.store(false, Relaxed);
        let ended = self.ended.load(Relaxed);
        if self.sent.swap(ended, Relaxed) != ended {
            self.quiet_since.store(self.now(), Relaxed);
        }
    }

    /// Whether there was no request yet.
    pub(crate) fn is_new(&self) -> bool {
        self.begun.load(Relaxed) == 0
    }

    /// Whether all responses were sent to their last byte.
    pub(crate) fn is_quiet(&self) -> bool {
        self.sent.load(Relaxed) == self.begun.load(Relaxed)
    }

    /// The time for which the connection has been quiet; `None` if a request is in flight, or the
    /// socket is blocked.
    pub(crate) fn quiet_for(&self) -> Option<Duration> {
        let since = Duration::from_millis(self.quiet_since.load(Relaxed));
        let is_quiet = self.is_quiet() && !self.is_blocked.load(Relaxed);
        is_quiet.then(|| self.opened.elapsed().saturating_sub(since))
    }

    /// Waits until the connection has been quiet for `time`.
    async fn quiet(&self, time: Duration) {
        loop {
            match self.quiet_for().map(|quiet| time.saturating_sub(quiet)) {
                Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
                // No notification announces the end of a response, so this polls.
                None => sleep(time.min(Duration::from_millis(100))).await,
            }
        }
    }

    /// Waits until the connection has been quiet for `time` between requests. Over HTTP/1.1 the
    /// wait for the first request, and a request head that has begun, have a timeout of their own
    /// in `StrictIo`.
    pub(crate) async fn idle(&self, time: Duration) {
        let is_idle = || self.is_http2() || !self.is_new() && !self.in_head.load(Relaxed);
        loop {
            let quiet = self.quiet_for().filter(|_| is_idle()).unwrap_or_default();
            let Some(left) = time.checked_sub(quiet).filter(|left| !left.is_zero()) else { return };
            sleep(left).await;
        }
    }

    /// Waits until a closing connection has been quiet for `time` from now on. Requests that the
    /// client had sent before it read of the closing are still served (RFC 9113 §6.8).
    pub(crate) async fn lingered(&self, time: Duration) {
        self.quiet_since.fetch_max(self.now(), Relaxed);
        self.quiet(time).await;
    }

    /// The time for which the connection has had no admitted client: since it was opened, or since
    /// [`SHARED`] after the last request of such a client. `None` while a request of such a client
    /// is in flight, and for [`SHARED`] after that.
    pub(crate) fn strange_for(&self) -> Option<Duration> {
        if self.admitted.load(Relaxed) > 0 {
            return None;
        }
        match self.admitted_at.load(Relaxed) {
            0 => Some(self.opened.elapsed()),
            at => Duration::from_millis(self.now().saturating_sub(at)).checked_sub(SHARED),
        }
    }

    /// Whether there was never a request of an admitted client.
    pub(crate) fn is_strangers(&self) -> bool {
        self.admitted_at.load(Relaxed) == 0
    }

    /// Waits until the connection has been closing for `time` and has no admitted client. Requests
    /// of other clients are not worth more time.
    pub(crate) async fn outstayed(&self, time: Duration) {
        sleep(time).await;
        while self.strange_for().is_none() {
            sleep(time).await;
        }
    }

    /// Notes that a request was rejected before its client was admitted. Returns whether the
    /// connection has to be closed.
    pub(crate) fn refused(&self) -> bool {
        let closes = self.strange_for().is_some();
        if closes && self.is_http2() {
            // Over HTTP/1.1 the response itself announces the closing.
            self.close.notify_one();
        }
        closes
    }

    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Has the connection dropped, unless a client is admitted on it before that.
    pub(crate) fn evict(&self) {
        self.evict.notify_one();
    }

    /// Waits until the connection has to be dropped. If a client was admitted in the meantime, the
    /// connection is kept.
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

    /// Admits the client: its key is valid, or it needs none.
    pub(crate) fn let_in(&self) {
        let activity = &self.activity;
        if !self.is_authenticated.swap(true, Relaxed) {
            activity.admitted.fetch_add(1, Relaxed);
        }
        activity.admitted_at.store(activity.now().saturating_add(1), Relaxed);
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Relaxed)
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        let activity = &self.activity;
        if self.is_authenticated() {
            activity.admitted_at.store(activity.now().saturating_add(1), Relaxed);
            activity.admitted.fetch_sub(1, Relaxed);
        }
        activity.ended.fetch_add(1, Relaxed);
    }
}

/// The size of a piece of a response. Over HTTP/2, a client that takes less than a piece within
/// `--send-timeout` counts as reading nothing. A DATA frame is not longer either.
const PIECE: usize = 16 << 10;
/// hyper 1.12 passes a piece to h2 as soon as one byte of it may be sent, and then polls for the
/// next one. If the last byte of a piece is held back, that poll shows that the rest of the piece
/// may be sent too. Pieces up to this size are sent whole, unless they are the last: they occupy
/// little memory.
const SHORT: usize = 4 << 10;

/// The body of a response. The request is in flight until the end of this body.
#[pin_project]
pub(crate) struct SentBody<B: Body> {
    #[pin]
    body: B,
    /// The rest of the last frame.
    rest: Bytes,
    /// The frame after that one, or the end, if it has arrived.
    next: Next<B::Error>,
    /// Set for a stream of HTTP/2 with a `--send-timeout`.
    stalls: Option<Stalls>,
    _call: InFlightRequest,
}

enum Next<E> {
    Unknown,
    Frame(Result<Frame<Bytes>, E>),
    End,
}

impl<B: Body> SentBody<B> {
    /// Must be called within the future that produces the response, for `Stalls::of_this_stream`.
    pub(crate) fn new(body: B, call: InFlightRequest) -> Self {
        let stalls = call.activity().is_http2().then(Stalls::of_this_stream).flatten();
        Self { body, rest: Bytes::new(), next: Next::Unknown, stalls, _call: call }
    }
}

/// Splits off the next piece.
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
        if this.rest.is_empty() {
            let frame = match std::mem::replace(this.next, Next::Unknown) {
                Next::Frame(frame) => Poll::Ready(Some(frame)),
                Next::End => Poll::Ready(None),
                Next::Unknown => this.body.as_mut().poll_frame(cx),
            };
            stalls.polled(matches!(frame, Poll::Ready(Some(Ok(_)))));
            match frame {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return other,
            }
            // Without a length, only the body knows that this was its last frame.
            if !this.body.is_end_stream()
                && let Poll::Ready(next) = this.body.as_mut().poll_frame(cx)
            {
                *this.next = next.map_or(Next::End, Next::Frame);
            }
        } else {
            stalls.polled(true);
        }
        let is_last = match this.next {
            Next::End => true,
            Next::Frame(_) => false,
            Next::Unknown => this.body.is_end_stream(),
        };
        Poll::Ready(Some(Ok(Frame::data(piece(this.rest, is_last)))))
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match &self.next {
            Next::End => true,
            Next::Frame(_) => false,
            Next::Unknown => self.body.is_end_stream(),
        };
        self.rest.is_empty() && is_over
    }

    fn size_hint(&self) -> SizeHint {
        let next = match &self.next {
            Next::Frame(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        let (hint, held) = (self.body.size_hint(), (self.rest.len() + next) as u64);
        let mut all = SizeHint::new();
        if let Some(upper) = hint.upper() {
            all.set_upper(upper.saturating_add(held));
        }
        all.set_lower(hint.lower().saturating_add(held));
        all
    }
}
