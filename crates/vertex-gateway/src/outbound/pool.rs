//! A pool of idle connections.
//!
//! The connection that was used last is taken first, so surplus connections stay idle and are
//! closed. A connection is checked when it is taken: one that the peer has closed, or that is too
//! old, is dropped. A task checks the idle connections. It runs only while there are any.
//!
//! hyper-util's `client::pool`, a `map` of `cache`s, was compared with this pool by callgrind, in
//! version 0.1.21. A request with 1 KiB in each direction takes 24,700 instructions here. It takes
//! 24,100 there (0.97), and 33,500 with `client::legacy` (1.35). But hyper-util's pool lacks this:
//! - Idle timeout, lifetime, and sending a request again if its connection was closed while idle.
//! - A check of the connection that it returns. A request fails if the connection is closed, and
//!   waits while an upload over it continues whose response has already arrived.
//! - A way to drop a connection whose response was not read to the end.
//!
//! All of it can be added around that pool, which then takes 24,500 instructions (0.99), or 1.03
//! times ours with the settings of a release. Opening many connections at once costs more there,
//! because it searches the list of waiting requests: 1.5 times the instructions for 2,000.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::client::conn::http1::SendRequest;
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

/// A connection that is idle for longer is closed. A burst leaves as many connections as there were
/// requests, and each one holds memory. A request over a connection that Google is about to close
/// would have to be sent again.
const IDLE: Duration = Duration::from_secs(30);
/// Interval of the checks of idle connections.
const INTERVAL: Duration = Duration::from_secs(10);

/// The scheme and the authority of a server.
#[derive(Clone, Debug)]
pub(super) struct PoolKey {
    scheme: Scheme,
    authority: Authority,
}

impl PoolKey {
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme().filter(|s| **s == Scheme::HTTPS || **s == Scheme::HTTP)?.clone();
        Some(Self { scheme, authority: uri.authority()?.clone() })
    }

    /// Compares the authorities as written, which suffices because all of them come from the
    /// gateway.
    fn is(&self, other: &Self) -> bool {
        self.is_https() == other.is_https() && self.authority.as_str() == other.authority.as_str()
    }

    pub(super) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn uri(&self) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        // All three parts are set and valid.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// All idle connections.
pub(super) struct Pool<B> {
    lifetime: Option<Duration>,
    idle: Mutex<IdleConnections<B>>,
}

struct IdleConnections<B> {
    /// A list, because a search among a few keys is faster than hashing their long names.
    places: Vec<(PoolKey, HostConnections<B>)>,
    is_watched: bool,
}

/// The connections to one server.
struct HostConnections<B> {
    unused: Vec<Unused<B>>,
    /// Requests that are about to open a connection. They take one that is returned before.
    waiting: VecDeque<oneshot::Sender<Lease<B>>>,
}

impl<B> Default for HostConnections<B> {
    fn default() -> Self {
        Self { unused: Vec::new(), waiting: VecDeque::new() }
    }
}

struct Unused<B> {
    connection: Box<PooledConnection<B>>,
    since: Instant,
}

/// Boxed, because layers move the body of a response, which has it.
struct PooledConnection<B> {
    place: PoolKey,
    sender: SendRequest<B>,
    /// Time from which the connection takes no more requests.
    until: Option<Instant>,
}

/// A connection in use.
pub(super) struct Lease<B> {
    connection: Box<PooledConnection<B>>,
    pool: Arc<Pool<B>>,
}

/// A place in the queue for a connection. A connection that arrives and is not taken, because the request
/// has left or has got a new one, is returned to the pool.
pub(super) struct Waiting<B: Send + 'static>(oneshot::Receiver<Lease<B>>);

impl<B: Send + 'static> Future for Waiting<B> {
    type Output = Result<Lease<B>, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<B: Send + 'static> Drop for Waiting<B> {
    fn drop(&mut self) {
        self.0.close();
        // The pool needs a runtime for its task.
        if let Ok(lease) = self.0.try_recv()
            && Handle::try_current().is_ok()
        {
            lease.give_back();
        }
    }
}

impl<B> Pool<B> {
    pub(super) fn new(lifetime: Option<Duration>) -> Self {
        let idle = IdleConnections { places: Vec::new(), is_watched: false };
        Self { lifetime, idle: Mutex::new(idle) }
    }

    /// Takes an idle connection to `place`.
    pub(super) fn take(self: &Arc<Self>, place: &PoolKey) -> Option<Lease<B>> {
        let mut idle = self.lock();
        self.take_from(idle.at(place)?)
    }

    /// Takes an idle connection, or returns a place in the queue for the next one that becomes free.
    pub(super) fn take_or_wait(self: &Arc<Self>, place: &PoolKey) -> Result<Lease<B>, Waiting<B>>
    where
        B: Send + 'static,
    {
        let mut idle = self.lock();
        let there = idle.at_or_new(place);
        if let Some(lease) = self.take_from(there) {
            return Ok(lease);
        }
        let (waiting, freed) = oneshot::channel();
        // Waiting requests whose receivers are closed were dropped or got a new connection, the
        // oldest first.
        while there.waiting.front().is_some_and(oneshot::Sender::is_closed) {
            there.waiting.pop_front();
        }
        there.waiting.push_back(waiting);
        Err(Waiting(freed))
    }

    fn take_from(self: &Arc<Self>, there: &mut HostConnections<B>) -> Option<Lease<B>> {
        let unused = &mut there.unused;
        let now = Instant::now();
        for at in (0..unused.len()).rev() {
            if !unused[at].is_good(now) {
                unused.swap_remove(at);
            } else if unused[at].connection.sender.is_ready() {
                let Unused { connection, .. } = unused.swap_remove(at);
                return Some(Lease { connection, pool: Arc::clone(self) });
            }
            // Otherwise a request is still being sent over it, although its response has arrived.
        }
        None
    }

    /// Wraps a new connection.
    pub(super) fn lease(self: &Arc<Self>, place: PoolKey, sender: SendRequest<B>) -> Lease<B> {
        // The lifetimes differ, so connections that were opened together do not end together.
        let until =
            self.lifetime.map(|life| Instant::now() + life.mul_f64(0.9 + 0.2 * fastrand::f64()));
        let connection = Box::new(PooledConnection { place, sender, until });
        Lease { connection, pool: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, IdleConnections<B>> {
        // Every statement leaves the pool consistent, so a poisoned lock is still usable.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops connections that are closed or too old. Returns whether any are left.
    fn remove_unusable(&self) -> bool {
        let mut idle = self.lock();
        let now = Instant::now();
        idle.places.retain_mut(|(_, there)| {
            there.unused.retain(|unused| unused.is_good(now));
            there.waiting.retain(|waiting| !waiting.is_closed());
            !there.unused.is_empty() || !there.waiting.is_empty()
        });
        idle.is_watched = !idle.places.is_empty();
        idle.is_watched
    }
}

impl<B> IdleConnections<B> {
    fn at(&mut self, place: &PoolKey) -> Option<&mut HostConnections<B>> {
        self.places.iter_mut().find(|(known, _)| known.is(place)).map(|(_, there)| there)
    }

    fn at_or_new(&mut self, place: &PoolKey) -> &mut HostConnections<B> {
        let known = self.places.iter().position(|(known, _)| known.is(place));
        let index = known.unwrap_or(self.places.len());
        if known.is_none() {
            self.places.push((place.clone(), HostConnections::default()));
        }
        &mut self.places[index].1
    }
}

impl<B> PooledConnection<B> {
    fn is_good(&self, now: Instant) -> bool {
        !self.sender.is_closed() && self.until.is_none_or(|until| now < until)
    }
}

impl<B> Unused<B> {
    fn is_good(&self, now: Instant) -> bool {
        self.connection.is_good(now) && now.saturating_duration_since(self.since) < IDLE
    }
}

impl<B> Lease<B> {
    pub(super) fn sender(&mut self) -> &mut SendRequest<B> {
        &mut self.connection.sender
    }

    /// Returns the connection to the pool, because its response has ended.
    pub(super) fn give_back(self)
    where
        B: Send + 'static,
    {
        let since = Instant::now();
        if !self.connection.is_good(since) {
            return;
        }
        let pool = Arc::clone(&self.pool);
        let mut idle = pool.lock();
        let there = idle.at_or_new(&self.connection.place);
        let mut lease = self;
        while lease.connection.sender.is_ready()
            && let Some(waiting) = there.waiting.pop_front()
        {
            match waiting.send(lease) {
                Ok(()) => return,
                Err(unsent) => lease = unsent,
            }
        }
        there.unused.push(Unused { connection: lease.connection, since });
        if std::mem::replace(&mut idle.is_watched, true) {
            return;
        }
        drop(idle);
        let pool = Arc::downgrade(&pool);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                if !pool.upgrade().is_some_and(|pool| pool.remove_unusable()) {
                    return;
                }
            }
        });
    }
}

impl<B> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("place", &self.connection.place).finish_non_exhaustive()
    }
}
