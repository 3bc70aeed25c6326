//! `ReplayBody`, frame by frame.

use std::{pin::Pin, task::Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, channel::Channel};
use proptest::prelude::*;
use tower_vertex::{
    BoxError,
    replay::{MemoryBudget, Recording, ReplayBody, Superseded},
};

type Sender = http_body_util::channel::Sender<Bytes, BoxError>;

fn channel() -> (Sender, Channel<Bytes, BoxError>) {
    Channel::new(16)
}

fn budget() -> MemoryBudget {
    MemoryBudget::new(1 << 20)
}

fn record<B: Body>(body: B) -> (ReplayBody<B>, Recording<B>) {
    let (body, recording) = ReplayBody::record(body, 1 << 20, &budget());
    (body, recording.expect("the body is short"))
}

async fn frame<B>(body: &mut ReplayBody<B>) -> Result<Option<Bytes>, BoxError>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    body.frame().await.transpose().map(|frame| frame.map(|f| f.into_data().unwrap()))
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))])
}

#[tokio::test]
async fn a_body_that_was_sent_can_be_replayed() {
    let (mut sender, body) = channel();
    let (mut body, recording) = record(body);
    sender.send_data("one".into()).await.unwrap();
    assert_eq!(frame(&mut body).await.unwrap().unwrap(), "one");
    sender.send_data("two".into()).await.unwrap();
    sender.send_trailers(trailers()).await.unwrap();
    drop(sender);
    let rest = body.collect().await.unwrap();
    assert_eq!(rest.trailers(), Some(&trailers()));

    let again = recording.replay().unwrap().collect().await.unwrap();
    assert_eq!(again.trailers(), Some(&trailers()));
    assert_eq!(again.to_bytes(), "onetwo");
}

#[tokio::test]
async fn a_replay_takes_over_an_upload_that_still_runs() {
    let (mut sender, body) = channel();
    let (mut first, recording) = record(body);
    sender.send_data("one".into()).await.unwrap();
    assert_eq!(frame(&mut first).await.unwrap().unwrap(), "one");

    // The first body waits for more. The replay wakes it, and it fails.
    let waiting = tokio::spawn(async move { frame(&mut first).await });
    tokio::task::yield_now().await;
    let mut again = recording.replay().unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.is::<Superseded>(), "{error}");

    assert_eq!(frame(&mut again).await.unwrap().unwrap(), "one");
    sender.send_data("two".into()).await.unwrap();
    assert_eq!(frame(&mut again).await.unwrap().unwrap(), "two");
    drop(sender);
    assert!(frame(&mut again).await.unwrap().is_none());
}

#[tokio::test]
async fn a_first_body_that_was_dropped_early_is_replayed_completely() {
    let (mut sender, body) = channel();
    let (mut first, recording) = record(body);
    sender.send_data("one".into()).await.unwrap();
    sender.send_data("two".into()).await.unwrap();
    drop(sender);
    frame(&mut first).await.unwrap();
    drop(first);
    let again = recording.replay().unwrap().collect().await.unwrap().to_bytes();
    assert_eq!(again, "onetwo");
}

#[tokio::test]
async fn an_unread_body_is_replayed_completely() {
    let (first, recording) = record(Full::new(Bytes::from("whole")));
    let again = recording.replay().unwrap();
    assert_eq!(again.size_hint().exact(), Some(5));
    assert_eq!(again.collect().await.unwrap().to_bytes(), "whole");
    assert!(first.collect().await.unwrap_err().is::<Superseded>());
}

#[tokio::test]
async fn recording_and_replay_copy_no_data() {
    let data = Bytes::from(vec![7; 4096]);
    let (body, recording) = record(Full::new(data.clone()));
    let first = body.collect().await.unwrap().to_bytes();
    let again = recording.replay().unwrap().collect().await.unwrap().to_bytes();
    assert_eq!(first.as_ptr(), data.as_ptr());
    assert_eq!(again.as_ptr(), data.as_ptr());
}

#[tokio::test]
async fn the_size_and_the_end_are_known_before_the_first_poll() {
    let (body, recording) = record(Full::new(Bytes::from("12345")));
    assert_eq!(body.size_hint().exact(), Some(5));
    assert!(!body.is_end_stream());
    let again = recording.replay().unwrap();
    assert_eq!(again.size_hint().exact(), Some(5));
    assert!(!again.is_end_stream());

    let (body, recording) = record(Full::new(Bytes::new()));
    assert!(body.is_end_stream());
    let again = recording.replay().unwrap();
    assert!(again.is_end_stream());
    assert_eq!(again.size_hint().exact(), Some(0));
    assert!(again.collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn the_size_of_a_replay_includes_the_part_that_was_sent() {
    struct Two(Vec<Bytes>);
    impl Body for Two {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.pop().map(|data| Ok(Frame::data(data))))
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0.iter().map(|data| data.len() as u64).sum())
        }
    }
    let (mut body, recording) = record(Two(vec!["two".into(), "one".into()]));
    frame(&mut body).await.unwrap();
    assert_eq!(body.size_hint().exact(), Some(3));
    let mut again = recording.replay().unwrap();
    assert_eq!(again.size_hint().exact(), Some(6));
    frame(&mut again).await.unwrap();
    assert_eq!(again.size_hint().exact(), Some(3));
}

#[tokio::test]
async fn a_body_is_never_polled_past_its_end() {
    struct Fused(bool);
    impl Body for Fused {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            assert!(!self.0, "polled past its end");
            self.0 = true;
            Poll::Ready(None)
        }
    }
    let (mut body, recording) = record(Fused(false));
    assert!(frame(&mut body).await.unwrap().is_none());
    assert!(frame(&mut body).await.unwrap().is_none());
    let mut again = recording.replay().unwrap();
    assert!(frame(&mut again).await.unwrap().is_none());
    assert!(frame(&mut again).await.unwrap().is_none());
}

#[tokio::test]
async fn over_the_cap_the_recording_is_dropped_and_the_body_continues() {
    let (mut sender, body) = channel();
    let shared = budget();
    let (mut body, recording) = ReplayBody::record(body, 6, &shared);
    let recording = recording.unwrap();
    for data in ["123", "456"] {
        sender.send_data(data.into()).await.unwrap();
        frame(&mut body).await.unwrap();
        assert!(recording.is_replayable(), "six bytes are within the cap");
    }
    sender.send_data("7".into()).await.unwrap();
    assert_eq!(frame(&mut body).await.unwrap().unwrap(), "7");
    assert!(!recording.is_replayable());
    assert_eq!(shared.used(), 0);
    assert!(recording.replay().is_none());
    sender.send_data("8".into()).await.unwrap();
    assert_eq!(frame(&mut body).await.unwrap().unwrap(), "8");
}

#[tokio::test]
async fn a_body_with_a_size_over_the_cap_is_not_recorded() {
    let (body, recording) = ReplayBody::record(Full::new(Bytes::from("1234567")), 6, &budget());
    assert!(recording.is_none());
    assert_eq!(body.collect().await.unwrap().to_bytes(), "1234567");
}

#[tokio::test]
async fn recordings_share_a_budget_and_release_their_part() {
    let shared = MemoryBudget::new(20_000);
    let body = || Full::new(Bytes::from(vec![0; 9000]));
    let (first, one) = ReplayBody::record(body(), 10_000, &shared);
    let (second, two) = ReplayBody::record(body(), 10_000, &shared);
    let (third, three) = ReplayBody::record(body(), 10_000, &shared);
    for body in [first, second, third] {
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 9000);
    }
    let kept = [&one, &two, &three].map(|recording| recording.as_ref().unwrap().is_replayable());
    assert_eq!(kept, [true, true, false]);
    assert!(shared.used() >= 18_000);

    drop(one);
    let again = two.unwrap().replay().unwrap();
    assert!(shared.used() >= 9000);
    again.collect().await.unwrap();
    assert_eq!(shared.used(), 0);
}

/// A frame keeps the buffer into which it was read.
#[tokio::test]
async fn a_short_body_of_one_frame_counts_for_a_buffer() {
    let shared = MemoryBudget::new(20_000);
    let body = || Full::new(Bytes::from("short"));
    let mut recordings = Vec::new();
    for kept in [true, true, false] {
        let (body, recording) = ReplayBody::record(body(), 1000, &shared);
        body.collect().await.unwrap();
        let recording = recording.unwrap();
        assert_eq!(recording.is_replayable(), kept);
        recordings.push(recording);
    }
    assert!((16 << 10..20_000).contains(&shared.used()), "{}", shared.used());
}

#[tokio::test]
async fn many_tiny_frames_count_towards_the_budget_too() {
    let shared = MemoryBudget::new(9000);
    let (mut sender, body) = channel();
    let (mut body, recording) = ReplayBody::record(body, 1 << 20, &shared);
    for _ in 0..10_000 {
        sender.send_data("x".into()).await.unwrap();
        frame(&mut body).await.unwrap();
    }
    assert!(!recording.unwrap().is_replayable());
    assert_eq!(shared.used(), 0);
}

#[tokio::test]
async fn a_drip_of_any_size_takes_at_most_twice_its_bytes_and_is_replayed_completely() {
    for length in [1, 1024, 8 << 10, (32 << 10) - 1] {
        let shared = MemoryBudget::new(16 << 20);
        let (mut sender, body) = channel();
        let (mut body, recording) = ReplayBody::record(body, 16 << 20, &shared);
        let recording = recording.unwrap();
        let (mut whole, mut buffers) = (Vec::new(), Vec::new());
        for number in 0_u8..=200 {
            // hyper yields a part of a longer buffer.
            let buffer = Bytes::from(vec![number; length.max(8 << 10)]);
            whole.extend_from_slice(&buffer[..length]);
            sender.send_data(buffer.slice(..length)).await.unwrap();
            buffers.push(buffer);
            frame(&mut body).await.unwrap();
            let most = 2 * whole.len() + (9 << 10);
            assert!(shared.used() <= most, "{} by {length}", shared.used());
            // The recording keeps no buffers that are not counted.
            let kept = buffers.iter().filter(|buffer| !buffer.is_unique());
            let kept: usize = kept.map(Bytes::len).sum();
            assert!(kept <= most, "buffers of {kept} bytes by {length}");
        }
        drop((sender, buffers));
        let again = recording.replay().unwrap();
        assert_eq!(again.collect().await.unwrap().to_bytes(), whole);
        assert_eq!(shared.used(), 0);
    }
}

#[tokio::test]
async fn small_frames_do_not_keep_their_buffers_alive() {
    let (mut sender, body) = channel();
    let (mut body, recording) = record(body);
    let buffers: Vec<Bytes> = (0..3).map(|_| Bytes::from(vec![b'x'; 8 << 10])).collect();
    for buffer in &buffers {
        sender.send_data(buffer.slice(..10)).await.unwrap();
        frame(&mut body).await.unwrap();
    }
    assert!(recording.is_replayable());
    assert!(buffers.iter().all(Bytes::is_unique));
}

#[tokio::test]
async fn a_dropped_recording_frees_its_memory_at_once() {
    let shared = budget();
    let (mut sender, body) = channel();
    let (mut body, recording) = ReplayBody::record(body, 1000, &shared);
    sender.send_data("data".into()).await.unwrap();
    frame(&mut body).await.unwrap();
    assert!(shared.used() > 0);
    drop(recording);
    assert_eq!(shared.used(), 0);
    sender.send_data("more".into()).await.unwrap();
    assert_eq!(frame(&mut body).await.unwrap().unwrap(), "more");
    assert_eq!(shared.used(), 0);
}

#[tokio::test]
async fn a_body_that_fails_is_not_replayed() {
    let (mut sender, body) = channel();
    let (mut body, recording) = record(body);
    sender.send_data("one".into()).await.unwrap();
    frame(&mut body).await.unwrap();
    sender.abort("the client left".into());
    assert_eq!(frame(&mut body).await.unwrap_err().to_string(), "the client left");
    assert!(recording.replay().is_none());
}

#[test]
fn a_replay_body_is_as_thread_safe_as_its_inner_body() {
    fn check<T: Send + Sync>() {}
    check::<ReplayBody<Full<Bytes>>>();
    check::<Recording<Full<Bytes>>>();
    // A body that is only `Send` can be sent.
    fn send<T: Send>() {}
    send::<ReplayBody<http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>>>();
}

#[tokio::test]
async fn a_body_can_be_replayed_any_number_of_times() {
    let (mut sender, body) = channel();
    let shared = budget();
    let (mut first, recording) = ReplayBody::record(body, 100, &shared);
    sender.send_data("one".into()).await.unwrap();
    assert_eq!(frame(&mut first).await.unwrap().unwrap(), "one");

    let (mut second, recording) = recording.unwrap().replay_and_record().unwrap();
    assert!(frame(&mut first).await.unwrap_err().is::<Superseded>());
    assert!(!second.is_end_stream());
    assert_eq!(second.size_hint().lower(), 3);

    // The third body takes over before the second has sent anything.
    let (mut third, recording) = recording.replay_and_record().unwrap();
    assert!(!second.is_end_stream());
    assert!(frame(&mut second).await.unwrap_err().is::<Superseded>());
    assert_eq!(frame(&mut third).await.unwrap().unwrap(), "one");
    sender.send_data("two".into()).await.unwrap();
    sender.send_trailers(trailers()).await.unwrap();
    drop(sender);
    assert_eq!(frame(&mut third).await.unwrap().unwrap(), "two");
    assert_eq!(third.collect().await.unwrap().trailers(), Some(&trailers()));

    // These bodies take over after the end of the inner body.
    let (mut unsent, recording) = recording.replay_and_record().unwrap();
    let (mut fourth, recording) = recording.replay_and_record().unwrap();
    assert!(!unsent.is_end_stream());
    assert!(frame(&mut unsent).await.unwrap_err().is::<Superseded>());
    assert_eq!(fourth.size_hint().lower(), 6);
    assert_eq!(frame(&mut fourth).await.unwrap().unwrap(), "onetwo");
    assert!(!fourth.is_end_stream(), "the trailers are still to come");
    assert_eq!(fourth.collect().await.unwrap().trailers(), Some(&trailers()));

    let last = recording.replay().unwrap().collect().await.unwrap();
    assert_eq!(last.trailers(), Some(&trailers()));
    assert_eq!(last.to_bytes(), "onetwo");
    assert_eq!(shared.used(), 0);
}

#[tokio::test]
async fn the_cap_and_the_budget_are_the_same_for_every_replay() {
    let (mut sender, body) = channel();
    let shared = budget();
    let (mut first, recording) = ReplayBody::record(body, 5, &shared);
    sender.send_data("123".into()).await.unwrap();
    frame(&mut first).await.unwrap();
    let used = shared.used();
    let (mut second, recording) = recording.unwrap().replay_and_record().unwrap();
    frame(&mut second).await.unwrap();
    assert_eq!(shared.used(), used, "a frame is counted once");
    sender.send_data("456".into()).await.unwrap();
    assert_eq!(frame(&mut second).await.unwrap().unwrap(), "456");
    assert!(!recording.is_replayable());
    assert_eq!(shared.used(), 0);
}

#[tokio::test]
async fn a_replay_continues_after_its_recording_was_dropped() {
    let (mut sender, body) = channel();
    let shared = budget();
    let (mut first, recording) = ReplayBody::record(body, 100, &shared);
    for text in ["one", "two"] {
        sender.send_data(text.into()).await.unwrap();
        frame(&mut first).await.unwrap();
    }
    let (mut second, recording) = recording.unwrap().replay_and_record().unwrap();
    drop(recording);
    assert_eq!(frame(&mut second).await.unwrap().unwrap(), "onetwo");
    sender.send_data("three".into()).await.unwrap();
    assert_eq!(frame(&mut second).await.unwrap().unwrap(), "three");
    assert_eq!(shared.used(), 0);
    drop(sender);
    assert!(frame(&mut second).await.unwrap().is_none());
}

#[tokio::test]
async fn an_empty_body_can_be_replayed_any_number_of_times() {
    let (body, recording) = record(Full::new(Bytes::new()));
    drop(body);
    let (body, recording) = recording.replay_and_record().unwrap();
    assert!(body.is_end_stream() && recording.is_replayable());
    let (body, _) = recording.replay_and_record().unwrap();
    assert!(body.collect().await.unwrap().to_bytes().is_empty());
}

proptest! {
    /// No byte is missing or doubled, wherever the replay takes over.
    #[test]
    fn a_replay_is_complete_wherever_it_takes_over(
        lengths in proptest::collection::vec(0_usize..50, 0..20),
        sent in proptest::collection::vec(0_usize..20, 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut next = 0_u8;
            let frames: Vec<Bytes> = lengths.iter().map(|length| {
                (0..*length).map(|_| { next = next.wrapping_add(1); next }).collect()
            }).collect();
            let whole: Vec<u8> = frames.concat();
            let stream = frames.clone().into_iter();
            let (mut sender, body) = Channel::<Bytes, BoxError>::new(32);
            for frame in stream {
                sender.send_data(frame).await.unwrap();
            }
            drop(sender);
            let (mut body, mut recording) = record(body);
            for (attempt, sent) in sent.iter().enumerate() {
                if attempt > 0 {
                    (body, recording) = recording.replay_and_record().unwrap();
                }
                let whole = whole.len() as u64;
                prop_assert!(attempt == 0 || body.size_hint().lower() <= whole);
                for _ in 0..*sent {
                    frame(&mut body).await.unwrap();
                }
            }
            let again = recording.replay().unwrap().collect().await.unwrap().to_bytes();
            assert_eq!(again, whole);
            Ok::<_, TestCaseError>(())
        })?;
    }
}
