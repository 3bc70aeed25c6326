//! The runtime: threads of loom that wait for futures, one that runs the spawned tasks, and a clock that only a
//! model moves.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use loom::sync::mpsc;

pub use crate::time::{advance, begin_at, let_time_pass};

/// A waiting thread. To wait is to receive from a channel: loom then explores no order of a wake-up and the wait
/// for it, which makes no difference. A wake-up that is lost is a deadlock.
struct Parked {
    sender: mpsc::Sender<()>,
    /// Whether a message was sent. It is set after the message, and is no step of its own.
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        if !self.woken.load(SeqCst) {
            self.sender.send(()).expect("the receiver is kept");
            self.woken.store(true, SeqCst);
        }
    }
}

/// The channels of threads that wait no more. A late wake-up may still send to them.
static FORMER: Mutex<Vec<mpsc::Receiver<()>>> = Mutex::new(Vec::new());

/// Ends an interleaving, after all of its threads.
pub fn end() {
    let former = std::mem::take(&mut *FORMER.lock().unwrap());
    drop(former);
}

/// Waits for the future. loom reports a deadlock if no one wakes the thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let (sender, receiver) = mpsc::channel();
    let parked = Arc::new(Parked { sender, woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&parked));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            FORMER.lock().unwrap().push(receiver);
            return output;
        }
        receiver.recv().expect("the sender is kept");
        parked.woken.store(false, SeqCst);
    }
}

/// Polls the future once, and drops it if it is pending: its owner has lost interest.
pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Pending once, so that other threads may run between two steps of a task.
pub async fn pause() {
    let mut paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The spawned tasks. Only the wake-up of the thread that runs them is a step.
#[derive(Default)]
struct Worker {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<(usize, Task)>,
    closed: bool,
    /// Wakes the thread that runs the tasks.
    idle: Option<Waker>,
}

loom::lazy_static! {
    static ref WORKER: Worker = Worker::default();
    /// Number of runtimes that were lost. A task belongs to the one that it was spawned on.
    static ref LOST: loom::sync::atomic::AtomicUsize = loom::sync::atomic::AtomicUsize::new(0);
}

/// Whether runtimes are lost in the current model.
static MAY_LOSE: AtomicBool = AtomicBool::new(false);

/// Says whether the model that starts now loses a runtime.
pub fn let_runtimes_be_lost(may: bool) {
    MAY_LOSE.store(may, SeqCst);
}

fn lost() -> usize {
    if MAY_LOSE.load(SeqCst) { LOST.load(SeqCst) } else { 0 }
}

fn state() -> MutexGuard<'static, State> {
    WORKER.state.lock().unwrap()
}

fn wake_worker() {
    let idle = state().idle.take();
    if let Some(idle) = idle {
        idle.wake();
    }
}

pub(crate) fn add(task: Task) {
    let lost = lost();
    if !state().closed {
        state().tasks.push_back((lost, task));
        wake_worker();
    }
}

/// Runs the spawned tasks, one after the other, until [`end_tasks`].
pub fn run_tasks() {
    block_on(async {
        loop {
            let next = poll_fn(|cx| {
                let mut state = state();
                if let Some(task) = state.tasks.pop_front() {
                    return Poll::Ready(Some(task));
                }
                if state.closed {
                    return Poll::Ready(None);
                }
                state.idle = Some(cx.waker().clone());
                Poll::Pending
            });
            let Some((runtime, mut task)) = next.await else { return };
            poll_fn(|cx| {
                state().idle = Some(cx.waker().clone());
                if lost() > runtime {
                    return Poll::Ready(());
                }
                task.as_mut().poll(cx)
            })
            .await;
            drop(task);
        }
    });
}

/// Shuts the runtime down: its task is dropped wherever it is. Tasks that are spawned later belong to another
/// runtime, and run.
pub fn lose_runtime() {
    assert!(MAY_LOSE.load(SeqCst), "the model did not say that runtimes are lost");
    LOST.fetch_add(1, SeqCst);
    wake_worker();
}

/// Ends [`run_tasks`] when no task is left.
pub fn end_tasks() {
    state().closed = true;
    wake_worker();
}

/// Runs the tasks that were spawned so far, on this thread.
pub fn run_ready_tasks() {
    loop {
        let task = state().tasks.pop_front();
        let Some((_, task)) = task else { return };
        block_on(task);
    }
}
