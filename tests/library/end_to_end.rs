//! The stack against the emulator, on real sockets, with the real `gcp_auth`. The tests check the
//! counters of the emulator.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, channel::Channel};
use ring::digest::{SHA256, digest};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_vertex::{
    BoxError, Error,
    auth::RefreshOutcome,
    replay::ReplayBody,
    route::{Endpoint, Upstream, VertexRouteLayer},
    token::{AccessToken, TokenCache, TokenSource, token_fn},
};
use tower_vertex_emulator::{
    ApiFault, Emulator, EndpointInfo, Faults, LiteralResponse, StreamBehavior, TokenBehavior,
    TokenFault,
};

use crate::common::{
    Http, auth, chat, chat_stream, client, eventually, key_source, stack, text, upstream,
};

async fn emulator() -> Emulator {
    // A thousand connections have both ends in this process.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    Emulator::start().await.unwrap()
}

#[tokio::test]
async fn a_chat_succeeds_with_only_a_key() {
    let vertex = emulator().await;
    let service = stack(&vertex, key_source(&vertex), Http::One);
    let answer = service.oneshot(chat("good morning")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(text(answer).await.contains("You said: good morning"));

    let seen = &vertex.requests()[0];
    assert_eq!(
        seen.path,
        "/v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions"
    );
    assert!(!seen.header_names.iter().any(|name| name.starts_with("openai")));
    assert_eq!(vertex.stats().token_mints, 1);
}

async fn all_succeed(vertex: &Emulator, service: &crate::common::Stack<Full<Bytes>>, count: usize) {
    let calls: Vec<_> = (0..count)
        .map(|number| tokio::spawn(service.clone().oneshot(chat(&format!("number {number}")))))
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{number}: {:?}", vertex.stats());
        assert!(text(answer).await.contains(&format!("You said: number {number}\"")));
    }
}

/// The number of times that each body arrived.
fn sendings(vertex: &Emulator) -> HashMap<String, usize> {
    let mut sendings = HashMap::new();
    for body in vertex.requests().into_iter().filter_map(|request| request.body_sha256) {
        *sendings.entry(body).or_default() += 1;
    }
    sendings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_heal_a_revocation_with_one_mint() {
    let vertex = emulator().await;
    let service = stack(&vertex, key_source(&vertex), Http::One);
    service.clone().oneshot(chat("warm")).await.unwrap();
    vertex.revoke_tokens();
    vertex.reset_stats();

    all_succeed(&vertex, &service, 1000).await;
    let stats = vertex.stats();
    assert_eq!(stats.token_mints, 1, "{stats:?}");
    assert_eq!(stats.by_status[&200], 1000);
    assert!(stats.by_status[&401] >= 1 && stats.by_status[&401] <= 1000, "{stats:?}");
    assert_eq!(stats.api_requests, 1000 + stats.by_status[&401]);
    let sendings = sendings(&vertex);
    assert_eq!(sendings.len(), 1000);
    assert!(sendings.values().all(|times| *times <= 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_under_load_fails_no_request() {
    let vertex = emulator().await;
    let service = stack(&vertex, key_source(&vertex), Http::One);
    service.clone().oneshot(chat("warm")).await.unwrap();
    vertex.reset_stats();
    let load: Vec<_> = (0..50)
        .map(|client| {
            let service = service.clone();
            tokio::spawn(async move {
                for number in 0..40 {
                    let answer =
                        service.clone().oneshot(chat(&format!("{client} {number}"))).await.unwrap();
                    assert_eq!(answer.status(), StatusCode::OK);
                    text(answer).await;
                }
            })
        })
        .collect();
    for served in [400, 1200] {
        eventually("the load continues", || vertex.stats().by_status.get(&200) >= Some(&served))
            .await;
        vertex.revoke_tokens();
    }
    for client in load {
        client.await.unwrap();
    }
    let stats = vertex.stats();
    assert_eq!(stats.by_status[&200], 2000, "{stats:?}");
    assert_eq!(stats.token_mints, 2, "one for each revocation: {stats:?}");
    assert!(sendings(&vertex).values().all(|times| *times <= 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_with_a_thousand_requests_costs_one_mint() {
    let vertex = emulator().await;
    vertex.set_token_behavior(TokenBehavior {
        delay: Duration::from_millis(200),
        ..TokenBehavior::default()
    });
    let service = stack(&vertex, key_source(&vertex), Http::One);
    all_succeed(&vertex, &service, 1000).await;
    let stats = vertex.stats();
    assert_eq!((stats.token_mints, stats.api_requests), (1, 1000), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_that_started_a_fetch_can_leave_at_the_cost_of_one_mint() {
    let vertex = emulator().await;
    vertex.set_token_behavior(TokenBehavior {
        delay: Duration::from_millis(300),
        ..TokenBehavior::default()
    });
    let service = stack(&vertex, key_source(&vertex), Http::One);
    let mut leader = Box::pin(service.clone().oneshot(chat("leader")));
    assert!(futures_poll(leader.as_mut()), "the request waits for the token");
    let followers = tokio::spawn({
        let service = service.clone();
        async move { service.oneshot(chat("follower")).await.unwrap().status() }
    });
    tokio::task::yield_now().await;
    drop(leader);
    assert_eq!(followers.await.unwrap(), StatusCode::OK);
    all_succeed(&vertex, &service, 100).await;
    let stats = vertex.stats();
    assert_eq!((stats.token_mints, stats.api_requests), (1, 101), "{stats:?}");
}

/// Polls once, and returns whether the future is pending.
fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
}

/// 20 MiB, the limit of Gemini's endpoint.
const LARGEST: usize = 20 << 20;

/// A chat of exactly this many bytes.
fn chat_of(length: usize) -> Bytes {
    let (head, tail) =
        (r#"{"model":"google/gemini-2.5-flash","messages":[{"role":"user","content":""#, r#""}]}"#);
    let filling = length - head.len() - tail.len();
    [head.as_bytes(), &b"0123456789abcdef".repeat(filling / 16 + 1)[..filling], tail.as_bytes()]
        .concat()
        .into()
}

/// A source whose tokens come directly from the emulator.
fn minted_by(vertex: &Arc<Emulator>) -> impl TokenSource {
    let vertex = Arc::clone(vertex);
    token_fn(move |_| {
        let token = vertex.mint();
        async move { Ok(AccessToken::new(token, Some(Duration::from_secs(3600)))?) }
    })
}

/// Uploads bodies in 1,000 frames, each of which gets a 401 after its first frame. Every tenth has 20 MiB, and the
/// others fit into the buffers of the sockets.
async fn uploads_are_healed(http: Http, rounds: u64) {
    let vertex = Arc::new(emulator().await);
    let cache = TokenCache::builder().forced_refreshes(u32::MAX, Duration::ZERO);
    let service = ServiceBuilder::new()
        .layer(VertexRouteLayer::new(upstream(&vertex)))
        .layer(auth(&vertex, cache.build(minted_by(&vertex))))
        .service(client(http));
    let bodies = [LARGEST, 1 << 20].map(|length| {
        let body = chat_of(length);
        let hex = |byte: &u8| format!("{byte:02x}");
        let hash: String = digest(&SHA256, &body).as_ref().iter().map(hex).collect();
        (body, hash)
    });

    for round in 1..=rounds {
        let (whole, expected) = &bodies[usize::from(round % 10 != 1)];
        vertex.revoke_tokens();
        let (mut upload, body) = Channel::<Bytes, BoxError>::new(4);
        let request = Request::post("/v1/chat/completions").body(body).unwrap();
        let call = tokio::spawn(service.clone().oneshot(request));
        let mut frames =
            whole.chunks(whole.len().div_ceil(1000)).map(|chunk| whole.slice_ref(chunk));
        upload.send_data(frames.next().unwrap()).await.unwrap();
        // The token of the first round is minted after the revocation.
        let rejections = || vertex.stats().by_status.get(&401).copied().unwrap_or(0);
        eventually("the 401", || rejections() >= round - 1).await;
        for frame in frames {
            upload.send_data(frame).await.unwrap();
        }
        drop(upload);
        let answer = call.await.unwrap().unwrap();
        let (status, outcome) =
            (answer.status(), answer.extensions().get::<RefreshOutcome>().cloned());
        let answer = text(answer).await;
        assert_eq!(
            status,
            StatusCode::OK,
            "{http:?} round {round}: {}",
            &answer[..answer.len().min(500)]
        );
        assert_eq!(outcome.is_some(), round > 1);
        assert!(answer.contains("This is the Vertex AI emulator"));
        let arrived = vertex.requests().pop().unwrap();
        assert_eq!(
            arrived.body_sha256.as_deref(),
            Some(expected.as_str()),
            "{http:?} round {round}"
        );
        assert_eq!(arrived.body_length, Some(whole.len() as u64));
    }
    let stats = vertex.stats();
    assert_eq!(stats.by_status[&200], rounds);
    assert_eq!(stats.by_status[&401], rounds - 1);
    // Over HTTP/1.1 a failed upload closes its connection.
    eventually("no connection leaks", || vertex.stats().connections <= 2).await;
    if http == Http::Two {
        assert_eq!(vertex.stats().connections_total, 1, "only streams were reset");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_in_the_middle_of_an_upload_is_healed_over_http1() {
    uploads_are_healed(Http::One, 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_in_the_middle_of_an_upload_is_healed_over_http2() {
    uploads_are_healed(Http::Two, 201).await;
}

#[tokio::test]
async fn a_permanent_401_is_returned_byte_for_byte() {
    let vertex = emulator().await;
    vertex.set_faults(Faults { api: Some(ApiFault::new(401)), ..Faults::default() });
    let direct = client(Http::One)
        .request(
            Request::post(format!("{}/chat/completions", upstream(&vertex).uri()))
                .body(ReplayBody::plain(Full::<Bytes>::default()))
                .unwrap(),
        )
        .await
        .unwrap();
    let expected = (direct.headers()["www-authenticate"].clone(), text(direct).await);
    assert!(expected.1.contains("UNAUTHENTICATED"));

    let service = stack(&vertex, key_source(&vertex), Http::One);
    for number in 0..20 {
        let answer = service.clone().oneshot(chat("x")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()["www-authenticate"], expected.0, "{number}");
        assert_eq!(text(answer).await, expected.1, "{number}");
    }
    // These are the first token and three forced ones.
    assert_eq!(vertex.stats().token_mints, 4);
}

#[tokio::test]
async fn a_revoked_token_that_the_metadata_server_repeats_is_returned_as_a_401() {
    let vertex = emulator().await;
    vertex
        .set_token_behavior(TokenBehavior { same_until_expiry: true, ..TokenBehavior::default() });
    let service = stack(&vertex, key_source(&vertex), Http::One);
    assert_eq!(service.clone().oneshot(chat("x")).await.unwrap().status(), StatusCode::OK);
    vertex.revoke_tokens();
    let answer = service.clone().oneshot(chat("x")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(matches!(answer.extensions().get(), Some(RefreshOutcome::SameToken)));
    assert_eq!(vertex.stats().token_mints, 1);
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_fails_no_request_while_the_token_is_valid() {
    let vertex = emulator().await;
    vertex.set_token_behavior(TokenBehavior { expires_in: 600.into(), ..TokenBehavior::default() });
    // The token is due for a refresh at once, and stays valid for minutes.
    let cache =
        TokenCache::builder().refresh_before(Duration::from_secs(300)).build(key_source(&vertex));
    let service = auth(&vertex, cache).layer(client(Http::One));
    let mut service = VertexRouteLayer::new(upstream(&vertex)).layer(service);
    service.ready().await.unwrap().call(chat("x")).await.unwrap();
    let fail = TokenFault { status: 503, times: None };
    vertex.set_token_behavior(TokenBehavior { fail: Some(fail), ..TokenBehavior::default() });
    for _ in 0..50 {
        let answer = service.ready().await.unwrap().call(chat("x")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn no_response_of_a_token_endpoint_causes_a_panic_a_hang_or_a_loop() {
    let literal = |status, content_type: &str, body: &str| LiteralResponse {
        status,
        content_type: Some(content_type.into()),
        headers: [("location".to_owned(), "https://evil.example/token".to_owned())].into(),
        body: body.into(),
    };
    let json = |body: &str| literal(200, "application/json", body);
    let with_life = |life: &str| {
        json(&format!(r#"{{"access_token":"ya29.x","expires_in":{life},"token_type":"Bearer"}}"#))
    };
    for (name, answer, text) in [
        ("html", literal(200, "text/html", "<html>SECRETBODY</html>"), "is not a JSON object"),
        ("nothing", json(""), "is not a JSON object"),
        ("empty token", json(r#"{"access_token":"","expires_in":3600}"#), "empty access token"),
        ("no token", json(r#"{"expires_in":3600}"#), r#"has no "access_token""#),
        ("newline", json(r#"{"access_token":"a\nb","expires_in":3600}"#), "line break"),
        ("a string", json(r#""ya29.SECRETBODY""#), "is not a JSON object"),
        ("life 0", with_life("0"), "already expired"),
        ("life -1", with_life("-1"), r#"an "expires_in" that is not a number of seconds"#),
        ("life in words", with_life(r#""an hour""#), "not a number of seconds"),
        ("life 1e400", with_life("1e400"), "is not a JSON object"),
        (
            "another type",
            json(r#"{"access_token":"SECRETBODY","expires_in":3600,"token_type":"mac"}"#),
            r#"a "token_type" that is not Bearer"#,
        ),
        ("redirect", literal(302, "text/html", "moved"), "302"),
        (
            "refused",
            literal(
                400,
                "application/json",
                r#"{"error":"invalid_grant","error_description":"SECRETBODY"}"#,
            ),
            "400 with \"invalid_grant\"",
        ),
        (
            "not a code",
            literal(400, "application/json", r#"{"error":"SECRETBODY"}"#),
            "returned 400",
        ),
    ] {
        let vertex = emulator().await;
        vertex.set_token_behavior(TokenBehavior {
            respond: Some(answer),
            ..TokenBehavior::default()
        });
        let service = stack(&vertex, key_source(&vertex), Http::One);
        for _ in 0..100 {
            let error = service.clone().oneshot(chat("x")).await.unwrap_err();
            let error = error.downcast_ref::<Error>().expect("an error of this crate");
            assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(text), "{name}: {shown}");
            assert!(!shown.contains("SECRETBODY"), "{name}: {shown}");
        }
        // One fetch sends up to four requests.
        assert!(vertex.stats().token_requests <= 4, "{name}: {:?}", vertex.stats());
        // No failure is permanent: requests succeed again after the pause.
        vertex.set_token_behavior(TokenBehavior::default());
        let healed = async {
            while service.clone().oneshot(chat("x")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), healed).await.expect(name);
    }
}

#[tokio::test]
async fn a_fetch_from_a_token_endpoint_that_hangs_times_out() {
    let vertex = emulator().await;
    vertex.set_token_behavior(TokenBehavior { hang: true, ..TokenBehavior::default() });
    let cache = TokenCache::builder()
        .fetch_timeout(Duration::from_millis(200))
        .backoff(Duration::ZERO, Duration::ZERO)
        .build(key_source(&vertex));
    assert!(cache.warm_up().await.unwrap_err().to_string().contains("within 200ms"));
    vertex.set_token_behavior(TokenBehavior::default());
    // On a busy machine, a fetch may take longer than the limit.
    for _ in 0..100 {
        if cache.warm_up().await.is_ok() {
            return;
        }
    }
    panic!("no fetch succeeds");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_and_not_the_fetch() {
    let vertex = emulator().await;
    let slow = StreamBehavior { first_byte_delay: Duration::from_secs(600), ..Default::default() };
    vertex.set_faults(Faults { stream: slow, ..Faults::default() });
    let service = stack(&vertex, key_source(&vertex), Http::One);
    let call = tokio::spawn(service.clone().oneshot(chat("x")));
    eventually("the request arrives", || vertex.stats().connections == 1).await;
    call.abort();
    eventually("the connection is closed", || vertex.stats().connections == 0).await;
    assert_eq!(vertex.stats().token_mints, 1);
}

#[tokio::test]
async fn a_stream_arrives_chunk_by_chunk_and_is_closed_with_its_reader() {
    for http in [Http::One, Http::Two] {
        let vertex = emulator().await;
        // With a minute between the chunks, the second one is not sent while this test runs.
        let stream = StreamBehavior {
            chunk_delay: Duration::from_secs(60),
            chunks: Some(20),
            ..StreamBehavior::default()
        };
        vertex.set_faults(Faults { stream, ..Faults::default() });
        let service = stack(&vertex, key_source(&vertex), http);
        let answer = service.oneshot(chat_stream("slowly")).await.unwrap();
        let mut body = answer.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(first.starts_with(b"data: {"), "{first:?}");
        assert_eq!(vertex.requests()[0].chunks_sent, 1);
        assert_eq!(vertex.stats().streams.open, 1);
        drop(body);
        eventually("the stream ends", || vertex.stats().streams.aborted == 1).await;
    }
}

#[tokio::test]
async fn a_deployed_endpoint_is_reached_at_its_id() {
    let vertex = emulator().await;
    vertex.set_endpoints([EndpointInfo::shared("1234567890", "mine")]);
    let upstream = Upstream::builder()
        .project("p1")
        .location("us-central1")
        .endpoint(Endpoint::Deployed { id: "1234567890".into() })
        .origin(vertex.url())
        .build()
        .unwrap();
    // The upstream of the request's extensions takes precedence over the layer's.
    let mut request = chat("to my own model");
    request.extensions_mut().insert(upstream);
    let service = stack(&vertex, key_source(&vertex), Http::One);
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let path = &vertex.requests()[0].path;
    assert_eq!(path, "/v1/projects/p1/locations/us-central1/endpoints/1234567890/chat/completions");
}
