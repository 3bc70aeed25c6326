//! The cost of finding and replacing `model` in a body, compared with the cost of parsing the body.
//!
//! | row | description |
//! |---|---|
//! | `VertexModel` | the whole layer over a service that reads the body: it reads and checks the body, finds `model`, looks it up in a table, replaces it, and sends the body in pieces |
//! | `VertexModel`, 16 KiB pieces | the same for a body from a socket |
//! | `serde_json`, only `model` | `from_slice` into a struct that only borrows `model` |
//! | `serde_json`, only `model`, pieces | the same after the pieces were copied into one buffer, which the parser needs |
//! | `serde_json` `Value` | `from_slice` into a `Value`, the first step of a rewrite with a tree; serializing the tree is not counted |
//!
//! The bodies are a short chat (1 KiB), a long one about source code with many escapes (100 KiB),
//! and one with images in base64 (20 MiB). `model` is the last member, as in the Python client.
//!
//! The bench measures twice, as in `overhead.rs`. criterion measures one row after another. The
//! table measures the rows in turns and shows medians, and their ratios to the first row, which
//! depend less on the machine. No time is ever checked.
//!
//! ```sh
//! cargo bench --manifest-path benches/Cargo.toml --bench model
//! cargo bench --manifest-path benches/Cargo.toml --bench model -- --quick   # coarse
//! cargo bench --manifest-path benches/Cargo.toml --bench model -- --test    # each row once
//! ```
//!
//! For reference, on a virtual machine (AMD EPYC, 2 cores, rustc 1.95.0):
//!
//! | row | 1 KiB | of the first | 100 KiB | of the first | 20 MiB | of the first |
//! |---|---:|---:|---:|---:|---:|---:|
//! | `VertexModel` | 1.7 µs | 1.00 | 82 µs | 1.00 | 1.7 ms | 1.00 |
//! | `VertexModel`, 16 KiB pieces | 1.7 µs | 0.99 | 83 µs | 1.01 | 1.7 ms | 0.95 |
//! | `serde_json`, only `model` | 0.8 µs | 0.45 | 70 µs | 0.85 | 2.7 ms | 1.55 |
//! | `serde_json`, only `model`, pieces | 0.8 µs | 0.48 | 74 µs | 0.90 | 4.8 ms | 2.74 |
//! | `serde_json` `Value` | 2.0 µs | 1.21 | 140 µs | 1.70 | 4.9 ms | 2.82 |
//!
//! "Only `model`" is the minimum for a parser, not a replacement: it accepts invalid UTF-8 in the
//! skipped text, and does not return the position of the name. About a microsecond of each first
//! row is the cost of the request itself: its future, its extensions, the new name.

use std::{
    convert::Infallible,
    env,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use http::Request;
use http_body::{Body, Frame, SizeHint};
use serde::Deserialize;
use tower::{BoxError, Layer, Service};
use tower_vertex::{
    model::{ModelBody, ModelRoute, ModelTable, VertexModel, VertexModelLayer},
    route::Upstream,
};

const SIZES: [(&str, usize); 3] =
    [("1 KiB", 1 << 10), ("100 KiB", 100 << 10), ("20 MiB", 20 << 20)];

/// About the size that hyper reads.
const PIECE: usize = 16 << 10;

fn main() -> Result<(), BoxError> {
    let table = ModelTable::builder(Upstream::new("my-project", "global")?)
        .route("llama-*", ModelRoute::new().location("us-central1").endpoint_id("1234567890"))
        .route("fast", ModelRoute::new().model("gemini-2.5-flash"))
        .build()?;
    let layer = VertexModelLayer::new(table);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut sizes = Vec::new();
    for (size, length) in SIZES {
        let text = Bytes::from(chat(length));
        assert!(text.len().abs_diff(length) < length / 10, "{} bytes", text.len());
        let mut rows = rows(&layer, &text);
        let mut group = criterion.benchmark_group(size);
        group.throughput(Throughput::Bytes(text.len() as u64));
        for row in &mut rows {
            group.bench_function(row.name, |bencher| {
                bencher.iter_batched(|| (), |()| (row.run)(), BatchSize::PerIteration);
            });
        }
        group.finish();
        sizes.push((size, length, rows));
    }
    criterion.final_summary();

    let given = |option: &str| env::args().any(|argument| argument == option);
    let bytes = match () {
        () if given("--test") => 0,
        () if given("--quick") => 200 << 20,
        () => 4 << 30,
    };
    for (_, length, rows) in &mut sizes {
        for turn in 0..(bytes / *length).min(20_000) {
            // There are five rows, in four orders. Each row follows each other row, so that the
            // contents of the caches affect all rows alike.
            let step = 1 + turn % (rows.len() - 1);
            for position in 0..rows.len() {
                let row = position * step % rows.len();
                rows[row].take_turn();
            }
        }
    }
    print!("{}", report(&mut sizes));
    Ok(())
}

struct Row {
    name: &'static str,
    run: Box<dyn FnMut()>,
    took: Vec<Duration>,
}

impl Row {
    fn new(name: &'static str, run: impl FnMut() + 'static) -> Self {
        Self { name, run: Box::new(run), took: Vec::new() }
    }

    fn take_turn(&mut self) {
        let start = Instant::now();
        (self.run)();
        self.took.push(start.elapsed());
    }

    fn median(&mut self) -> Option<Duration> {
        self.took.sort_unstable();
        self.took.get(self.took.len() / 2).copied()
    }
}

/// The struct that the peer reads.
#[derive(Deserialize)]
struct Only<'a> {
    model: &'a str,
}

fn rows(layer: &VertexModelLayer, text: &Bytes) -> Vec<Row> {
    let pieces: Vec<Bytes> = (0..text.len())
        .step_by(PIECE)
        .map(|at| text.slice(at..text.len().min(at + PIECE)))
        .collect();
    let serve = |pieces: Vec<Bytes>| {
        let mut service = layer.layer(Reader);
        // The name gets its publisher, and no other text changes.
        let expected = text.len() + "google/".len();
        assert_eq!(exchange(&mut service, pieces.clone()), expected);
        move || assert_eq!(exchange(&mut service, pieces.clone()), expected)
    };
    let parse = text.clone();
    let value = text.clone();
    vec![
        Row::new("VertexModel", serve(vec![text.clone()])),
        Row::new("VertexModel, 16 KiB pieces", serve(pieces.clone())),
        Row::new("serde_json, only model", move || {
            let only: Only<'_> = serde_json::from_slice(black_box(&parse)).expect("JSON");
            black_box(only.model.len());
        }),
        Row::new("serde_json, only model, pieces", move || {
            let text = black_box(&pieces).concat();
            let only: Only<'_> = serde_json::from_slice(&text).expect("JSON");
            black_box(only.model.len());
        }),
        Row::new("serde_json Value", move || {
            let value: serde_json::Value = serde_json::from_slice(black_box(&value)).expect("JSON");
            drop(black_box(value));
        }),
    ]
}

/// Sends a request with a body of `pieces`, and returns the length of the body that arrived.
fn exchange(service: &mut VertexModel<Reader>, pieces: Vec<Bytes>) -> usize {
    let body = Pieces(pieces.into_iter());
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("not ready") };
    let mut answer = pin!(service.call(request));
    match answer.as_mut().poll(&mut cx) {
        Poll::Ready(Ok(length)) => length,
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => panic!("the response is not ready"),
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

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_slice().iter().map(|piece| piece.len() as u64).sum())
    }
}

/// Reads the body and returns its length.
#[derive(Clone, Copy, Debug)]
struct Reader;

impl Service<Request<ModelBody<Pieces>>> for Reader {
    type Response = usize;
    type Error = Infallible;
    type Future = Ready<Result<usize, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ModelBody<Pieces>>) -> Self::Future {
        let mut body = pin!(request.into_body());
        let mut cx = Context::from_waker(Waker::noop());
        let mut length = 0;
        while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
            length += frame.into_data().map_or(0, |data| black_box(data).len());
        }
        ready(Ok(length))
    }
}

/// A request for a chat, of about `length` bytes.
fn chat(length: usize) -> String {
    const SOURCE: &str =
        "fn main() {\n    let name = \"wörld\";\n    println!(\"hello, {name}\");\n}\n\n";
    let mut messages = vec![serde_json::json!({
        "role": "system",
        "content": "You are a helpful assistant. Reply in one paragraph, and say when you do not know.",
    })];
    let room = length.saturating_sub(400);
    if length > 1 << 20 {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let image = |size| -> String {
            (0..size).map(|at| char::from(alphabet[(at * 31 + at / 7) % alphabet.len()])).collect()
        };
        let parts: Vec<_> = (0..10)
            .map(|_| {
                let url = format!("data:image/png;base64,{}", image(room / 10));
                serde_json::json!({ "type": "image_url", "image_url": { "url": url } })
            })
            .collect();
        messages.push(serde_json::json!({ "role": "user", "content": parts }));
    } else {
        // With its escapes, each source is a tenth longer; a message holds twenty of them.
        for part in SOURCE.repeat(1 + room / (SOURCE.len() * 11 / 10)).as_bytes().chunks(1500) {
            let content = String::from_utf8_lossy(part);
            messages.push(serde_json::json!({ "role": "user", "content": content }));
        }
    }
    let messages = serde_json::Value::from(messages);
    format!(
        r#"{{"messages":{messages},"temperature":0.7,"stream":true,"model":"gemini-2.5-flash"}}"#
    )
}

fn report(sizes: &mut [(&str, usize, Vec<Row>)]) -> String {
    let mut report = String::from("\n| row |");
    for (size, ..) in &*sizes {
        report += &format!(" {size} | of the first |");
    }
    report += &format!("\n|---|{}\n", "---:|---:|".repeat(sizes.len()));
    let names: Vec<_> = sizes[0].2.iter().map(|row| row.name).collect();
    let firsts: Vec<_> = sizes.iter_mut().map(|(.., rows)| rows[0].median()).collect();
    for (at, name) in names.into_iter().enumerate() {
        report += &format!("| {name} |");
        for ((.., rows), first) in sizes.iter_mut().zip(&firsts) {
            report += &match (rows[at].median(), first) {
                (Some(took), Some(first)) => {
                    let ratio = took.as_secs_f64() / first.as_secs_f64();
                    format!(" {took:.3?} | {ratio:.2} |")
                }
                _ => " – | – |".to_owned(),
            };
        }
        report += "\n";
    }
    report
}
