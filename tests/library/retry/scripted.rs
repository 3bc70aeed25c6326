//! The attempts, their times, and the result of the caller, with a scripted inner service and a
//! paused clock.

mod failover;

use self::failover::{listed, locations, script};

use std::{
    fmt, io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, channel::Channel};
use tokio::{task::JoinHandle, time::Instant};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock::{self, Mock, SendResponse};
use tower_vertex::{
    BoxError, Error,
    auth::VertexAuthLayer,
    error::{RouteError, TokenError},
    replay::ReplayBody,
    retry::{
        AttemptOutcome, Attempts, GaveUp, Locations, RetryBudget, VertexRetry, VertexRetryLayer,
    },
    route::Upstream,
    token::{AccessToken, token_fn},
};

type Inner = Mock<Request<ReplayBody<Full<Bytes>>>, Response<Full<Bytes>>>;
type Handle = mock::Handle<Request<ReplayBody<Full<Bytes>>>, Response<Full<Bytes>>>;
type Reply = SendResponse<Response<Full<Bytes>>>;
type Call = JoinHandle<Result<Response<Full<Bytes>>, BoxError>>;

const SECOND: Duration = Duration::from_secs(1);

/// A budget that never pays for a retry.
fn empty() -> RetryBudget {
    RetryBudget::new(SECOND, 0, 0.0)
}

/// A budget that never limits.
fn ample() -> RetryBudget {
    RetryBudget::new(60 * SECOND, 1_000_000, 0.0)
}

fn layer() -> VertexRetryLayer {
    VertexRetryLayer::new().retry_budget(ample())
}

fn stack(layer: &VertexRetryLayer) -> (VertexRetry<Inner>, Handle) {
    let (inner, handle) = mock::pair();
    (layer.layer(inner), handle)
}

fn request(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/v1/chat/completions?x=1")
        .version(Version::HTTP_10)
        .header("authorization", "Bearer sk-placeholder")
        .header("x-kept", "1")
        .header("x-kept", "2")
        .extension(7_u8)
        .body(Full::new(body.into()))
        .unwrap()
}

fn start(service: &VertexRetry<Inner>, request: Request<Full<Bytes>>) -> Call {
    tokio::spawn(service.clone().oneshot(request))
}

/// The next request that reaches the inner service: its location and its body.
async fn arrived(handle: &mut Handle) -> (Option<String>, String, Reply) {
    let (request, reply) = handle.next_request().await.unwrap();
    let (head, body) = request.into_parts();
    assert_eq!((head.method, head.version), (Method::POST, Version::HTTP_10));
    assert_eq!(head.uri, "/v1/chat/completions?x=1");
    assert_eq!(head.headers.get_all("x-kept").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(head.headers.get_all("authorization").iter().count(), 1);
    assert_eq!(head.extensions.get(), Some(&7_u8));
    let location = head.extensions.get::<Upstream>();
    let location = location.map(|upstream| upstream.location().unwrap().to_string());
    let body = body.collect().await.unwrap().to_bytes();
    (location, String::from_utf8(body.to_vec()).unwrap(), reply)
}

async fn reply(handle: &mut Handle, answer: Response<Full<Bytes>>) {
    arrived(handle).await.2.send_response(answer);
}

fn answer(status: u16) -> Response<Full<Bytes>> {
    answer_after(status, None)
}

fn answer_after(status: u16, retry_after: Option<&str>) -> Response<Full<Bytes>> {
    let mut answer = Response::builder().status(status).header("x-mark", "kept");
    if let Some(retry_after) = retry_after {
        answer = answer.header("retry-after", retry_after);
    }
    answer.body(Full::new(format!("body of a {status}").into())).unwrap()
}

async fn text(response: Response<Full<Bytes>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn attempts(response: &Response<Full<Bytes>>) -> &Attempts {
    response.extensions().get().expect("the request needed several attempts or failed")
}

/// Checks that the failure reaches the caller unchanged.
async fn is_untouched(response: Response<Full<Bytes>>, status: u16) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["x-mark"], "kept");
    assert_eq!(text(response).await, format!("body of a {status}"));
}

#[derive(Debug)]
struct Refused(u8);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection refused")
    }
}

impl std::error::Error for Refused {}

#[tokio::test(start_paused = true)]
async fn a_success_is_returned_unchanged_and_without_a_list_of_attempts() {
    let (service, mut handle) = stack(&layer());
    let call = start(&service, request("hello"));
    let (_, body, reply) = arrived(&mut handle).await;
    assert_eq!(body, "hello");
    reply.send_response(answer(200));
    let response = call.await.unwrap().unwrap();
    assert!(response.extensions().get::<Attempts>().is_none());
    is_untouched(response, 200).await;
}

#[tokio::test(start_paused = true)]
async fn temporary_errors_are_retried_and_permanent_ones_are_not() {
    let (service, mut handle) = stack(&layer());
    let passing = [408, 429, 500, 502, 503, 504];
    for status in (200..600).filter(|status| StatusCode::from_u16(*status).is_ok()) {
        let call = start(&service, request("hello"));
        reply(&mut handle, answer(status)).await;
        if passing.contains(&status) {
            reply(&mut handle, answer(200)).await;
            let response = call.await.unwrap().unwrap();
            assert_eq!(response.status(), 200, "{status}");
            let attempts = attempts(&response);
            let outcomes: Vec<_> = attempts.list().iter().map(|attempt| attempt.outcome).collect();
            let answered = |status| AttemptOutcome::Response(StatusCode::from_u16(status).unwrap());
            assert_eq!(outcomes, [answered(status), answered(200)]);
            assert_eq!(attempts.gave_up(), None);
        } else {
            let response = call.await.unwrap().unwrap();
            assert!(response.extensions().get::<Attempts>().is_none(), "{status}");
            is_untouched(response, status).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_connection_is_retried_and_the_caller_gets_the_last_error() {
    let (service, mut handle) = stack(&layer());
    let call = start(&service, request("hello"));
    arrived(&mut handle).await.2.send_error(Refused(1));
    reply(&mut handle, answer(200)).await;
    let response = call.await.unwrap().unwrap();
    assert_eq!(attempts(&response).list()[0].outcome, AttemptOutcome::Failed);

    let seen = Attempts::new();
    let mut failing = request("hello");
    failing.extensions_mut().insert(seen.clone());
    let call = start(&service, failing);
    for attempt in 1..=3 {
        let (_, body, reply) = arrived(&mut handle).await;
        assert_eq!(body, "hello");
        assert_eq!(seen.count(), usize::from(attempt));
        assert_eq!(seen.list().pop().unwrap().outcome, AttemptOutcome::Pending);
        reply.send_error(Refused(attempt));
    }
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Refused>().unwrap().0, 3);
    assert_eq!((seen.count(), seen.gave_up()), (3, Some(GaveUp::MaxAttempts)));
    assert!(seen.list().iter().all(|attempt| attempt.outcome == AttemptOutcome::Failed));
}

#[tokio::test(start_paused = true)]
async fn errors_of_this_crate_are_not_retried() {
    let (service, mut handle) = stack(&layer());
    for refusal in [Error::from(RouteError::TooLong), Error::from(TokenError::NoRuntime)] {
        let call = start(&service, request("hello"));
        arrived(&mut handle).await.2.send_error(refusal.clone());
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref::<Error>().unwrap().code(), refusal.code());
    }
}

#[tokio::test(start_paused = true)]
async fn waits_are_at_least_a_second_and_their_range_doubles() {
    let layer = layer().max_attempts(6);
    let (service, mut handle) = stack(&layer);
    let mut longest_last = Duration::ZERO;
    for _ in 0..20 {
        let call = start(&service, request("hello"));
        for _ in 0..5 {
            reply(&mut handle, answer(503)).await;
        }
        reply(&mut handle, answer(200)).await;
        let response = call.await.unwrap().unwrap();
        let waits: Vec<_> = attempts(&response).list().iter().map(|a| a.waited).collect();
        assert_eq!((waits.len(), waits[0]), (6, Duration::ZERO));
        for (wait, longest) in waits[1..].iter().zip([2, 3, 5, 9, 17]) {
            assert!((SECOND..=longest * SECOND).contains(wait), "{waits:?}");
        }
        longest_last = longest_last.max(waits[5]);
    }
    // This fails less than once in 10^24 runs.
    assert!(longest_last > 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn retry_after_sets_the_wait_in_seconds_or_as_a_date() {
    let (service, mut handle) = stack(&layer());
    for date in [false, true] {
        let after = match date {
            true => httpdate::fmt_http_date(SystemTime::now() + 20 * SECOND),
            false => "20".to_owned(),
        };
        let begin = Instant::now();
        let call = start(&service, request("hello"));
        let mut answer_of_now = answer_after(429, Some(&after));
        let now = httpdate::fmt_http_date(SystemTime::now());
        answer_of_now.headers_mut().insert("date", now.parse().unwrap());
        reply(&mut handle, answer_of_now).await;
        reply(&mut handle, answer(200)).await;
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
        // A date has no fractions, and the two dates may be formatted a second apart.
        let waited = begin.elapsed();
        assert!((19 * SECOND..=22 * SECOND).contains(&waited), "{waited:?}");
        assert!(date || waited >= 20 * SECOND, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_with_too_long_a_retry_after_is_returned_at_once() {
    let (service, mut handle) = stack(&layer());
    for after in ["31", "99999999999999999999999"] {
        let begin = Instant::now();
        let call = start(&service, request("hello"));
        reply(&mut handle, answer_after(429, Some(after))).await;
        let response = call.await.unwrap().unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(response.headers()["retry-after"], after);
        assert!(matches!(attempts(&response).gave_up(), Some(GaveUp::WaitTooLong(_))));
        assert_eq!(attempts(&response).count(), 1);
        is_untouched(response, 429).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_attempts_failure_goes_to_the_caller() {
    for most in [0, 1, 2, 5] {
        let (service, mut handle) = stack(&layer().max_attempts(most));
        let call = start(&service, request("hello"));
        for _ in 0..most.max(1) {
            reply(&mut handle, answer(503)).await;
        }
        let response = call.await.unwrap().unwrap();
        assert_eq!(attempts(&response).count(), most.max(1) as usize);
        assert_eq!(attempts(&response).gave_up(), Some(GaveUp::MaxAttempts));
        is_untouched(response, 503).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_budget_the_failure_goes_to_the_caller() {
    let (service, mut handle) = stack(&layer().retry_budget(empty()));
    let begin = Instant::now();
    let call = start(&service, request("hello"));
    reply(&mut handle, answer(503)).await;
    let response = call.await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(attempts(&response).gave_up(), Some(GaveUp::BudgetExhausted));
    is_untouched(response, 503).await;
}

#[tokio::test(start_paused = true)]
async fn successful_responses_pay_for_retries_and_clones_share_the_budget() {
    // Each successful response pays for one retry.
    let layer = layer().retry_budget(RetryBudget::new(60 * SECOND, 0, 1.0));
    let (one, mut handle) = stack(&layer);
    let (other, mut other_handle) = stack(&layer.clone());
    let call = start(&one, request("hello"));
    reply(&mut handle, answer(200)).await;
    call.await.unwrap().unwrap();
    let call = start(&other, request("hello"));
    reply(&mut other_handle, answer(503)).await;
    // Neither its failure nor the success of its retry is a deposit.
    reply(&mut other_handle, answer(200)).await;
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    for (service, handle) in [(&one, &mut handle), (&other, &mut other_handle)] {
        let call = start(service, request("hello"));
        reply(handle, answer(503)).await;
        let response = call.await.unwrap().unwrap();
        assert_eq!(attempts(&response).gave_up(), Some(GaveUp::BudgetExhausted));
    }
}

#[tokio::test(start_paused = true)]
async fn the_default_budget_limits_a_storm() {
    let (service, mut handle) = stack(&VertexRetryLayer::new());
    let calls: Vec<_> = (0..100).map(|_| start(&service, request("hello"))).collect();
    let mut sent = 0;
    tokio::spawn(async move {
        while let Some((_, reply)) = handle.next_request().await {
            reply.send_response(answer(503));
        }
    });
    for call in calls {
        let response = call.await.unwrap().unwrap();
        assert_eq!(response.status(), 503);
        sent += attempts(&response).count();
    }
    assert_eq!(sent, 110);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_not_recorded_is_sent_once() {
    for layer in [layer().replay_limit(4), layer().replay_limit(0), layer().replay_budget(4)] {
        let (service, mut handle) = stack(&layer);
        let call = start(&service, request("hello"));
        let (_, body, reply) = arrived(&mut handle).await;
        assert_eq!(body, "hello");
        reply.send_response(answer(503));
        let response = call.await.unwrap().unwrap();
        assert_eq!(attempts(&response).gave_up(), Some(GaveUp::NotReplayable));
        is_untouched(response, 503).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_still_runs_is_taken_over_each_time() {
    let layer = layer();
    let (inner, mut handle) =
        mock::pair::<Request<ReplayBody<Channel<Bytes, BoxError>>>, Response<Full<Bytes>>>();
    let (mut upload, body) = Channel::<Bytes, BoxError>::new(4);
    let request = Request::post("/").body(body).unwrap();
    let call = tokio::spawn(layer.layer(inner).oneshot(request));
    let mut so_far = Vec::new();
    for text in ["one", "two"] {
        let (request, reply) = handle.next_request().await.unwrap();
        let mut body = request.into_body();
        upload.send_data(text.into()).await.unwrap();
        so_far.push(text);
        for text in &so_far {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), text);
        }
        reply.send_response(answer(503));
        // The rest of the body belongs to the next attempt.
        assert!(body.frame().await.unwrap().is_err());
    }
    let (request, reply) = handle.next_request().await.unwrap();
    upload.send_data("three".into()).await.unwrap();
    drop(upload);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "onetwothree");
    reply.send_response(answer(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

/// Yields these frames, and then nothing, or empty frames for ever.
struct Frames {
    left: usize,
    endless: bool,
    polls: Arc<AtomicUsize>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        let Some(left) = self.left.checked_sub(1) else {
            let empty = Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
            return if self.endless { empty } else { Poll::Pending };
        };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data("data".into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn the_available_part_of_a_failures_body_is_read_without_waiting_for_the_rest() {
    for endless in [false, true] {
        let polls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&polls);
        let inner = service_fn(move |_: Request<ReplayBody<Full<Bytes>>>| {
            let body = Frames { left: 2, endless, polls: Arc::clone(&count) };
            let answer = Response::builder().status(503).body(body);
            std::future::ready(answer.map_err(BoxError::from))
        });
        let service = layer().max_attempts(2).layer(inner);
        let response = service.oneshot(request("hello")).await.unwrap();
        let polls = polls.load(Ordering::Relaxed);
        assert!(if endless { polls > 3 } else { polls == 3 }, "{polls}");
        // The second failure goes to the caller, and its body was not read.
        assert_eq!(response.body().left, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_until_its_service_is_ready() {
    let (mut service, mut handle) = stack(&layer());
    handle.allow(1);
    let call = tokio::spawn(service.ready().await.unwrap().call(request("hello")));
    // The service that remains is not ready just because its clone was.
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(service);
    reply(&mut handle, answer(503)).await;
    let early = tokio::time::timeout(60 * SECOND, handle.next_request()).await;
    assert!(early.is_err(), "the retry waited for readiness");
    handle.allow(1);
    reply(&mut handle, answer(200)).await;
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_logged_without_its_content() {
    // The subscriber is for the whole process: with a subscriber of one thread, `tracing` caches
    // for a call site the interest of the thread that reached it first.
    tracing_subscriber::fmt()
        // The filter admits only this crate. hyper's lines about the uploads of other tests would
        // take minutes.
        .with_env_filter("tower_vertex=trace")
        .with_ansi(false)
        .with_writer(|| LOG.with(Log::clone))
        .init();
    let (service, mut handle) = stack(&layer().max_attempts(4));
    let list = locations(&["us-central1", "us-east4"]);
    let call = start(&service, listed(&list));
    arrived(&mut handle).await.2.send_error(Refused(1));
    let script_of_the_rest = [("us-east4", 429), ("us-central1", 503), ("us-east4", 200)];
    script(&mut handle, &script_of_the_rest).await;
    call.await.unwrap().unwrap();
    tokio::time::advance(30 * SECOND).await;
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-central1", 200)]).await;
    call.await.unwrap().unwrap();

    let log = LOG.with(|log| String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    let lines: Vec<_> = log
        .lines()
        .map(|line| line.split_once(" tower_vertex::retry::").unwrap())
        .map(|(time_and_level, line)| (time_and_level.rsplit(' ').next().unwrap(), line))
        .map(|(level, line)| (level, line.split_once(": ").unwrap().1))
        .collect();
    let expected = [
        ("DEBUG", "attempt ended attempt=1 location=\"us-central1\" outcome=Failed"),
        ("WARN", "failing over from=\"us-central1\" to=\"us-east4\" reason=connection refused"),
        ("DEBUG", "attempt ended attempt=2 location=\"us-east4\" outcome=Response(429)"),
        ("INFO", "sending again wait="),
        ("DEBUG", "attempt ended attempt=3 location=\"us-central1\" outcome=Response(503)"),
        ("INFO", "sending again wait="),
        ("DEBUG", "attempt ended attempt=4 location=\"us-east4\" outcome=Response(200)"),
        ("WARN", "another location is the first choice now from=\"us-central1\" to=\"us-east4\""),
        ("DEBUG", "attempt ended attempt=1 location=\"us-central1\" outcome=Response(200)"),
        ("INFO", "location recovered location=\"us-central1\""),
    ];
    assert_eq!(lines.len(), expected.len(), "{log}");
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(line.0, expected.0, "{log}");
        assert!(line.1.starts_with(expected.1), "{expected:?} is not in {log}");
    }
    assert!(!log.contains("sk-placeholder") && !log.contains("hello") && !log.contains("body of"));
}

thread_local! {
    /// The log of this thread, which is the log of its test.
    static LOG: Log = Log::default();
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn without_a_runtime_no_retry_waits() {
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| {
        std::future::ready(Ok::<_, BoxError>(answer(503)))
    });
    let service = VertexRetryLayer::new().retry_budget(ample()).layer(inner);
    let call = pin!(service.oneshot(request("hello")));
    let Poll::Ready(response) = call.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the call waits");
    };
    let response = response.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(attempts(&response).gave_up(), Some(GaveUp::NoRuntime));
}

/// If both layers keep a body, it is in memory once: the budget of the auth layer has no room for a
/// second recording.
#[tokio::test(start_paused = true)]
async fn the_auth_layer_replays_the_body_that_the_retry_layer_keeps_without_a_second_copy() {
    let number = AtomicUsize::new(0);
    let source = token_fn(move |_| {
        let token = format!("token-{}", number.fetch_add(1, Ordering::Relaxed));
        async move { Ok(AccessToken::new(token, Some(3600 * SECOND))?) }
    });
    let auth =
        VertexAuthLayer::new(source).replay_budget(10).trust_origin("http://vertex").unwrap();
    let (inner, mut handle) = mock::pair();
    let service = layer().layer(auth.layer(inner));
    let (mut upload, body) = Channel::<Bytes, BoxError>::new(64);
    for _ in 0..50 {
        upload.send_data("x".into()).await.unwrap();
    }
    let request = Request::post("http://vertex/").body(body).unwrap();
    let call = tokio::spawn(service.oneshot(request));
    type Twice = Request<ReplayBody<ReplayBody<Channel<Bytes, BoxError>>>>;
    type Reply = SendResponse<Response<Full<Bytes>>>;
    let mut expect = async |token: &str, read: usize, status: u16| {
        let (request, reply): (Twice, Reply) = handle.next_request().await.unwrap();
        assert_eq!(request.headers()["authorization"], token);
        let mut body = request.into_body();
        let mut came = 0;
        while came < read {
            came += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        reply.send_response(answer(status));
        body
    };
    // The 401 arrives in the middle of the upload, which continues with the next token.
    let first = expect("Bearer token-0", 30, 401).await;
    let second = expect("Bearer token-1", 40, 503).await;
    // The same attempt is sent again, up to its end.
    drop((first, second));
    upload.send_trailers(trailers()).await.unwrap();
    drop(upload);
    let third = expect("Bearer token-1", 50, 401).await;
    let rest = third.collect().await.unwrap();
    assert_eq!(rest.trailers(), Some(&trailers()));
    assert!(rest.to_bytes().is_empty());
    let fourth = expect("Bearer token-2", 50, 200).await;
    assert_eq!(fourth.collect().await.unwrap().trailers(), Some(&trailers()));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))])
}

#[test]
fn layers_services_and_futures_can_be_named_cloned_and_sent() {
    fn check<T: Clone + Send + Sync + fmt::Debug + 'static>() {}
    fn send<T: Send + fmt::Debug>(_: &T) {}
    check::<VertexRetryLayer>();
    check::<VertexRetry<Inner>>();
    check::<Locations>();
    check::<Attempts>();
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| {
        std::future::ready(Ok::<_, BoxError>(answer(200)))
    });
    send(&VertexRetryLayer::new().layer(inner).call(request("hello")));
}
