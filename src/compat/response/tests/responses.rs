use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody, channel::Channel};

use super::*;
use crate::BoxError;

/// A body of these frames, whose length is not known.
fn frames<'a>(
    frames: impl IntoIterator<Item = &'a str>,
) -> impl Body<Data = Bytes, Error = BoxError> + Unpin {
    let frames: Vec<_> =
        frames.into_iter().map(|text| Ok(Frame::data(Bytes::from(text.to_owned())))).collect();
    StreamBody::new(tokio_stream::iter(frames))
}

fn response<B>(content_type: &'static str, body: B) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("1000"));
    headers.insert("content-digest", HeaderValue::from_static("x"));
    response
}

async fn collected<B>(response: Response<CuredBody<B>>) -> String
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

const BLOCKED: &str = r#"{"choices":[{"index":0,"finish_reason":"content_filter: X"}]}"#;

#[tokio::test]
async fn json_and_events_are_cured_and_lose_the_headers_of_the_original() {
    let events = text_chunk("a") + &text_chunk("b") + "data: {\"error\":{\"code\":5";
    for (content_type, text, expected) in [
        ("application/json", BLOCKED, body(Cures::default(), BLOCKED)),
        ("Application/JSON; charset=UTF-8", BLOCKED, body(Cures::default(), BLOCKED)),
        ("text/event-stream", &*events, stream(Cures::default(), &events)),
    ] {
        for size in [1, 10, 10_000] {
            let pieces: Vec<_> = text
                .as_bytes()
                .chunks(size)
                .map(|piece| std::str::from_utf8(piece).unwrap())
                .collect();
            let response = response(content_type, frames(pieces));
            let response = CuredBody::cured(response, context(Cures::default()));
            assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
            assert!(!response.headers().contains_key("content-digest"));
            assert_eq!(response.body().size_hint().exact(), None);
            assert_eq!(collected(response).await, expected);
        }
    }
}

#[tokio::test]
async fn other_responses_keep_their_bytes_and_headers() {
    let same = |response: Response<_>| async {
        let headers = response.headers().clone();
        let response = CuredBody::cured(response, context(Cures::default()));
        assert_eq!(response.headers(), &headers);
        assert_eq!(collected(response).await, BLOCKED);
    };
    same(response("text/html", frames([BLOCKED]))).await;
    let mut compressed = response("application/json", frames([BLOCKED]));
    compressed.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    same(compressed).await;
    let mut error = response("application/json", frames([BLOCKED]));
    *error.status_mut() = StatusCode::BAD_REQUEST;
    same(error).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_forwarded_as_it_is() {
    let long = format!("{BLOCKED}{}", " ".repeat(1 << 20));
    let pieces = std::iter::repeat_n(&*long, 17);
    let response = response("application/json", frames(pieces));
    let response = CuredBody::cured(response, context(Cures::default()));
    assert!(collected(response).await == long.repeat(17));
}

#[tokio::test]
async fn a_body_of_16_mib_is_cured_and_a_longer_one_is_not() {
    for (more, is_cured) in [(0, true), (1, false)] {
        let text = format!("{BLOCKED}{}", " ".repeat((16 << 20) - BLOCKED.len() + more));
        let response = response("application/json", frames([&*text]));
        let response = CuredBody::cured(response, context(Cures::default()));
        let output = collected(response).await;
        assert_eq!(output == text, !is_cured, "{more}");
        assert_eq!(output.trim_end() == body(Cures::default(), BLOCKED), is_cured);
    }
}

/// A body of these pieces that knows its length, and whose end is not polled before it is known.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.0.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|data| data.len() as u64).sum())
    }
}

fn pieces<'a>(
    content_type: &'static str,
    pieces: impl IntoIterator<Item = &'a str>,
) -> CuredBody<Pieces> {
    let pieces = pieces.into_iter().map(|text| Bytes::from(text.to_owned())).collect();
    CuredBody::cured(response(content_type, Pieces(pieces)), context(Cures::default())).into_body()
}

#[tokio::test]
async fn a_body_has_not_ended_before_the_bytes_that_it_holds_are_forwarded() {
    let mut events = pieces("text/event-stream", ["data: [1]\n", "\ndata: [2]\n\n"]);
    events.frame().await.unwrap().unwrap();
    assert!(!events.is_end_stream());
    events.frame().await.unwrap().unwrap();
    assert!(events.is_end_stream());

    let mut json = pieces("application/json", [BLOCKED]);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut json).poll_frame(&mut cx).is_pending());
    assert!(!json.is_end_stream());

    let long = " ".repeat(16 << 20);
    let mut json = pieces("application/json", [BLOCKED, &*long]);
    json.frame().await.unwrap().unwrap();
    assert_eq!((json.size_hint().exact(), json.is_end_stream()), (None, false));
    json.frame().await.unwrap().unwrap();
    assert_eq!((json.size_hint().exact(), json.is_end_stream()), (Some(0), true));
}

#[tokio::test]
async fn a_body_in_long_pieces_is_collected_whole() {
    let spaces = " ".repeat(40_000);
    let text = format!("{BLOCKED}{spaces}");
    let response = response("application/json", frames([&*spaces, &text, &spaces]));
    let response = CuredBody::cured(response, context(Cures::default()));
    let cured = body(Cures::default(), BLOCKED);
    assert!(collected(response).await == format!("{spaces}{cured}{spaces}{spaces}"));
}

#[tokio::test]
async fn a_body_in_one_piece_that_stays_as_it_is_is_not_copied() {
    let whole = Bytes::from(r#"{"error":1}"#);
    let body = http_body_util::Full::new(whole.clone()).map_err(BoxError::from);
    let mut response = CuredBody::cured(response("application/json", body), context(Cures::all()));
    let frame = response.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((frame.as_ptr(), frame.len()), (whole.as_ptr(), whole.len()));
}

#[tokio::test]
async fn a_body_has_a_length_once_it_is_known() {
    let full = || http_body_util::Full::new(Bytes::from(BLOCKED)).map_err(BoxError::from);
    let of = |content_type| {
        CuredBody::cured(response(content_type, full()), context(Cures::default())).into_body()
    };
    let mut unchanged = of("text/plain");
    assert_eq!(format!("{unchanged:?}"), "CuredBody(unchanged)");
    assert_eq!(unchanged.size_hint().exact(), Some(BLOCKED.len() as u64));
    assert!(!unchanged.is_end_stream());
    assert_eq!(unchanged.frame().await.unwrap().unwrap().into_data().unwrap(), BLOCKED);
    assert_eq!((unchanged.size_hint().exact(), unchanged.is_end_stream()), (Some(0), true));
    let mut json = of("application/json");
    assert_eq!(format!("{json:?}"), "CuredBody(json)");
    assert_eq!((json.size_hint().exact(), json.is_end_stream()), (None, false));
    json.frame().await.unwrap().unwrap();
    assert_eq!((json.size_hint().exact(), json.is_end_stream()), (Some(0), true));
    assert_eq!(format!("{:?}", of("text/event-stream")), "CuredBody(events)");
}

#[tokio::test]
async fn events_are_forwarded_as_they_arrive_and_trailers_follow_them() {
    let (mut sender, inner) = Channel::<Bytes, BoxError>::new(4);
    let response = response("text/event-stream", inner);
    let mut response = CuredBody::cured(response, context(Cures::default()));
    let first = text_chunk("a");
    sender.send_data(first.clone().into()).await.unwrap();
    let frame = response.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), first);
    sender.send_data("data: [1]".into()).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer", HeaderValue::from_static("1"));
    sender.send_trailers(trailers.clone()).await.unwrap();
    drop(sender);
    let frame = response.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "data: [1]\n\n");
    assert!(!response.body().is_end_stream());
    assert_eq!(response.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(response.frame().await.is_none());
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn an_error_of_the_body_is_returned() {
    for content_type in ["application/json", "text/event-stream"] {
        let (mut sender, inner) = Channel::<Bytes, BoxError>::new(4);
        let mut response =
            CuredBody::cured(response(content_type, inner), context(Cures::default()));
        sender.send_data("data: [1".into()).await.unwrap();
        sender.abort("reset".into());
        let error = response.frame().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "reset");
        assert!(response.frame().await.is_none());
    }
}

#[test]
fn an_empty_body_has_ended_before_the_first_poll() {
    let empty = || http_body_util::Empty::<Bytes>::new().map_err(BoxError::from);
    for content_type in ["application/json", "text/event-stream", "text/plain"] {
        let response = CuredBody::cured(response(content_type, empty()), context(Cures::default()));
        assert!(response.body().is_end_stream());
        assert_eq!(response.body().size_hint().exact(), Some(0));
    }
}

#[test]
fn debug_shows_no_content() {
    let response = CuredBody::cured(response("text/plain", ()), context(Cures::default()));
    assert_eq!(format!("{:?}", response.body()), "CuredBody(unchanged)");
    let call = r#"{"id":"secret","function":{"name":"secret","arguments":"secret"}}"#;
    let mut cures = StreamCures::new(context(Cures::default()));
    cures.push(calls_chunk(call).into(), &mut VecDeque::new());
    let shown = format!("{cures:?}");
    assert!(shown.contains("Call { index: None, .. }") && !shown.contains("secret"), "{shown}");
}
