//! `VertexAuth` over a scripted inner service.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};
use tower_test::mock::{self, Mock, SendResponse};
use tower_vertex::{
    BoxError, Error,
    auth::{RefreshOutcome, VertexAuth, VertexAuthLayer},
    replay::ReplayBody,
    token::{AccessToken, StaticToken, TokenCache, token_fn},
};

const CHAT: &str = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions";

type Inner = Mock<Request<ReplayBody<Full<Bytes>>>, Response<Full<Bytes>>>;
type Handle = mock::Handle<Request<ReplayBody<Full<Bytes>>>, Response<Full<Bytes>>>;
type Reply = SendResponse<Response<Full<Bytes>>>;

/// A cache of tokens `t1`, `t2`, …, and the number of tokens so far.
fn tokens() -> (TokenCache, Arc<AtomicU32>) {
    let minted = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&minted);
    let cache = TokenCache::new(token_fn(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(AccessToken::new(format!("t{number}"), Some(Duration::from_secs(3600)))?) }
    }));
    (cache, minted)
}

fn stack(layer: VertexAuthLayer) -> (VertexAuth<Inner>, Handle) {
    let (inner, handle) = mock::pair();
    (layer.layer(inner), handle)
}

fn request(body: &'static str) -> Request<Full<Bytes>> {
    Request::post(CHAT)
        .header("authorization", "Bearer sk-placeholder")
        .header("authorization", "Bearer sk-second")
        .header("x-kept", "1")
        .header("x-kept", "2")
        .body(Full::new(body.into()))
        .unwrap()
}

fn start(
    service: &VertexAuth<Inner>,
    request: Request<Full<Bytes>>,
) -> tokio::task::JoinHandle<Result<Response<Full<Bytes>>, BoxError>> {
    tokio::spawn(service.clone().oneshot(request))
}

/// The token and the body of the next request that reaches the inner service.
async fn arrived(handle: &mut Handle) -> (String, String, Reply) {
    let (request, reply) = handle.next_request().await.unwrap();
    let values: Vec<_> = request.headers().get_all("authorization").iter().collect();
    assert_eq!(values.len(), 1, "the header is set, not added");
    assert!(values[0].is_sensitive());
    let token = values[0].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    assert_eq!(request.uri(), CHAT);
    assert_eq!(request.headers().get_all("x-kept").iter().collect::<Vec<_>>(), ["1", "2"]);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    (token, String::from_utf8(body.to_vec()).unwrap(), reply)
}

fn response(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    Response::builder().status(status).header("x-mark", body).body(Full::new(body.into())).unwrap()
}

async fn text(response: Response<Full<Bytes>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn the_callers_credential_is_replaced() {
    let (cache, _) = tokens();
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    let call = start(&service, request("hello"));
    let (token, body, reply) = arrived(&mut handle).await;
    assert_eq!((token.as_str(), body.as_str()), ("t1", "hello"));
    reply.send_response(response(200, "ok"));
    let answer = call.await.unwrap().unwrap();
    assert!(answer.extensions().get::<RefreshOutcome>().is_none());
    assert_eq!(text(answer).await, "ok");
}

#[tokio::test]
async fn a_401_is_healed_by_one_refresh_and_one_replay() {
    let (cache, minted) = tokens();
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    let call = start(&service, request("hello"));
    arrived(&mut handle).await.2.send_response(response(401, "expired"));
    let (token, body, reply) = arrived(&mut handle).await;
    assert_eq!((token.as_str(), body.as_str()), ("t2", "hello"));
    reply.send_response(response(200, "healed"));
    let answer = call.await.unwrap().unwrap();
    assert!(matches!(answer.extensions().get(), Some(RefreshOutcome::Replayed)));
    assert_eq!(text(answer).await, "healed");
    assert_eq!(minted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_second_401_goes_to_the_caller() {
    let (cache, minted) = tokens();
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    let call = start(&service, request("hello"));
    arrived(&mut handle).await.2.send_response(response(401, "first"));
    arrived(&mut handle).await.2.send_response(response(401, "second"));
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(answer).await, "second");
    assert_eq!(minted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_403_never_refreshes() {
    let (cache, minted) = tokens();
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    let call = start(&service, request("hello"));
    arrived(&mut handle).await.2.send_response(response(403, "denied"));
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(minted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_original_401_is_delivered_unchanged_when_the_token_stays_the_same() {
    let (service, mut handle) = stack(VertexAuthLayer::new(StaticToken::new("fixed").unwrap()));
    let call = start(&service, request("hello"));
    arrived(&mut handle).await.2.send_response(response(401, "original"));
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["x-mark"], "original");
    assert!(matches!(answer.extensions().get(), Some(RefreshOutcome::SameToken)));
    assert_eq!(text(answer).await, "original");
}

#[tokio::test]
async fn the_original_401_is_delivered_when_the_refresh_fails() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let cache = TokenCache::new(token_fn(move |_| {
        let first = first.swap(false, Ordering::SeqCst);
        async move {
            match first {
                true => Ok(AccessToken::new("t1", None)?),
                false => Err("the token endpoint is down".into()),
            }
        }
    }));
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    let call = start(&service, request("hello"));
    arrived(&mut handle).await.2.send_response(response(401, "original"));
    let answer = call.await.unwrap().unwrap();
    let Some(RefreshOutcome::Failed(error)) = answer.extensions().get() else { panic!() };
    assert!(error.to_string().contains("the token endpoint is down"));
    assert_eq!(text(answer).await, "original");
}

#[tokio::test]
async fn a_body_over_the_limit_is_sent_and_its_401_is_returned_after_a_refresh_was_started() {
    for limit in [0, 4] {
        let (cache, minted) = tokens();
        let layer = VertexAuthLayer::with_cache(cache).replay_limit(limit);
        let (service, mut handle) = stack(layer);
        let call = start(&service, request("hello"));
        let (_, body, reply) = arrived(&mut handle).await;
        assert_eq!(body, "hello");
        reply.send_response(response(401, "original"));
        let answer = call.await.unwrap().unwrap();
        assert!(matches!(answer.extensions().get(), Some(RefreshOutcome::NotReplayable)));
        assert_eq!(text(answer).await, "original");

        let call = start(&service, request("next"));
        let (token, _, reply) = arrived(&mut handle).await;
        assert_eq!(token, "t2", "the refresh was started nevertheless");
        reply.send_response(response(200, "ok"));
        call.await.unwrap().unwrap();
        assert_eq!(minted.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn without_budget_a_request_is_sent_but_not_replayed() {
    let (cache, _) = tokens();
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache).replay_budget(8));
    let call = start(&service, request("hello"));
    let (_, body, reply) = arrived(&mut handle).await;
    assert_eq!(body, "hello");
    reply.send_response(response(401, "original"));
    let answer = call.await.unwrap().unwrap();
    assert!(matches!(answer.extensions().get(), Some(RefreshOutcome::NotReplayable)));
}

#[tokio::test]
async fn an_empty_body_is_replayed_even_with_no_budget() {
    let (cache, _) = tokens();
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache).replay_budget(0));
    let call = start(&service, request(""));
    arrived(&mut handle).await.2.send_response(response(401, "original"));
    arrived(&mut handle).await.2.send_response(response(200, "healed"));
    assert_eq!(text(call.await.unwrap().unwrap()).await, "healed");
}

#[tokio::test]
async fn a_token_is_sent_to_no_untrusted_host() {
    let (cache, minted) = tokens();
    let (mut service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    for uri in ["https://evil.com/", "http://us-central1-aiplatform.googleapis.com/", "/v1/x"] {
        let request = Request::get(uri).body(Full::default()).unwrap();
        // Nothing is sent, and the service remains usable.
        handle.allow(1);
        let error = service.ready().await.unwrap().call(request).await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Error::UntrustedHost(_))), "{error}");
    }
    assert_eq!(minted.load(Ordering::SeqCst), 0, "not even a token is fetched");
}

#[tokio::test]
async fn the_error_of_an_unrouted_request_names_the_missing_outer_layer() {
    let (cache, _) = tokens();
    let (mut service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    for (uri, what) in [
        ("/v1/chat/completions", "the request has no host"),
        (
            "https://api.openai.com/v1/chat/completions",
            "the access token is not sent to \"https://api.openai.com\"",
        ),
    ] {
        let request = Request::post(uri).body(Full::default()).unwrap();
        handle.allow(1);
        let error = service.ready().await.unwrap().call(request).await.unwrap_err();
        let expected = format!("{what}: VertexRouteLayer belongs outside VertexAuthLayer");
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.downcast_ref::<Error>().unwrap().code(), "untrusted_host");
    }
}

#[tokio::test]
async fn an_origin_that_the_user_added_gets_the_token() {
    let (cache, _) = tokens();
    let layer = VertexAuthLayer::with_cache(cache).trust_origin("http://127.0.0.1:9").unwrap();
    let (service, mut handle) = stack(layer);
    let request = Request::get("http://127.0.0.1:9/x").body(Full::default()).unwrap();
    let call = start(&service, request);
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(request.headers()["authorization"], "Bearer t1");
    reply.send_response(response(200, ""));
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_quota_project_replaces_the_callers() {
    let (cache, _) = tokens();
    let layer = VertexAuthLayer::with_cache(cache).quota_project("payer").unwrap();
    let (service, mut handle) = stack(layer);
    let mut asked = request("x");
    asked.headers_mut().insert("x-goog-user-project", "caller".parse().unwrap());
    let call = start(&service, asked);
    for status in [401, 200] {
        let (request, reply) = handle.next_request().await.unwrap();
        let projects: Vec<_> = request.headers().get_all("x-goog-user-project").iter().collect();
        assert_eq!(projects, ["payer"]);
        reply.send_response(response(status, ""));
    }
    call.await.unwrap().unwrap();
    let error = VertexAuthLayer::new(StaticToken::new("t").unwrap()).quota_project("a\nb");
    assert!(error.unwrap_err().to_string().contains(r#""a\nb""#));
}

#[tokio::test]
async fn a_missing_token_fails_the_request_and_never_the_service() {
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let state = Arc::clone(&healthy);
    let cache =
        TokenCache::builder().backoff(Duration::ZERO, Duration::ZERO).build(token_fn(move |_| {
            let healthy = state.load(Ordering::SeqCst);
            async move {
                match healthy {
                    true => Ok(AccessToken::new("t1", None)?),
                    false => Err("the token endpoint is down".into()),
                }
            }
        }));
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    // An error of `poll_ready` would end the buffer.
    let (mut service, worker) = tower::buffer::Buffer::pair(service, 8);
    tokio::spawn(worker);
    handle.allow(2);
    let error = service.ready().await.unwrap().call(request("x")).await.unwrap_err();
    assert!(error.to_string().contains("the token endpoint is down"), "{error}");
    healthy.store(true, Ordering::SeqCst);
    let call = tokio::spawn(service.ready().await.unwrap().call(request("x")));
    arrived(&mut handle).await.2.send_response(response(200, "ok"));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn readiness_is_that_of_the_inner_service() {
    let (cache, _) = tokens();
    let (mut service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    handle.allow(0);
    let mut ready = tokio_test_task(&mut service);
    assert!(ready.is_none(), "the inner service has no room");
    handle.allow(1);
    ready = tokio_test_task(&mut service);
    assert!(matches!(ready, Some(Ok(()))));
    handle.send_error("gone");
    assert!(service.ready().await.is_err());
}

fn tokio_test_task(service: &mut VertexAuth<Inner>) -> Option<Result<(), BoxError>> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match service.poll_ready(&mut context) {
        std::task::Poll::Ready(ready) => Some(ready),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn the_replay_waits_until_its_own_service_is_ready() {
    let (cache, _) = tokens();
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    handle.allow(1);
    let call = start(&service, request("hello"));
    arrived(&mut handle).await.2.send_response(response(401, "expired"));
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!call.is_finished());
    handle.allow(1);
    arrived(&mut handle).await.2.send_response(response(200, "healed"));
    assert_eq!(text(call.await.unwrap().unwrap()).await, "healed");
}

#[tokio::test]
async fn an_error_of_the_inner_service_is_returned_unchanged() {
    let (cache, minted) = tokens();
    let (service, mut handle) = stack(VertexAuthLayer::with_cache(cache));
    let call = start(&service, request("hello"));
    arrived(&mut handle).await.2.send_error("connection reset");
    assert_eq!(call.await.unwrap().unwrap_err().to_string(), "connection reset");
    assert_eq!(minted.load(Ordering::SeqCst), 1);
}

#[test]
fn the_service_and_its_future_can_be_named_and_sent() {
    fn check<T: Send + Sync + Clone>() {}
    check::<VertexAuthLayer>();
    check::<VertexAuth<Inner>>();
    fn send<T: Send>() {}
    send::<<VertexAuth<Inner> as Service<Request<Full<Bytes>>>>::Future>();
}

#[tokio::test]
async fn extensions_reach_the_inner_service_by_default_and_no_further_without() {
    for (forward, expected) in [(None, Some(7)), (Some(true), Some(7)), (Some(false), None)] {
        let mut layer = VertexAuthLayer::with_cache(tokens().0);
        if let Some(forward) = forward {
            layer = layer.forward_extensions(forward);
        }
        let (service, mut handle) = stack(layer);
        let mut request = request("{}");
        request.extensions_mut().insert(7_u8);
        let call = start(&service, request);
        // The replay has them, too.
        for status in [401, 200] {
            let (request, reply) = handle.next_request().await.unwrap();
            assert_eq!(request.extensions().get::<u8>().copied(), expected, "{forward:?}");
            drop(request.into_body().collect().await.unwrap());
            reply.send_response(response(status, ""));
        }
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
}
