//! The connections of `vertex-gateway` to Vertex AI: used again, for a while, and never at the cost
//! of a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    sync::{Barrier, mpsc},
    task::JoinSet,
};
use tower_vertex_emulator::{Emulator, StreamBehavior};

use crate::common::{
    chat, chat_stream, eventually,
    gateway::{Gateway, before, openai_error, request},
    in_time, pace, text,
};

/// As many as this say something of a pool; all requests meet in one.
const MANY: usize = 20;
const ONE_WORKER: [&str; 2] = ["--workers", "1"];

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
async fn requests_at_the_same_time_have_a_connection_each_and_use_them_again() {
    let vertex = Emulator::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let of_task = Arc::clone(&accepted);
    tokio::spawn(async move {
        // None is answered before all are there.
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
        let answers = in_time("all at the same time", calls.join_all()).await;
        assert_eq!(answers, ["{}"; MANY]);
    }
    assert_eq!(accepted.load(Relaxed), MANY);
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn another_protocol_that_nobody_asked_for_is_no_answer() {
    let vertex = Emulator::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        assert!(request(&mut socket).await);
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        socket.write_all(answer).await.unwrap();
        // It is let go.
        assert!(!request(&mut socket).await);
    });
    let (command, _key) = before(&vertex, &url, &ONE_WORKER);
    let gateway = Gateway::start(command).await;
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, &*code), (502, "upstream_reset"));
    assert!(message.contains(&format!("{url} responded with 101")), "{message}");
}

/// So a name in the DNS that has changed is followed.
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
        assert!(asked < 100_000, "all of them over the first few connections");
    }
    // Three whole lifetimes, of which each may be a tenth shorter: not one for each request.
    assert!(began.elapsed().as_secs_f64() > 2.7, "{asked} requests in {:?}", began.elapsed());
    eventually("the old ones are closed", || vertex.stats().connections <= 1).await;
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

/// Servers close what has been idle for too long whenever they like.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_no_request() {
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
            // The gateway closes its side when it has noticed.
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
        in_time("it is closed", is_closed.recv()).await.unwrap();
    }
}
