//! Error responses, and the layer's treatment of requests.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use serde_json::Value;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_vertex::{
    BoxError,
    auth::{RefreshOutcome, VertexAuthLayer},
    error_format::{ErrorBody, ResponseFuture, VertexError, VertexErrorLayer},
    replay::ReplayBody,
    route::{Upstream, VertexRouteLayer},
    token::StaticToken,
};

use super::script::{
    Script, Step, call_layer, data, error, form, frames, response, through, trailers,
};

const GOOGLE: &str =
    r#"[{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED"}}]"#;
const OPENAI: &str = r#"{ "error": {"message":"m", "type":"t","param":null,"code":"c"} }"#;

#[tokio::test]
async fn googles_errors_are_translated_and_other_headers_are_kept() {
    let object = &GOOGLE[1..GOOGLE.len() - 1];
    for (frames, expected) in [
        (&[GOOGLE][..], "array"),
        (&[object], "object"),
        (&[&GOOGLE[..20], "", &GOOGLE[20..]], "array"),
        (&[" ", object, "\n"], "object"),
    ] {
        let headers = [
            ("content-type", "application/json; charset=UTF-8"),
            ("transfer-encoding", "chunked"),
            ("vary", "Origin"),
            ("vary", "Referer"),
            ("server", "ESF"),
        ];
        let mut answer = response(429, &headers, Script::of(frames));
        answer.extensions_mut().insert("kept");
        let answer = through(VertexErrorLayer::new(), answer).await;
        assert_eq!(answer.status(), 429);
        assert_eq!(form(&answer), Some(expected));
        assert_eq!(answer.headers()["server"], "ESF");
        assert_eq!(answer.headers().get_all("vary").iter().count(), 2);
        assert_eq!(answer.extensions().get(), Some(&"kept"));
        assert!(!answer.headers().contains_key("retry-after"));
        let error = error(answer).await;
        assert_eq!(error["message"], "Slow down.");
        assert_eq!(error["type"], "rate_limit_error");
        assert_eq!(error["param"], Value::Null);
        assert_eq!(error["code"], "429");
        assert_eq!(error["google"]["status"], "RESOURCE_EXHAUSTED");
    }
}

#[tokio::test]
async fn other_responses_are_unchanged_byte_for_byte() {
    let json = ("content-type", "application/json");
    for (status, headers, body) in [
        (429, &[json][..], &[&OPENAI[..9], &OPENAI[9..]][..]),
        (400, &[json, ("content-length", "16")], &["{\"detail\":\"none\"}"]),
        (401, &[json], &["null"]),
        (429, &[json, ("content-encoding", "gzip")], &["\u{1f}\u{8b}", "\0"]),
        (429, &[json, ("content-encoding", "br")], &[GOOGLE]),
        (304, &[json, ("etag", "x")], &[]),
        (204, &[], &[]),
        (200, &[json], &[GOOGLE, "", GOOGLE]),
        (200, &[("content-type", "text/html")], &["<html>"]),
        (206, &[], &["data: x"]),
    ] {
        let mut script = Script::of(body);
        script.steps.push_back(Step::Trailers);
        let answer = through(VertexErrorLayer::new(), response(status, headers, script)).await;
        assert_eq!(answer.status(), status);
        let expected = response(status, headers, ());
        assert_eq!(answer.headers(), expected.headers());
        let (data, after, end) = frames(answer.into_body()).await;
        assert_eq!(data.concat(), body.concat().as_bytes());
        assert_eq!(after, Some(trailers()));
        end.unwrap();
    }
}

#[tokio::test]
async fn the_layer_does_not_wait_for_a_body_of_a_response_without_one() {
    let headers = [("content-type", "application/json"), ("content-length", "500")];
    for (method, status) in
        [("HEAD", 404), ("HEAD", 429), ("HEAD", 200), ("GET", 304), ("GET", 204)]
    {
        let request = Request::builder().method(method).body(()).unwrap();
        let answer = response(status, &headers, Script::new([Step::Hang]));
        let polls = Arc::clone(&answer.body().polls);
        let answer = call_layer(VertexErrorLayer::new(), request, answer).await;
        assert_eq!(answer.headers()["content-length"], "500");
        assert_eq!(form(&answer), None);
        assert_eq!(polls.load(Ordering::Relaxed), 0);
    }
    let answer =
        through(VertexErrorLayer::new(), response(502, &[], Full::<Bytes>::default())).await;
    assert_eq!(form(&answer), Some("other"));
    let message = error(answer).await["message"].take();
    assert!(
        message.as_str().unwrap().starts_with("Vertex AI returned 502 Bad Gateway"),
        "{message}"
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_dropped_and_reported() {
    let layer = VertexErrorLayer::new().body_limit(1000);
    let long = "x".repeat(600);
    for (steps, hint, polls) in [
        (vec![data(&long), data(&long), data(&long), Step::Hang], 0, 2),
        (vec![Step::Empty], 0, 1000 / size_of::<Bytes>() + 1),
        // This body is not even polled.
        (vec![data(&long)], 1001, 0),
    ] {
        let mut script = Script::new(steps);
        script.at_least = hint;
        let asked = Arc::clone(&script.polls);
        let headers = [("content-type", "application/json"), ("content-length", "1001")];
        let answer = through(layer, response(503, &headers, script)).await;
        assert_eq!(asked.load(Ordering::Relaxed), polls);
        assert_eq!(answer.status(), 503);
        assert_eq!(form(&answer), Some("other"));
        assert_eq!(
            error(answer).await["message"],
            "Vertex AI returned 503 Service Unavailable, but the body of the error is longer than 1000 bytes"
        );
    }
    // Only the bytes count towards the limit, regardless of their frames.
    let body = format!(r#"{{"error":{{"code":400,"message":"{}"}}}}"#, "x".repeat(900));
    let bytes: Vec<Step> = body.as_bytes().chunks(1).map(data).collect();
    let answer = through(layer, response(400, &[], Script::new(bytes))).await;
    assert_eq!(form(&answer), Some("object"));
    // The default limit exceeds every body that Google sends.
    let details = "x".repeat(200 << 10);
    let body = format!(r#"{{"error":{{"code":400,"message":"m","status":"{details}"}}}}"#);
    let answer = response(400, &[], Full::<Bytes>::from(body));
    assert_eq!(error(through(VertexErrorLayer::new(), answer).await).await["message"], "m");
}

#[tokio::test]
async fn a_body_that_fails_is_reported() {
    for steps in
        [vec![Step::Break], vec![data(&GOOGLE[..30]), Step::Break], vec![data(GOOGLE), Step::Break]]
    {
        let answer = through(VertexErrorLayer::new(), response(500, &[], Script::new(steps))).await;
        assert_eq!(
            error(answer).await["message"],
            "Vertex AI returned 500 Internal Server Error, but the body of the error ended early"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_times_out_after_ten_seconds() {
    let hanging = || Script::new([data(&GOOGLE[..30]), Step::Hang]);
    let layer = VertexErrorLayer::new();
    for (layer, seconds) in [
        (layer, 10),
        (layer.body_timeout(Duration::from_secs(3)), 3),
        (layer.body_timeout(Duration::ZERO), 0),
    ] {
        let began = Instant::now();
        let answer = through(layer, response(429, &[("retry-after", "9")], hanging())).await;
        assert_eq!(began.elapsed().as_secs(), seconds);
        assert_eq!(answer.headers()["retry-after"], "9");
        let expected = format!("did not arrive within {:?}", Duration::from_secs(seconds));
        let message = error(answer).await["message"].take();
        assert!(message.as_str().unwrap().ends_with(&expected), "{message}");
    }
    // A body that is only slow is read completely.
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, BoxError>::new(1);
    tokio::spawn(async move {
        for part in [&GOOGLE[..30], &GOOGLE[30..]] {
            tokio::time::sleep(Duration::from_secs(4)).await;
            sender.send_data(part.into()).await.unwrap();
        }
    });
    let answer = through(layer, response(429, &[], body)).await;
    assert_eq!(error(answer).await["message"], "Slow down.");
}

#[test]
fn without_a_runtime_nothing_panics() {
    let mut cx = Context::from_waker(Waker::noop());
    let answer = response(429, &[], Script::new([Step::Hang]));
    assert!(pin!(through(VertexErrorLayer::new(), answer)).poll(&mut cx).is_pending());
    let answer = response(429, &[], Script::of(&[GOOGLE]));
    assert!(pin!(through(VertexErrorLayer::new(), answer)).poll(&mut cx).is_ready());
}

#[tokio::test]
async fn retry_info_becomes_retry_after_unless_the_header_exists() {
    for (delay, given, expected) in [
        ("39s", None, Some("39")),
        ("1.5s", None, Some("2")),
        ("0s", None, Some("1")),
        ("soon", None, None),
        ("-5s", None, None),
        ("39s", Some("7"), Some("7")),
        ("39s", Some("Fri, 31 Dec 1999 23:59:59 GMT"), Some("Fri, 31 Dec 1999 23:59:59 GMT")),
    ] {
        let body = format!(
            r#"{{"error":{{"code":429,"message":"m","details":[{{"@type":
               "type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}"#
        );
        let headers = given.map(|given| ("retry-after", given));
        let answer = response(429, headers.as_slice(), Full::<Bytes>::from(body));
        let answer = through(VertexErrorLayer::new(), answer).await;
        let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(after, expected, "{delay}");
        // The body still has the exact delay.
        assert_eq!(error(answer).await["google"]["details"][0]["retryDelay"], delay);
    }
}

#[tokio::test]
async fn the_error_for_a_404_page_names_the_location_and_the_endpoint_of_the_request() {
    let page = || {
        response(404, &[("content-type", "text/html; charset=UTF-8")], Full::<Bytes>::from("<p>"))
    };
    let mut vertex = ServiceBuilder::new()
        .layer(VertexErrorLayer::new())
        .layer(VertexRouteLayer::new(Upstream::new("p", "europe-west4").unwrap()))
        .service(service_fn(move |_: Request<()>| async move { Ok::<_, Infallible>(page()) }));
    let request = || Request::post("/v1/chat/completions").body(()).unwrap();
    let other = Upstream::builder().project("q").location("global").origin("https://h.example");
    let mut elsewhere = request();
    elsewhere.extensions_mut().insert(other.build().unwrap());
    for (request, parts) in [
        (
            request(),
            [
                "https://europe-west4-aiplatform",
                "location europe-west4, endpoint openapi",
                "project p",
            ],
        ),
        (elsewhere, ["https://h.example/", "location global, endpoint openapi", "project q"]),
    ] {
        let answer = vertex.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), form(&answer)), (404, Some("html")));
        let error = error(answer).await;
        for part in parts {
            assert!(error["message"].as_str().unwrap().contains(part), "{error}");
        }
        assert_eq!((&error["code"], error.get("google")), (&"404".into(), None));
    }
}

#[tokio::test]
async fn the_outcome_and_the_headers_of_a_401_are_kept() {
    let body =
        r#"{"error":{"code":401,"message":"Request had invalid …","status":"UNAUTHENTICATED"}}"#;
    let mut vertex = ServiceBuilder::new()
        .layer(VertexErrorLayer::new())
        .layer(VertexRouteLayer::new(Upstream::new("p", "eu").unwrap()))
        .layer(VertexAuthLayer::new(StaticToken::new("t").unwrap()))
        .service(service_fn(move |_: Request<ReplayBody<String>>| async move {
            let headers = [("www-authenticate", "Bearer realm=\"x\"")];
            Ok::<_, BoxError>(response(401, &headers, Full::<Bytes>::from(body)))
        }));
    let request = Request::post("/v1/chat/completions").body("{}".to_owned()).unwrap();
    let answer = vertex.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(matches!(answer.extensions().get(), Some(RefreshOutcome::SameToken)));
    assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"x\"");
    let error = error(answer).await;
    assert_eq!((&error["type"], &error["code"]), (&"invalid_request_error".into(), &"401".into()));
}

#[tokio::test]
async fn accept_encoding_is_removed_unless_a_setting_keeps_the_header() {
    for (layer, expected) in [
        (VertexErrorLayer::new(), None),
        (VertexErrorLayer::new().accept_compressed(true), Some("gzip, br")),
    ] {
        let mut service = layer.layer(service_fn(move |request: Request<()>| async move {
            let asked =
                request.headers().get("accept-encoding").map(|value| value.to_str().unwrap());
            assert_eq!(asked, expected);
            assert_eq!(request.headers()["accept"], "*/*");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }));
        let request =
            Request::get("/").header("accept-encoding", "gzip, br").header("accept", "*/*");
        service.ready().await.unwrap().call(request.body(()).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn readiness_and_errors_come_from_the_inner_service() {
    let (service, mut inner) = tower_test::mock::pair::<Request<()>, Response<Full<Bytes>>>();
    let mut service = tower_test::mock::Spawn::new(VertexError::new(service));
    inner.allow(0);
    assert!(service.poll_ready().is_pending());
    inner.allow(1);
    assert!(service.is_woken());
    assert!(service.poll_ready().is_ready());
    let response = service.call(Request::new(()));
    inner.next_request().await.unwrap().1.send_error("inner");
    assert_eq!(response.await.unwrap_err().to_string(), "inner");
    inner.send_error("gone");
    let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("still ready") };
    assert!(error.to_string().contains("gone"), "{error}");
}

#[test]
fn layers_services_futures_and_bodies_can_be_named_cloned_and_sent() {
    type Inner = tower_test::mock::Mock<Request<()>, Response<Full<Bytes>>>;
    fn shared<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn sent<T: Send + std::fmt::Debug>() {}
    fn body<T: Body<Data = Bytes> + Send + Sync + std::fmt::Debug>() {}
    shared::<VertexErrorLayer>();
    shared::<VertexError<Full<Bytes>>>();
    sent::<VertexError<Inner>>();
    sent::<ResponseFuture<<Inner as Service<Request<()>>>::Future, Full<Bytes>>>();
    body::<ErrorBody<Full<Bytes>>>();
    body::<ErrorBody<hyper::body::Incoming>>();
}

#[test]
fn a_success_costs_no_allocation_and_a_stream_costs_one() {
    let events = HeaderValue::from_static("text/event-stream");
    for streamed in [false, true] {
        let content_type = events.clone();
        let mut service = VertexErrorLayer::new().layer(service_fn(
            |response: Request<Response<Full<Bytes>>>| {
                std::future::ready(Ok::<_, Infallible>(response.into_body()))
            },
        ));
        let mut answer = Response::new(Full::new(Bytes::from_static(b"data: x\n\n")));
        if streamed {
            answer.headers_mut().insert("content-type", content_type);
        }
        let mut request = Request::new(answer);
        request.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
        let cost = allocation_counter::measure(|| {
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(Ok(answer)) = pin!(service.call(request)).poll(&mut cx) else {
                panic!()
            };
            let mut body = pin!(answer.into_body());
            let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) else { panic!() };
            assert!(matches!(body.poll_frame(&mut cx), Poll::Ready(None)));
        });
        // The state of a stream is behind a pointer, because layers move bodies.
        assert_eq!(cost.count_total, u64::from(streamed));
    }
}
