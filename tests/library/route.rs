//! The changes of `VertexRouteLayer` to a request, and its cost.

use std::{
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_vertex::{
    Error,
    model::{ModelRoute, ModelTable, VertexModelLayer},
    route::{Endpoint, Upstream, VertexRoute, VertexRouteLayer, rewrite},
};

const CHAT: &str = "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations\
                    /europe-west4/endpoints/openapi/chat/completions";

fn upstream() -> Upstream {
    Upstream::new("p", "europe-west4").unwrap()
}

/// Sends `request` through `layer`, and returns the request that arrives.
async fn arrives<B>(layer: &VertexRouteLayer, request: Request<B>) -> Result<Request<B>, BoxError> {
    let echo = service_fn(|request| async move { Ok::<_, BoxError>(Response::new(request)) });
    Ok(layer.layer(echo).oneshot(request).await?.into_body())
}

/// The output of a future that is ready at its first poll.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

fn chat() -> Request<&'static str> {
    Request::post("https://api.openai.com/v1/chat/completions").body("{}").unwrap()
}

#[tokio::test]
async fn scheme_host_and_path_change_together_and_the_version_can_be_negotiated() {
    let mut request = chat();
    *request.version_mut() = Version::HTTP_2;
    let request = arrives(&VertexRouteLayer::new(upstream()), request).await.unwrap();
    assert_eq!(request.uri(), CHAT);
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!((request.method().as_str(), *request.body()), ("POST", "{}"));
}

/// Headers about the client, its rights and its preferences, and headers with unknown names.
const OF_THE_CLIENT: [&str; 53] = [
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "x-goog-api-key",
    "api-key",
    "x-api-key",
    "openai-organization",
    "openai-project",
    "openai-beta",
    "cookie",
    "cookie2",
    "origin",
    "referer",
    "forwarded",
    "via",
    "from",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-client-cert",
    "x-forwarded-access-token",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-access-jwt-assertion",
    "x-goog-iap-jwt-assertion",
    "x-goog-authenticated-user-email",
    "x-serverless-authorization",
    "x-amzn-oidc-data",
    "x-auth-request-access-token",
    "x-ms-token-aad-access-token",
    "x-goog-quota-user",
    "x-goog-fieldmask",
    "x-goog-request-reason",
    "x-goog-upload-protocol",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "accept-language",
    "sec-fetch-site",
    "baggage",
    "authorization-original",
    "x-vertex-a",
    "x-made-up",
    "x-hop",
    "x-other-hop",
];

#[tokio::test]
async fn only_headers_on_the_list_are_forwarded() {
    let mut request = chat();
    for name in OF_THE_CLIENT {
        request.headers_mut().append(name, HeaderValue::from_static("1"));
        request.headers_mut().append(name, HeaderValue::from_static("2"));
    }
    request.headers_mut().append("connection", HeaderValue::from_static("keep-alive, X-Hop"));
    request
        .headers_mut()
        .append("connection", HeaderValue::from_static("x-other-hop, x-vertex-ai-hop"));
    request.headers_mut().append("x-vertex-ai-hop", HeaderValue::from_static("1"));
    let kept = [
        "authorization",
        "content-type",
        "content-encoding",
        "accept",
        "accept-encoding",
        "user-agent",
        "x-stainless-lang",
        "idempotency-key",
        "x-request-id",
        "traceparent",
        "tracestate",
        "x-goog-user-project",
        "x-goog-api-client",
        "x-goog-request-params",
        "x-vertex-ai-llm-request-type",
        "x-vertex-ai-llm-shared-request-type",
        "x-server-timeout",
        "x-vertex-ai-labels",
        "x-mine",
    ];
    for name in kept {
        request.headers_mut().append(name, HeaderValue::from_static("1"));
        request.headers_mut().append(name, HeaderValue::from_static("2"));
    }
    // Content-Length has no meaning beside a Transfer-Encoding.
    request.headers_mut().append("content-length", HeaderValue::from_static("2"));
    let upstream = upstream().to_builder().forward_header("X-Mine").build().unwrap();
    let request = arrives(&VertexRouteLayer::new(upstream), request).await.unwrap();
    assert_eq!(request.headers().len(), 2 * kept.len(), "{:?}", request.headers());
    for name in kept {
        assert_eq!(request.headers().get_all(name).iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}

#[tokio::test]
async fn headers_of_a_models_entry_are_forwarded_regardless_of_the_clients() {
    let table = ModelTable::builder(upstream())
        .route(
            "m",
            ModelRoute::new()
                .header("x-vertex-ai-llm-request-type", "dedicated")
                .header("x-of-the-entry", "1"),
        )
        .build()
        .unwrap();
    let echo = service_fn(|request| async move { Ok::<_, BoxError>(Response::new(request)) });
    let stack = VertexRouteLayer::new(upstream()).layer(echo);
    let request = Request::post("/v1/chat/completions")
        .header("connection", "x-vertex-ai-llm-request-type, X-Of-The-Entry")
        .header("x-vertex-ai-llm-request-type", "shared")
        .body(r#"{"model":"m"}"#.to_owned())
        .unwrap();
    let request =
        VertexModelLayer::new(table).layer(stack).oneshot(request).await.unwrap().into_body();
    assert_eq!(request.headers()["x-vertex-ai-llm-request-type"], "dedicated");
    assert_eq!(request.headers()["x-of-the-entry"], "1");
    assert!(!request.headers().contains_key("connection"));
}

#[tokio::test]
async fn keys_in_the_query_and_in_the_headers_are_removed() {
    let request = Request::post("/v1/chat/completions?alt=sse&key=secret")
        .header("x-goog-api-key", "secret")
        .body(())
        .unwrap();
    let request = arrives(&VertexRouteLayer::new(upstream()), request).await.unwrap();
    assert_eq!(request.uri().query(), Some("alt=sse"));
    assert!(request.headers().is_empty());
}

#[tokio::test]
async fn an_upstream_in_the_extensions_takes_precedence_and_is_kept() {
    let other = Upstream::builder()
        .project("q")
        .location("eu")
        .endpoint(Endpoint::Deployed { id: "123".into() })
        .build()
        .unwrap();
    for layer in [VertexRouteLayer::new(upstream()), VertexRouteLayer::without_default()] {
        let mut request = chat();
        request.extensions_mut().insert(other.clone());
        request.extensions_mut().insert("something else");
        let request = arrives(&layer, request).await.unwrap();
        assert_eq!(request.uri().host(), Some("aiplatform.eu.rep.googleapis.com"));
        assert!(request.uri().path().ends_with("/endpoints/123/chat/completions"));
        assert_eq!(request.extensions().get::<Upstream>(), Some(&other));
        assert_eq!(request.extensions().get(), Some(&"something else"));
    }
}

#[tokio::test]
async fn a_response_that_is_no_success_carries_its_upstream() {
    let other = Upstream::new("q", "eu").unwrap();
    for status in [200, 204, 302, 400, 401, 404, 503] {
        let answer = service_fn(move |_: Request<_>| async move {
            Ok::<_, BoxError>(
                Response::builder().status(status).extension("kept").body(()).unwrap(),
            )
        });
        for from in [None, Some(&other)] {
            let mut request = chat();
            if let Some(other) = from {
                request.extensions_mut().insert(other.clone());
            }
            let response = VertexRoute::new(answer, upstream()).oneshot(request).await.unwrap();
            let expected = (status >= 300).then(|| from.cloned().unwrap_or_else(upstream));
            assert_eq!(response.extensions().get(), expected.as_ref(), "{status}");
            assert_eq!(response.extensions().get(), Some(&"kept"));
        }
    }
}

#[tokio::test]
async fn without_an_upstream_the_error_has_a_remedy() {
    let error = arrives(&VertexRouteLayer::without_default(), chat()).await.unwrap_err();
    let Some(Error::Config(error)) = error.downcast_ref() else { panic!("{error}") };
    assert!(error.is_missing());
    assert_eq!(
        error.to_string(),
        "no upstream set: put an Upstream into the request's extensions, or pass one to the layer"
    );
}

#[tokio::test]
async fn a_bad_path_is_an_error_and_nothing_is_sent() {
    let (service, mut sent) = tower_test::mock::pair::<Request<()>, Response<()>>();
    let mut service = VertexRouteLayer::new(upstream()).layer(service);
    sent.allow(1);
    for (path, status) in [
        ("/v1/../..", StatusCode::BAD_REQUEST),
        ("/v1/responses/%2e%2e", StatusCode::BAD_REQUEST),
        ("/v1/models", StatusCode::NOT_FOUND),
        ("/v1/projects/q/locations/eu/endpoints/openapi/responses/r", StatusCode::NOT_FOUND),
        ("/v1/chat/completions", StatusCode::METHOD_NOT_ALLOWED),
        (&format!("/v1/responses/{}", "a".repeat(65_500)), StatusCode::URI_TOO_LONG),
    ] {
        let request = Request::get(path).body(()).unwrap();
        let error = service.ready().await.unwrap().call(request).await.unwrap_err();
        let error = error.downcast_ref::<Error>().unwrap();
        assert_eq!(error.status(), status, "{path}");
        let response = error.to_response();
        assert_eq!(response.status(), status);
        let allow = response.headers().get("allow").map(|allow| allow.to_str().unwrap());
        assert_eq!(allow, (status == 405).then_some("POST"));
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(sent.next_request()).poll(&mut cx).is_pending());
}

#[tokio::test]
async fn readiness_responses_and_errors_come_from_the_inner_service() {
    let (service, mut inner) = tower_test::mock::pair::<Request<()>, Response<u8>>();
    let mut service = tower_test::mock::Spawn::new(VertexRoute::new(service, upstream()));
    let request = || Request::post("/v1/chat/completions").body(()).unwrap();

    inner.allow(0);
    assert!(service.poll_ready().is_pending());
    inner.allow(2);
    assert!(service.is_woken());
    assert!(service.poll_ready().is_ready());

    let response = service.call(request());
    let (arrived, answer) = inner.next_request().await.unwrap();
    assert_eq!(arrived.uri(), CHAT);
    answer.send_response(Response::new(7));
    assert_eq!(response.await.unwrap().into_body(), 7);

    assert!(service.poll_ready().is_ready());
    let response = service.call(request());
    inner.next_request().await.unwrap().1.send_error("inner");
    assert_eq!(response.await.unwrap_err().to_string(), "inner");

    inner.send_error("gone");
    let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("still ready") };
    assert!(error.to_string().contains("gone"), "{error}");
}

#[tokio::test]
async fn a_clone_waits_for_its_own_readiness() {
    let (service, mut inner) = tower_test::mock::pair::<Request<()>, Response<()>>();
    inner.allow(1);
    let mut first = tower_test::mock::Spawn::new(VertexRoute::new(service, upstream()));
    let mut second = first.clone();
    assert!(first.poll_ready().is_ready());
    let _response = first.call(Request::post("/v1/chat/completions").body(()).unwrap());
    assert!(second.poll_ready().is_pending());
    inner.allow(1);
    assert!(second.poll_ready().is_ready());
}

#[test]
fn layers_services_and_futures_can_be_named_cloned_and_sent() {
    type Inner = tower_test::mock::Mock<Request<()>, Response<()>>;
    fn shared<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn sent<T: Send + std::fmt::Debug>() {}
    shared::<VertexRouteLayer>();
    sent::<VertexRoute<Inner>>();
    sent::<tower_vertex::route::ResponseFuture<<Inner as Service<Request<()>>>::Future>>();
}

#[test]
fn known_paths_are_rewritten_without_allocation() {
    let deployed = Endpoint::Deployed { id: "123".into() };
    let base_url = Endpoint::BaseUrl { url: "http://127.0.0.1:9/x".into() };
    let all = ["/chat/completions", "/completions", "/embeddings", "/responses"];
    for (builder, prefix, paths) in [
        (upstream().to_builder(), "/v1", &all[..]),
        (upstream().to_builder().path_prefix("/openai/v1"), "/openai/v1", &all[..]),
        (upstream().to_builder().endpoint(deployed), "/v1", &all[..1]),
        (Upstream::builder().endpoint(base_url), "/v1", &all[..]),
    ] {
        let upstream = builder.build().unwrap();
        for path in paths {
            for start in ["", prefix, &format!("https://api.openai.com{prefix}")] {
                for query in ["", "?", "?key=secret", "?a=b&$ct=c"] {
                    let uri: Uri = format!("{start}{path}{query}").parse().unwrap();
                    let mut found = None;
                    let cost =
                        allocation_counter::measure(|| found = rewrite(&upstream, &uri).ok());
                    assert_eq!(cost.count_total, 0, "{uri}");
                    assert!(found.unwrap().path().ends_with(path), "{uri}");
                }
            }
        }
        for rest in ["/responses/r1", "/responses/r1?alt=a", "/chat/completions?alt=a"] {
            let uri: Uri = rest.parse().unwrap();
            let mut found = None;
            let cost = allocation_counter::measure(|| found = rewrite(&upstream, &uri).ok());
            assert_eq!(cost.count_total, 1, "{uri}");
            assert!(found.unwrap().to_string().ends_with(rest), "{uri}");
        }
    }
}

#[test]
fn a_typical_request_is_routed_without_allocation() {
    let inner = service_fn(|request: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(request)))
    });
    let mut service = VertexRouteLayer::new(upstream()).layer(inner);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "127.0.0.1:8080"),
        ("connection", "keep-alive"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python"),
        ("authorization", "Bearer placeholder"),
        ("openai-organization", "org-1"),
        ("content-length", "2"),
        ("x-stainless-lang", "python"),
        ("x-stainless-os", "Linux"),
        ("cookie", "a=b"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for override_it in [false, true] {
        let mut request = Request::post("/v1/chat/completions").body(()).unwrap();
        *request.headers_mut() = headers.clone();
        if override_it {
            request.extensions_mut().insert(upstream());
        }
        let mut response = None;
        let cost = allocation_counter::measure(|| response = Some(now(service.call(request))));
        assert_eq!(cost.count_total, 0);
        let response = response.unwrap().unwrap();
        assert!(response.extensions().is_empty());
        let request = response.into_body();
        assert_eq!(request.uri(), CHAT);
        assert_eq!(request.headers().len(), headers.len() - 4);
        assert!(request.headers().contains_key(header::AUTHORIZATION));
    }
}
