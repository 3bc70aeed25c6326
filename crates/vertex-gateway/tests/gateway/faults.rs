//! The fault matrix of `vertex-gateway`: under load something breaks, and is mended. With any
//! fault, each request gets its own complete response or an error in OpenAI's form. Once the fault
//! is mended, all requests succeed as before.

mod slow_clients;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs::{self, File},
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use ring::digest::{Context, Digest, SHA256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower_vertex::replay::ReplayBody;
use tower_vertex_emulator::{
    ApiFault, Emulator, Faults, LiteralResponse, StreamBehavior, TokenBehavior, TokenFault,
};

use crate::common::{
    Http, chat, chat_stream, client,
    door::Door,
    echo, eventually,
    gateway::{Gateway, before, bytes, head},
    in_time,
    load::{Load, row},
    pace, said_until_the_break, text,
    vitals::{Admin, Vitals},
};

/// Checks that this is the complete response to the question.
async fn is_whole(answer: http::Response<hyper::body::Incoming>, question: &str) {
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = text(answer).await;
    let answer: serde_json::Value = serde_json::from_str(&answer).expect(&answer);
    assert_eq!(answer["choices"][0]["message"]["content"], echo(question));
}

/// A server between the sidecar and Vertex AI that can be in trouble.
struct Way {
    addr: SocketAddr,
    trouble: Arc<Mutex<Trouble>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Connections are reset as they come.
    Reset,
    /// Connections are accepted and never served.
    Silence,
    /// The sending half of each connection is closed at once.
    HalfClosed,
    /// The response is not HTTP.
    Garbage,
    /// Connections are closed in the middle of a response.
    Cut,
}

impl Way {
    async fn to(vertex: &Emulator) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let trouble = Arc::new(Mutex::new(Trouble::None));
        let (behind, of_task) = (vertex.addr(), Arc::clone(&trouble));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(Self::carry(client, behind, Arc::clone(&of_task)));
            }
        });
        Self { addr, trouble }
    }

    async fn carry(mut client: TcpStream, behind: SocketAddr, trouble: Arc<Mutex<Trouble>>) {
        let now = || *trouble.lock().unwrap();
        let first = now();
        match first {
            Trouble::None | Trouble::Cut => {}
            Trouble::Reset => {
                let _ = client.set_zero_linger();
                return;
            }
            Trouble::Silence => {
                let mut unread = Vec::new();
                let _ = client.read_to_end(&mut unread).await;
                return;
            }
            Trouble::HalfClosed => {
                let _ = client.shutdown().await;
                let mut unread = Vec::new();
                let _ = client.read_to_end(&mut unread).await;
                return;
            }
            Trouble::Garbage => {
                let _ = client.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").await;
                return;
            }
        }
        let Ok(mut server) = TcpStream::connect(behind).await else { return };
        if first == Trouble::None {
            // Trouble also ends connections that were made before.
            let trouble_comes = async {
                while now() == Trouble::None {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                () = trouble_comes => {}
            }
            return;
        }
        let mut request = vec![0; 64 * 1024];
        let Ok(length) = client.read(&mut request).await else { return };
        if server.write_all(&request[..length]).await.is_ok() {
            // The cut is in the body, a few bytes after the headers.
            let mut answer = Vec::new();
            while let Ok(1..) = server.read_buf(&mut answer).await {
                let headers = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
                let cut = headers.map(|end| end + 24);
                if let Some(begun) = cut.and_then(|cut| answer.get(..cut)) {
                    let _ = client.write_all(begun).await;
                    return;
                }
            }
        }
    }

    fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }
}

/// Breaks something in the middle of a stream, which must report it.
async fn cut_streams(vertex: &Emulator, gateway: &Gateway, breaks: impl FnOnce()) {
    let chunk_delay = Duration::from_secs(3600);
    pace(vertex, StreamBehavior { chunk_delay, ..StreamBehavior::default() });
    let stream = gateway.call(chat_stream("a stream")).await;
    vertex.clear_faults();
    breaks();
    let stream = text(stream).await;
    let begun = said_until_the_break(&stream).expect(&stream);
    assert!(echo("a stream").starts_with(&begun), "{stream}");
}

#[tokio::test]
async fn an_upstream_in_trouble_is_a_502_or_504_until_mended() {
    let vertex = Emulator::start().await.unwrap();
    let way = Way::to(&vertex).await;
    let upstream = format!("http://{}", way.addr);
    let options = ["--response-header-timeout", "1", "--stream-idle-timeout", "1"];
    let (command, _key) = before(&vertex, &upstream, &options);
    let gateway = Arc::new(Gateway::start(command).await);
    for (name, trouble, statuses) in [
        ("upstream resets", Trouble::Reset, &[502][..]),
        ("upstream does not respond", Trouble::Silence, &[504, 502]),
        ("upstream half closes", Trouble::HalfClosed, &[502]),
        ("upstream sends garbage", Trouble::Garbage, &[502]),
    ] {
        let breaks = async || cut_streams(&vertex, &gateway, || way.set(trouble)).await;
        row(name, &gateway, statuses, breaks, async || way.set(Trouble::None)).await;
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_502_until_it_accepts() {
    let vertex = Emulator::start().await.unwrap();
    let door = Door::new(([127, 0, 0, 1], 0).into(), vertex.addr()).await;
    door.open().await;
    let (command, _key) = before(&vertex, &door.url(), &[]);
    let gateway = Arc::new(Gateway::start(command).await);
    let breaks = async || cut_streams(&vertex, &gateway, || door.shut()).await;
    row("upstream refuses", &gateway, &[502], breaks, async || door.open().await).await;
}

#[tokio::test]
async fn a_truncated_response_is_never_taken_for_a_complete_one() {
    let vertex = Emulator::start().await.unwrap();
    let way = Way::to(&vertex).await;
    let (command, _key) = before(&vertex, &format!("http://{}", way.addr), &[]);
    let gateway = Arc::new(Gateway::start(command).await);
    way.set(Trouble::Cut);
    // The client has the headers when the body fails, so only a broken body can report the failure.
    for _ in 0..10 {
        let answer = gateway.call(chat("cut")).await;
        let whole = in_time("the break", answer.into_body().collect()).await;
        assert!(whole.is_err(), "a truncated response looked complete");
    }
    way.set(Trouble::None);
    assert_eq!(gateway.call(chat("again")).await.status(), StatusCode::OK);
}

fn fail(vertex: &Emulator, status: u16) {
    let api = Some(ApiFault::new(status));
    vertex.set_faults(Faults { api, ..Faults::default() });
}

#[tokio::test]
async fn storms_of_errors_reach_the_client_and_end_when_mended() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Arc::new(Gateway::before(&vertex, &[]).await);
    for status in [401, 403, 429, 500, 503] {
        let name = format!("a storm of {status}");
        let breaks = async || fail(&vertex, status);
        let seen = row(&name, &gateway, &[status], breaks, async || vertex.clear_faults()).await;
        assert_eq!(seen.interrupted, 0, "{name}");
    }
    // A permanent 401 does not cause a storm at the token endpoint.
    assert!(vertex.stats().token_mints < 10, "{:?}", vertex.stats());
}

/// If each request were sent three times, Vertex AI would see a storm three times as large.
#[tokio::test]
async fn storms_of_errors_do_not_grow_by_retries() {
    for status in [429, 503] {
        let vertex = Emulator::start().await.unwrap();
        fail(&vertex, status);
        let gateway = Arc::new(Gateway::before(&vertex, &["--max-attempts", "3"]).await);
        let mut load = Load::start(&gateway);
        // With this many requests, the ten retries that are always allowed carry little weight.
        load.wait_for(400, "a storm", |seen| seen == status).await;
        vertex.clear_faults();
        load.more("after the storm", |status| status == 200).await;
        let seen = load.end().await;
        assert!(seen.has_only(&[200, status]) && seen.interrupted == 0, "{seen:?}");
        let sent = vertex.stats().by_status[&status];
        let answered = seen.statuses[&status] as u64;
        println!("a storm of {status}: {answered} of them were sent {sent} times");
        assert!((answered + 1..answered * 2).contains(&sent), "{sent} for {answered}");
        Load::check_all_succeed(&gateway, "afterwards").await;
    }
}

/// With this lifetime, tokens are replaced all the time.
fn tokens_of(seconds: u64) -> TokenBehavior {
    TokenBehavior { expires_in: seconds.into(), ..TokenBehavior::default() }
}

#[tokio::test]
async fn a_token_endpoint_in_trouble_is_a_401_or_503_until_mended() {
    for (name, trouble) in [
        (
            "the token endpoint returns 503",
            TokenBehavior {
                fail: Some(TokenFault { status: 503, times: None }),
                ..TokenBehavior::default()
            },
        ),
        ("the token endpoint hangs", TokenBehavior { hang: true, ..TokenBehavior::default() }),
        (
            "the token endpoint returns an invalid token",
            TokenBehavior {
                respond: Some(LiteralResponse {
                    status: 200,
                    body: r#"{"access_token":"ya29.lie","expires_in":1,"token_type":"Bearer"}"#
                        .into(),
                    ..LiteralResponse::default()
                }),
                ..TokenBehavior::default()
            },
        ),
    ] {
        let vertex = Emulator::start().await.unwrap();
        vertex.set_token_behavior(tokens_of(3));
        let gateway = Arc::new(Gateway::before(&vertex, &[]).await);
        let breaks = async || vertex.set_token_behavior(trouble);
        let mends = async || vertex.set_token_behavior(TokenBehavior::default());
        let seen = row(name, &gateway, &[401, 503], breaks, mends).await;
        assert_eq!(seen.interrupted, 0, "{name}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_a_401_or_503_until_it_accepts() {
    let vertex = Emulator::start().await.unwrap();
    vertex.set_token_behavior(tokens_of(3));
    let tokens = vertex.control_url();
    let behind = tokens.strip_prefix("http://").unwrap().parse().unwrap();
    let door = Door::new(([127, 0, 0, 1], 0).into(), behind).await;
    door.open().await;
    let (command, key) = before(&vertex, &vertex.url(), &[]);
    fs::write(&key, vertex.service_account_key().replace(&tokens, &door.url())).unwrap();
    let gateway = Arc::new(Gateway::start(command).await);
    let breaks = async || door.shut();
    let mends = async || {
        vertex.set_token_behavior(TokenBehavior::default());
        door.open().await;
    };
    let name = "the token endpoint refuses";
    let seen = row(name, &gateway, &[401, 503], breaks, mends).await;
    assert_eq!(seen.interrupted, 0, "{name}");
    assert!(door.passed() > 0);
}

#[tokio::test]
async fn a_slow_token_endpoint_fails_no_request() {
    let vertex = Emulator::start().await.unwrap();
    // The first requests wait for the first token. Later tokens are fetched in time.
    let slow = TokenBehavior { delay: Duration::from_secs(1), ..tokens_of(8) };
    vertex.set_token_behavior(slow);
    let gateway = Arc::new(Gateway::before(&vertex, &[]).await);
    let mut load = Load::start(&gateway);
    load.until("three slow tokens", || vertex.stats().token_mints >= 3).await;
    let seen = load.end().await;
    assert!(seen.all_succeeded(), "{seen:?}");
}

#[tokio::test]
async fn a_full_disk_under_the_log_fails_no_request() {
    let vertex = Emulator::start().await.unwrap();
    let (mut command, _key) = before(&vertex, &vertex.url(), &["--log-format", "json"]);
    command.stderr(Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
    let mut gateway = Gateway::start(command).await;
    for number in 0..50 {
        is_whole(gateway.call(chat(&number.to_string())).await, &number.to_string()).await;
    }
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_sidecar_without_descriptors_waits_and_recovers() {
    let vertex = Emulator::start().await.unwrap();
    // Each worker has descriptors of its own.
    let unlimited = ["--max-connections", "0", "--max-concurrent-requests", "0"];
    let options = [&["--workers", "2"], &unlimited[..]].concat();
    let (command, _key) = before(&vertex, &vertex.url(), &options);
    let command = command.into_std();
    // The test sets the hard limit, because the sidecar would raise a soft one.
    let mut limited = tokio::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(command.get_program());
    let log = tempfile::NamedTempFile::new().unwrap();
    limited.args(command.get_args()).kill_on_drop(true);
    limited.stderr(Stdio::from(log.reopen().unwrap()));
    let gateway = Arc::new(Gateway::start(limited).await);
    is_whole(gateway.call(chat("before")).await, "before").await;

    // A client with an open connection, and a connection to Vertex AI, is served throughout.
    let mut served = TcpStream::connect(gateway.addr).await.unwrap();
    exchange(&mut served, "0").await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        // Connections that are not accepted wait in the kernel.
        idle.push(TcpStream::connect(gateway.addr).await.unwrap());
    }
    let hit = "accept failed";
    let told = || fs::read_to_string(log.path()).unwrap().matches(hit).count();
    eventually("the limit is hit", || told() > 0).await;
    let of_process = format!("/proc/{}/fd", gateway.child.id().unwrap());
    assert!(fs::read_dir(of_process).unwrap().count() >= 60, "another limit was hit");
    for number in 1..20 {
        exchange(&mut served, &number.to_string()).await;
    }
    // A waiting client is served after the idle ones have left.
    let of_waiting = Arc::clone(&gateway);
    let waiting =
        tokio::spawn(async move { is_whole(of_waiting.call(chat("wait")).await, "wait").await });
    for number in 20..40 {
        exchange(&mut served, &number.to_string()).await;
    }
    assert!(!waiting.is_finished());
    drop(idle);
    in_time("the waiting client is served", waiting).await.unwrap();
    Load::check_all_succeed(&gateway, "afterwards").await;
}

/// Sends a question on a connection that stays open, and reads the response.
async fn exchange(socket: &mut TcpStream, question: &str) {
    socket.write_all(&bytes(chat(question)).await).await.unwrap();
    let said = format!("{}\"", echo(question));
    let (mut answer, mut read) = (String::new(), [0; 4096]);
    // The response's JSON ends after the text. The length of a body that may be cured is not known
    // before its end, so its last chunk follows.
    while !(answer.contains(&said) && answer.ends_with("}\r\n0\r\n\r\n")) {
        let length = in_time("a response", socket.read(&mut read)).await.unwrap();
        assert!(length > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&read[..length]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_signal_under_load_truncates_no_response() {
    const STREAMS: usize = 50;
    let vertex = Emulator::start().await.unwrap();
    let (chunks, chunk_delay) = (Some(20), Duration::from_millis(100));
    pace(&vertex, StreamBehavior { chunks, chunk_delay, ..StreamBehavior::default() });
    let mut gateway = Gateway::before(&vertex, &[]).await;
    let mut streams = JoinSet::new();
    for number in 0..STREAMS {
        let mut body = gateway.call(chat_stream(&number.to_string())).await.into_body();
        in_time("a chunk", body.frame()).await.unwrap().unwrap();
        streams.spawn(async move {
            in_time("the rest of a stream", body.collect()).await.unwrap().to_bytes()
        });
    }
    // Other clients open and close connections of their own until none is accepted any more.
    let addr = gateway.addr;
    let mut others = JoinSet::new();
    for of in 0..8 {
        others.spawn(async move {
            for number in 0.. {
                let question = format!("{of}, {number}");
                let (head, body) = chat(&question).into_parts();
                let mut request = Request::from_parts(head, ReplayBody::plain(body));
                *request.uri_mut() = format!("http://{addr}/v1/chat/completions").parse().unwrap();
                match in_time("a response", client(Http::One).request(request)).await {
                    Ok(answer) => is_whole(answer, &question).await,
                    // A request fails only by its connection, never in its response.
                    Err(error) if error.is_connect() => return number,
                    Err(error) => panic!("{of}, {number}: {error:?}"),
                }
            }
            unreachable!()
        });
    }
    let asked = vertex.stats().api_requests;
    eventually("the others send requests", || vertex.stats().api_requests >= asked + 100).await;
    gateway.terminate();
    let answered: usize =
        in_time("no connection is accepted any more", others.join_all()).await.into_iter().sum();
    assert!(answered >= 100, "{answered}");
    while let Some(stream) = streams.join_next().await {
        let stream = stream.unwrap();
        assert!(stream.ends_with(b"data: [DONE]\n\n"), "{stream:?}");
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
    let stats = vertex.stats();
    assert_eq!((stats.streams.completed, stats.streams.aborted), (STREAMS as u64, 0));
    assert_eq!(stats.by_status, [(200, (STREAMS + answered) as u64)].into());
}

/// A body of almost 20 MiB, the limit of `openapi`. All bodies share the filling, and each starts
/// at another offset in it.
fn large_body(number: usize, filling: &Bytes) -> Vec<Bytes> {
    let begin = format!(
        r#"{{"model":"google/gemini-2.5-flash","messages":[{{"role":"user","content":"{number} "#
    );
    let at = number * 1013;
    vec![begin.into(), filling.slice(at..), filling.slice(..at), Bytes::from_static(b"\"}]}")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_bodies_of_20_mib_at_once_arrive_as_they_were_sent() {
    const BYTES: usize = (20 << 20) - 200;
    const NUMBER: usize = 100;
    // Letters and digits without repetitions nearby.
    let mut random = fastrand::Rng::with_seed(20);
    let filling: Bytes = (0..BYTES).map(|_| random.digit(36) as u8).collect();

    let vertex = Emulator::start().await.unwrap();
    let options = ["--max-concurrent-requests", "4", "--queue-timeout", "600"];
    let options = [&options[..], &["--admin-listen", "127.0.0.1:0"]].concat();
    let mut gateway = Gateway::before(&vertex, &options).await;
    let admin = Admin::of(&mut gateway).await;
    is_whole(gateway.call(chat("the token")).await, "the token").await;
    vertex.reset_stats();
    let before = Vitals::of(&gateway);

    let client = client(Http::One);
    let mut calls = JoinSet::new();
    let mut sent = BTreeSet::new();
    for number in 0..NUMBER {
        let parts = large_body(number, &filling);
        let mut hash = Context::new(&SHA256);
        parts.iter().for_each(|part| hash.update(part));
        let hex =
            |hash: Digest| hash.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>();
        sent.insert(hex(hash.finish()));
        let length: usize = parts.iter().map(Bytes::len).sum();
        let frames = parts.into_iter().map(|part| Ok::<_, Infallible>(Frame::data(part)));
        let body = StreamBody::new(tokio_stream::iter(frames));
        let request = Request::post(format!("http://{}/v1/chat/completions", gateway.addr))
            .header("content-type", "application/json")
            .header("content-length", length)
            .body(ReplayBody::plain(body))
            .unwrap();
        let client = client.clone();
        calls.spawn(async move {
            let answer = client.request(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let answer = text(answer).await;
            assert!(answer.contains(&format!("You said: {number} ")), "of {number}");
        });
    }
    let all = async {
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
    };
    // The queue timeout of the last request.
    tokio::time::timeout(Duration::from_secs(600), all).await.expect("a response is lost");
    assert_eq!(vertex.stats().by_status, [(200, NUMBER as u64)].into());
    let arrived: BTreeSet<_> =
        vertex.requests().into_iter().map(|seen| seen.body_sha256.unwrap()).collect();
    assert_eq!(arrived, sent);

    // Each body is held once, until its response.
    let peak = Vitals::of(&gateway).peak.saturating_sub(before.memory);
    println!("{} MiB for {NUMBER} bodies of 20 MiB", peak >> 20);
    assert!(peak < (NUMBER * BYTES * 5 / 4) as u64, "{} MiB", peak >> 20);
    admin.until("vertex_gateway_requests_in_flight", |number| number == 0.0).await;
    // The memory is released while other requests are served.
    let mut memory = 0;
    for _ in 0..500 {
        is_whole(gateway.call(chat("afterwards")).await, "afterwards").await;
        memory = Vitals::of(&gateway).memory.saturating_sub(before.memory);
        if memory < 64 << 20 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} MiB are not released", memory >> 20);
}
