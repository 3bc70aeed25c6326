//! The response: its framing, its headers and its trailers.

use super::*;

#[tokio::test]
async fn a_response_with_a_length_and_chunks_ends_with_its_chunks() {
    const BODY: &str = r#"{"an":"answer, and all of it is there"}"#;
    let chunks = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    for status in ["200 OK", "500 Internal Server Error"] {
        for lengths in ["content-length: 5\r\n", "content-length: 500\r\n", "content-length: 1\r\n"]
        {
            for order in [
                format!("{lengths}transfer-encoding: chunked\r\n"),
                format!("Transfer-Encoding: chunked\r\n{lengths}"),
            ] {
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{order}\
                     connection: close, content-type\r\n\r\n{chunks}"
                );
                let upstream = Upstream::answering(&answer).await;
                let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
                for http in [Http::One, Http::Two] {
                    let answer = gateway.call_over(http, &mut chat("x")).await;
                    assert!(status.starts_with(answer.status().as_str()));
                    if let Some(length) = answer.headers().get("content-length") {
                        assert_eq!(length, &*BODY.len().to_string(), "{order}");
                    }
                    let body = in_time("the end of the response", answer.into_body().collect())
                        .await
                        .unwrap();
                    assert_eq!(body.to_bytes(), BODY, "{http:?} {order}");
                }
            }
        }
    }
}

#[tokio::test]
async fn equal_lengths_are_merged_and_conflicting_ones_are_a_502() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    for (headers, is_fine) in [
        ("content-length: 2\r\ncontent-length: 2\r\n", true),
        ("content-length: 2, 2\r\n", true),
        ("content-length: 2\r\ncontent-length: 3\r\n", false),
        ("content-length: +2\r\n", false),
        ("transfer-encoding: gzip, chunked\r\n", false),
        ("transfer-encoding: gzip\r\n", false),
        ("transfer-encoding: identity\r\ncontent-length: 2\r\n", false),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n{{}}");
        let upstream = Upstream::answering(&answer).await;
        let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
        let answer = gateway.call(chat("x")).await;
        if is_fine {
            assert_eq!(answer.status(), StatusCode::OK, "{headers}");
            let lengths: Vec<_> = answer.headers().get_all("content-length").iter().collect();
            assert_eq!(lengths, ["2"], "{headers}");
            assert_eq!(text(answer).await, "{}", "{headers}");
        } else {
            let (status, code, _) = openai_error(answer).await;
            assert_eq!((status, code.as_str()), (502, "upstream_reset"), "{headers}");
        }
    }
}

#[tokio::test]
async fn a_response_over_http_1_0_is_forwarded_over_http_1_1() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream =
        Upstream::answering("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{}").await;
    let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
    let body = r#"{"model":"m"}"#;
    let chat = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}\
         GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let answers = gateway.raw(chat.as_bytes()).await;
    assert_eq!(
        answers.matches("HTTP/1.1 200 OK").count(),
        2,
        "the connection stays open: {answers}"
    );
    assert!(!answers.contains("HTTP/1.0"), "{answers}");
}

#[tokio::test]
async fn headers_about_the_upstreams_own_host_are_not_forwarded() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let of_the_host = [
        "Alt-Svc: h3=\":443\"",
        "Set-Cookie: NID=S",
        "Strict-Transport-Security: max-age=31536000",
        "Public-Key-Pins: S",
        "Expect-CT: S",
        "NEL: S",
        "Report-To: S",
        "Reporting-Endpoints: S",
        "Clear-Site-Data: S",
        "Accept-CH: S",
        "Critical-CH: S",
        "Origin-Agent-Cluster: S",
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Credentials: true",
        "Cross-Origin-Opener-Policy-Report-Only: S",
        "Content-Security-Policy: S",
        "Permissions-Policy: S",
        "Timing-Allow-Origin: *",
        "Service-Worker-Allowed: /",
        "X-Accel-Redirect: /etc/passwd",
        "X-Sendfile: /etc/passwd",
        "X-Vertex-Gateway-Attempts: 77",
        "Proxy-Authenticate: Basic",
    ];
    for status in ["200 OK", "403 Forbidden"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\n{}\r\ncontent-type: application/json\r\nx-mine: kept\r\n\
             vary: origin\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}",
            of_the_host.join("\r\n")
        );
        let upstream = Upstream::answering(&answer).await;
        let gateway = files.start_to(&vertex, &upstream.url(), &["--compat", "off"]).await;
        for http in [Http::One, Http::Two] {
            let answer = gateway.call_over(http, &mut chat("x")).await;
            let mut names: Vec<_> = answer.headers().keys().map(http::HeaderName::as_str).collect();
            names.sort_unstable();
            names.retain(|name| !["date", "connection"].contains(name));
            let expected = [
                "content-length",
                "content-type",
                "vary",
                "x-mine",
                "x-request-id",
                "x-vertex-gateway-attempts",
            ];
            assert_eq!(names, expected, "{status} {http:?}");
            assert_eq!(answer.headers()["x-vertex-gateway-attempts"], "1");
        }
    }
}

#[tokio::test]
async fn trailers_of_the_upstream_are_not_forwarded() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    for trailers in
        ["Set-Cookie: NID=S\r\nX-Vertex-Gateway-Attempts: 77\r\n", "Connection: close\r\n"]
    {
        for kind in ["application/json", "text/event-stream"] {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\
                 trailer: set-cookie\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n{trailers}\r\n"
            );
            let upstream = Upstream::answering(&answer).await;
            let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
            for http in [Http::One, Http::Two] {
                let mut request = chat("x");
                request.headers_mut().insert("te", "trailers".parse().unwrap());
                let answer = gateway.call_over(http, &mut request).await;
                let body = in_time("the whole body", answer.into_body().collect()).await.unwrap();
                assert_eq!(body.trailers(), None, "{http:?} {kind}");
                assert_eq!(body.to_bytes(), "data: x\n\n", "{http:?} {kind}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_of_events_disables_buffering_in_proxies() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &[]).await;
    let answer = gateway.call(chat_stream("x")).await;
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    assert!(!gateway.call(chat("x")).await.headers().contains_key("x-accel-buffering"));
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\
         Cache-Control: private\r\nconnection: close\r\n\r\ndata: [DONE]\n\n",
    )
    .await;
    let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
    let answer = gateway.call(chat_stream("x")).await;
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    assert_eq!(answer.headers()["cache-control"], "private");
}
