//! The fault matrix of `vertex-gateway`: under load something breaks, and is mended. Whatever the
//! fault, each request gets its own whole answer or an error in OpenAI's form; once it is mended,
//! all is as before.
#![cfg(all(feature = "gateway", unix))]

mod common;

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    chat, eventually,
    gateway::{Gateway, before},
    load::row,
    text,
};
use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower_vertex::emulator::{
    ApiFault, Emulator, Faults, LiteralResponse, StreamBehavior, TokenBehavior, TokenFault,
};

/// A server on the way to Vertex AI that can be in trouble.
struct Way {
    addr: SocketAddr,
    trouble: Arc<Mutex<Trouble>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Connections are reset as they come.
    Reset,
    /// They are accepted, and that is all.
    Silence,
    /// Their sending half is closed at once.
    HalfClosed,
    /// Their answer is not HTTP.
    Garbage,
    /// They end in the middle of an answer.
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
        match now() {
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
        if now() == Trouble::None {
            // A connection that is kept from good times sees the bad ones, too.
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
            let mut answer = [0; 200];
            if let Ok(length) = server.read(&mut answer).await {
                let _ = client.write_all(&answer[..length.min(150)]).await;
            }
        }
    }

    fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }
}

#[tokio::test]
async fn upstream_in_trouble() {
    let vertex = Emulator::start().await.unwrap();
    let way = Way::to(&vertex).await;
    let upstream = format!("http://{}", way.addr);
    let options = ["--response-timeout", "1", "--idle-timeout", "1"];
    let (command, _key) = before(&vertex, &upstream, &options);
    let gateway = Arc::new(Gateway::start(command).await);
    for (name, trouble, statuses) in [
        ("upstream resets", Trouble::Reset, &[502][..]),
        ("upstream is silent", Trouble::Silence, &[504, 502]),
        ("upstream half closes", Trouble::HalfClosed, &[502]),
        ("upstream sends garbage", Trouble::Garbage, &[502]),
    ] {
        let breaks = async || way.set(trouble);
        row(name, &gateway, statuses, breaks, async || way.set(Trouble::None)).await;
    }
}

#[tokio::test]
async fn upstream_that_cuts_answers() {
    let vertex = Emulator::start().await.unwrap();
    let way = Way::to(&vertex).await;
    let (command, _key) = before(&vertex, &format!("http://{}", way.addr), &[]);
    let gateway = Arc::new(Gateway::start(command).await);
    way.set(Trouble::Cut);
    // The head has gone to the client when the body breaks: it can only be told by a broken body.
    for _ in 0..10 {
        let answer = gateway.call(chat("cut")).await;
        let whole = answer.into_body().collect().await;
        assert!(whole.is_err(), "a part of an answer passed for a whole one");
    }
    way.set(Trouble::None);
    assert_eq!(gateway.call(chat("again")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn storms_of_errors() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Arc::new(Gateway::before(&vertex, &[]).await);
    let fail = |status| {
        let api = Some(ApiFault::new(status));
        vertex.set_faults(Faults { api, ..Faults::default() });
    };
    for status in [401, 403, 429, 500, 503] {
        let name = format!("a storm of {status}");
        let mends = async || vertex.clear_faults();
        row(&name, &gateway, &[status], async || fail(status), mends).await;
    }
    // A permanent 401 does not become a storm at the token endpoint.
    assert!(vertex.stats().token_mints < 10, "{:?}", vertex.stats());
}

#[tokio::test]
async fn token_endpoint_in_trouble() {
    for (name, trouble) in [
        (
            "the token endpoint is down",
            TokenBehavior {
                fail: Some(TokenFault { status: 503, times: None }),
                ..TokenBehavior::default()
            },
        ),
        ("the token endpoint is silent", TokenBehavior { hang: true, ..TokenBehavior::default() }),
        (
            "the token endpoint lies",
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
        let short = TokenBehavior { expires_in: 3.into(), ..TokenBehavior::default() };
        vertex.set_token_behavior(short.clone());
        let gateway = Arc::new(Gateway::before(&vertex, &[]).await);
        let breaks = async || vertex.set_token_behavior(trouble);
        let mends = async || vertex.set_token_behavior(TokenBehavior::default());
        row(name, &gateway, &[401, 503], breaks, mends).await;
    }
}

#[tokio::test]
async fn a_full_disk_under_the_log_stops_nothing() {
    let vertex = Emulator::start().await.unwrap();
    let (mut command, _key) = before(&vertex, &vertex.url(), &["--log-format", "json"]);
    command.stderr(Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
    let mut gateway = Gateway::start(command).await;
    for number in 0..50 {
        let answer = gateway.call(chat(&number.to_string())).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn without_descriptors_it_waits_and_goes_on() {
    let vertex = Emulator::start().await.unwrap();
    let (command, _key) = before(&vertex, &vertex.url(), &[]);
    let command = command.into_std();
    // The hard limit: it would raise a soft one.
    let mut limited = tokio::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(command.get_program());
    limited.args(command.get_args()).kill_on_drop(true).stderr(Stdio::null());
    let gateway = Gateway::start(limited).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        // Those that are not accepted wait in the kernel.
        idle.push(TcpStream::connect(gateway.addr).await.unwrap());
    }
    drop(idle);
    let answer = tokio::time::timeout(Duration::from_secs(20), gateway.call(chat("x"))).await;
    assert_eq!(answer.expect("it goes on").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_thousand_clients_that_send_a_byte_now_and_then_harm_nobody() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let vertex = Emulator::start().await.unwrap();
    let options = ["--max-concurrent-requests", "4"];
    let gateway = Gateway::before(&vertex, &options).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        slow.push(socket);
    }
    for round in 0..5 {
        for socket in &mut slow {
            socket.write_all(b" ").await.unwrap();
        }
        let answer = gateway.call(chat(&round.to_string())).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(vertex.requests().len(), 5, "theirs went nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_side_by_side_arrive_as_they_were_sent() {
    const BYTES: usize = 2 << 20;
    let vertex = Emulator::start().await.unwrap();
    let stream = StreamBehavior { chunks: Some(1), ..StreamBehavior::default() };
    vertex.set_faults(Faults { stream, ..Faults::default() });
    let gateway = Arc::new(Gateway::before(&vertex, &[]).await);
    assert_eq!(gateway.call(chat("the token")).await.status(), StatusCode::OK);
    vertex.reset_stats();
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let gateway = Arc::clone(&gateway);
        calls.spawn(async move {
            let question = format!("{number} {}", "x".repeat(BYTES));
            gateway.call(chat(&question)).await.status()
        });
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    let stats = vertex.stats();
    assert_eq!(stats.by_status, [(200, 40)].into());
    assert!(vertex.requests().iter().all(|seen| seen.body_length >= Some(BYTES as u64)));
}
