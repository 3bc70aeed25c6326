//! A clock that stands still until a model moves it.

use std::{
    future::{Future, IntoFuture, pending},
    ops::{Add, AddAssign, Sub},
    pin::Pin,
    sync::atomic::{self, AtomicBool, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering::SeqCst},
};

/// Whether the clock of the current model ever moves. If not, to read it is no step.
static PASSES: AtomicBool = AtomicBool::new(false);

/// The time that [`begin_at`] set, in milliseconds.
static BEGIN: atomic::AtomicU64 = atomic::AtomicU64::new(0);

struct Clock {
    /// In milliseconds after that.
    now: AtomicU64,
    sleepers: Mutex<Vec<Waker>>,
}

loom::lazy_static! {
    static ref CLOCK: Clock = Clock { now: AtomicU64::new(0), sleepers: Mutex::new(Vec::new()) };
}

/// Says whether threads of the model that starts now move the clock.
pub fn let_time_pass(passes: bool) {
    PASSES.store(passes, Relaxed);
}

/// Sets the clock, before there are threads.
pub fn begin_at(time: Duration) {
    BEGIN.store(time.as_millis() as u64, Relaxed);
}

/// Moves the clock, and wakes all that sleep.
pub fn advance(time: Duration) {
    assert!(PASSES.load(Relaxed), "the model did not say that time passes");
    CLOCK.now.fetch_add(time.as_millis() as u64, SeqCst);
    let sleepers = std::mem::take(&mut *CLOCK.sleepers.lock().unwrap());
    sleepers.into_iter().for_each(Waker::wake);
}

/// An hour after the start of the clock, so that earlier times exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Self {
        let passed = if PASSES.load(Relaxed) { CLOCK.now.load(SeqCst) } else { 0 };
        let begin = Duration::from_millis(BEGIN.load(Relaxed));
        Self(Duration::from_secs(3600) + begin + Duration::from_millis(passed))
    }

    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    pub fn checked_add(&self, time: Duration) -> Option<Self> {
        self.0.checked_add(time).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, time: Duration) {
        self.0 += time;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0 - time)
    }
}

#[derive(Debug)]
pub struct Elapsed(());

pub struct Timeout<F> {
    deadline: Instant,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if !PASSES.load(Relaxed) {
            return Poll::Pending;
        }
        let mut sleepers = CLOCK.sleepers.lock().unwrap();
        if Instant::now() >= self.deadline {
            return Poll::Ready(Err(Elapsed(())));
        }
        sleepers.push(cx.waker().clone());
        Poll::Pending
    }
}

pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout { deadline, future: Box::pin(future.into_future()) }
}

pub fn timeout<F: IntoFuture>(time: Duration, future: F) -> Timeout<F::IntoFuture> {
    timeout_at(Instant::now() + time, future)
}

pub async fn sleep(time: Duration) {
    let _ = timeout(time, pending::<()>()).await;
}
