//! Streams, and requests in flight when the process stops.

use super::*;

#[tokio::test]
async fn a_stream_is_forwarded_chunk_by_chunk_over_http1_and_http2() {
    for http in [Http::One, Http::Two] {
        let vertex = Emulator::start().await.unwrap();
        let stream = StreamBehavior {
            chunk_delay: Duration::from_secs(60),
            chunks: Some(20),
            ..StreamBehavior::default()
        };
        vertex.set_faults(Faults { stream, ..Faults::default() });
        let gateway = Gateway::before(&vertex, &[]).await;
        let mut body = gateway.call_over(http, &mut chat_stream("slowly")).await.into_body();
        let first = in_time("a chunk", body.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert!(first.starts_with(b"data: {"), "{first:?}");
        assert_eq!(vertex.requests()[0].chunks_sent, 1);
        drop(body);
        eventually("the upstream's stream ends", || vertex.stats().streams.aborted == 1).await;
    }
}

#[tokio::test]
async fn a_signal_lets_running_requests_finish() {
    let vertex = Emulator::start().await.unwrap();
    let stream = StreamBehavior {
        chunk_delay: Duration::from_millis(100),
        chunks: Some(20),
        ..StreamBehavior::default()
    };
    vertex.set_faults(Faults { stream, ..Faults::default() });
    let mut gateway = Gateway::before(&vertex, &[]).await;
    let mut body = gateway.call(chat_stream("to the end")).await.into_body();
    in_time("a chunk", body.frame()).await.unwrap().unwrap();
    gateway.terminate();
    // From then on, no new connection is accepted.
    in_time("the listener is closed", async {
        while TcpStream::connect(gateway.addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let rest = in_time("the rest of a response", body.collect()).await.unwrap().to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"), "{rest:?}");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert_eq!(vertex.stats().streams.completed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_streams_run_at_once_and_a_revocation_fails_none() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    gateway.call(chat("warm")).await;
    vertex.revoke_tokens();
    vertex.reset_stats();
    // All streams stay open until the last one has begun.
    let stream = StreamBehavior {
        chunk_delay: Duration::from_secs(600),
        chunks: Some(3),
        ..StreamBehavior::default()
    };
    vertex.set_faults(Faults { stream, ..Faults::default() });
    let (client, addr) = (client::<Full<Bytes>>(Http::One), gateway.addr);
    let calls: Vec<_> = (0..1000)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let (parts, body) = chat_stream("x").into_parts();
                let mut request = Request::from_parts(parts, ReplayBody::plain(body));
                *request.uri_mut() = format!("http://{addr}/v1/chat/completions").parse().unwrap();
                let answer = in_time("a response", client.request(request)).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                let mut body = answer.into_body();
                in_time("a chunk", body.frame()).await.unwrap().unwrap();
                body
            })
        })
        .collect();
    let mut open = Vec::new();
    for call in calls {
        open.push(call.await.unwrap());
    }
    let stats = vertex.stats();
    assert_eq!(stats.streams.open, 1000, "{stats:?}");
    assert_eq!(stats.token_mints, 1, "{stats:?}");
    assert_eq!(stats.by_status[&200], 1000, "{stats:?}");
    drop(open);
    eventually("all streams end", || vertex.stats().streams.open == 0).await;
}

/// Vertex AI compresses responses for clients that accept it, but the gateway reads their errors and
/// their usage.
#[tokio::test]
async fn a_client_that_accepts_gzip_gets_plain_responses_and_events() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &[]).await;
    for mut request in [chat("hello"), chat_stream("hello")] {
        request.headers_mut().insert("accept-encoding", "gzip, br".parse().unwrap());
        let answer = gateway.call_over(Http::One, &mut request).await;
        assert!(!answer.headers().contains_key("content-encoding"));
        assert!(text(answer).await.contains("hello"));
        let sent = vertex.requests().pop().unwrap().header_names;
        assert!(!sent.iter().any(|name| name == "accept-encoding"), "{sent:?}");
    }
}
