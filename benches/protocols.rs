//! The cost of a request in each protocol, compared with that of a chat, which has the same length.
//!
//! Each request passes `VertexModel`, `VertexRoute` and `VertexAuth` with their defaults, to a service
//! that reads the body. Chats and messages are read for their model; the others stream through.
//!
//! | row | request |
//! |---|---|
//! | chat | `/v1/chat/completions`; the model gets its publisher |
//! | generateContent | the Gemini Developer API's path |
//! | streamGenerateContent | Vertex AI's path with a project and a location, and `?alt=sse` |
//! | messages | Anthropic's; the model moves into the path, and the version is added |
//! | count_tokens | Anthropic's; the date of the model is removed |
//! | rawPredict | Vertex AI's path for Claude |
//! | responses | OpenAI's Responses at `publishers/openai` |
//!
//! The rows take turns, so that other work of the machine affects all alike. The table has the medians
//! and their ratios to a chat's. No time is ever checked.
//!
//! ```sh
//! cargo bench --manifest-path benches/Cargo.toml --bench protocols
//! cargo bench --manifest-path benches/Cargo.toml --bench protocols -- --test      # each row once
//! cargo bench --manifest-path benches/Cargo.toml --bench protocols -- --row chat  # for a profiler
//! ```

use std::{
    convert::Infallible,
    env,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::{Empty, Full};
use tower::{BoxError, Layer, Service};
use tower_vertex::{
    auth::VertexAuthLayer,
    model::{ModelRoute, ModelTable, VertexModelLayer},
    route::{Upstream, VertexRouteLayer},
    token::{AccessToken, TokenCache, token_fn},
};

const SIZES: [(&str, usize); 2] = [("1 KiB", 1 << 10), ("100 KiB", 100 << 10)];
const TURNS: usize = 4_000;
/// Requests in each turn.
const BATCH: usize = 16;

const ROWS: [(&str, &str, &str); 7] = [
    ("chat", "/v1/chat/completions", "gemini-2.5-flash"),
    ("generateContent", "/v1beta/models/gemini-2.5-flash:generateContent", ""),
    (
        "streamGenerateContent",
        "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        "",
    ),
    ("messages", "/v1/messages?beta=true", "claude-sonnet-4-5-20250929"),
    ("count_tokens", "/v1/messages/count_tokens", "claude-sonnet-4-5-20250929"),
    (
        "rawPredict",
        "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
        "",
    ),
    ("responses", "/v1/publishers/openai/v1/responses", "gpt-5"),
];

fn main() -> Result<(), BoxError> {
    let upstream = Upstream::new("my-project", "us-central1")?;
    let table = ModelTable::builder(upstream.clone())
        .route("llama-*", ModelRoute::new().location("us-central1").endpoint_id("1234567890"))
        .route("fast", ModelRoute::new().model("gemini-2.5-flash"))
        .build()?;
    let source = token_fn(|_| async {
        let hour = Some(Duration::from_secs(3600));
        Ok::<_, BoxError>(AccessToken::new(format!("ya29.c.{}", "x".repeat(1017)), hour)?)
    });
    let cache = TokenCache::new(source);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cache.warm_up())?;
    let auth = VertexAuthLayer::with_cache(cache);
    let layers = (VertexModelLayer::new(table), (VertexRouteLayer::new(upstream), auth));
    let mut service = layers.layer(Reader);

    let arguments: Vec<String> = env::args().collect();
    let only = arguments.iter().position(|argument| argument == "--row");
    let only = only.and_then(|at| arguments.get(at + 1));
    if let Some(only) = only {
        let row = ROWS.iter().find(|(name, ..)| name == only).ok_or("no such row")?;
        let template = request(row, SIZES[0].1)?;
        (0..100_000).for_each(|_| exchange(&mut service, template.clone()));
        return Ok(());
    }
    let turns = if arguments.iter().any(|argument| argument == "--test") { 1 } else { TURNS };
    let mut table = "| row |".to_owned();
    let mut columns = Vec::new();
    for (size, length) in SIZES {
        table += &format!(" {size} | of a chat |");
        let mut rows = Vec::new();
        for row in &ROWS {
            rows.push((request(row, length)?, Vec::with_capacity(turns)));
        }
        for _ in 0..turns {
            for (template, took) in &mut rows {
                let requests: Vec<_> = (0..BATCH).map(|_| template.clone()).collect();
                let start = Instant::now();
                requests.into_iter().for_each(|request| exchange(&mut service, request));
                took.push(start.elapsed() / BATCH as u32);
            }
        }
        columns.push(rows.into_iter().map(|(_, took)| median(took)).collect::<Vec<_>>());
    }
    table += &format!("\n|---|{}\n", "---:|---:|".repeat(SIZES.len()));
    for (at, (name, ..)) in ROWS.iter().enumerate() {
        table += &format!("| {name} |");
        for column in &columns {
            let (took, chat) = (column[at], column[0]);
            let ratio = took.as_secs_f64() / chat.as_secs_f64();
            table += &format!(" {took:.2?} | {ratio:.2} |");
        }
        table += "\n";
    }
    println!("{table}");
    Ok(())
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

/// The request of a row, with a body of about `length` bytes.
fn request(row: &(&str, &str, &str), length: usize) -> Result<Request<Full<Bytes>>, BoxError> {
    let (_, path, model) = row;
    // The clients of all protocols put the model somewhere in the middle or at the end.
    let model = if model.is_empty() { String::new() } else { format!(r#","model":"{model}""#) };
    let frame = r#"{"max_tokens":1024,"messages":[{"role":"user","content":""}],"stream":false}"#;
    let text = "Please explain it in one short paragraph. ".repeat(length / 42 + 1);
    let text = &text[..length.saturating_sub(frame.len() + model.len())];
    let body = format!(
        r#"{{"max_tokens":1024,"messages":[{{"role":"user","content":"{text}"}}]{model},"stream":false}}"#
    );
    let body = Bytes::from(body);
    drop(body.clone());
    Ok(Request::post(*path)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .header(header::USER_AGENT, "a client/1.0")
        .header(header::AUTHORIZATION, "Bearer sk-placeholder")
        .body(Full::new(body))?)
}

/// Sends one request, from the check for readiness to the end of the response.
fn exchange<S, R>(service: &mut S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = R, Error = BoxError>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("not ready") };
    let mut response = pin!(service.call(request));
    match response.as_mut().poll(&mut cx) {
        Poll::Ready(Ok(response)) => drop(black_box(response)),
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => panic!("the response is not ready"),
    }
}

/// Reads the body and returns 200.
#[derive(Clone, Copy, Debug)]
struct Reader;

impl<B: Body<Data = Bytes>> Service<Request<B>> for Reader {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut body = pin!(request.into_body());
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
            drop(black_box(frame.into_data()));
        }
        ready(Ok(Response::new(Empty::new())))
    }
}
