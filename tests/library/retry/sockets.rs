//! The whole stack against the emulator, on real sockets. The tests check the records of the
//! emulator.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, channel::Channel};
use hyper::body::Incoming;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_vertex::{
    BoxError,
    auth::{RefreshOutcome, VertexAuth, VertexAuthLayer},
    error_format::{ErrorBody, VertexError, VertexErrorLayer},
    model::{ModelBody, ModelRoute, ModelTable, VertexModelLayer},
    replay::ReplayBody,
    retry::{
        AttemptOutcome, Attempts, GaveUp, Locations, RetryBudget, VertexRetry, VertexRetryLayer,
    },
    route::{Upstream, VertexRoute, VertexRouteLayer},
    token::{AccessToken, TokenCache, TokenSource, token_fn},
};
use tower_vertex_emulator::{ApiFault, Emulator, Faults, StreamBehavior};

use crate::common::{
    Http, HttpClient, chat, chat_stream, client, door::Door, eventually, upstream,
};

const MILLISECOND: Duration = Duration::from_millis(1);

type Kept<B> = ReplayBody<B>;
type Stack<B> = VertexRetry<VertexError<VertexRoute<VertexAuth<HttpClient<Kept<B>>>>>>;
type Answer = Response<ErrorBody<Incoming>>;

/// A layer with waits of a millisecond unless the response sets one, and with budget for all
/// retries.
fn quick() -> VertexRetryLayer {
    let ample = RetryBudget::new(Duration::from_secs(60), 1_000_000, 0.0);
    VertexRetryLayer::new().base_delay(MILLISECOND).retry_budget(ample)
}

fn source(vertex: &Arc<Emulator>) -> impl TokenSource {
    let vertex = Arc::clone(vertex);
    token_fn(move |_| {
        let token = vertex.mint();
        async move { Ok(AccessToken::new(token, Some(Duration::from_secs(3600)))?) }
    })
}

fn auth(vertex: &Arc<Emulator>) -> VertexAuthLayer {
    let cache = TokenCache::builder().forced_refreshes(u32::MAX, Duration::ZERO);
    VertexAuthLayer::with_cache(cache.build(source(vertex))).trust_origin(vertex.url()).unwrap()
}

fn stack<B>(layer: &VertexRetryLayer, vertex: &Arc<Emulator>, http: Http) -> Stack<B>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    over(layer, auth(vertex), upstream(vertex), http)
}

fn over<B>(
    layer: &VertexRetryLayer,
    auth: VertexAuthLayer,
    upstream: Upstream,
    http: Http,
) -> Stack<B>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let route = VertexRouteLayer::new(upstream);
    layer.layer(VertexErrorLayer::new().layer(route.layer(auth.layer(client(http)))))
}

async fn emulator() -> Arc<Emulator> {
    Arc::new(Emulator::start().await.unwrap())
}

fn failing(vertex: &Emulator, status: u16, times: Option<u64>) {
    failing_with_delay(vertex, status, times, None);
}

fn failing_with_delay(vertex: &Emulator, status: u16, times: Option<u64>, delay: Option<&str>) {
    let retry_delay = delay.map(str::to_owned);
    let fault = ApiFault { times, retry_delay, ..ApiFault::new(status) };
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
}

/// The location and the status of each request since the last call.
fn seen(vertex: &Emulator) -> Vec<(String, u16)> {
    let requests = vertex.requests();
    vertex.reset_stats();
    let location = |path: &str| path.split('/').nth(5).unwrap().to_owned();
    requests.iter().map(|request| (location(&request.path), request.status)).collect()
}

fn of(seen: &[(&str, u16)]) -> Vec<(String, u16)> {
    seen.iter().map(|(location, status)| ((*location).to_owned(), *status)).collect()
}

fn sha256(data: &[u8]) -> String {
    digest(&SHA256, data).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn text(answer: Answer) -> String {
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn stopped(answer: &Answer) -> Option<GaveUp> {
    answer.extensions().get::<Attempts>().and_then(Attempts::gave_up)
}

#[tokio::test]
async fn each_temporary_status_is_retried_and_counted() {
    for http in [Http::One, Http::Two] {
        let vertex = emulator().await;
        let service = stack(&quick(), &vertex, http);
        for status in [408, 429, 500, 502, 503, 504] {
            failing(&vertex, status, Some(2));
            let answer = service.clone().oneshot(chat("good morning")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{http:?} {status}");
            assert_eq!(answer.extensions().get::<Attempts>().unwrap().count(), 3);
            assert!(text(answer).await.contains("You said: good morning"));
            let expected = [status, status, 200].map(|status| ("us-central1", status));
            assert_eq!(seen(&vertex), of(&expected));

            failing(&vertex, status, None);
            let answer = service.clone().oneshot(chat("good morning")).await.unwrap();
            assert_eq!(answer.status(), status);
            assert_eq!(stopped(&answer), Some(GaveUp::MaxAttempts));
            let body: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
            assert_eq!(body["error"]["code"], status.to_string());
            assert_eq!(seen(&vertex).len(), 3);
        }
    }
}

#[tokio::test]
async fn a_permanent_status_is_returned_at_once() {
    let vertex = emulator().await;
    let service = stack(&quick(), &vertex, Http::One);
    for status in [400, 403, 404, 413] {
        failing(&vertex, status, None);
        let answer = service.clone().oneshot(chat("hello")).await.unwrap();
        assert_eq!((answer.status().as_u16(), stopped(&answer)), (status, None));
        assert_eq!(seen(&vertex), of(&[("us-central1", status)]));
    }
    // The auth layer has sent the request twice, and this layer once.
    failing(&vertex, 401, None);
    let answer = service.oneshot(chat("hello")).await.unwrap();
    assert!(matches!(answer.extensions().get(), Some(RefreshOutcome::Replayed)));
    assert!(answer.extensions().get::<Attempts>().is_none());
    assert_eq!(seen(&vertex).len(), 2);
}

#[tokio::test]
async fn the_retry_delay_of_google_is_waited_for() {
    for http in [Http::One, Http::Two] {
        let vertex = emulator().await;
        let service = stack(&quick(), &vertex, http);
        failing_with_delay(&vertex, 429, Some(1), Some("0.4s"));
        let begin = Instant::now();
        let answer = service.oneshot(chat("hello")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        // `Retry-After` is in whole seconds.
        assert!(begin.elapsed() >= Duration::from_secs(1));
        let attempts = answer.extensions().get::<Attempts>().unwrap().list();
        assert!(attempts[1].waited >= Duration::from_secs(1));
        assert_eq!(seen(&vertex), of(&[("us-central1", 429), ("us-central1", 200)]));
    }
}

/// This stack has no error layer, which would read errors to their end.
#[tokio::test]
async fn the_connection_of_a_failure_is_reused() {
    for http in [Http::One, Http::Two] {
        let vertex = emulator().await;
        failing(&vertex, 503, Some(2));
        let route = VertexRouteLayer::new(upstream(&vertex));
        let service = quick().layer(route.layer(auth(&vertex).layer(client(http))));
        let answer = service.oneshot(chat("hello")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(vertex.requests().len(), 3);
        assert_eq!(vertex.stats().connections_total, 1);
    }
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_left_to_the_caller() {
    let vertex = emulator().await;
    let service = stack(&VertexRetryLayer::new(), &vertex, Http::One);
    failing_with_delay(&vertex, 429, None, Some("39s"));
    let answer = service.oneshot(chat("hello")).await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "39");
    assert_eq!(stopped(&answer), Some(GaveUp::WaitTooLong(Duration::from_secs(39))));
    assert!(text(answer).await.contains("RESOURCE_EXHAUSTED"));
    assert_eq!(seen(&vertex), of(&[("us-central1", 429)]));
}

#[tokio::test]
async fn a_body_over_the_limit_and_a_spent_budget_are_not_retried() {
    let vertex = emulator().await;
    failing(&vertex, 503, None);
    for (layer, why) in [
        (quick().replay_limit(10), GaveUp::NotReplayable),
        (
            quick().retry_budget(RetryBudget::new(Duration::from_secs(1), 0, 0.0)),
            GaveUp::BudgetExhausted,
        ),
    ] {
        let answer = stack(&layer, &vertex, Http::One).oneshot(chat("hello")).await.unwrap();
        assert_eq!((answer.status().as_u16(), stopped(&answer)), (503, Some(why)));
        assert!(text(answer).await.contains("UNAVAILABLE"));
        assert_eq!(seen(&vertex), of(&[("us-central1", 503)]));
    }
}

/// The upload is 8 MiB in 1,000 frames. One frame is sent before each failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_has_every_byte_of_an_upload_that_was_still_running() {
    for http in [Http::One, Http::Two] {
        let vertex = emulator().await;
        let service = stack(&quick(), &vertex, http);
        let long = "x".repeat(8 << 20);
        let whole = chat(&long).into_body().collect().await.unwrap().to_bytes();
        let expected = sha256(&whole);
        for round in 0..20 {
            // The token is revoked, too: the auth layer replays within each attempt.
            vertex.revoke_tokens();
            failing(&vertex, 503, Some(2));
            let (mut upload, body) = Channel::<Bytes, BoxError>::new(4);
            let request = Request::post("/v1/chat/completions").body(body).unwrap();
            let attempts = Attempts::new();
            let (mut head, body) = request.into_parts();
            head.extensions.insert(attempts.clone());
            let call = tokio::spawn(service.clone().oneshot(Request::from_parts(head, body)));
            let mut frames =
                whole.chunks(whole.len().div_ceil(1000)).map(|chunk| whole.slice_ref(chunk));
            for failed in 1..=2 {
                upload.send_data(frames.next().unwrap()).await.unwrap();
                eventually("the next attempt", || attempts.count() > failed).await;
            }
            for frame in frames {
                upload.send_data(frame).await.unwrap();
            }
            drop(upload);
            let answer = call.await.unwrap().unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{http:?} round {round}");
            assert!(text(answer).await.contains("This is the Vertex AI emulator"));
            assert_eq!(attempts.count(), 3);
            let requests = vertex.requests();
            let last = requests.last().unwrap();
            assert_eq!(last.body_sha256.as_deref(), Some(&*expected), "{http:?} round {round}");
            assert_eq!(last.body_length, Some(whole.len() as u64));
            assert_eq!(requests.iter().filter(|request| request.status == 503).count(), 2);
            vertex.reset_stats();
        }
        eventually("no connection leaks", || vertex.stats().connections <= 2).await;
    }
}

#[tokio::test]
async fn a_stream_that_fails_is_not_retried() {
    for http in [Http::One, Http::Two] {
        let vertex = emulator().await;
        let service = stack(&quick(), &vertex, http);
        for cut_after in [0, 1, 3] {
            let stream = StreamBehavior { cut_after: Some(cut_after), ..StreamBehavior::default() };
            vertex.set_faults(Faults { stream, ..Faults::default() });
            let answer = service.clone().oneshot(chat_stream("hello")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(answer.extensions().get::<Attempts>().is_none());
            assert!(text(answer).await.contains("stream_interrupted"));
            assert_eq!(seen(&vertex), of(&[("us-central1", 200)]), "{http:?} {cut_after}");
        }
    }
}

#[tokio::test]
async fn a_refused_connection_is_retried_and_succeeds() {
    let vertex = emulator().await;
    let door = Door::new(SocketAddr::from(([127, 0, 0, 1], 0)), vertex.addr()).await;
    let layer = VertexRetryLayer::new();
    let auth = auth(&vertex).trust_origin(door.url()).unwrap();
    let behind = upstream(&vertex).to_builder().origin(door.url()).build().unwrap();
    let service = over(&layer, auth, behind, Http::One);
    let attempts = Attempts::new();
    let mut request = chat("good morning");
    request.extensions_mut().insert(attempts.clone());
    let call = tokio::spawn(service.oneshot(request));
    eventually("a refusal", || {
        attempts.list().first().is_some_and(|a| a.outcome == AttemptOutcome::Failed)
    })
    .await;
    // The retry follows in a second.
    door.open().await;
    let answer = call.await.unwrap().unwrap();
    assert!(text(answer).await.contains("You said: good morning"));
    assert_eq!(attempts.count(), 2);
    assert!(attempts.list()[1].waited >= Duration::from_secs(1));
    assert_eq!(seen(&vertex), of(&[("us-central1", 200)]));
}

#[tokio::test]
async fn a_closed_port_is_the_clients_own_error() {
    let vertex = emulator().await;
    let door = Door::new(SocketAddr::from(([127, 0, 0, 1], 0)), vertex.addr()).await;
    let auth = auth(&vertex).trust_origin(door.url()).unwrap();
    let behind = upstream(&vertex).to_builder().origin(door.url()).build().unwrap();
    let error = over(&quick(), auth, behind, Http::One).oneshot(chat("hello")).await.unwrap_err();
    let error = error.downcast_ref::<hyper_util::client::legacy::Error>().unwrap();
    assert!(error.is_connect());
}

/// A layer with the model `listed`, whose entry has these locations.
fn models(vertex: &Emulator, locations: &[&str]) -> VertexModelLayer {
    let listed = ModelRoute::new().model("gemini-2.5-flash").locations(locations.iter().copied());
    // The base is none of these locations. It is even `global`.
    let base = upstream(vertex).to_builder().location("global").build().unwrap();
    VertexModelLayer::new(ModelTable::builder(base).route("listed", listed).build().unwrap())
}

fn ask(model: &str) -> Request<Full<Bytes>> {
    let body = serde_json::json!({
        "model": model,
        "messages": [{ "role": "user", "content": "good morning" }],
    });
    Request::post("/v1/chat/completions").body(Full::from(body.to_string())).unwrap()
}

#[tokio::test]
async fn the_locations_of_a_model_are_tried_in_order_and_the_last_to_serve_is_tried_first() {
    for http in [Http::One, Http::Two] {
        let vertex = emulator().await;
        let stack: Stack<ModelBody<Full<Bytes>>> = stack(&quick(), &vertex, http);
        let list = ["us-central1", "us-east4", "europe-west4"];
        let mut service = models(&vertex, &list).layer(stack);
        let mut ask = async |model| {
            let answer = service.ready().await.unwrap().call(ask(model)).await.unwrap();
            let status = answer.status().as_u16();
            drop(text(answer).await);
            (status, seen(&vertex))
        };
        assert_eq!(ask("listed").await, (200, of(&[("us-central1", 200)])));
        failing(&vertex, 429, Some(1));
        let two = [("us-central1", 429), ("us-east4", 200)];
        assert_eq!(ask("listed").await, (200, of(&two)));
        assert_eq!(ask("listed").await, (200, of(&[("us-east4", 200)])));
        failing(&vertex, 503, Some(1));
        let two = [("us-east4", 503), ("europe-west4", 200)];
        assert_eq!(ask("listed").await, (200, of(&two)));
        assert_eq!(ask("listed").await, (200, of(&[("europe-west4", 200)])));
        // Requests go neither to unlisted locations nor to an ejected one.
        failing(&vertex, 503, None);
        let (status, seen) = ask("listed").await;
        assert_eq!((status, seen), (503, of(&[("europe-west4", 503); 3])));
        vertex.clear_faults();
        // Requests for other models are not affected.
        assert_eq!(ask("gemini-2.5-pro").await, (200, of(&[("global", 200)])));
    }
}

#[tokio::test]
async fn global_is_used_if_listed() {
    let vertex = emulator().await;
    let service =
        models(&vertex, &["us-central1", "global"]).layer(stack(&quick(), &vertex, Http::One));
    failing(&vertex, 429, Some(1));
    let answer = service.oneshot(ask("listed")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(seen(&vertex), of(&[("us-central1", 429), ("global", 200)]));
}

#[tokio::test]
async fn a_probe_leads_back_to_the_first_location() {
    let vertex = emulator().await;
    // The location's pause is over at once.
    let layer = quick().ejection_time(Duration::ZERO);
    let service =
        models(&vertex, &["us-central1", "us-east4"]).layer(stack(&layer, &vertex, Http::One));
    let both = of(&[("us-central1", 429), ("us-east4", 200)]);
    for _ in 0..3 {
        // The first round is an ordinary request, and the next ones are probes that fail.
        failing(&vertex, 429, Some(1));
        service.clone().oneshot(ask("listed")).await.unwrap();
        assert_eq!(seen(&vertex), both);
    }
    for _ in 0..3 {
        service.clone().oneshot(ask("listed")).await.unwrap();
        assert_eq!(seen(&vertex), of(&[("us-central1", 200)]));
    }
}

#[tokio::test]
async fn an_unreachable_location_is_ejected() {
    let vertex = emulator().await;
    let door = Door::new(SocketAddr::from(([127, 0, 0, 1], 0)), vertex.addr()).await;
    let away = upstream(&vertex).to_builder().origin(door.url()).build().unwrap();
    let here = upstream(&vertex).to_builder().location("us-east4").build().unwrap();
    let list = Locations::new([away.clone(), here]).unwrap();
    let auth = auth(&vertex).trust_origin(door.url()).unwrap();
    let service = over(&quick(), auth, away, Http::One);
    for expected in [2, 1, 1] {
        let attempts = Attempts::new();
        let mut request = chat("hello");
        request.extensions_mut().insert(list.clone());
        request.extensions_mut().insert(attempts.clone());
        let answer = service.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(attempts.count(), expected);
        assert_eq!(seen(&vertex), of(&[("us-east4", 200)]));
    }
}
