//! The connections of `vertex-gateway` to Vertex AI: used again, for a while, and never at the cost
//! of a request.
#![cfg(feature = "gateway")]

mod common;

use common::{
    chat, chat_stream, eventually,
    gateway::{Gateway, before},
    text,
};
use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};
use tower_vertex::emulator::Emulator;

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
async fn requests_at_the_same_time_have_a_connection_each_and_leave_no_more() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &ONE_WORKER).await;
    for _ in 0..3 {
        let all = (0..MANY).map(|_| async {
            let answer = gateway.call(chat("x")).await;
            assert_eq!(answer.status(), StatusCode::OK);
            text(answer).await;
        });
        for one in all.collect::<Vec<_>>() {
            one.await;
        }
        let mut open = Vec::new();
        for _ in 0..MANY {
            open.push(gateway.call(chat_stream("x")).await);
        }
        for answer in open {
            text(answer).await;
        }
    }
    let total = vertex.stats().connections_total;
    assert!((1..=MANY as u64).contains(&total), "{total} connections");
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
    vertex.set_faults(tower_vertex::emulator::Faults {
        stream: tower_vertex::emulator::StreamBehavior {
            chunks: Some(5),
            chunk_delay: std::time::Duration::from_millis(500),
            ..Default::default()
        },
        ..Default::default()
    });
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
            let mut request = vec![0; 64 << 10];
            assert!(socket.read(&mut request).await.unwrap() > 0);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            let answer = format!("{head}content-length: 2\r\n\r\n{{}}");
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
            // The gateway closes its side when it has noticed.
            while socket.read(&mut request).await.unwrap_or(0) > 0 {}
            closed.send(()).unwrap();
        }
    });
    let (command, _key) = before(&vertex, &url, &ONE_WORKER);
    let gateway = Gateway::start(command).await;
    for _ in 0..MANY {
        let answer = gateway.call(chat("x")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "{}");
        is_closed.recv().await.unwrap();
    }
}
