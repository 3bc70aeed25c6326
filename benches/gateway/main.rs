//! The cost of the sidecar, compared with a proxy that only forwards, nginx and HAProxy.
//!
//! | row | description |
//! |---|---|
//! | bare proxy | the usual parts of such a proxy (hyper's server, hyper-util's pooled client, HTTP/1.1), in this folder: it sends each request to the upstream with a token. It has one runtime for all processors, and the sidecar's allocator and optimisations. The baseline |
//! | bare proxy, per core | the same with a runtime and a pool of connections for each processor, as in the sidecar |
//! | sidecar, logging off | the program `vertex-gateway` with `VERTEX_GATEWAY_LOG=off`, `--compat off` (its cost is that of the bench `compat`) and the defaults: retries, replays, limits, metrics |
//! | sidecar, all on | with client keys, a line of JSON for each request, and the listener for metrics |
//! | nginx | with the same upstream, a fixed token and no access log; it refreshes, replays and rewrites nothing |
//! | nginx, access log | the same with its default access log |
//! | HAProxy | like nginx, without a log |
//!
//! Each row is a separate process, between this one, which runs the clients, and one that is the
//! upstream. All of them share the machine: the cost of the clients and of the upstream is part of
//! the requests per second of each row, and brings their ratios nearer to one. The CPU time of a
//! request is only that of the row.
//!
//! First, 64 clients send requests. Each has its own connection, and sends the next request as soon
//! as it has the response: 1 KiB to the proxy, and a chat response of some 700 bytes back. Then one
//! client requests streams of 20 chunks, one after another, and measures the time to the first byte
//! of each body. Every response is compared with the one that the upstream sent; a wrong response
//! ends the bench. The rows take turns, five times, each after a short warm-up. The table has the
//! medians of the ratios to the bare proxy in the same turn, so that other work of the machine
//! affects all rows alike. No time is ever checked.
//!
//! ```sh
//! cargo bench --manifest-path benches/Cargo.toml --profile shipped --bench gateway              # three minutes, then the table
//! cargo bench --manifest-path benches/Cargo.toml --profile shipped --bench gateway -- --quick   # coarse
//! cargo bench --manifest-path benches/Cargo.toml --bench gateway -- --test                      # a short check that each row responds
//! ```
//!
//! The bench builds `vertex-gateway` first, or uses the binary in the variable `VERTEX_GATEWAY`.
//! nginx and HAProxy must be installed (on Debian `nginx-light` and `haproxy`); otherwise the table
//! says that they are not.

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

/// The allocator of `vertex-gateway`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The amount of work.
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

/// A row: its name, its server if it is installed, and the measurements of each round.
struct Row {
    name: &'static str,
    server: Option<Server>,
    asked: usize,
    measures: Vec<Measures>,
}

/// The measurements of one row in one round.
#[derive(Clone, Copy, Debug)]
struct Measures {
    requests_per_second: f64,
    /// The CPU time of a request; times are in seconds.
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
        return Err("the bare proxy must be built like the sidecar: use --profile shipped".into());
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

    // Dropping the servers lets them write the end of their logs.
    let installed = rows.each_mut().map(|row| row.server.take().is_some());
    if testing {
        for (row, installed) in rows.iter().zip(installed) {
            println!("{}: {}", row.name, if installed { "responds" } else { "not installed" });
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

/// The number of requests with a line in the log.
fn logged(log: &Path) -> Result<usize, BoxError> {
    let mut number = 0;
    for line in BufReader::new(File::open(log)?).lines() {
        number += usize::from(line?.contains(r#""message":"request""#));
    }
    Ok(number)
}
