//! Clients that send slowly, and clients that do not read.

use super::*;

#[tokio::test]
async fn a_thousand_clients_that_send_a_byte_now_and_then_do_not_affect_others() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let vertex = Emulator::start().await.unwrap();
    let options = ["--max-concurrent-requests", "4", "--admin-listen", "127.0.0.1:0"];
    let options = [&options[..], &["--workers", "2"]].concat();
    let mut gateway = Gateway::before(&vertex, &options).await;
    let admin = Admin::of(&mut gateway).await;
    let gateway = Arc::new(gateway);
    let before = Vitals::of(&gateway);
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        socket.write_all((head(1000) + "{").as_bytes()).await.unwrap();
        slow.push(socket);
    }
    admin.until("vertex_gateway_requests_in_flight", |number| number == 1000.0).await;
    let mut load = Load::start(&gateway);
    for _ in 0..5 {
        for socket in &mut slow {
            socket.write_all(b" ").await.unwrap();
        }
        load.more("beside slow clients", |status| status == 200).await;
    }
    let seen = load.end().await;
    assert!(seen.all_succeeded(), "{seen:?}");
    assert_eq!(
        vertex.stats().api_requests,
        seen.statuses[&200] as u64,
        "requests of slow clients were sent"
    );
    let during = Vitals::of(&gateway);
    let each = during.memory.saturating_sub(before.memory) / 1000;
    println!("{each} bytes for each of them");
    assert!(each < 100_000, "{during:?}");
    drop(slow);
    admin.until("vertex_gateway_requests_in_flight", |number| number == 0.0).await;
    admin.until("vertex_gateway_client_connections", |number| number <= 2.0).await;
    // Each worker keeps as many connections to Vertex AI as it used concurrently.
    assert!(Vitals::of(&gateway).files <= before.files + 20);
}

#[tokio::test]
async fn clients_that_never_read_do_not_affect_others_and_are_closed() {
    const DEAF: usize = 10;
    let vertex = Emulator::start().await.unwrap();
    pace(&vertex, StreamBehavior { chunks: Some(1_000_000), ..StreamBehavior::default() });
    let options = ["--send-timeout", "3", "--admin-listen", "127.0.0.1:0"];
    let (mut command, _key) = before(&vertex, &vertex.url(), &options);
    command.env("VERTEX_GATEWAY_LOG", "error");
    let mut gateway = Gateway::start(command).await;
    let admin = Admin::of(&mut gateway).await;
    let gateway = Arc::new(gateway);
    is_whole(gateway.call(chat("before")).await, "before").await;
    let start = Vitals::of(&gateway);
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        socket.write_all(&bytes(chat_stream("x")).await).await.unwrap();
        deaf.push(socket);
    }
    let begun = || {
        let streams = vertex.stats().streams;
        streams.open + streams.aborted == DEAF as u64
    };
    eventually("the streams have begun", begun).await;
    vertex.clear_faults();
    let mut load = Load::start(&gateway);
    load.until("the streams are closed", || vertex.stats().streams.aborted >= DEAF as u64).await;
    let seen = load.end().await;
    assert!(seen.all_succeeded(), "{seen:?}");
    // Data that a client does not read is not read from Vertex AI either.
    let peak = Vitals::of(&gateway).peak.saturating_sub(start.memory);
    println!("{} KiB for each of them", (peak >> 10) / DEAF as u64);
    assert!(peak < (DEAF << 22) as u64, "{peak} bytes");
    admin.until("vertex_gateway_requests_in_flight", |number| number == 0.0).await;
    is_whole(gateway.call(chat("afterwards")).await, "afterwards").await;
    drop(deaf);
}
