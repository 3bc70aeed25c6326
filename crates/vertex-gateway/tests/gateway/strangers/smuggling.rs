//! Malformed and ambiguous requests, and clients that never complete a request.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower_vertex_emulator::Emulator;

use super::{ALICE, Files, chat_of};
use crate::common::in_time;

#[tokio::test]
async fn an_ambiguous_request_is_refused_and_nothing_goes_upstream() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let options = ["--client-key-file", &files.path("keys"), "--list-models", "off"];
    let gateway = files.start(&vertex, &options).await;
    let post = format!("POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {ALICE}\r\n");
    let bare = post.replace("\r\n", "\n");
    let body = r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"x"}]}"#;
    let (length, size) = (body.len(), format!("{:x}", body.len()));
    let chunks = format!("{size}\r\n{body}\r\n0\r\n\r\n");
    let hidden = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
    // Well-formed requests are served, so the common part is not the reason for the refusals.
    let good = format!("{post}Host: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let good = format!(
        "{good}{post}Host: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answers = gateway.raw(good.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert_eq!(vertex.stats().api_requests, 2);

    let cases = [
        (
            "length, then chunks",
            format!(
                "{post}Host: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
        (
            "chunks, then length",
            format!(
                "{post}Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{chunks}"
            ),
        ),
        (
            "two lengths",
            format!(
                "{post}Host: x\r\nContent-Length: {length}\r\nContent-Length: 0\r\n\r\n{body}{hidden}"
            ),
        ),
        (
            "one length twice",
            format!(
                "{post}Host: x\r\nContent-Length: {length}\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "a list of lengths",
            format!("{post}Host: x\r\nContent-Length: {length}, {length}\r\n\r\n{body}"),
        ),
        (
            "a length with a sign",
            format!("{post}Host: x\r\nContent-Length: +{length}\r\n\r\n{body}"),
        ),
        (
            "another coding",
            format!("{post}Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{chunks}"),
        ),
        (
            "a coding that is none",
            format!("{post}Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n{chunks}"),
        ),
        (
            "a blank before the colon",
            format!("{post}Host: x\r\nTransfer-Encoding : chunked\r\n\r\n{chunks}"),
        ),
        (
            "a folded field",
            format!("{post}Host: x\r\nX: y\r\n z\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "a folded coding",
            format!("{post}Host: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n{chunks}"),
        ),
        ("bare line feeds", format!("{bare}Host: x\nContent-Length: {length}\n\n{body}")),
        ("one bare line feed", format!("{post}Host: x\nContent-Length: {length}\r\n\r\n{body}")),
        (
            "a bare line feed at the end",
            format!("{post}Host: x\r\nContent-Length: {length}\r\n\n{body}"),
        ),
        (
            "a bare carriage return",
            format!("{post}Host: x\r\nX: y\rZ: z\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "two hosts",
            format!("{post}Host: x\r\nHost: y\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "chunks in HTTP/1.0",
            format!(
                "{}Host: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
                post.replace("1.1", "1.0")
            ),
        ),
        (
            "a zero byte",
            format!("{post}Host: x\r\nX: \0\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
    ];
    for (what, request) in &cases {
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        assert!(answer.contains(r#""code":"malformed_request""#), "{what}: {answer}");
        // The same request after one that is served on the same connection.
        let first =
            format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\n\r\n");
        let answers = gateway.raw(format!("{first}{request}").as_bytes()).await;
        assert!(answers.starts_with("HTTP/1.1 200"), "{what}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{what}: {answers}");
        assert!(answers.contains("HTTP/1.1 400"), "{what}: {answers}");
    }
    // Each case occurs alone and after another request.
    files.told(cases.len() * 2, "status=400").await;
    // The chunks of a body are checked, too: the bytes after them are not taken for a request.
    for chunks in [
        format!("{size}\n{body}\r\n0\r\n\r\n{hidden}"),
        format!("{size};\n{body}\r\n0\r\n\r\n{hidden}"),
        format!("{size}\r\n{body}0\r\n\r\n{hidden}"),
        format!("+{size}\r\n{body}\r\n0\r\n\r\n{hidden}"),
        format!("0x{size}\r\n{body}\r\n0\r\n\r\n{hidden}"),
        // More than the strict reader keeps of a line.
        format!("{}{size}\r\n{body}\r\n0\r\n\r\n{hidden}", "0".repeat(130)),
        format!("{size}{}\r\n{body}\r\n0\r\n\r\n{hidden}", " ".repeat(130)),
        format!("{size}\r\n{body}\r\n0\r\n\n{hidden}"),
        // In the extension of a chunk, hyper accepts any byte but a bare line end.
        format!("{size}\r\n{body}\r\n0;\n{hidden}"),
        format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n{hidden}"),
    ] {
        let request = format!("{post}Host: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(!answer.contains("HTTP/1.1 2"), "{chunks:?}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{chunks:?}: {answer}");
    }
    assert_eq!(vertex.stats().api_requests, 2, "{:?}", vertex.requests());
    for why in ["both Content-Length and", "ends without a carriage return", "more than one Host"] {
        files.told(2, why).await;
    }
    assert!(!files.log().contains("SECRET"), "{}", files.log());
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), 200, "the gateway still serves");
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let gateway = files.start(&vertex, &["--client-key-file", &files.path("keys")]).await;
    let post = format!("POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {ALICE}\r\n");
    let bombs = [
        "x: y\r\n".repeat(1000),
        format!("x: {}\r\n", "y".repeat(1 << 20)),
        format!("{}\r\n", "x".repeat(1 << 20)),
    ];
    for bomb in &bombs {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        // The gateway may close before it has read all of this.
        let _ = socket.write_all(format!("{post}{bomb}\r\n").as_bytes()).await;
        let mut answer = String::new();
        // A reset may discard the response while the client is still sending.
        let ended = in_time("the end of the connection", socket.read_to_string(&mut answer)).await;
        assert!(ended.is_err() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    files.told(bombs.len(), "status=431").await;
    assert_eq!(vertex.stats().api_requests, 0);
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), 200, "the gateway still serves");
}

#[tokio::test]
async fn clients_that_never_complete_a_request_are_closed() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    let gateway =
        files.start(&vertex, &["--client-key-file", &keys, "--request-header-timeout", "1"]).await;
    let start = format!("POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {ALICE}\r\n");
    let mut slow = Vec::new();
    // HTTP/2's preface begins like other requests.
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "POST", &start] {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        socket.write_all(begun.as_bytes()).await.unwrap();
        let (mut reads, mut writes) = socket.into_split();
        let drips = begun == start;
        slow.push(tokio::spawn(async move {
            let mut answer = Vec::new();
            let dripping = async {
                while drips && writes.write_all(b"x: y\r\n").await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _ = reads.read_to_end(&mut answer) => answer,
                () = dripping => unreachable!(),
            }
        }));
    }
    assert_eq!(gateway.call(chat_of(ALICE)).await.status(), 200, "others are served");
    for slow in slow {
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), slow).await;
        assert_eq!(String::from_utf8(ended.unwrap().unwrap()).unwrap(), "");
    }
    assert_eq!(vertex.stats().api_requests, 1);
    // The connection that sent nothing is not logged.
    files.told(4, "in the middle of a request head").await;
}

#[tokio::test]
async fn a_malformed_request_has_a_line_in_the_log() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &[]).await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(70_000));
    for (request, status, line) in [
        ("GET /\x01 HTTP/1.1\r\nhost: localhost\r\n\r\n", "400", "the request is not HTTP"),
        (&long, "414", "the request's URI is too long"),
    ] {
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        files.told(1, line).await;
        files.told(1, &format!("status={status}")).await;
    }
}

#[tokio::test]
async fn a_request_without_one_host_is_refused() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let options = ["--allowed-host", "*", "--list-models", "off"];
    let gateway = files.start(&vertex, &options).await;
    for (host, status) in [
        ("", 400),
        ("Host:\r\n", 400),
        ("Host: \t \r\n", 400),
        ("Host: x y\r\n", 400),
        ("Host: user@x\r\n", 400),
        ("Host: :80\r\n", 400),
        ("Host: http://x\r\n", 400),
        ("Host: x\r\nHost: x\r\n", 400),
        ("Host: x\r\n", 200),
        ("Host: localhost:8080\r\n", 200),
        ("Host: [::1]:8080\r\n", 200),
    ] {
        let request = format!("GET /v1/models HTTP/1.1\r\nConnection: close\r\n{host}\r\n");
        let answer = gateway.raw(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host:?}: {answer}");
        assert_eq!(answer.contains("malformed_request"), status == 400, "{host:?}: {answer}");
    }
    let answer = gateway.raw(b"GET /v1/models HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert_eq!(vertex.stats().api_requests, 0);

    // HPACK (RFC 7541): GET, http and the path /v1/models. `:authority: x`, `host: x` or another
    // host follows.
    let request = |fields: &[u8]| {
        let block = [b"\x82\x86\x04\x0a/v1/models", fields].concat();
        let length = u8::try_from(block.len()).unwrap();
        let headers = [&[0, 0, length, 1, 0x05, 0, 0, 0, 1], &block[..]].concat();
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &headers[..]].concat()
    };
    let (authority, host, other) = (b"\x01\x01x", b"\x0f\x17\x01x", b"\x0f\x17\x01y");
    for (fields, status) in [
        (&b""[..], 0x8c),
        (&[&authority[..], other].concat(), 0x8c),
        (&[&host[..], other].concat(), 0x8c),
        (authority, 0x88),
        (host, 0x88),
        (&[&authority[..], host].concat(), 0x88),
    ] {
        let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
        socket.write_all(&request(fields)).await.unwrap();
        // Reads frames up to the HEADERS of the stream. The status is its first field.
        let status_of = async {
            loop {
                let mut head = [0; 9];
                socket.read_exact(&mut head).await.unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                socket.read_exact(&mut payload).await.unwrap();
                match head[3] {
                    1 => return payload[0],
                    // GOAWAY: a refusal closes its connection without an error.
                    7 if payload[4..8] == [0; 4] => {}
                    3 | 7 => panic!("reset: {payload:?}"),
                    _ => {}
                }
            }
        };
        assert_eq!(in_time("headers", status_of).await, status, "{fields:?}");
    }
}
