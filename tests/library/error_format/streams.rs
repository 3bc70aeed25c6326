//! Streams of events, complete and broken.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tower_vertex::error_format::VertexErrorLayer;

use super::script::{
    Script, Step, data, frames, is_interruption, parsed, response, through, trailers,
};

const EVENTS: &str =
    ": hello\n\ndata: {\"n\":1}\n\nevent: x\nid: 7\ndata: {\"n\":\ndata: 2}\n\ndata: {\"ü\":3}\n\n";

fn stream(steps: impl IntoIterator<Item = Step>) -> Response<Script> {
    response(200, &[("content-type", "text/event-stream; charset=utf-8")], Script::new(steps))
}

/// `text` in frames that end at these positions.
fn cut(text: &str, places: &[usize]) -> Vec<Step> {
    let mut from = 0;
    let ends = places.iter().copied().chain([text.len()]);
    ends.map(|end| data(&text.as_bytes()[std::mem::replace(&mut from, end)..end])).collect()
}

#[tokio::test]
async fn a_break_at_any_byte_ends_with_an_event_that_clients_raise() {
    for line_end in ["\n", "\r\n", "\r"] {
        let text = EVENTS.replace('\n', line_end);
        let whole = parsed(text.as_bytes());
        assert_eq!(whole.len(), 3);
        for at in 0..=text.len() {
            let begin = text.as_bytes()[..at].to_vec();
            for frame in [1, 2, 7, 1000] {
                let steps = begin.chunks(frame).map(data).chain([Step::Break]);
                let answer = through(VertexErrorLayer::new(), stream(steps)).await;
                let (data, trailers, end) = frames(answer.into_body()).await;
                assert!(end.is_ok() && trailers.is_none());
                let came = parsed(&data.concat());
                let (last, before) = came.split_last().unwrap();
                assert!(is_interruption(last), "{last}");
                let complete = whole.len().min(before.len());
                assert_eq!(before, &whole[..complete]);
                // All events that were complete have arrived.
                let text =
                    String::from_utf8_lossy(&begin).replace("\r\n", "\n").replace('\r', "\n");
                let ends = text.matches("\n\n").count().saturating_sub(1);
                assert_eq!(before.len(), ends, "{text:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_clean_end_at_any_byte_changes_nothing() {
    for line_end in ["\n", "\r\n", "\r"] {
        let text = EVENTS.replace('\n', line_end);
        for at in 0..=text.len() {
            let begin = text.as_bytes()[..at].to_vec();
            for frame in [1, 3, 1000] {
                for end in [vec![], vec![Step::Trailers]] {
                    let after = (!end.is_empty()).then(trailers);
                    let steps = begin.chunks(frame).map(data).chain(end);
                    let answer = through(VertexErrorLayer::new(), stream(steps)).await;
                    let (data, trailers, end) = frames(answer.into_body()).await;
                    end.unwrap();
                    assert_eq!(trailers, after);
                    assert_eq!(data.concat(), begin);
                }
            }
        }
    }
}

#[tokio::test]
async fn complete_events_are_forwarded_at_once_in_their_frames_without_a_copy() {
    let (first, comment, half) = ("data: 1\n\ndata: 2\n\n", ": keep-alive\n", "data: 3\n\ndata: ");
    let frames = [first, comment, half].map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let addresses = frames.each_ref().map(|frame| frame.as_ptr());
    let steps = frames.into_iter().map(Step::Data).chain([Step::Hang]);
    let answer = through(VertexErrorLayer::new(), stream(steps)).await;
    let mut body = pin!(answer.into_body());
    for (expected, address) in [first, comment, "data: 3\n\n"].into_iter().zip(addresses) {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((&*frame, frame.as_ptr()), (expected.as_bytes(), address));
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(body.as_mut().poll_frame(&mut cx).is_pending());
}

#[tokio::test]
async fn endless_empty_frames_do_not_block() {
    let answer = through(VertexErrorLayer::new(), stream([data("data: "), Step::Empty])).await;
    let mut body = pin!(answer.into_body());
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().unwrap().into_data().unwrap().is_empty());
    }
}

#[tokio::test]
async fn after_the_end_mark_an_error_is_a_clean_end() {
    let done = [EVENTS, "data: [DONE]\n\n"].concat();
    for (steps, came) in [
        (vec![data(&done), Step::Break], done.clone()),
        (vec![data(&done), data(": bye"), Step::Break], done.clone()),
        (cut(&done, &[done.len() - 3]).into_iter().chain([Step::Break]).collect(), done.clone()),
    ] {
        let answer = through(VertexErrorLayer::new(), stream(steps)).await;
        let (data, _, end) = frames(answer.into_body()).await;
        end.unwrap();
        assert_eq!(data.concat(), came.as_bytes());
    }
}

#[tokio::test]
async fn an_event_that_is_too_long_to_buffer_is_forwarded_with_its_error() {
    let chunk = "x".repeat(100_000);
    let long = || [data("data: 1\n\n"), data("data: ")].into_iter().chain(vec![data(&chunk); 12]);
    let answer = through(VertexErrorLayer::new(), stream(long().chain([Step::Break]))).await;
    let (came, _, end) = frames(answer.into_body()).await;
    assert_eq!(end.unwrap_err().to_string(), "cut");
    assert_eq!(came.concat().len(), 9 + 6 + 12 * chunk.len());

    // After the end of the long event, events are buffered again.
    let rest = [data("\n\n"), data("data: 2\n\ndata: "), Step::Break];
    let answer = through(VertexErrorLayer::new(), stream(long().chain(rest))).await;
    let (came, _, end) = frames(answer.into_body()).await;
    end.unwrap();
    let text = came.concat();
    let tail = &text[9 + 6 + 12 * chunk.len()..];
    assert!(tail.starts_with(b"\n\ndata: 2\n\n"));
    assert!(is_interruption(&parsed(&tail[11..])[0]));
}

#[tokio::test]
async fn only_event_streams_without_length_and_encoding_end_with_an_event() {
    let events = ("content-type", "text/event-stream");
    for headers in [
        &[("content-type", "application/json")][..],
        &[("content-type", "text/event-stream-2")],
        &[],
        &[events, ("content-encoding", "gzip")],
        &[events, ("content-length", "9")],
    ] {
        let script = Script::new([data("data: 1\n\nda"), Step::Break]);
        let answer = through(VertexErrorLayer::new(), response(200, headers, script)).await;
        let (data, _, end) = frames(answer.into_body()).await;
        assert_eq!(data, ["data: 1\n\nda"]);
        assert_eq!(end.unwrap_err().to_string(), "cut");
    }
    let types =
        ["Text/Event-Stream", "text/event-stream;charset=utf-8", " text/event-stream ; x=y"];
    for content_type in types {
        let script = Script::new([data("data: 1\n\nda"), Step::Break]);
        let answer = response(200, &[("content-type", content_type)], script);
        let (data, _, end) =
            frames(through(VertexErrorLayer::new(), answer).await.into_body()).await;
        end.unwrap();
        assert!(is_interruption(&parsed(&data.concat())[1]));
    }
}

#[tokio::test]
async fn the_length_of_an_event_stream_is_unknown_until_the_inner_body_has_ended() {
    let whole = || {
        response(
            200,
            &[("content-type", "text/event-stream")],
            Full::new(Bytes::from("data: 1\n\nda")),
        )
    };
    let answer = through(VertexErrorLayer::new(), whole()).await;
    let mut body = pin!(answer.into_body());
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, None));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    // The inner body has ended, and only the buffered bytes are left.
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(2), false));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "da");
    assert!(body.is_end_stream() && body.frame().await.is_none());

    let answer = whole().map(|_| Full::new(Bytes::new()));
    let body = through(VertexErrorLayer::new(), answer).await.into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
}

proptest! {
    #[test]
    fn any_stream_ends_cleanly_and_without_invented_data(
        frames in prop::collection::vec("(data: ?|\\[DONE\\]|[\n\r:x])*", 0..6),
        broken in any::<bool>(),
    ) {
        let whole = frames.concat();
        let steps = frames.iter().map(data).chain(broken.then_some(Step::Break));
        let read = async { super::script::frames(through(VertexErrorLayer::new(), stream(steps)).await.into_body()).await };
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready((came, _, end)) = pin!(read).poll(&mut cx) else { panic!("the body waits") };
        prop_assert!(end.is_ok());
        let came = String::from_utf8(came.concat()).unwrap();
        if !broken {
            prop_assert_eq!(came, whole);
        } else if let Some(at) = came.find("data: {") {
            prop_assert!(whole.starts_with(&came[..at]));
            // The event of the layer begins where an event may begin.
            prop_assert!(at == 0 || came[..at].ends_with(['\n', '\r']));
            prop_assert!(is_interruption(&serde_json::from_str(came[at + 6..].trim_end()).unwrap()));
        } else {
            prop_assert!(whole.starts_with(&came) && came.contains("[DONE]"));
        }
    }
}
