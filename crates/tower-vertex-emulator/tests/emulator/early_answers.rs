use super::*;

/// Sends 5 MiB, of which 4 are sent only after the response has arrived.
async fn the_401_comes_during_the_upload(tls: bool, version: Version) {
    let emulator = Emulator::builder().tls(tls).start().await.unwrap();
    let mut bench = Bench::over(emulator, version);
    let good = std::mem::replace(&mut bench.token, "ya29.dead".into());
    let (mut sender, channel): (Sender<Bytes>, _) = Channel::new(1);
    let request = bench.request(Method::POST, CHAT).body(channel.boxed_unsync()).unwrap();
    let block = Bytes::from(vec![7; MIB]);
    sender.send_data(block.clone()).await.unwrap();
    let answer = soon("a 401 during the upload", bench.send(request)).await;
    assert_eq!((answer.status, answer.version), (StatusCode::UNAUTHORIZED, version));
    assert_eq!(answer.error(false)["status"], "UNAUTHENTICATED");
    assert_eq!(bench.emulator.requests()[0].body_length, None);

    for _ in 1..5 {
        sender.send_data(block.clone()).await.unwrap();
    }
    drop(sender);
    let read = || bench.emulator.requests()[0].body_length == Some(5 * MIB as u64);
    until("the rest is read", read).await;
    let hash = bench.emulator.requests()[0].body_sha256.clone();
    assert_eq!(hash.unwrap(), sha256(&vec![7; 5 * MIB]));
    // The connection is still usable: no part of the old body is left in it.
    bench.token = good;
    assert_eq!(bench.chat().await.status, StatusCode::OK);
    assert!(bench.emulator.stats().connections >= 1);
}

#[tokio::test]
async fn over_http1() {
    the_401_comes_during_the_upload(false, Version::HTTP_11).await;
}

#[tokio::test]
async fn over_http2_by_prior_knowledge() {
    the_401_comes_during_the_upload(false, Version::HTTP_2).await;
}

#[tokio::test]
async fn over_http1_and_tls() {
    the_401_comes_during_the_upload(true, Version::HTTP_11).await;
}

#[tokio::test]
async fn over_http2_and_tls() {
    the_401_comes_during_the_upload(true, Version::HTTP_2).await;
}

/// Sends a whole request before it reads. Returns the response, which ends with the connection.
async fn write_then_read(emulator: &Emulator, head: &str, body: &[u8]) -> String {
    let mut socket = TcpStream::connect(emulator.addr()).await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body).await.unwrap();
    let mut answer = String::new();
    soon("the response", socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_reads_only_after_the_upload_gets_the_401() {
    let emulator = Emulator::start().await.unwrap();
    let body = vec![b' '; 5 * MIB];
    let head = format!("content-length: {}\r\nauthorization: Bearer dead", body.len());
    for _ in 0..20 {
        let answer = write_then_read(&emulator, &head, &body).await;
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
        assert!(answer.contains("ACCESS_TOKEN_TYPE_UNSUPPORTED"));
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_only_the_401() {
    let emulator = Emulator::start().await.unwrap();
    let head = "content-length: 5\r\nexpect: 100-continue\r\nauthorization: Bearer dead";
    let answer = write_then_read(&emulator, head, b"").await;
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
}
