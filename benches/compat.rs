//! The cost of the cures for Gemini where there is nothing to cure, compared with the same layers whose
//! cures are off: `cargo bench --manifest-path benches/Cargo.toml --bench compat`.
//!
//! | row | description |
//! |---|---|
//! | request, 1 KiB and 100 KiB | a chat without tool calls, through `VertexModel` and `VertexCompat`, to a service that reads the body; its response is no JSON |
//! | request, 1 KiB, and its response | the same with a response of 600 bytes in Google's form |
//! | event of a stream, OpenAI's form | an event of text in a stream whose role comes once |
//! | event of a stream, Google's form | the same with the role in each event, which a cure removes |
//!
//! The rows take turns, on and off, so that other work of the machine affects both alike. The table has
//! the medians of the times, of their differences and of their ratios. The ratio of an event does not
//! include the work of a proxy: `--bench gateway` has the CPU time of a stream in the sidecar. No time
//! is ever checked.

use std::{
    convert::Infallible,
    env,
    future::{Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body, Frame};
use http_body_util::Full;
use tower::{BoxError, Layer, Service};
use tower_vertex::{
    compat::{Cures, VertexCompatLayer},
    model::{ModelTable, VertexModelLayer},
    route::Upstream,
};

/// The events of a stream, as in the bench of the sidecar's streams.
const EVENTS: usize = 50;
const TURNS: usize = 4_000;
/// Requests in each turn.
const REQUESTS: usize = 20;

fn main() -> Result<(), BoxError> {
    let turns = if env::args().any(|argument| argument == "--test") { 1 } else { TURNS };
    println!("| row | cures off | cures on | difference | ratio |\n|---|---:|---:|---:|---:|");
    for (name, length, kind) in [
        ("request, 1 KiB", 1 << 10, "text/plain"),
        ("request, 1 KiB, and its response", 1 << 10, "application/json"),
        ("request, 100 KiB", 100 << 10, "text/plain"),
    ] {
        let body = Bytes::from(chat(length));
        let respond = || vec![Bytes::from_static(RESPONSE)];
        compare(name, turns, REQUESTS, &body, kind, respond)?;
    }
    let body = Bytes::from(chat(1 << 10));
    for (name, role) in [
        ("event of a stream, OpenAI's form", ""),
        ("event of a stream, Google's form", r#","role":"assistant""#),
    ] {
        let events: Vec<Bytes> = (0..EVENTS).map(|at| event(at, role)).collect();
        let respond = || events.clone();
        compare(name, turns, EVENTS, &body, "text/event-stream", respond)?;
    }
    Ok(())
}

/// Prints the row. Its times are those of a turn, divided by `parts`. A request is sent `parts` times in a
/// turn, and a stream once.
fn compare(
    name: &str,
    turns: usize,
    parts: usize,
    body: &Bytes,
    kind: &'static str,
    respond: impl Fn() -> Vec<Bytes>,
) -> Result<(), BoxError> {
    let mut services = [Cures::none(), Cures::default()].map(|cures| {
        let upstream = Upstream::new("my-project", "global")?;
        let model = VertexModelLayer::new(ModelTable::new(upstream));
        Ok::<_, BoxError>(model.layer(VertexCompatLayer::new(cures).layer(Responder { kind })))
    });
    let calls = if kind == "text/event-stream" { 1 } else { parts };
    let mut nanoseconds = [const { Vec::new() }; 2];
    for turn in 0..turns {
        for position in 0..2 {
            let which = (position + turn) % 2;
            let service = services[which].as_mut().map_err(|error| error.to_string())?;
            let prepared: Vec<_> = (0..calls).map(|_| request(body, respond())).collect();
            let began = Instant::now();
            for request in prepared {
                exchange(service, request);
            }
            nanoseconds[which].push(began.elapsed().as_nanos() as f64 / parts as f64);
        }
    }
    let differences = |ratio: bool| {
        let pairs = nanoseconds[0].iter().zip(&nanoseconds[1]);
        median(pairs.map(|(off, on)| if ratio { on / off } else { on - off }).collect())
    };
    let [off, on] = [0, 1].map(|which: usize| median(nanoseconds[which].clone()));
    let (difference, ratio) = (differences(false), differences(true));
    println!("| {name} | {off:.0} ns | {on:.0} ns | {difference:.0} ns | {ratio:.2} |");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The frames of the response are in the extensions of its request.
#[derive(Clone)]
struct Frames(Vec<Bytes>);

fn request(body: &Bytes, frames: Vec<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post("/v1/chat/completions").extension(Frames(frames));
    request.body(Full::new(body.clone())).expect("a request")
}

/// Sends a request and reads the response.
fn exchange<S, B>(service: &mut S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("not ready") };
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).as_mut().poll(&mut cx) else {
        panic!("no response")
    };
    read(response.into_body());
}

fn read<B: Body<Data = Bytes>>(body: B) {
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
        let _ = black_box(frame.into_data());
    }
}

/// Reads the request and responds with its [`Frames`].
#[derive(Clone, Copy, Debug)]
struct Responder {
    kind: &'static str,
}

impl<B> Service<Request<B>> for Responder
where
    B: Body<Data = Bytes>,
{
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Pieces>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let frames = request.extensions_mut().remove::<Frames>().map_or_else(Vec::new, |f| f.0);
        read(request.into_body());
        let mut response = Response::new(Pieces(frames.into_iter()));
        let kind = header::HeaderValue::from_static(self.kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        ready(Ok(response))
    }
}

/// A body in pieces, each ready at once.
struct Pieces(std::vec::IntoIter<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }
}

/// A response in Google's form, without a tool call.
const RESPONSE: &[u8] = br#"{"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"The second function is clearer, because its name says what it returns and it has no flag.","role":"assistant"}}],"created":1770850461,"id":"nQiNafGyF5rw998PstqooAY","model":"google/gemini-2.5-flash","object":"chat.completion","system_fingerprint":"","usage":{"completion_tokens":45,"completion_tokens_details":{"reasoning_tokens":504},"extra_properties":{"google":{"traffic_type":"ON_DEMAND"}},"prompt_tokens":27,"total_tokens":576}}"#;

/// An event of text in the form of Google's page of examples.
fn event(at: usize, role: &str) -> Bytes {
    let role = if at == 0 { r#","role":"assistant""# } else { role };
    let delta = format!(r#"{{"content":" and then the next words"{role}}}"#);
    format!(
        "data: {{\"choices\":[{{\"delta\":{delta},\"index\":0,\"logprobs\":null}}],\
         \"created\":1770850461,\"id\":\"nQiNafGyF5rw998PstqooAY\",\
         \"model\":\"google/gemini-2.5-flash\",\"object\":\"chat.completion.chunk\",\
         \"system_fingerprint\":\"\"}}\n\n"
    )
    .into()
}

/// A request for a chat without tool calls, of about `length` bytes.
fn chat(length: usize) -> String {
    let text = "Please compare these two functions, and say which one is clearer. ";
    let text = text.repeat(length / text.len());
    let messages = serde_json::json!([
        { "role": "system", "content": "You are a helpful assistant." },
        { "role": "user", "content": text },
    ]);
    format!(r#"{{"messages":{messages},"stream":true,"model":"google/gemini-2.5-flash"}}"#)
}
