//! What the sidecar costs, beside a proxy that does nothing but forward, nginx and HAProxy.
//!
//! | row | is |
//! |---|---|
//! | bare proxy | what proxies of this kind are made of (hyper's server, hyper-util's pooled client, HTTP/1.1), in this folder: it sends what comes to the upstream with a token. One runtime for all processors; the sidecar's allocator and optimisations. The baseline |
//! | bare proxy, per core | the same with a runtime and a pool of connections for each processor, as the sidecar has |
//! | sidecar, logging off | the program `vertex-gateway` with `VERTEX_GATEWAY_LOG=off` and what is on by default: retries, replays, limits, metrics |
//! | sidecar, all on | with keys of clients, a line of JSON for each request, and the listener for metrics |
//! | nginx | with the same upstream and a fixed token: it has nothing to refresh, to replay or to rewrite. Without an access log |
//! | nginx, access log | with its usual one |
//! | HAProxy | as nginx, without a log |
//!
//! Each is a process of its own, between this one, which is the clients, and one that is the
//! upstream. All of them share the machine: what the clients and the upstream cost is part of the
//! requests per second of each row, and brings their ratios nearer to one. The processor's time for
//! a request is the row's alone.
//!
//! 64 clients ask, each on its own connection and again as soon as it has the answer: 1 KiB to the
//! proxy, a chat's answer of some 700 bytes back. Then one client asks for streams of 20 chunks,
//! one after the other, and takes the time to the first byte of each body. Every answer is compared
//! with what the upstream sent; a wrong one ends the bench. The rows take turns, five times, each
//! after a moment to warm up. The table has the medians of the ratios to the bare proxy in the same
//! turn; what the machine does beside falls on all rows alike. No time is ever checked.
//!
//! ```sh
//! cargo bench --manifest-path benches/Cargo.toml --profile shipped --bench gateway              # three minutes, then the table
//! cargo bench --manifest-path benches/Cargo.toml --profile shipped --bench gateway -- --quick   # coarse
//! cargo bench --manifest-path benches/Cargo.toml --bench gateway -- --test                      # each row for a moment: that it answers
//! ```
//!
//! It builds `vertex-gateway` before, or takes the one of the variable `VERTEX_GATEWAY`. nginx
//! and HAProxy have to be installed (of Debian `nginx-light` and `haproxy`), or the table says that
//! they are not.

#[path = "../machine.rs"]
mod machine;

mod contender;
mod exchange;
mod load;
mod server;
mod table;

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use contender::{LOG, Server, Sight};
use server::Threads;
use tokio::runtime::Builder;
use tower::BoxError;
use tower_vertex_emulator::Emulator;

/// As in `vertex-gateway`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How much is done.
struct Plan {
    rounds: usize,
    warm_up: Duration,
    load: Duration,
    clients: usize,
    streams: usize,
}

impl Plan {
    const WHOLE: Self = Self {
        rounds: 5,
        warm_up: Duration::from_millis(500),
        load: Duration::from_secs(4),
        clients: 64,
        streams: 400,
    };
    const QUICK: Self =
        Self { rounds: 3, load: Duration::from_secs(1), streams: 100, ..Self::WHOLE };
    const TEST: Self = Self {
        rounds: 1,
        warm_up: Duration::ZERO,
        load: Duration::from_millis(100),
        clients: 8,
        streams: 2,
    };
}

/// A row: its name, what serves, if that is installed, and what was measured in each round.
struct Row {
    name: &'static str,
    server: Option<Server>,
    asked: usize,
    measures: Vec<Measures>,
}

/// What was measured of one row in one round.
#[derive(Clone, Copy, Debug)]
struct Measures {
    requests_per_second: f64,
    /// The processor's time for a request; times are in seconds.
    cpu: f64,
    p99: f64,
    first_byte: f64,
}

impl Row {
    fn new(name: &'static str, server: Option<Server>) -> Self {
        Self { name, server, asked: 0, measures: Vec::new() }
    }

    fn take_turn(&mut self, plan: &Plan) -> Result<(), BoxError> {
        let Some(server) = &self.server else { return Ok(()) };
        let warm_up = load::many(server.addr, plan.clients, plan.warm_up)?;
        let before = server.cpu()?;
        let many = load::many(server.addr, plan.clients, plan.load)?;
        let cpu = server.cpu()?.saturating_sub(before);
        let streams = load::streams(server.addr, plan.streams)?;
        self.asked += warm_up.took.len() + many.took.len() + streams.took.len();
        self.measures.push(Measures {
            requests_per_second: many.per_second(),
            cpu: cpu.as_secs_f64() / many.took.len() as f64,
            p99: many.quantile(0.99),
            first_byte: streams.quantile(0.5),
        });
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(ended) = server::role(&arguments) {
        match ended? {}
    }
    let testing = arguments.contains(&"--test");
    let plan = match () {
        () if testing => Plan::TEST,
        () if arguments.contains(&"--quick") => Plan::QUICK,
        () => Plan::WHOLE,
    };

    if !testing && !env::current_exe()?.components().any(|part| part.as_os_str() == "shipped") {
        return Err(
            "the bare proxy is to be built as the sidecar is: give --profile shipped".into()
        );
    }

    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway");
    fs::create_dir_all(&place)?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let emulator = runtime.block_on(Emulator::start())?;
    let key = place.join("key.json");
    fs::write(&key, emulator.service_account_key())?;
    let binary = contender::binary()?;

    let upstream = contender::upstream()?;
    let bare = |threads| contender::bare(threads, upstream.addr);
    let sidecar = |sight| contender::sidecar(&binary, sight, upstream.addr, &key);
    let nginx = |log| contender::nginx(log, upstream.addr, &place);
    let mut rows = [
        Row::new("bare proxy", Some(bare(Threads::Shared)?)),
        Row::new("bare proxy, per core", Some(bare(Threads::PerCore)?)),
        Row::new("**sidecar, logging off**", Some(sidecar(Sight::Off)?)),
        Row::new("**sidecar, all on**", Some(sidecar(Sight::On)?)),
        Row::new("nginx", nginx(false)?),
        Row::new("nginx, access log", nginx(true)?),
        Row::new("HAProxy", contender::haproxy(upstream.addr, &place)?),
    ];
    for _ in 0..plan.rounds {
        for row in &mut rows {
            row.take_turn(&plan).map_err(|error| format!("{}: {error}", row.name))?;
        }
    }

    // They write the end of their logs.
    let installed = rows.each_mut().map(|row| row.server.take().is_some());
    if testing {
        for (row, installed) in rows.iter().zip(installed) {
            println!("{}: {}", row.name, if installed { "answers" } else { "not installed" });
        }
    } else {
        print!("{}", table::table(&rows, &plan));
    }
    let logged = logged(&place.join(LOG))?;
    println!(
        "\nOf {} requests to the sidecar with all on, {logged} are in its log.",
        rows[3].asked
    );
    fs::remove_dir_all(&place)?;
    Ok(())
}

/// How many requests have a line.
fn logged(log: &Path) -> Result<usize, BoxError> {
    let mut number = 0;
    for line in BufReader::new(File::open(log)?).lines() {
        number += usize::from(line?.contains(r#""message":"request""#));
    }
    Ok(number)
}
