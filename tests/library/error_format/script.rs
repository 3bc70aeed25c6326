//! Scripted responses, and the client's view of them.

use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_vertex::{
    BoxError,
    error_format::{ErrorBody, VertexErrorLayer},
};

#[derive(Clone)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers,
    Break,
    Hang,
    /// Yields empty frames for ever.
    Empty,
}

/// A body that follows a script, and counts its polls.
pub(crate) struct Script {
    pub(crate) steps: VecDeque<Step>,
    /// The lower bound of the size hint.
    pub(crate) at_least: u64,
    pub(crate) polls: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps = steps.into_iter().collect();
        Self { steps, at_least: 0, polls: Arc::default() }
    }

    pub(crate) fn of(frames: &[&str]) -> Self {
        Self::new(frames.iter().map(data))
    }
}

pub(crate) fn data(text: impl AsRef<[u8]>) -> Step {
    Step::Data(Bytes::copy_from_slice(text.as_ref()))
}

pub(crate) fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))])
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers())))),
            Some(Step::Break) => Poll::Ready(Some(Err("cut".into()))),
            Some(Step::Hang) => {
                self.steps.push_front(Step::Hang);
                Poll::Pending
            }
            Some(Step::Empty) => {
                self.steps.push_front(Step::Empty);
                Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::default();
        hint.set_lower(self.at_least);
        hint
    }
}

pub(crate) fn response<B>(
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: B,
) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    response
}

/// The response that `layer` returns for `answer`.
pub(crate) async fn through<B>(
    layer: VertexErrorLayer,
    answer: Response<B>,
) -> Response<ErrorBody<B>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    call_layer(layer, Request::post("/").body(()).unwrap(), answer).await
}

pub(crate) async fn call_layer<B>(
    layer: VertexErrorLayer,
    request: Request<()>,
    answer: Response<B>,
) -> Response<ErrorBody<B>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut answer = Some(answer);
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        std::future::ready(answer.take().ok_or("a second request"))
    }));
    service.ready().await.unwrap().call(request).await.unwrap()
}

/// The frames of a body, its trailers, and its end.
pub(crate) async fn frames<B: Body<Data = Bytes>>(
    body: B,
) -> (Vec<Bytes>, Option<HeaderMap>, Result<(), B::Error>) {
    let mut body = pin!(body);
    let (mut data, mut trailers) = (Vec::new(), None);
    loop {
        let hint = body.size_hint();
        let ended = body.is_end_stream();
        match body.frame().await {
            None => return (data, trailers, Ok(())),
            Some(Err(error)) => return (data, trailers, Err(error)),
            Some(Ok(frame)) => {
                assert!(!ended, "a frame after the end");
                match frame.into_data() {
                    Ok(frame) => {
                        let length = frame.len() as u64;
                        assert!(hint.upper().is_none_or(|upper| length <= upper));
                        data.push(frame);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
        }
    }
}

pub(crate) async fn error<B>(response: Response<ErrorBody<B>>) -> Value
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError> + std::fmt::Debug,
{
    let length = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(!response.headers().contains_key("transfer-encoding"));
    assert_eq!(response.body().size_hint().exact(), Some(length));
    let (data, trailers, end) = frames(response.into_body()).await;
    assert!(end.is_ok() && trailers.is_none());
    assert_eq!(data.iter().map(|data| data.len() as u64).sum::<u64>(), length);
    let mut value: Value = serde_json::from_slice(&data.concat()).unwrap();
    value["error"].take()
}

pub(crate) fn form<B>(response: &Response<B>) -> Option<&str> {
    response.headers().get("x-vertex-error-type").map(|value| value.to_str().unwrap())
}

/// The events of a stream, as the SDKs of OpenAI parse them. The last event counts even without the
/// empty line at its end.
pub(crate) fn parsed(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).unwrap().replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut pending, mut named) = (Vec::new(), Vec::new(), false);
    for line in text.split('\n').chain([""]) {
        if let Some(data) = line.strip_prefix("data:") {
            pending.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
        } else if line.is_empty() && (named || !pending.is_empty()) {
            let data = std::mem::take(&mut pending).join("\n");
            named = false;
            if data != "[DONE]" {
                events.push(
                    serde_json::from_str(&data).unwrap_or_else(|_| panic!("{data:?} in {text:?}")),
                );
            }
        } else {
            named |= !line.is_empty() && !line.starts_with(':');
        }
    }
    events
}

pub(crate) fn is_interruption(event: &Value) -> bool {
    event["error"]["code"] == "stream_interrupted"
        && event["error"]["type"] == "server_error"
        && event["error"]["message"].is_string()
        && event["error"]["param"].is_null()
}
