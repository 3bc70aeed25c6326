//! The recording of a request's body: the bytes that are sent, those of a replay, and the budget of memory.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::model::block_on;

use crate::{
    BoxError,
    replay::{MemoryBudget, Recording, ReplayBody, Superseded},
    runner::{Actor, EXHAUSTIVE, Model, act_without_tasks},
};

pub(crate) const MODELS: &[Model] = &[
    Model {
        name: "replay: takes an upload over, byte by byte",
        threads: 3,
        run: a_replay_takes_an_upload_over,
        ..EXHAUSTIVE
    },
    Model {
        name: "replay: of a body that is dropped meanwhile",
        threads: 3,
        run: a_replay_of_a_body_that_is_dropped_meanwhile,
        ..EXHAUSTIVE
    },
    Model {
        name: "replay: a recording that is dropped changes no byte",
        threads: 3,
        run: a_recording_that_is_dropped_changes_no_byte,
        ..EXHAUSTIVE
    },
    Model {
        name: "replay: twice, the second of the first",
        threads: 3,
        run: a_second_replay_of_the_first,
        ..EXHAUSTIVE
    },
    Model {
        name: "replay: two layers share one recording",
        threads: 3,
        run: two_layers_share_one_recording,
        ..EXHAUSTIVE
    },
    Model {
        name: "replay: three recordings share a budget of two",
        threads: 3,
        preemptions: Some(3),
        run: three_recordings_share_a_budget_of_two,
        ..EXHAUSTIVE
    },
];

/// A body whose frames another thread sends.
#[derive(Clone, Default)]
struct Upload(Arc<Mutex<Frames>>);

#[derive(Default)]
struct Frames {
    queue: VecDeque<&'static str>,
    ended: bool,
    waiting: Option<Waker>,
}

impl Upload {
    fn of(frame: &'static str) -> Self {
        let this = Self::default();
        this.0.lock().expect("no panic").queue.push_back(frame);
        this
    }

    /// Sends the last frame.
    fn end(&self, frame: &'static str) {
        let mut frames = self.0.lock().expect("no panic");
        frames.queue.push_back(frame);
        frames.ended = true;
        let waiting = frames.waiting.take();
        drop(frames);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut frames = self.0.lock().expect("no panic");
        if let Some(frame) = frames.queue.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(frame.as_bytes())))));
        }
        if frames.ended {
            return Poll::Ready(None);
        }
        frames.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

const WHOLE: &str = "ab";
const CAP: usize = 1 << 20;

/// Reads a body to its end. Returns the bytes, and whether a replay has taken it over.
fn read(body: ReplayBody<Upload>) -> (String, bool) {
    let (mut body, mut text) = (Box::pin(body), String::new());
    loop {
        match block_on(poll_fn(|cx| body.as_mut().poll_frame(cx))) {
            Some(Ok(frame)) => {
                let data = frame.into_data().expect("no trailers");
                text.push_str(std::str::from_utf8(&data).expect("text"));
            }
            Some(Err(error)) => {
                assert!(error.is::<Superseded>(), "{error}");
                return (text, true);
            }
            None => return (text, false),
        }
    }
}

/// An actor that sends a body, which a replay may take over.
fn send(body: ReplayBody<Upload>) -> Actor {
    Box::new(move || {
        let (sent, superseded) = read(body);
        assert!(WHOLE.starts_with(&sent));
        assert!(superseded || sent == WHOLE, "{sent:?} is not the whole body");
    })
}

fn upload(upload: &Upload) -> Actor {
    let upload = upload.clone();
    Box::new(move || upload.end("b"))
}

/// A body whose first frame is there and whose second one follows, and its recording.
fn recorded(budget: &MemoryBudget) -> (Upload, ReplayBody<Upload>, Recording<Upload>) {
    let source = Upload::of("a");
    let (body, recording) = ReplayBody::record(source.clone(), CAP, budget);
    (source, body, recording.expect("a recording"))
}

fn a_replay_takes_an_upload_over() {
    let budget = MemoryBudget::new(CAP);
    let (source, body, recording) = recorded(&budget);
    act_without_tasks(vec![
        send(body),
        upload(&source),
        Box::new(|| {
            let again = recording.replay().expect("a replay");
            assert_eq!(read(again), (WHOLE.to_owned(), false));
        }),
    ]);
    assert_eq!(budget.used(), 0);
}

fn a_replay_of_a_body_that_is_dropped_meanwhile() {
    let budget = MemoryBudget::new(CAP);
    let (source, mut body, recording) = recorded(&budget);
    act_without_tasks(vec![
        Box::new(move || {
            let first = block_on(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
            assert!(first.is_some());
            drop(body);
        }),
        upload(&source),
        Box::new(|| {
            let again = recording.replay().expect("a replay");
            assert_eq!(read(again), (WHOLE.to_owned(), false));
        }),
    ]);
    assert_eq!(budget.used(), 0);
}

fn a_recording_that_is_dropped_changes_no_byte() {
    let budget = MemoryBudget::new(CAP);
    let (source, body, recording) = recorded(&budget);
    act_without_tasks(vec![
        Box::new(move || assert_eq!(read(body), (WHOLE.to_owned(), false))),
        upload(&source),
        Box::new(|| drop(recording)),
    ]);
    assert_eq!(budget.used(), 0);
}

fn a_second_replay_of_the_first() {
    let budget = MemoryBudget::new(CAP);
    let (source, body, recording) = recorded(&budget);
    act_without_tasks(vec![
        send(body),
        upload(&source),
        Box::new(|| {
            let (mut first, recording) = recording.replay_and_record().expect("a replay");
            let frame = block_on(poll_fn(|cx| Pin::new(&mut first).poll_frame(cx)));
            assert!(frame.is_some());
            let second = recording.replay().expect("a second replay");
            assert_eq!(read(second), (WHOLE.to_owned(), false));
            drop(first);
        }),
    ]);
    assert_eq!(budget.used(), 0);
}

/// The outer layer records, the inner one rewinds that recording after a 401, and then the outer one gives up.
fn two_layers_share_one_recording() {
    let budget = MemoryBudget::new(CAP);
    let (source, body, outer) = recorded(&budget);
    let rewind = outer.rewind();
    let (body, inner) = ReplayBody::record_once(body, CAP, &budget, rewind);
    let inner = inner.expect("a recording");
    act_without_tasks(vec![
        Box::new(move || {
            let (mut body, mut sent) = (Box::pin(body), String::new());
            while let Some(Ok(frame)) = block_on(poll_fn(|cx| body.as_mut().poll_frame(cx))) {
                sent.push_str(
                    std::str::from_utf8(&frame.into_data().expect("data")).expect("text"),
                );
            }
            assert!(WHOLE.starts_with(&sent), "{sent:?}");
        }),
        upload(&source),
        Box::new(|| {
            let again = inner.replay().expect("a replay");
            let (mut body, mut sent) = (Box::pin(again), String::new());
            while let Some(frame) = block_on(poll_fn(|cx| body.as_mut().poll_frame(cx))) {
                let data = frame.expect("no error").into_data().expect("data");
                sent.push_str(std::str::from_utf8(&data).expect("text"));
            }
            assert_eq!(sent, WHOLE);
            drop(outer);
        }),
    ]);
    assert_eq!(budget.used(), 0);
}

fn three_recordings_share_a_budget_of_two() {
    // A recording of one short frame counts for a buffer of hyper's and its overhead.
    let limit = 2 * ((8 << 10) + 96);
    let budget = MemoryBudget::new(limit);
    let actor = || {
        let budget = budget.clone();
        Box::new(move || {
            let source = Upload::default();
            source.end(WHOLE);
            let (body, recording) = ReplayBody::record(source, CAP, &budget);
            assert_eq!(read(body), (WHOLE.to_owned(), false), "with a recording or without");
            assert!(budget.used() <= limit);
            if let Some(again) = recording.and_then(Recording::replay) {
                assert_eq!(read(again), (WHOLE.to_owned(), false));
            }
        }) as Actor
    };
    act_without_tasks(vec![actor(), actor(), actor()]);
    assert_eq!(budget.used(), 0);
}
