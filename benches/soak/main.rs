//! A day in an hour: the sidecar under mixed traffic, while everything that happens now and then in a
//! day happens all the time, and its memory, descriptors and threads in the meantime.
//!
//! A token lives for five seconds instead of an hour, and a connection to Vertex AI for five seconds
//! instead of five minutes. Endpoints and models are looked up every five seconds instead of every
//! five minutes. The configuration and the keys change every ten seconds, and SIGHUP comes every
//! five. Tokens are revoked every forty seconds, and Vertex AI returns a few errors every twenty. The
//! report compares the number of each with that of a real day.
//!
//! The sidecar is the library of `vertex-gateway` in a process whose allocator is the release's with
//! statistics and heap profiles, which the release is built without. A binary in the variable
//! `VERTEX_GATEWAY` takes its place; then nothing is known about allocated bytes.
//!
//! A line is fitted to each measure, after a fifth of the time. The soak fails if a slope is above
//! its bound by more than two standard errors, or if a request has an outcome that it may not have.
//!
//! ```sh
//! just soak        # an hour
//! just soak 10     # ten minutes
//! ```

#[path = "../machine.rs"]
mod machine;
#[path = "../gateway/page.rs"]
mod page;

mod fit;
mod gateway;
mod heap;
mod report;
mod traffic;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use gateway::{Gateway, Vitals};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    task::JoinSet,
};
use tower::BoxError;
use tower_vertex_emulator::{
    ApiFault, Emulator, EndpointInfo, Faults, StreamBehavior, TokenBehavior,
};
use traffic::{KEY, Outcomes};

/// The allocator of `vertex-gateway`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CLIENTS: usize = 16;
/// The lifetime of a token and of a connection to Vertex AI, in seconds.
const LIFE: u64 = 5;

/// The events and the measurements of a run.
#[derive(Debug, Default)]
pub struct Run {
    pub minutes: f64,
    /// The time, 0 to 1, and the vitals.
    pub samples: Vec<(f64, Vitals)>,
    pub outcomes: BTreeMap<(&'static str, u16), u64>,
    pub reloads: u64,
    pub revocations: u64,
    /// The metrics at the end.
    pub metrics: String,
    pub discoveries: u64,
    pub folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, statistics, options @ ..] = &arguments[..]
        && role == "gateway"
    {
        return gateway::run(statistics.into(), options);
    }
    match soak(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(arguments: &[String]) -> Result<bool, BoxError> {
    let minutes = arguments.iter().find_map(|argument| argument.parse::<f64>().ok());
    let minutes = minutes.unwrap_or(60.0);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let run = runtime.block_on(run(minutes))?;
    let (text, failures) = report::report(&run)?;
    println!("{text}");
    if arguments.iter().any(|argument| argument == "--write") {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        page::replace(&docs.join("benchmarks.md"), "soak", &text)?;
    }
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    Ok(failures.is_empty())
}

async fn run(minutes: f64) -> Result<Run, BoxError> {
    let length = Duration::from_secs_f64(minutes * 60.0);
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let vertex = Emulator::builder().tls(true).start().await?;
    vertex.set_token_behavior(TokenBehavior { expires_in: LIFE.into(), ..Default::default() });
    set_pace(&vertex, None);
    let gateway = Gateway::start(&folder, &options(&folder, &vertex)?)?;
    let began = Instant::now();
    let outcomes = Outcomes::default();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(traffic::work(number, gateway.addr, began + length, Arc::clone(&outcomes)));
    }
    let mut run = Run { minutes, folder: folder.clone(), ..Default::default() };
    let sampled_every = (length / 360).max(Duration::from_secs(1)).as_secs();
    let mut second = 0;
    while began.elapsed() < length {
        second += 1;
        let next = began + Duration::from_secs(second);
        tokio::time::sleep_until(next.into()).await;
        if second.is_multiple_of(sampled_every) {
            let time = began.elapsed().as_secs_f64() / length.as_secs_f64();
            run.samples.push((time, gateway.vitals()?));
        }
        if second.is_multiple_of(5) {
            gateway.signal(Signal::HUP)?;
            run.reloads += 1;
        }
        if second.is_multiple_of(10) {
            write_files(&folder, second / 10)?;
            run.reloads += 1;
            let endpoints = 1 + second / 10 % 3;
            vertex.set_endpoints((0..endpoints).map(|number| {
                EndpointInfo::shared((1000 + number).to_string(), format!("mine-{number}"))
            }));
        }
        match second % 40 {
            0 | 20 => set_pace(&vertex, Some(5)),
            10 => {
                vertex.revoke_tokens();
                run.revocations += 1;
            }
            _ => {}
        }
    }
    while let Some(client) = clients.join_next().await {
        client?;
    }
    run.metrics = metrics(&gateway).await?;
    run.discoveries = second / LIFE;
    run.outcomes = outcomes.lock().map(|outcomes| outcomes.clone()).unwrap_or_default();
    gateway.end()?;
    Ok(run)
}

/// Chunks come at this pace. This many requests get an error.
fn set_pace(vertex: &Emulator, errors: Option<u64>) {
    let stream = StreamBehavior {
        chunk_delay: Duration::from_millis(10),
        chunks: Some(10),
        ..Default::default()
    };
    let api = errors.map(|times| ApiFault { times: Some(times), ..ApiFault::new(503) });
    vertex.set_faults(Faults { api, stream });
}

fn options(folder: &Path, vertex: &Emulator) -> Result<Vec<String>, BoxError> {
    write_files(folder, 0)?;
    let file = |name: &str, text: &str| -> Result<String, BoxError> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let path = |name: &str| folder.join(name).display().to_string();
    let life = format!("{LIFE}s");
    let options = [
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--admin-listen", "127.0.0.1:0".to_owned()),
        ("--project", "p1".to_owned()),
        ("--location", "us-central1".to_owned()),
        ("--upstream", vertex.url()),
        ("--upstream-ca", file("authority.pem", vertex.certificate_pem().unwrap_or_default())?),
        ("--credentials", file("credentials.json", &vertex.service_account_key())?),
        ("--config", path("gateway.toml")),
        ("--client-key-file", path("keys")),
        ("--upstream-connection-lifetime", life.clone()),
        ("--discovery-interval", life),
        ("--max-attempts", "2".to_owned()),
        ("--retry-max-delay", "1s".to_owned()),
        ("--log-format", "json".to_owned()),
        ("--workers", "2".to_owned()),
    ];
    let pairs = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    Ok(pairs.chain(["--discover-endpoints".to_owned()]).collect())
}

/// Writes the configuration and the keys: always other ones, and always with the clients' own key.
fn write_files(folder: &Path, number: u64) -> Result<(), BoxError> {
    let models: String = (0..number % 5)
        .map(|model| {
            format!("[[model]]\nname = \"name-{number}-{model}\"\nmodel = \"gemini-2.5-flash\"\n")
        })
        .collect();
    let others: String = (0..number % 3)
        .map(|other| format!("other-{other}:sk-other-{number}-{other}-0123456789abcdef\n"))
        .collect();
    for (name, text) in [("gateway.toml", models), ("keys", format!("soak:{KEY}\n{others}"))] {
        let next = folder.join("next");
        fs::write(&next, text)?;
        fs::rename(next, folder.join(name))?;
    }
    Ok(())
}

async fn metrics(gateway: &Gateway) -> Result<String, BoxError> {
    let mut socket = TcpStream::connect(gateway.admin).await?;
    socket.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    Ok(text)
}
