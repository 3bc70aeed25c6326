//! What the layers cost a request, beside what others cost.
//!
//! Every row is a service over the same inner one, which drops its request and answers 200. One
//! request is the check for readiness, the call, one poll of the future with a waker that does
//! nothing, and the end of the response. The requests are clones of one template, made outside the
//! timing (see `rows::request`); tokens are in their caches before the first.
//!
//! | row | is |
//! |---|---|
//! | bare | the inner service alone: the baseline |
//! | route | `VertexRoute` |
//! | auth, replay armed | `VertexAuth`; nothing is replayed, but each request could be |
//! | auth, replay off | `VertexAuth` with a replay limit of 0 |
//! | route + auth, replay armed | both, with their defaults |
//! | route + auth, replay off | both |
//! | kube-client `BaseUri` | puts a base URI before the path; checks and removes nothing |
//! | tower-http static header | `AddAuthorization::bearer`, which cannot refresh or replay |
//! | `BaseUri` + static header | those two: the bar for route + auth |
//! | naive | a boxed future that asks `gcp_auth` for its cached token and formats the header |
//!
//! Each is measured with a request that carries an `Authorization` header, as those of OpenAI
//! clients do, and with one that does not: there, the header makes the map grow.
//!
//! ```sh
//! cargo bench --manifest-path benches/Cargo.toml              # some minutes, then the table
//! cargo bench --manifest-path benches/Cargo.toml -- --quick   # coarse
//! cargo bench --manifest-path benches/Cargo.toml -- --test    # each row once: that it runs
//! ```
//!
//! All three check the allocations. No time is ever checked.

mod rows;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use criterion::{BatchSize, Criterion};
use rows::{Authorization, Middleware, NoOp, Row, Stage, Visitor, exchange};
use tower::{BoxError, Layer};

/// So few requests at a time that they stay in the processor's cache, as a client's would, and so
/// many that reading the clock costs each of them less than a nanosecond or two.
const BATCH: BatchSize = BatchSize::NumIterations(32);

const CASES: [(&str, Authorization); 2] =
    [("with-authorization", Authorization::Present), ("without", Authorization::Absent)];

fn main() -> Result<(), BoxError> {
    let began = SystemTime::now();
    let counts = allocations()?;
    let results = results();
    let mut criterion = Criterion::default()
        .output_directory(&results)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut time = Time { criterion: &mut criterion, rows: Vec::new() };
    Stage::set()?.visit(&mut time);
    let rows = time.rows;
    criterion.final_summary();
    print!("{}", Report { results: &results, began, rows: &rows, counts: &counts }.table()?);
    Ok(())
}

struct Time<'a> {
    criterion: &'a mut Criterion,
    rows: Vec<Row>,
}

impl Visitor for Time<'_> {
    fn row(&mut self, row: Row, layer: impl Middleware) {
        self.rows.push(row);
        for (case, authorization) in CASES {
            let template = rows::request(row, authorization);
            let mut service = Layer::<NoOp>::layer(&layer, NoOp);
            self.criterion.benchmark_group(case).bench_function(row.id(), |bencher| {
                let request = || template.clone();
                bencher.iter_batched(request, |request| exchange(&mut service, request), BATCH);
            });
        }
    }
}

/// The counts of the program `allocations`, which fails if there are too many.
fn allocations() -> Result<HashMap<String, Vec<u64>>, BoxError> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_allocations")).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the allocations of a row are not what they should be".into());
    }
    let row = |line: &str| {
        let (id, counts) = line.split_once(' ').ok_or("a line without counts")?;
        let counts = counts.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        Ok((id.to_owned(), counts))
    };
    String::from_utf8(output.stdout)?.lines().map(row).collect()
}

/// Where criterion leaves its results.
fn results() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("criterion")
}

struct Report<'a> {
    results: &'a Path,
    began: SystemTime,
    rows: &'a [Row],
    counts: &'a HashMap<String, Vec<u64>>,
}

impl Report<'_> {
    /// criterion's median in nanoseconds; `None` if this run has not measured the row.
    fn median(&self, case: &str, row: Row) -> Result<Option<f64>, BoxError> {
        let path = self.results.join(case).join(row.id()).join("new").join("estimates.json");
        let Ok(metadata) = fs::metadata(&path) else { return Ok(None) };
        if metadata.modified()? < self.began {
            return Ok(None);
        }
        let estimates: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
        Ok(estimates["median"]["point_estimate"].as_f64())
    }

    fn over_bare(&self, case: &str, row: Row) -> Result<Option<f64>, BoxError> {
        let bare = self.median(case, Row::Bare)?;
        Ok(self.median(case, row)?.zip(bare).map(|(row, bare)| row - bare))
    }

    fn table(&self) -> Result<String, BoxError> {
        let [(with, _), (without, _)] = CASES;
        let mut table = format!("\n{}\n\n", machine());
        table += "Nanoseconds are medians, over the bare call's. \"Pair\" is `BaseUri` + static \
                  header.\n\n\
                  | row | ns, with `Authorization` | of the pair | ns, without | of the pair \
                  | allocations, with | without | body read | just parsed |\n\
                  |---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
        for &row in self.rows {
            let mut cells = vec![name(row).to_owned()];
            for case in [with, without] {
                let (mut time, mut ratio) = ("–".to_owned(), "–".to_owned());
                if row == Row::Bare {
                    if let Some(bare) = self.median(case, row)? {
                        time = format!("({bare:.0})");
                    }
                } else if let Some(over) = self.over_bare(case, row)? {
                    time = format!("{over:.0}");
                    if let Some(pair) = self.over_bare(case, Row::Pair)? {
                        ratio = format!("{:.2}", over / pair);
                    }
                }
                cells.extend([time, ratio]);
            }
            cells.extend(self.counts[row.id()].iter().map(u64::to_string));
            table += &format!("| {} |\n", cells.join(" | "));
        }
        Ok(table)
    }
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

/// The processor and the compiler.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = Command::new(rustc).arg("--version").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    format!(
        "{model}, {cores} cores, {}-{}, {}",
        std::env::consts::ARCH,
        std::env::consts::OS,
        rustc.trim()
    )
}
