//! The connections of `vertex-gateway` to Vertex AI: they are reused for a limited time, and their
//! end never fails a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    sync::{Barrier, mpsc},
    task::JoinSet,
};
use tower_vertex_emulator::{Emulator, StreamBehavior};

use crate::common::{
    chat, chat_stream, eventually,
    gateway::{Gateway, before, openai_error, request},
    in_time, pace, text,
};

/// Enough requests to show how a pool behaves. All of them use one worker, and so one pool.
const MANY: usize = 20;
/// One worker, which forwards bodies that are no chats as they are.
const ONE_WORKER: [&str; 4] = ["--workers", "1", "--compat", "off"];

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &ONE_WORKER).await;
    for round in 0..MANY {
        let asked = if round % 2 == 0 { chat("x") } else { chat_stream("x") };
        let answer = gateway.call(asked).await;
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer).await;
    }
    assert_eq!(vertex.stats().connections_total, 1);
}

#[tokio::test]
async fn concurrent_requests_have_a_connection_each_and_reuse_them() {
    let vertex = Emulator::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let of_task = Arc::clone(&accepted);
    tokio::spawn(async move {
        // The server responds only after all requests have arrived.
        let all = Arc::new(Barrier::new(MANY));
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            of_task.fetch_add(1, Relaxed);
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                while request(&mut socket).await {
                    all.wait().await;
                    socket.write_all(ANSWER).await.unwrap();
                }
            });
        }
    });
    let (command, _key) = before(&vertex, &url, &ONE_WORKER);
    let gateway = Arc::new(Gateway::start(command).await);
    for _ in 0..3 {
        let mut calls = JoinSet::new();
        for _ in 0..MANY {
            let gateway = Arc::clone(&gateway);
            calls.spawn(async move { text(gateway.call(chat("x")).await).await });
        }
        let answers = in_time("all requests at the same time", calls.join_all()).await;
        assert_eq!(answers, ["{}"; MANY]);
    }
    assert_eq!(accepted.load(Relaxed), MANY);
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn an_unrequested_switch_of_protocols_is_a_502() {
    let vertex = Emulator::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        assert!(request(&mut socket).await);
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        socket.write_all(answer).await.unwrap();
        // The gateway closes the connection.
        assert!(!request(&mut socket).await);
    });
    let (command, _key) = before(&vertex, &url, &ONE_WORKER);
    let gateway = Gateway::start(command).await;
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, &*code), (502, "upstream_reset"));
    assert!(message.contains(&format!("{url} responded with 101")), "{message}");
}

/// The lifetime lets the gateway follow a name whose DNS record has changed.
#[tokio::test]
async fn a_connection_takes_no_request_after_its_lifetime() {
    let vertex = Emulator::start().await.unwrap();
    let lifetime = ["--upstream-connection-lifetime", "1"];
    let gateway = Gateway::before(&vertex, &[&ONE_WORKER[..], &lifetime].concat()).await;
    let began = std::time::Instant::now();
    let mut asked = 0;
    while vertex.stats().connections_total < 4 {
        let answer = gateway.call(chat("x")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer).await;
        asked += 1;
        assert!(asked < 100_000, "all requests used the first few connections");
    }
    // These are three whole lifetimes, each of which may be a tenth shorter, and not one connection
    // for each request.
    assert!(began.elapsed().as_secs_f64() > 2.7, "{asked} requests in {:?}", began.elapsed());
    eventually("the old connections are closed", || vertex.stats().connections <= 1).await;
}

#[tokio::test]
async fn a_stream_outlives_the_lifetime_of_its_connection() {
    let vertex = Emulator::start().await.unwrap();
    let (chunks, chunk_delay) = (Some(5), Duration::from_millis(500));
    pace(&vertex, StreamBehavior { chunks, chunk_delay, ..StreamBehavior::default() });
    let lifetime = ["--upstream-connection-lifetime", "1"];
    let gateway = Gateway::before(&vertex, &[&ONE_WORKER[..], &lifetime].concat()).await;
    let answer = text(gateway.call(chat_stream("x")).await).await;
    assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    text(gateway.call(chat_stream("x")).await).await;
    assert_eq!(vertex.stats().connections_total, 2);
}

/// A client may read its response only after its upload. So the upload must not wait for a client that
/// reads.
#[tokio::test]
async fn an_upload_continues_while_no_one_reads_the_response() {
    // Both are more than the buffers of the sockets hold: at most 36 MiB for each connection on this system.
    const UPLOAD: usize = 48 << 20;
    const RESPONSE: usize = 48 << 20;
    let vertex = Emulator::start().await.unwrap();
    let little = || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket
    };
    let listening = little();
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listening.listen(1).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (uploaded, mut is_uploaded) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let (mut from, mut to) = socket.into_split();
        let mut seen = 0;
        let mut piece = vec![0; 64 << 10];
        // The response begins when the request has.
        seen += from.read(&mut piece).await.unwrap();
        let response = async {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
                 content-length: {RESPONSE}\r\n\r\n"
            );
            to.write_all(head.as_bytes()).await.unwrap();
            to.write_all(&vec![b'r'; RESPONSE]).await.unwrap();
        };
        let upload = async {
            while seen < UPLOAD {
                seen += from.read(&mut piece).await.unwrap();
            }
            uploaded.send(()).unwrap();
        };
        tokio::join!(response, upload);
    });
    let options = ["--max-request-bytes", "64MiB"];
    let (command, _key) = before(&vertex, &url, &[&ONE_WORKER[..], &options].concat());
    let gateway = Gateway::start(command).await;
    let mut client = little().connect(gateway.addr).await.unwrap();
    let begin = r#"{"model":"google/gemini-2.5-flash","messages":""#;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{begin}",
        begin.len() + UPLOAD
    );
    client.write_all(head.as_bytes()).await.unwrap();
    in_time("the upload", async {
        client.write_all(&vec![b'u'; UPLOAD]).await.unwrap();
        is_uploaded.recv().await.unwrap();
    })
    .await;
    let mut read = 0;
    let mut piece = vec![0; 64 << 10];
    in_time("the response", async {
        while read < RESPONSE {
            match client.read(&mut piece).await.unwrap() {
                0 => panic!("the response ended after {read} bytes"),
                more => read += more,
            }
        }
    })
    .await;
}

/// Bytes after a response must not become the response to the next request.
#[tokio::test]
async fn a_connection_with_more_than_its_response_is_not_used_again() {
    let vertex = Emulator::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let of_task = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            of_task.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                assert!(request(&mut socket).await);
                let evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
                socket.write_all(&[ANSWER, evil].concat()).await.unwrap();
                // The gateway closes the connection at once.
                assert!(!request(&mut socket).await, "a second request");
            });
        }
    });
    let (command, _key) = before(&vertex, &url, &ONE_WORKER);
    let gateway = Gateway::start(command).await;
    for asked in 1..=MANY {
        assert_eq!(text(gateway.call(chat("x")).await).await, "{}");
        assert_eq!(accepted.load(Relaxed), asked);
    }
}

/// A server may close an idle connection at any time.
#[tokio::test]
async fn a_connection_closed_while_idle_fails_no_request() {
    let vertex = Emulator::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (closed, mut is_closed) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert!(request(&mut socket).await);
            socket.write_all(ANSWER).await.unwrap();
            socket.shutdown().await.unwrap();
            // The gateway closes its side after it has noticed.
            assert!(!request(&mut socket).await, "nothing more is sent");
            closed.send(()).unwrap();
        }
    });
    let (command, _key) = before(&vertex, &url, &ONE_WORKER);
    let gateway = Gateway::start(command).await;
    for _ in 0..MANY {
        let answer = gateway.call(chat("x")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(text(answer).await, "{}");
        in_time("the connection is closed", is_closed.recv()).await.unwrap();
    }
}
