//! Limits on the requests in flight to Vertex AI, and the queue in which further requests wait.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::Args;
use http::StatusCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::Client;
use crate::{
    local_reply::LocalReply,
    values::{MOST, number, time},
};

/// The options about load.
#[derive(Clone, Debug, Args)]
pub struct LimitOptions {
    /// Largest number of open connections of clients; further ones wait until one is closed. 0 for
    /// no limit [default: what the limit of open files allows]
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VERTEX_GATEWAY_MAX_CONNECTIONS",
        value_parser = number::<usize>(0..=MOST)
    )]
    pub max_connections: Option<usize>,

    /// Largest number of requests in flight to Vertex AI, streams until their end; 0 for no limit
    /// [default: what the limit of open files allows]
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VERTEX_GATEWAY_MAX_CONCURRENT_REQUESTS",
        value_parser = number::<usize>(0..=MOST)
    )]
    pub max_concurrent_requests: Option<usize>,

    /// Largest number of requests that wait in the queue while --max-concurrent-requests are in
    /// flight; the next one is refused at once. With 0 no request waits
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VERTEX_GATEWAY_MAX_QUEUED_REQUESTS",
        default_value_t = 1000,
        value_parser = number::<usize>(0..=MOST)
    )]
    pub max_queued_requests: usize,

    /// Longest wait of a request in the queue, under the limit of its key and under that of all
    /// clients together, after which it is refused; with 0 no request waits
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_QUEUE_TIMEOUT",
        default_value = "10s",
        value_parser = time(Duration::ZERO)
    )]
    pub queue_timeout: Duration,
}

impl LimitOptions {
    /// The same options, with `share` for each limit that is not set: as the number of connections
    /// and as the number of requests in flight.
    pub(crate) fn or(&self, share: usize) -> Self {
        Self {
            max_connections: self.max_connections.or(Some(share)),
            max_concurrent_requests: self.max_concurrent_requests.or(Some(share)),
            ..self.clone()
        }
    }
}

/// A semaphore of `most` permits; `None` for no limit, which is what 0 or an unset option means.
pub(crate) fn room(most: Option<usize>) -> Option<Arc<Semaphore>> {
    let most = most.unwrap_or(0).min(Semaphore::MAX_PERMITS);
    (most > 0).then(|| Arc::new(Semaphore::new(most)))
}

/// The limits of this process, shared by all its connections.
#[derive(Debug)]
pub(crate) struct Limits {
    all: Option<Arc<Semaphore>>,
    waiting: Arc<AtomicUsize>,
    most_waiting: usize,
    longest_wait: Duration,
}

/// The permits of a request in flight, released when they are dropped.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    _all: Option<OwnedSemaphorePermit>,
    _client: Option<OwnedSemaphorePermit>,
}

impl Limits {
    pub(crate) fn new(options: &LimitOptions) -> Self {
        Self {
            all: room(options.max_concurrent_requests),
            waiting: Arc::default(),
            most_waiting: options.max_queued_requests,
            longest_wait: options.queue_timeout,
        }
    }

    /// Waits for a permit of the client, then for one of the whole gateway. In this order, a client
    /// with many requests in flight delays only its own.
    ///
    /// # Errors
    ///
    /// 429 if the client has its maximum of requests in flight, 503 if the gateway has.
    pub(crate) async fn enter(&self, client: Option<&Client>) -> Result<Permits, LocalReply> {
        let until = Instant::now() + self.longest_wait;
        let of_client = match client.and_then(Client::concurrency) {
            None => None,
            Some(limit) => {
                Some(self.turn(limit, until).await.map_err(QueueError::too_many_concurrent)?)
            }
        };
        let of_all = match &self.all {
            None => None,
            Some(limit) => Some(self.turn(limit, until).await.map_err(QueueError::overloaded)?),
        };
        Ok(Permits { _all: of_all, _client: of_client })
    }

    /// The same without a wait; `None` if the request has to wait.
    pub(crate) fn enter_at_once(&self, client: Option<&Client>) -> Option<Permits> {
        let free = |limit: &Arc<Semaphore>| Arc::clone(limit).try_acquire_owned().ok();
        let of_client = match client.and_then(Client::concurrency) {
            None => None,
            Some(limit) => Some(free(limit)?),
        };
        let of_all = match &self.all {
            None => None,
            Some(limit) => Some(free(limit)?),
        };
        Some(Permits { _all: of_all, _client: of_client })
    }

    /// The number of free permits; `None` without a limit.
    #[cfg(test)]
    pub(crate) fn free(&self) -> Option<usize> {
        self.all.as_ref().map(|all| all.available_permits())
    }

    /// The number of requests in the queue. The counter is updated as requests enter and leave.
    pub(crate) fn waiting(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.waiting)
    }

    async fn turn(
        &self,
        limit: &Arc<Semaphore>,
        until: Instant,
    ) -> Result<OwnedSemaphorePermit, QueueError> {
        // One of the two limits may have room, and then the request needs no place in the queue.
        if let Ok(permit) = Arc::clone(limit).try_acquire_owned() {
            return Ok(permit);
        }
        let most = self.most_waiting;
        let _place =
            QueueSlot::take(&self.waiting, most).ok_or(QueueError::QueueIsFull { most })?;
        let permit = timeout_at(until, Arc::clone(limit).acquire_owned()).await;
        // The semaphore is never closed, so the inner error cannot occur.
        permit.ok().and_then(Result::ok).ok_or(QueueError::Waited(self.longest_wait))
    }
}

/// The reason why a request got no permit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueueError {
    QueueIsFull { most: usize },
    Waited(Duration),
}

impl QueueError {
    /// The response to a request over `--max-concurrent-requests`.
    fn overloaded(self) -> LocalReply {
        let message = format!("--max-concurrent-requests are in flight, and {self}; retry later");
        LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
            .retry_after(Duration::from_secs(1))
    }

    /// The response to a request over the limit of its client.
    fn too_many_concurrent(self) -> LocalReply {
        let message = format!(
            "this key has its maximum of concurrent requests in flight, and {self}; retry later"
        );
        LocalReply::new(StatusCode::TOO_MANY_REQUESTS, "too_many_concurrent_requests", message)
            .retry_after(Duration::from_secs(1))
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueIsFull { most } => {
                write!(f, "the queue is full (--max-queued-requests {most})")
            }
            Self::Waited(time) => write!(
                f,
                "none finished within {time:?}, the limit of \
                 --queue-timeout"
            ),
        }
    }
}

/// A place in the queue.
struct QueueSlot<'a>(&'a AtomicUsize);

impl<'a> QueueSlot<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let next = |waiting: usize| (waiting < most).then_some(waiting + 1);
        // `then_some` would create the slot for a full queue too, and its drop would lower the
        // count.
        waiting.fetch_update(Relaxed, Relaxed, next).is_ok().then(|| Self(waiting))
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::Clients, config::parse::ClientRules};

    #[tokio::test(start_paused = true)]
    async fn both_waits_share_one_queue_timeout() {
        let limits = Limits::new(&LimitOptions {
            max_connections: None,
            max_concurrent_requests: Some(1),
            max_queued_requests: 1,
            queue_timeout: Duration::from_secs(10),
        });
        let rules = serde_json::json!({ "name": "client", "max_concurrent_requests": 1 });
        let rules: ClientRules = serde_json::from_value(rules).unwrap();
        let client = Client::new(&rules, &Clients::default()).unwrap();
        let of_all = limits.enter_at_once(None).unwrap();
        let of_client = Arc::clone(client.concurrency().unwrap()).try_acquire_owned().unwrap();
        let begin = Instant::now();
        let later = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            drop(of_client);
        };
        let (entered, ()) = tokio::join!(limits.enter(Some(&client)), later);
        assert_eq!(entered.unwrap_err().code(), "overloaded");
        assert_eq!(begin.elapsed(), Duration::from_secs(10));
        drop(of_all);
        let of_client = limits.enter(Some(&client)).await.unwrap();
        let refused = limits.enter(Some(&client)).await.unwrap_err();
        assert_eq!(refused.code(), "too_many_concurrent_requests");
        drop(of_client);
        assert!(limits.enter(Some(&client)).await.is_ok());
    }
    #[test]
    fn a_full_queue_keeps_its_count_after_refusals() {
        let waiting = AtomicUsize::new(0);
        let places: Vec<_> = (0..2).filter_map(|_| QueueSlot::take(&waiting, 2)).collect();
        assert_eq!(places.len(), 2);
        for _ in 0..1000 {
            assert!(QueueSlot::take(&waiting, 2).is_none());
            assert_eq!(waiting.load(Relaxed), 2);
        }
        drop(places);
        assert_eq!(waiting.load(Relaxed), 0);
        assert!(QueueSlot::take(&waiting, 2).is_some());
    }
}
