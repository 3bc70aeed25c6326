//! The limits on the connections that clients without a key may hold, and for how long.

use std::{process::Stdio, time::Duration};

use bytes::Bytes;
use h2::{Reason, client, client::SendRequest};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tower_vertex_emulator::{Emulator, TokenBehavior};

use super::{ALICE, Files, chat_of};
use crate::common::{
    chat, chat_stream, eventually,
    gateway::{Gateway, before, command},
    in_time, text,
    vitals::{Admin, Vitals},
};

/// An HTTP/2 client that acknowledges pings, and reads only as much as its window allows.
pub(super) struct Two {
    requests: SendRequest<Bytes>,
    /// Sets the window of all streams.
    window: mpsc::UnboundedSender<u32>,
    ended: JoinHandle<()>,
}

impl Two {
    /// `window` is the number of bytes that the client accepts of each response.
    pub(super) async fn connect(gateway: &Gateway, window: u32) -> Self {
        let socket = TcpStream::connect(gateway.addr).await.unwrap();
        let mut builder = client::Builder::new();
        builder.initial_window_size(window);
        let shaken = in_time("a handshake", builder.handshake::<_, Bytes>(socket)).await;
        let (requests, mut connection) = shaken.unwrap();
        let (window, mut set) = mpsc::unbounded_channel();
        let ended = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut connection => return,
                    Some(window) = set.recv() => {
                        connection.set_initial_window_size(window).unwrap();
                    }
                }
            }
        });
        Self { requests, window, ended }
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> http::Response<h2::RecvStream> {
        self.ask_at("localhost", request).await
    }

    pub(super) async fn ask_at(
        &mut self,
        authority: &str,
        request: Request<Full<Bytes>>,
    ) -> http::Response<h2::RecvStream> {
        let (parts, body) = request.into_parts();
        let mut request = Request::from_parts(parts, ());
        let path = request.uri().path().to_owned();
        *request.uri_mut() = format!("http://{authority}{path}").parse().unwrap();
        *request.version_mut() = http::Version::HTTP_2;
        let (answer, mut sent) = self.requests.send_request(request, false).unwrap();
        sent.send_data(body.collect().await.unwrap().to_bytes(), true).unwrap();
        in_time("a response", answer).await.unwrap()
    }
}

/// The rest of a response, or the reason for which its stream was reset.
async fn rest(mut body: h2::RecvStream) -> Result<String, Option<Reason>> {
    let mut rest = Vec::new();
    while let Some(data) = in_time("the rest of a stream", body.data()).await {
        rest.extend(data.map_err(|error| error.reason())?);
    }
    Ok(String::from_utf8(rest).unwrap())
}

#[tokio::test]
async fn a_stream_whose_client_reads_nothing_is_reset_and_frees_its_slot() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let options =
        ["--send-timeout", "2", "--max-concurrent-requests", "6", "--queue-timeout", "60"];
    let gateway =
        files.start(&vertex, &[&options[..], &["--client-key-file", &keys]].concat()).await;
    let ask = |stream: bool| {
        let mut request = if stream { chat_stream("x") } else { chat_of(ALICE) };
        request.headers_mut().insert("authorization", super::bearer(ALICE));
        request
    };
    // The second client reads the first bytes of each response, fewer than hyper sends at once.
    let (mut shut, mut small) = (Two::connect(&gateway, 0).await, Two::connect(&gateway, 10).await);
    let mut streams = Vec::new();
    for stream in [false, true, false] {
        for client in [&mut shut, &mut small] {
            let answer = client.ask(ask(stream)).await;
            assert_eq!(answer.status(), StatusCode::OK);
            streams.push(answer.into_body());
        }
    }
    // All slots are taken, and this request waits for one of them.
    let other = gateway.call(chat_of(ALICE)).await;
    assert_eq!(other.status(), StatusCode::OK);
    for stream in streams {
        assert_eq!(rest(stream).await, Err(Some(Reason::CANCEL)));
    }
    // Each stream was reset on its own: the connection still serves.
    shut.window.send(1 << 16).unwrap();
    let answer = shut.ask(ask(false)).await;
    assert!(rest(answer.into_body()).await.unwrap().contains("You said: x"));
    files.told(6, "stream reset").await;
}

#[tokio::test]
async fn a_large_response_over_http2_arrives_complete_in_pieces() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &[]).await;
    let mut client = Two::connect(&gateway, (1 << 31) - 1).await;
    for length in [1, 2, 3000, 4000, 16_000, 17_000, 100_000] {
        let question = "y".repeat(length);
        let said = |answer: &str| {
            let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
            answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
        };
        let over_one = said(&text(gateway.call(chat(&question)).await).await);
        let mut body = client.ask(chat(&question)).await.into_body();
        let mut all = Vec::new();
        while let Some(data) = in_time("more of the response", body.data()).await {
            let data = data.unwrap();
            // The window of the connection keeps its initial size.
            body.flow_control().release_capacity(data.len()).unwrap();
            all.extend(data);
        }
        assert_eq!(said(&String::from_utf8(all).unwrap()), over_one);
    }
}

#[tokio::test]
async fn an_idle_connection_over_http2_is_closed_after_the_keepalive_timeout() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &["--keepalive-timeout", "1"]).await;
    let silent = Two::connect(&gateway, 1 << 16).await;
    let mut once = Two::connect(&gateway, 1 << 16).await;
    let answer = once.ask(chat("x")).await;
    assert!(rest(answer.into_body()).await.unwrap().contains("You said: x"));
    for client in [silent, once] {
        in_time("the end of the connection", client.ended).await.unwrap();
    }
}

#[tokio::test]
async fn a_401_closes_the_connection_unless_a_client_with_a_key_shares_it() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let options = ["--client-key-file", &keys, "--keepalive-timeout", "10m"];
    let gateway = files.start(&vertex, &options).await;
    let get = |key: &str| {
        format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n")
    };
    let answer = gateway.raw(get("wrong").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");

    let mut stranger = Two::connect(&gateway, 1 << 16).await;
    let answer = stranger.ask(chat("x")).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(!answer.headers().contains_key(header::CONNECTION));
    assert!(rest(answer.into_body()).await.unwrap().contains("invalid_api_key"));
    in_time("the end of the connection", stranger.ended).await.unwrap();

    // A proxy in front sends the requests of many clients over one connection.
    let all = [get(ALICE), get("wrong"), get(ALICE).replace("Host", "Connection: close\r\nHost")];
    let answers = gateway.raw(all.concat().as_bytes()).await;
    for (status, times) in [("200", 2), ("401", 1)] {
        assert_eq!(answers.matches(&format!("HTTP/1.1 {status}")).count(), times, "{answers}");
    }
    let mut shared = Two::connect(&gateway, 1 << 16).await;
    for (key, status) in [(ALICE, 200), ("wrong", 401), (ALICE, 200)] {
        assert_eq!(shared.ask(chat_of(key)).await.status(), status);
    }
}

#[tokio::test]
async fn strangers_that_hold_all_connections_make_room_for_a_client() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let options =
        ["--client-key-file", &keys, "--max-connections", "10", "--request-header-timeout", "10m"];
    let gateway = files.start(&vertex, &options).await;
    let mut strangers = Vec::new();
    for number in 0..30 {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        let half = ["", "POST /v1", "POST / HTTP/1.1\r\nHost: localhost\r\n"][number % 3];
        socket.write_all(half.as_bytes()).await.unwrap();
        strangers.push(socket);
    }
    for _ in 0..3 {
        assert_eq!(gateway.call(chat_of(ALICE)).await.status(), StatusCode::OK);
    }
    // This is logged once, regardless of the number of connections.
    files.told(1, "--max-connections are open: further connections wait").await;
    assert_eq!(files.log().matches("further connections wait").count(), 1, "{}", files.log());
}

#[tokio::test]
async fn strangers_that_send_requests_without_a_key_make_room_for_a_client() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let options =
        ["--client-key-file", &keys, "--max-connections", "3", "--health-path", "/healthy"];
    let gateway = files.start(&vertex, &options).await;
    let mut strangers = JoinSet::new();
    for request in ["OPTIONS /v1/models", "GET /healthy", "OPTIONS *"] {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        strangers.spawn(async move {
            let mut pauses = tokio::time::interval(Duration::from_millis(200));
            while socket.write_all(request.as_bytes()).await.is_ok() {
                pauses.tick().await;
                if socket.read(&mut [0; 4096]).await.is_ok_and(|length| length == 0) {
                    return;
                }
            }
        });
    }
    for _ in 0..3 {
        assert_eq!(gateway.call(chat_of(ALICE)).await.status(), StatusCode::OK);
    }
    files.told(1, "closed the oldest connection without a valid request").await;
}

#[tokio::test]
async fn strangers_that_do_not_read_their_refusals_are_closed() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let options = ["--client-key-file", &keys, "--send-timeout", "0", "--keepalive-timeout", "10m"];
    let gateway = files.start(&vertex, &options).await;
    // The windows of these clients admit no byte of a body.
    let (mut stranger, mut shared) =
        (Two::connect(&gateway, 0).await, Two::connect(&gateway, 0).await);
    let streams = [
        shared.ask(chat_of(ALICE)).await,
        stranger.ask(chat_of("wrong")).await,
        shared.ask(chat_of("wrong")).await,
    ];
    assert_eq!(streams.each_ref().map(|answer| answer.status().as_u16()), [200, 401, 401]);
    in_time("the end of the connection", stranger.ended).await.unwrap();
    shared.window.send(1 << 16).unwrap();
    let [answer, ..] = streams;
    assert!(rest(answer.into_body()).await.unwrap().contains("You said: x"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn strangers_that_hold_all_descriptors_block_neither_tokens_nor_metrics() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    vertex.set_token_behavior(TokenBehavior { expires_in: 3.into(), ..TokenBehavior::default() });
    let keys = files.path("keys");
    let options = ["--client-key-file", &keys, "--workers", "2", "--request-header-timeout", "10m"];
    let options = [&options[..], &["--admin-listen", "127.0.0.1:0"]].concat();
    let (command, _key) = before(&vertex, &vertex.url(), &options);
    let command = command.into_std();
    let mut limited = tokio::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 120 && exec \"$0\" \"$@\""]).arg(command.get_program());
    limited.args(command.get_args()).kill_on_drop(true).stderr(Stdio::null());
    let mut gateway = Gateway::start(limited).await;
    let admin = Admin::of(&mut gateway).await;
    let mut strangers = Vec::new();
    for _ in 0..300 {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        socket.write_all(b"GET /v1/mo").await.unwrap();
        strangers.push(socket);
    }
    let fetched = vertex.stats().token_requests;
    eventually("tokens are fetched", || vertex.stats().token_requests >= fetched + 3).await;
    let metrics = admin.metrics().await;
    assert!(metrics.sum("vertex_gateway_client_connections", "") < 60.0, "{metrics:?}");
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), StatusCode::OK);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn open_connections_to_the_admin_listener_do_not_block_others() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let mut gateway = files.start(&vertex, &["--admin-listen", "127.0.0.1:0"]).await;
    let admin = Admin::of(&mut gateway).await;
    let before = Vitals::of(&gateway).files;
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut socket = TcpStream::connect(admin.addr()).await.unwrap();
        socket.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        held.push(socket);
    }
    // Each of these requests closes an older connection. There are too few of them for a time-out.
    for _ in 0..50 {
        admin.metrics().await;
    }
    let files = Vitals::of(&gateway).files;
    assert!(files < before + 30, "{files} descriptors, {before} before");
    // A long request head is refused here, too.
    let mut socket = TcpStream::connect(admin.addr()).await.unwrap();
    let head =
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: {}\r\n\r\n", "y".repeat(70_000));
    let _ = socket.write_all(head.as_bytes()).await;
    let mut answer = String::new();
    let ended = in_time("the end of the connection", socket.read_to_string(&mut answer)).await;
    assert!(ended.is_err() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_thousand_long_heads_of_requests_take_96_kib_each() {
    const HEADS: usize = 1000;
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let options =
        ["--client-key-file", &keys, "--max-connections", "0", "--request-header-timeout", "10m"];
    let gateway = files.start(&vertex, &options).await;
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), StatusCode::OK);
    let start = Vitals::of(&gateway);
    // One byte less than the limit, and never the last byte.
    let head = format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx: {}", "y".repeat(64 << 10));
    let head = &head.as_bytes()[..(64 << 10) - 1];
    let mut held = Vec::new();
    for _ in 0..HEADS {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        socket.write_all(head).await.unwrap();
        held.push(socket);
    }
    // Waits until the sidecar has read all of them, and the kernel's buffers are empty.
    let unread = || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!(":{:04X}", gateway.addr.port());
        sockets.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&port) && !fields[4].ends_with(":00000000")
        })
    };
    eventually("all request heads are read", || !unread()).await;
    let each = (Vitals::of(&gateway).peak.saturating_sub(start.memory)) as usize / HEADS;
    println!("{} KiB for each request head", each >> 10);
    assert!(each <= 96 << 10, "{each} bytes for each");
    // One more byte exceeds the limit.
    held[0].write_all(b"y").await.unwrap();
    let mut answer = String::new();
    in_time("a response", held[0].read_to_string(&mut answer)).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 431") && answer.contains("--max-header-bytes"),
        "{answer}"
    );
}

#[tokio::test]
async fn max_header_bytes_limits_the_request_head_over_both_protocols() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &["--max-header-bytes", "16KiB"]).await;
    for (length, status) in [(8_000, "200"), (20_000, "431")] {
        let field = "y".repeat(length);
        let head = format!(
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx: {field}\r\n\r\n"
        );
        let answer = gateway.raw(head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        let mut client = Two::connect(&gateway, 1 << 16).await;
        let request = Request::get("http://localhost/v1/models").header("x", field);
        let answer = client.ask(request.body(Full::default()).unwrap()).await;
        assert_eq!(answer.status().as_str(), status);
    }
    for wrong in ["0", "8191", "17MiB", "many"] {
        let args = ["--emulator", "--listen", "127.0.0.1:0", "--max-header-bytes", wrong];
        let output = in_time("the end of the process", command(&args).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[tokio::test]
async fn strangers_with_unfinished_requests_do_not_delay_the_shutdown() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let options = ["--client-key-file", &keys, "--drain-timeout", "10m"];
    let waits = ["--request-header-timeout", "10m", "--keepalive-timeout", "10m"];
    let mut gateway = files.start(&vertex, &[&options[..], &waits].concat()).await;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut held = Vec::new();
    for half in [
        &b""[..],
        b"P",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"GET /v1/models HT",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx: y",
        // This client acknowledges no ping.
        settings,
    ] {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        socket.write_all(half).await.unwrap();
        held.push(socket);
    }
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), StatusCode::OK);
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(!files.log().contains("--drain-timeout has passed"), "{}", files.log());
}

#[tokio::test]
async fn signals_that_arrive_together_count_as_one() {
    use tower_vertex_emulator::StreamBehavior;
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let (chunks, chunk_delay) = (Some(20), Duration::from_millis(100));
    vertex.set_faults(tower_vertex_emulator::Faults {
        stream: StreamBehavior { chunks, chunk_delay, ..StreamBehavior::default() },
        ..Default::default()
    });
    let mut gateway = files.start(&vertex, &[]).await;
    let mut body = gateway.call(chat_stream("x")).await.into_body();
    in_time("a chunk", body.frame()).await.unwrap().unwrap();
    let id = gateway.child.id().unwrap().to_string();
    let script = "for i in 1 2 3; do kill -TERM $0; kill -INT $0; done";
    assert!(std::process::Command::new("sh").args(["-c", script, &id]).status().unwrap().success());
    let rest = in_time("the rest of a stream", body.collect()).await.unwrap().to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"), "{rest:?}");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn bytes_of_a_body_that_look_like_hypers_own_response_are_unchanged() {
    use std::sync::Arc;
    use tokio::sync::Notify;
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    let gateway = files.start_to(&vertex, &url, &[]).await;
    for own in ["400 Bad Request", "414 URI Too Long", "431 Request Header Fields Too Large"] {
        let (first, second) =
            ("the first of two pieces", format!("HTTP/1.1 {own}\r\nx: y\r\n\r\n"));
        let came = Arc::new(Notify::new());
        let serves = async {
            let (mut socket, _) = upstream.accept().await.unwrap();
            assert!(crate::common::gateway::request(&mut socket).await);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n",
                first.len() + second.len()
            );
            socket.write_all((head + first).as_bytes()).await.unwrap();
            came.notified().await;
            socket.write_all(second.as_bytes()).await.unwrap();
            let _ = socket.read(&mut [0]).await;
        };
        let asks = async {
            let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
            let request = crate::common::gateway::bytes(chat("x")).await;
            socket.write_all(&request).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(first.as_bytes()) {
                assert!(socket.read_buf(&mut answer).await.unwrap() > 0);
            }
            came.notify_one();
            while !answer.ends_with(second.as_bytes()) {
                assert!(socket.read_buf(&mut answer).await.unwrap() > 0, "{answer:?}");
            }
            // The next response is hyper's own.
            socket.write_all(b"GET /\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut own = String::new();
            socket.read_to_string(&mut own).await.unwrap();
            assert!(own.starts_with("HTTP/1.1 400 ") && own.contains("malformed_request"), "{own}");
        };
        in_time("both pieces", async { tokio::join!(serves, asks) }).await;
    }
}
