//! The methods of `ServiceBuilder`, which build the same stacks as the layers.

use http::{Request, Response, StatusCode};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_vertex::{
    BoxError, Error, ServiceBuilderExt,
    replay::ReplayBody,
    route::{Endpoint, Upstream, UpstreamBuilder},
    token::StaticToken,
};

fn source() -> StaticToken {
    StaticToken::new("token-1").unwrap()
}

/// Replaces an HTTP client and Vertex AI. Its response is a 404 with the URL and the token.
async fn echo(request: Request<ReplayBody<String>>) -> Result<Response<String>, BoxError> {
    let token = request.headers().get("authorization").map(|value| value.to_str().unwrap());
    let text = format!("{} {}", request.uri(), token.unwrap_or("no token"));
    let body = serde_json::json!([{"error": {"code": 404, "message": text}}]);
    Ok(Response::builder().status(404).body(body.to_string())?)
}

fn chat() -> Request<String> {
    Request::post("/v1/chat/completions").body("{}".to_owned()).unwrap()
}

/// The message of the error in OpenAI's form, or the error because of which nothing was sent.
async fn outcome(upstream: UpstreamBuilder) -> Result<String, Error> {
    let service = ServiceBuilder::new()
        .vertex(upstream.location("us-central1").project("p").build().unwrap(), source())
        .service_fn(echo);
    let response = service.oneshot(chat()).await;
    let response = response.map_err(|error| *error.downcast::<Error>().unwrap())?;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error", "{body}");
    Ok(body["error"]["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn vertex_routes_a_request_adds_the_token_and_translates_the_error() {
    let message = outcome(Upstream::builder()).await.unwrap();
    let url = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1\
               /endpoints/openapi/chat/completions";
    assert!(message.contains(&format!("{url} Bearer token-1")), "{message}");
}

#[tokio::test]
async fn vertex_trusts_the_origin_of_its_upstream() {
    let other_cloud = Upstream::builder().universe_domain("example.goog");
    for (upstream, origin) in [
        (Upstream::builder().origin("http://127.0.0.1:8080"), "http://127.0.0.1:8080/"),
        (Upstream::builder().origin("https://[::1]"), "https://[::1]/"),
        (
            Upstream::builder().endpoint(Endpoint::Private {
                id: "1".into(),
                address: "https://10.128.0.5".into(),
            }),
            "https://10.128.0.5/",
        ),
        (
            Upstream::builder().endpoint(Endpoint::BaseUrl { url: "http://vllm:9000/v1".into() }),
            "http://vllm:9000/",
        ),
        (other_cloud, "https://us-central1-aiplatform.example.goog/"),
    ] {
        let message = outcome(upstream).await.unwrap();
        assert!(message.contains(origin) && message.contains("Bearer token-1"), "{message}");
    }
}

#[tokio::test]
async fn vertex_sends_no_token_to_the_host_of_a_dedicated_endpoint_that_is_not_googles() {
    let dedicated = |dns: &str| {
        Upstream::builder().endpoint(Endpoint::Dedicated { id: "1".into(), dns: dns.into() })
    };
    let error = outcome(dedicated("1.us-central1-2.prediction.example.com")).await.unwrap_err();
    assert!(matches!(error, Error::UntrustedHost(_)), "{error}");
    let google = dedicated("1.us-central1-2.prediction.vertexai.goog");
    assert!(outcome(google.clone()).await.unwrap().contains("Bearer token-1"));
    let proxy = outcome(google.origin("https://proxy.example.com")).await.unwrap();
    assert!(proxy.contains("https://proxy.example.com/"), "{proxy}");
}

/// A request can have an upstream of its own, which the program did not choose.
#[tokio::test]
async fn vertex_sends_no_token_to_the_origin_of_a_requests_own_upstream() {
    let mut service = ServiceBuilder::new()
        .vertex(Upstream::new("p", "global").unwrap(), source())
        .service_fn(echo);
    let mut request = chat();
    let other = Upstream::builder().project("p").location("global").origin("https://example.com");
    request.extensions_mut().insert(other.build().unwrap());
    let error = service.ready().await.unwrap().call(request).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Error::UntrustedHost(_))), "{error}");
}

#[tokio::test]
async fn vertex_route_and_vertex_auth_add_one_layer_each() {
    let service = ServiceBuilder::new()
        .vertex_route(Upstream::new("p", "global").unwrap())
        .vertex_auth(source())
        .service_fn(echo);
    let response = service.oneshot(chat()).await.unwrap();
    let body = response.into_body();
    assert!(body.contains("https://aiplatform.googleapis.com/v1/projects/p/"), "{body}");
    assert!(body.starts_with('[') && body.contains("Bearer token-1"), "{body}");
}
