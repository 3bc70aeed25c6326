//! Web pages that may send requests, and the headers that their browsers get. Health checks, which
//! have no key either.

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;
use tower_vertex_emulator::Emulator;

use super::{ALICE, Files, bearer, connections::Two};
use crate::common::{
    Http, chat, chat_stream,
    gateway::{Gateway, command, openai_error},
    in_time, said, text,
};

const APP: &str = "https://app.example";

/// Adds these headers to a request.
fn with(
    mut request: Request<Full<Bytes>>,
    headers: &[(&'static str, &str)],
) -> Request<Full<Bytes>> {
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
    }
    request
}

/// The preflight request that a browser sends before a chat of a page of `origin`.
fn preflight(origin: &str) -> Request<Full<Bytes>> {
    let request = Request::options("/v1/chat/completions").body(Full::default()).unwrap();
    with(
        request,
        &[
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type,x-stainless-lang"),
            ("access-control-request-private-network", "true"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "cors"),
        ],
    )
}

/// All kinds of requests that a page can make a browser send.
fn of_a_page() -> Vec<Request<Full<Bytes>>> {
    let get = |path: &str| Request::get(path).body(Full::default()).unwrap();
    let mut form = chat("x");
    form.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    vec![chat("x"), form, chat_stream("x"), get("/v1/responses/r"), get("/v1/models"), get("/")]
}

async fn is_refused(gateway: &Gateway, mut request: Request<Full<Bytes>>, with: &str) {
    for http in [Http::One, Http::Two] {
        let (status, code, message) =
            openai_error(gateway.call_over(http, &mut request).await).await;
        if http == Http::Two && with == "host_not_allowed" {
            // Over HTTP/2 this host differs from the `:authority`, which this client takes from the
            // address.
            assert_eq!((status, code.as_str()), (400, "malformed_request"), "{message}");
            continue;
        }
        assert_eq!((status, code.as_str()), (403, with), "{http:?} {request:?}: {message}");
        let remedy = if with == "host_not_allowed" { "--allowed-host" } else { "--cors-origin" };
        assert!(message.contains(remedy), "{message}");
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused_and_nothing_goes_upstream() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &[]).await;
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "0.0.0.0", "x"] {
        for request in of_a_page() {
            let origin = format!("http://{host}");
            is_refused(&gateway, with(request.clone(), &[("host", host)]), "host_not_allowed")
                .await;
            let own = with(request, &[("host", host), ("origin", &origin)]);
            is_refused(&gateway, own, "host_not_allowed").await;
        }
    }
    for host in ["evil.example", "127.0.0.1.evil.example"] {
        for request in of_a_page() {
            let mut browser = Two::connect(&gateway, 1 << 16).await;
            assert_eq!(browser.ask_at(host, request).await.status(), 403, "{host}");
        }
    }
    assert_eq!(vertex.stats().api_requests, 0);
    files.told(1, "host_not_allowed").await;
    let port = gateway.addr.port();
    for host in [format!("localhost:{port}"), format!("app.localhost:{port}"), "[::1]".to_owned()] {
        let answer = gateway.call(with(chat("x"), &[("host", &host)])).await;
        assert_eq!(answer.status(), 200, "{host}");
    }

    let options = ["--allowed-host", "gateway.example,*.b.example", "--allowed-host", "gateway"];
    let gateway = files.start(&vertex, &options).await;
    for host in ["gateway.example:443", "a.b.example", "gateway:8080"] {
        let answer = gateway.call(with(chat("x"), &[("host", host)])).await;
        assert_eq!(answer.status(), 200, "{host}");
    }
    is_refused(&gateway, with(chat("x"), &[("host", "evil.example")]), "host_not_allowed").await;
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_and_nothing_goes_upstream() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let gateway = files.start(&vertex, &["--cors-origin", APP]).await;
    let cross = ("sec-fetch-site", "cross-site");
    for headers in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:1")],
        &[cross],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "http://evil.example"), cross],
        &[("origin", "https://app.example.evil.example"), cross],
        &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ],
        &[("origin", APP), ("origin", "http://evil.example")],
    ] {
        for request in of_a_page() {
            is_refused(&gateway, with(request, headers), "origin_not_allowed").await;
        }
    }
    is_refused(&gateway, preflight("http://evil.example"), "origin_not_allowed").await;
    assert_eq!(vertex.stats().api_requests, 0);
    files.told(1, "origin_not_allowed").await;
    // A request of the user, one of a page of this server, and one of a client that is no browser.
    let own = format!("http://{}", gateway.addr);
    for headers in [
        &[("sec-fetch-site", "none")][..],
        &[("sec-fetch-site", "same-origin"), ("origin", own.as_str())],
        &[("origin", own.as_str())],
        &[("sec-fetch-mode", "cors")],
    ] {
        assert_eq!(gateway.call(with(chat("x"), headers)).await.status(), 200, "{headers:?}");
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_reads_responses_streams_and_refusals() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    for options in [&[][..], &["--client-key-file", &keys]] {
        let all =
            [&["--cors-origin", "https://other.example", "--cors-origin", APP], options].concat();
        let gateway = files.start(&vertex, &all).await;
        let answer = gateway.call(preflight(APP)).await;
        assert_eq!(answer.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", APP),
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            ("access-control-allow-headers", "authorization,content-type,x-stainless-lang"),
            ("access-control-allow-private-network", "true"),
            ("vary", "origin"),
        ] {
            assert_eq!(answer.headers()[name], value);
        }
        assert_eq!(text(answer).await, "");
        let page = [("origin", APP), ("sec-fetch-site", "cross-site")];
        let of_page = |mut request: Request<Full<Bytes>>| {
            request.headers_mut().insert("authorization", bearer(ALICE));
            with(request, &page)
        };
        let files_list = Request::get("/v1/files").body(Full::default()).unwrap();
        for (request, status) in
            [(chat("x"), 200), (chat_stream("a b"), 200), (files_list.clone(), 404)]
        {
            let answer = gateway.call(of_page(request)).await;
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()["access-control-allow-origin"], APP);
            let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
            for name in ["x-request-id", "retry-after", "x-vertex-gateway-attempts"] {
                assert!(exposed.contains(name), "{exposed}");
            }
            let varies = answer.headers().get_all("vary");
            assert!(varies.iter().any(|name| name == "origin"), "{varies:?}");
            let body = text(answer).await;
            assert!(!body.starts_with("data:") || said(&body).is_some(), "{body}");
        }
        // A cache must not return this response to a page.
        let answer =
            gateway.call(with(files_list, &[("authorization", &format!("Bearer {ALICE}"))])).await;
        assert_eq!(answer.headers()["vary"], "origin");
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
    assert_eq!(vertex.stats().api_requests, 4);
}

#[tokio::test]
async fn options_is_not_forwarded_and_needs_no_key() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let keys = files.path("keys");
    for options in [&[][..], &["--client-key-file", &keys]] {
        let gateway = files.start(&vertex, options).await;
        let request = Request::options("/v1/chat/completions").body(Full::default()).unwrap();
        let answer = gateway.call(request).await;
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.headers()["allow"], "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        is_refused(&gateway, preflight(APP), "origin_not_allowed").await;
    }
    // If clients need keys, `*` admits every page.
    let options = ["--client-key-file", &keys, "--cors-origin", "*"];
    let gateway = files.start(&vertex, &options).await;
    let answer = gateway.call(preflight("null")).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["access-control-allow-origin"].as_bytes()),
        (204, &b"*"[..])
    );
    assert_eq!(vertex.stats().api_requests, 0);
}

#[tokio::test]
async fn every_origin_is_allowed_only_if_clients_need_keys() {
    for args in [
        ["--cors-origin", "*"],
        ["--cors-origin", "app.example"],
        ["--cors-origin", "null"],
        ["--allowed-host", "https://gateway.example"],
        ["--health-path", "healthz"],
    ] {
        let all = [&["--emulator", "--listen", "127.0.0.1:0"][..], &args].concat();
        let output = in_time("the end of the process", command(&all).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(args[0]), "{said}");
    }
}

#[tokio::test]
async fn names_that_no_page_can_have_reach_an_open_sidecar() {
    let args = ["--emulator", "--listen", "0.0.0.0:0", "--allow-unauthenticated"];
    let gateway = Gateway::start(command(&args)).await;
    for host in ["gateway:8080", "gateway.team.svc.cluster.local", "10.0.0.7:8080", "0.0.0.0"] {
        let answer = gateway.call(with(chat("x"), &[("host", host)])).await;
        assert_eq!(answer.status(), 200, "{host}");
    }
    is_refused(&gateway, with(chat("x"), &[("host", "evil.example")]), "host_not_allowed").await;
    is_refused(
        &gateway,
        with(chat("x"), &[("origin", "http://evil.example")]),
        "origin_not_allowed",
    )
    .await;
}

#[tokio::test]
async fn a_health_check_needs_no_key_and_has_no_line_in_the_log() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::with_keys());
    let options = ["--client-key-file", &files.path("keys"), "--drain-delay", "60"];
    let gateway = files.start(&vertex, &options).await;
    let ask = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Full::default());
        with(request.unwrap(), &[("host", "10.0.0.7")])
    };
    assert_eq!(gateway.call(ask("GET", "/healthz")).await.status(), 401);
    drop(gateway);

    let options = [&options[..], &["--health-path", "/healthz"]].concat();
    let mut gateway = files.start(&vertex, &options).await;
    for method in ["GET", "HEAD"] {
        let answer = gateway.call(ask(method, "/healthz")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(text(answer).await, "");
    }
    for (method, path) in [("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/v1/models")] {
        assert_eq!(gateway.call(ask(method, path)).await.status(), 401, "{method} {path}");
    }
    files.told(3, "status=401").await;
    assert!(!files.log().contains("status=200"), "{}", files.log());
    assert_eq!(vertex.stats().api_requests, 0);

    gateway.terminate();
    let draining = async {
        while gateway.call(ask("GET", "/healthz")).await.status() != 503 {
            tokio::task::yield_now().await;
        }
    };
    in_time("a failing health check", draining).await;
    assert!(gateway.ended_at_once().await.success());
}
