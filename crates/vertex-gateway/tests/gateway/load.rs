//! `vertex-gateway` under load: limits, timeouts, slow senders and readers, and the shutdown.

use std::{process::Stdio, sync::Arc, time::Duration};

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower_vertex_emulator::{Emulator, StreamBehavior};

use crate::common::{
    chat, chat_stream, echo, eventually,
    gateway::{Gateway, Log, before, bytes, head, openai_error},
    in_time, pace, put, text,
};

/// A stream with headers and a first chunk, whose end is far away.
fn endless() -> StreamBehavior {
    StreamBehavior {
        chunks: Some(1000),
        chunk_delay: Duration::from_secs(3600),
        ..StreamBehavior::default()
    }
}

#[tokio::test]
async fn one_more_than_the_limit_waits_and_the_next_is_refused() {
    let vertex = Emulator::start().await.unwrap();
    pace(&vertex, endless());
    let limits = ["--max-concurrent-requests", "2", "--max-queued-requests", "1"];
    let gateway = Gateway::before(&vertex, &limits).await;
    let first = gateway.call(chat_stream("1")).await;
    let second = gateway.call(chat_stream("2")).await;
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));

    // The order of the two is not known.
    let mut third = Box::pin(gateway.call(chat("3")));
    let mut fourth = Box::pin(gateway.call(chat("4")));
    let (refused, waiting) = tokio::select! {
        refused = &mut third => (refused, fourth),
        refused = &mut fourth => (refused, third),
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, code, _) = openai_error(refused).await;
    assert_eq!((status, code.as_str()), (503, "overloaded"));
    assert_eq!((vertex.stats().streams.open, vertex.requests().len()), (2, 2));
    // A client that leaves makes room for the next.
    drop(first);
    assert_eq!(waiting.await.status(), StatusCode::OK);
}

/// Each limit is exceeded by a thousand requests. The queued requests are served, and the others
/// leave nothing behind.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn after_an_overflow_of_each_limit_all_gauges_are_at_zero_and_the_next_request_is_served() {
    use crate::common::vitals::Admin;
    const TOO_MANY: usize = 1000;
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let vertex = Emulator::start().await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let keys = "all:sk-0123456789-all\none:sk-0123456789-one\nrare:sk-0123456789-rare\n";
    let keys = put(files.path(), "keys", keys);
    let rules = "[[client]]\nname = \"one\"\nmax_concurrent_requests = 1\n\
                 [[client]]\nname = \"rare\"\nrequests_per_minute = 2\n";
    let rules = put(files.path(), "config.toml", rules);
    let options = [
        ["--client-key-file", &keys],
        ["--config", &rules],
        ["--admin-listen", "127.0.0.1:0"],
        ["--max-concurrent-requests", "2"],
        ["--max-queued-requests", "2"],
        ["--queue-timeout", "10m"],
        ["--max-connections", "100"],
    ];
    let mut gateway = Gateway::before(&vertex, &options.concat()).await;
    let admin = Admin::of(&mut gateway).await;
    let gateway = Arc::new(gateway);
    let of = |key: &str, mut request: http::Request<_>| {
        let bearer = format!("Bearer sk-0123456789-{key}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        request
    };
    for (key, held, refused) in [("all", 2, 503), ("one", 1, 429), ("rare", 0, 429)] {
        pace(&vertex, endless());
        let mut under_way = Vec::new();
        for _ in 0..held {
            under_way.push(gateway.call(of(key, chat_stream("x"))).await);
        }
        vertex.clear_faults();
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..TOO_MANY {
            let (gateway, request) = (Arc::clone(&gateway), of(key, chat("x")));
            asking.spawn(async move { gateway.call(request).await.status().as_u16() });
        }
        // Two requests wait, or are served at once. All others are refused.
        for _ in 2..TOO_MANY {
            let status = in_time("a refusal", asking.join_next()).await.unwrap().unwrap();
            assert!(status == refused || (held == 0 && status == 200), "{key}: {status}");
        }
        let waiting = admin.metrics().await.sum("vertex_gateway_requests_queued", "");
        assert_eq!(waiting, if held > 0 { 2.0 } else { 0.0 }, "{key}");
        drop(under_way);
        let served = in_time("the requests that wait", asking.join_all()).await;
        assert!(held == 0 || served == [200, 200], "{key}: {served:?}");
        for gauge in ["requests_queued", "requests_in_flight", "client_connections"] {
            admin.until(&format!("vertex_gateway_{gauge}"), |number| number == 0.0).await;
        }
        assert_eq!(gateway.call(of("all", chat("next"))).await.status(), StatusCode::OK, "{key}");
        // A request that has to wait for its turn gets it.
        pace(&vertex, endless());
        let both = [gateway.call(of("all", chat_stream("1"))).await];
        let one = gateway.call(of("one", chat_stream("2"))).await;
        vertex.clear_faults();
        let mut next = Box::pin(gateway.call(of("one", chat("3"))));
        let queued = admin.until("vertex_gateway_requests_queued", |number| number == 1.0);
        tokio::select! {
            () = queued => {}
            _ = &mut next => panic!("{key}: the request did not wait"),
        }
        drop((both, one));
        assert_eq!(next.await.status(), StatusCode::OK, "{key}");
    }
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_refused() {
    let vertex = Emulator::start().await.unwrap();
    pace(&vertex, endless());
    let limits = ["--max-concurrent-requests", "1", "--queue-timeout", "1"];
    let gateway = Gateway::before(&vertex, &limits).await;
    let under_way = gateway.call(chat_stream("1")).await;
    let refused = gateway.call(chat("2")).await;
    let (status, code, _) = openai_error(refused).await;
    assert_eq!((status, code.as_str()), (503, "overloaded"));
    assert_eq!(vertex.requests().len(), 1);
    drop(under_way);
}

#[tokio::test]
async fn a_stream_that_stalls_ends_with_an_error_event() {
    let vertex = Emulator::start().await.unwrap();
    pace(&vertex, endless());
    let gateway = Gateway::before(&vertex, &["--stream-idle-timeout", "1"]).await;
    let answer = text(gateway.call(chat_stream("hello")).await).await;
    let last = answer.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.contains("stream_interrupted"), "{last}");
    eventually("the upstream's stream is closed", || vertex.stats().streams.aborted == 1).await;
}

#[tokio::test]
async fn a_slow_sender_occupies_no_slot_and_times_out() {
    let vertex = Emulator::start().await.unwrap();
    let options = ["--max-concurrent-requests", "1", "--request-body-timeout", "2"];
    let gateway = Gateway::before(&vertex, &options).await;
    let mut slow = TcpStream::connect(gateway.addr).await.unwrap();
    slow.write_all((head(100) + "{").as_bytes()).await.unwrap();
    assert_eq!(gateway.call(chat("quick")).await.status(), StatusCode::OK);
    let mut answer = vec![0; 4096];
    let length = in_time("a refusal", slow.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("request_timeout"), "{answer}");
    assert_eq!(vertex.requests().len(), 1);
}

#[tokio::test]
async fn the_response_timeout_starts_when_the_request_has_arrived() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &["--response-header-timeout", "1"]).await;
    let mut slow = TcpStream::connect(gateway.addr).await.unwrap();
    let body = r#"{"model":"google/gemini-2.5-flash","messages":[{"role":"user","content":"x"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close";
    let head =
        format!("{head}\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
    slow.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    // Sends the body after a pause longer than the response timeout.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    slow.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    in_time("a response", slow.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let silent =
        StreamBehavior { first_byte_delay: Duration::from_secs(600), ..StreamBehavior::default() };
    pace(&vertex, silent);
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, &*code), (504, "upstream_timeout"));
    assert!(message.contains("--response-header-timeout"), "{message}");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let vertex = Emulator::start().await.unwrap();
    pace(&vertex, endless());
    let options = ["--max-concurrent-requests", "1", "--max-queued-requests", "0"];
    let gateway = Gateway::before(&vertex, &options).await;
    let mut body = gateway.call(chat_stream("for ever")).await.into_body();
    in_time("a chunk", body.frame()).await.unwrap().unwrap();
    let (status, code, message) = openai_error(gateway.call(chat("x")).await).await;
    assert_eq!((status, &*code), (503, "overloaded"));
    assert!(message.contains("the queue is full (--max-queued-requests 0)"), "{message}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_its_stream_and_is_closed() {
    let vertex = Emulator::start().await.unwrap();
    let chunks = Some(1_000_000);
    pace(&vertex, StreamBehavior { chunks, ..StreamBehavior::default() });
    let gateway = Gateway::before(&vertex, &["--send-timeout", "2"]).await;
    let mut deaf = TcpStream::connect(gateway.addr).await.unwrap();
    deaf.write_all(&bytes(chat_stream("x")).await).await.unwrap();
    eventually("the stream is closed", || vertex.stats().streams.aborted == 1).await;
    // Data that the client did not read was not requested either: the emulator sent only a part of
    // the stream.
    let made = vertex.requests()[0].chunks_sent;
    assert!((1..500_000).contains(&made), "{made} chunks");
    assert_eq!(gateway.call(chat("others")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_closed_after_the_drain_timeout() {
    let vertex = Emulator::start().await.unwrap();
    pace(&vertex, endless());
    let mut gateway = Gateway::before(&vertex, &["--drain-timeout", "1"]).await;
    let mut body = gateway.call(chat_stream("for ever")).await.into_body();
    in_time("a chunk", body.frame()).await.unwrap().unwrap();
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(
        in_time("the rest of a response", body.collect()).await.is_err(),
        "the stream was not closed early"
    );
}

#[tokio::test]
async fn a_second_signal_ends_the_delay_and_closes_running_requests() {
    let vertex = Emulator::start().await.unwrap();
    pace(&vertex, endless());
    let options = ["--drain-delay", "600", "--drain-timeout", "600"];
    let (mut command, _key) = before(&vertex, &vertex.url(), &options);
    command.stderr(Stdio::piped());
    let mut gateway = Gateway::start(command).await;
    let mut log = Log::of(&mut gateway);
    let mut body = gateway.call(chat_stream("for ever")).await.into_body();
    in_time("a chunk", body.frame()).await.unwrap().unwrap();
    gateway.terminate();
    log.until("--drain-delay").await;
    assert_eq!(gateway.ended_at_once().await.code(), Some(0));
    assert!(
        in_time("the rest of a response", body.collect()).await.is_err(),
        "the stream was not closed early"
    );
}

#[tokio::test]
async fn one_connection_more_than_allowed_waits_until_another_one_ends() {
    let vertex = Emulator::start().await.unwrap();
    let options = ["--max-connections", "2", "--request-header-timeout", "1"];
    let gateway = Gateway::before(&vertex, &options).await;
    pace(&vertex, endless());
    let streaming = gateway.call(chat_stream("1")).await;
    // This connection sends nothing, and is closed after a second.
    let mut idle = TcpStream::connect(gateway.addr).await.unwrap();
    vertex.clear_faults();
    let mut third = Box::pin(gateway.call(chat("3")));
    let mut rest = Vec::new();
    tokio::select! {
        biased;
        read = idle.read_to_end(&mut rest) => assert_eq!(read.unwrap(), 0),
        _ = &mut third => panic!("the third one did not wait"),
    }
    let third = third.await;
    assert_eq!(third.status(), StatusCode::OK);
    drop(streaming);
    assert!(text(third).await.contains(&echo("3")));
}

#[tokio::test]
async fn a_client_over_http2_that_acknowledges_no_ping_is_closed() {
    let vertex = Emulator::start().await.unwrap();
    let options =
        ["--http2-ping-interval", "1", "--http2-ping-timeout", "1", "--keepalive-timeout", "10m"];
    let gateway = Gateway::before(&vertex, &options).await;
    let mut silent = TcpStream::connect(gateway.addr).await.unwrap();
    // The preface, empty settings, and the headers of a request whose body never comes. The client
    // reads all frames of the gateway and acknowledges none.
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let mut head = b"\x83\x86\x04\x14/v1/chat/completions\x01\x09localhost".to_vec();
    sent.extend([0, 0, u8::try_from(head.len()).unwrap(), 1, 4, 0, 0, 0, 1]);
    sent.append(&mut head);
    silent.write_all(&sent).await.unwrap();
    let mut read = Vec::new();
    let _ = in_time("the end of the connection", silent.read_to_end(&mut read)).await;
    // A PING frame of 8 bytes on stream 0.
    let ping = b"\0\0\x08\x06\0\0\0\0\0";
    assert!(read.windows(ping.len()).any(|bytes| bytes == ping), "{read:?}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_keepalive_timeout() {
    let vertex = Emulator::start().await.unwrap();
    for (options, is_closed) in [
        (["--keepalive-timeout", "1", "--request-header-timeout", "10m"], true),
        (["--keepalive-timeout", "10m", "--request-header-timeout", "1"], false),
    ] {
        let gateway = Gateway::before(&vertex, &options).await;
        let mut idle = TcpStream::connect(gateway.addr).await.unwrap();
        let get = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
        idle.write_all(get).await.unwrap();
        let mut read = Vec::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(3), idle.read_to_end(&mut read)).await.is_ok();
        assert!(read.starts_with(b"HTTP/1.1 200"), "{read:?}");
        assert_eq!(ended, is_closed, "{options:?}");
        if !is_closed {
            idle.write_all(get).await.unwrap();
            assert!(in_time("a response", idle.read(&mut [0; 4096])).await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn a_connection_with_an_unfinished_later_request_head_is_closed_after_the_request_header_timeout()
 {
    let vertex = Emulator::start().await.unwrap();
    let options = ["--request-header-timeout", "1", "--keepalive-timeout", "10m"];
    let gateway = Gateway::before(&vertex, &options).await;
    let mut slow = TcpStream::connect(gateway.addr).await.unwrap();
    slow.write_all(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(in_time("a response", slow.read(&mut [0; 4096])).await.unwrap() > 0);
    slow.write_all(b"GET /v1/models HTTP/1.1\r\n").await.unwrap();
    let _ = in_time("the end of the connection", slow.read_to_end(&mut Vec::new())).await;
}
