//! The admin listener: health, readiness, and which requests it refuses.

use super::*;

#[tokio::test]
async fn a_sidecar_is_ready_while_its_token_is_valid() {
    let vertex = Emulator::start().await.unwrap();
    let failing = TokenBehavior {
        expires_in: json!(2),
        fail: Some(TokenFault { status: 503, times: None }),
        ..TokenBehavior::default()
    };
    vertex.set_token_behavior(failing.clone());
    let watched = Watched::start(&vertex, &[]).await;
    watched.until_readiness((503, "no access token yet")).await;
    assert_eq!(watched.admin("GET", "/healthz").await, (200, "ok\n".into()));
    let failed = [("reason", "cold"), ("outcome", "failed")];
    let metrics = watched.metrics_when("vertex_gateway_token_refreshes_total", &failed, 1.0).await;
    assert_eq!(metrics.sum("vertex_gateway_token_expires_in_seconds", &[]), 0.0);

    vertex.set_token_behavior(TokenBehavior { fail: None, ..failing.clone() });
    watched.until_readiness((200, "ready")).await;
    vertex.set_token_behavior(failing);
    watched.until_readiness((503, "has expired")).await;
}

#[tokio::test]
async fn a_draining_sidecar_is_not_ready_and_reports_so_until_its_end() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--drain-timeout", "0"]).await;
    watched.until_readiness((200, "ready")).await;
    let slow = StreamBehavior {
        chunk_delay: Duration::from_secs(600),
        chunks: Some(3),
        ..StreamBehavior::default()
    };
    pace(&vertex, slow);
    let answer = watched.call(chat_stream("x")).await;
    watched.gateway.terminate();
    watched.until_readiness((503, "draining")).await;
    assert_eq!(watched.admin("GET", "/healthz").await.0, 200);
    assert_eq!(watched.metrics().await.sum("vertex_gateway_requests_in_flight", &[]), 1.0);
    drop(answer);
    assert!(watched.gateway.ended().await.success());
}

#[tokio::test]
async fn the_admin_listener_serves_only_its_own_paths_and_methods() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(
            watched.admin("POST", path).await,
            (405, "only GET and HEAD\n".into()),
            "{path}"
        );
        assert_eq!(watched.admin("HEAD", path).await.1, "", "{path}");
    }
    assert_eq!(watched.admin("HEAD", "/healthz").await.0, 200);
    assert_eq!(watched.admin("GET", "/healthz?verbose").await.0, 200);
    for path in ["/v1/models", "/metrics/", "/healthz/x", "/status", "/status.json/"] {
        assert_eq!(watched.admin("GET", path).await.0, 404, "{path}");
    }
    // The listener for clients does not serve these paths.
    for path in ["/metrics", "/healthz", "/readyz"] {
        let request = Request::get(path).body(Full::default()).unwrap();
        assert_eq!(watched.call(request).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused_by_the_admin_listener() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &["--allowed-host", "metrics.example"]).await;
    for (host, status) in [("evil.example", 403), ("metrics.example", 200), ("localhost", 200)] {
        let request = Request::get("/metrics").header("host", host).body(Full::default()).unwrap();
        assert_eq!(call(watched.admin, request).await.status(), status, "{host}");
    }
}

#[tokio::test]
async fn an_unusable_admin_address_is_one_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (addr, said) in [
        ("nowhere", r#"invalid --admin-listen "nowhere""#),
        (&taken, "choose another address with --admin-listen"),
    ] {
        let args = ["--emulator", "--listen", "127.0.0.1:0", "--admin-listen", addr];
        let output = in_time("the end of the process", command(&args).output()).await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.lines().last().unwrap().contains(said), "{stderr}");
    }
}
