//! The cost of the layers for a request, compared with that of others.
//!
//! Every row is a service over the same inner service, which drops its request and returns 200. One
//! request is the check for readiness, the call, one poll of the future with a no-op waker, and the
//! end of the response. The requests are clones of one template, made outside the timing (see
//! `rows::request`). The tokens are cached before the first request.
//!
//! | row | description |
//! |---|---|
//! | bare | only the inner service: the baseline |
//! | route | `VertexRoute` |
//! | auth, replay armed | `VertexAuth`; no request is replayed, but each one could be |
//! | auth, replay off | `VertexAuth` with a replay limit of 0 |
//! | route + auth, replay armed | both, with their defaults |
//! | route + auth, replay off | both |
//! | kube-client `BaseUri` | prepends a base URI to the path, without checks |
//! | tower-http static header | `AddAuthorization::bearer`, which cannot refresh or replay |
//! | `BaseUri` + static header | both: the comparison for route + auth |
//! | naive | a boxed future that gets the cached token of `gcp_auth` and formats the header |
//!
//! Each row is measured with a request that has an `Authorization` header, as those of OpenAI
//! clients do, and with one that does not. In the second case the header makes the map grow.
//!
//! One cost is not in the times: the body is not read, so it is not recorded. The column "body
//! read" counts that allocation.
//!
//! The bench measures twice. criterion measures one row after another, and reports confidence
//! intervals and the change since the last run. The table compares the rows. It measures them in
//! turns of 32 requests and shows the medians, so that other work and the speed of the machine
//! affect all rows alike. The same program differs by up to a tenth from process to process,
//! because its memory has another address.
//!
//! ```sh
//! cargo bench --manifest-path benches/Cargo.toml --bench overhead              # two minutes, then the table
//! cargo bench --manifest-path benches/Cargo.toml --bench overhead -- --quick   # coarse
//! cargo bench --manifest-path benches/Cargo.toml --bench overhead -- --test    # runs each row once
//! ```
//!
//! All three check the allocations. No time is ever checked.
//!
//! The following numbers are for reference, from a virtual machine (AMD EPYC, 2 cores, rustc
//! 1.95.0). They are nanoseconds over the bare call, and allocations. The first two columns of
//! allocations are for a request with `Authorization` and for one that lacks it. The other two are
//! for requests with it: in "body read" the inner service reads the body, and in "just read" a
//! server has just read the request from a socket.
//!
//! | row | with `Authorization` | of the pair | without | of the pair | allocations | without | body read | just read |
//! |---|---:|---:|---:|---:|---:|---:|---:|---:|
//! | bare | (151) | – | (140) | – | 0 | 0 | 0 | 0 |
//! | route | 75 | 0.27 | 70 | 0.19 | 0 | 0 | 0 | 0 |
//! | auth, replay armed | 252 | 0.90 | 352 | 0.96 | 1 | 2 | 1 | 2 |
//! | auth, replay off | 122 | 0.44 | 213 | 0.58 | 0 | 1 | 0 | 0 |
//! | **route + auth, replay armed** | 306 | 1.09 | 406 | 1.11 | 1 | 2 | 1 | 2 |
//! | **route + auth, replay off** | 183 | 0.65 | 273 | 0.75 | 0 | 1 | 0 | 0 |
//! | kube-client `BaseUri` | 248 | 0.88 | 243 | 0.66 | 4 | 4 | 4 | 4 |
//! | tower-http static header | 16 | 0.06 | 115 | 0.31 | 0 | 1 | 0 | 0 |
//! | `BaseUri` + static header | 280 | 1.00 | 366 | 1.00 | 4 | 5 | 4 | 4 |
//! | naive: boxed, `gcp_auth`, `format!` | 432 | 1.54 | 482 | 1.32 | 6 | 7 | 6 | 6 |

mod machine;
mod rows;

use std::{
    collections::HashMap,
    env,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion};
use machine::machine;
use rows::{Authorization, Middleware, NoOp, Row, Stage, Visitor, exchange};
use tower::{BoxError, Layer};

/// This number of requests fits into the processor's cache, as a client's would, and is large
/// enough that reading the clock costs each of them less than two nanoseconds.
const BATCH: u16 = 32;

const CASES: [(&str, Authorization); 2] =
    [("with-authorization", Authorization::Present), ("without", Authorization::Absent)];

fn main() -> Result<(), BoxError> {
    let counts = allocations()?;
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut time = Time { criterion: &mut criterion, rows: Vec::new() };
    Stage::set()?.visit(&mut time);
    let mut rows = time.rows;
    criterion.final_summary();

    let given = |option: &str| env::args().any(|argument| argument == option);
    let turns = match () {
        () if given("--test") => 0,
        () if given("--quick") => 1_000,
        () => 20_000,
    };
    for _ in 0..turns {
        for (_, cases) in &mut rows {
            cases.iter_mut().for_each(Case::take_turn);
        }
    }
    print!("{}", table(&mut rows, &counts));
    Ok(())
}

/// A row with one kind of request.
struct Case {
    turn: Box<dyn FnMut() -> Duration>,
    took: Vec<Duration>,
}

impl Case {
    fn take_turn(&mut self) {
        self.took.push((self.turn)());
    }

    /// The median in nanoseconds for each request.
    fn median(&mut self) -> Option<f64> {
        self.took.sort_unstable();
        let median = self.took.get(self.took.len() / 2)?;
        Some(median.as_nanos() as f64 / f64::from(BATCH))
    }
}

struct Time<'a> {
    criterion: &'a mut Criterion,
    rows: Vec<(Row, [Case; 2])>,
}

impl Visitor for Time<'_> {
    fn row(&mut self, row: Row, layer: impl Middleware) {
        let cases = CASES.map(|(case, authorization)| {
            let template = rows::request(row, authorization);
            let mut service = Layer::<NoOp>::layer(&layer, NoOp);
            self.criterion.benchmark_group(case).bench_function(row.id(), |bencher| {
                let batch = BatchSize::NumIterations(BATCH.into());
                let request = || template.clone();
                bencher.iter_batched(request, |request| exchange(&mut service, request), batch);
            });
            let turn = Box::new(move || {
                let requests: Vec<_> = (0..BATCH).map(|_| template.clone()).collect();
                let began = Instant::now();
                requests.into_iter().for_each(|request| exchange(&mut service, request));
                began.elapsed()
            });
            Case { turn, took: Vec::new() }
        });
        self.rows.push((row, cases));
    }
}

/// The counts of the program `allocations`, which fails if a count is too high.
fn allocations() -> Result<HashMap<String, Vec<u64>>, BoxError> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_allocations")).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the program allocations reported an error".into());
    }
    let row = |line: &str| {
        let (id, counts) = line.split_once(' ').ok_or("a line without counts")?;
        let counts = counts.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        Ok((id.to_owned(), counts))
    };
    String::from_utf8(output.stdout)?.lines().map(row).collect()
}

fn table(rows: &mut [(Row, [Case; 2])], counts: &HashMap<String, Vec<u64>>) -> String {
    let medians: Vec<(Row, [Option<f64>; 2])> =
        rows.iter_mut().map(|(row, cases)| (*row, cases.each_mut().map(Case::median))).collect();
    let of = |wanted: Row, case: usize| {
        medians.iter().find(|(row, _)| *row == wanted).and_then(|(_, medians)| medians[case])
    };
    let over_bare = |row: Row, case: usize| Some(of(row, case)? - of(Row::Bare, case)?);

    let mut table = format!(
        "\n{}\n\n\
         Nanoseconds over the bare call; the pair is `BaseUri` + static header. Allocations for a \
         request with `Authorization` and for a request without that header. Two columns are for \
         requests with it: in \"body read\" the inner service reads the body, and in \"just read\" a \
         server has just read the request from a socket.\n\n\
         | row | with `Authorization` | of the pair | without | of the pair | allocations | without \
         | body read | just read |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        machine()
    );
    for (row, medians) in &medians {
        let mut cells = vec![name(*row).to_owned()];
        for (case, median) in medians.iter().enumerate() {
            let (time, ratio) = match (*row, over_bare(*row, case), over_bare(Row::Pair, case)) {
                (Row::Bare, ..) => (median.map(|bare| format!("({bare:.0})")), None),
                (_, Some(over), Some(pair)) => {
                    (Some(format!("{over:.0}")), Some(format!("{:.2}", over / pair)))
                }
                _ => (None, None),
            };
            cells.extend([time, ratio].map(|cell| cell.unwrap_or_else(|| "–".to_owned())));
        }
        cells.extend(counts[row.id()].iter().map(u64::to_string));
        table += &format!("| {} |\n", cells.join(" | "));
    }
    table
}

/// The row in the table.
fn name(row: Row) -> &'static str {
    match row {
        Row::Bare => "bare",
        Row::Route => "route",
        Row::AuthReplay => "auth, replay armed",
        Row::AuthPlain => "auth, replay off",
        Row::BothReplay => "**route + auth, replay armed**",
        Row::BothPlain => "**route + auth, replay off**",
        Row::BaseUri => "kube-client `BaseUri`",
        Row::StaticHeader => "tower-http static header",
        Row::Pair => "`BaseUri` + static header",
        Row::Naive => "naive: boxed, `gcp_auth`, `format!`",
    }
}
