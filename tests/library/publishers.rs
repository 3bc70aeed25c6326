//! Paths that name a model, an endpoint or a publisher, through the layers for models and routes.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_vertex::{
    Error,
    model::{
        ModelBody, ModelRoute, ModelTable, ModelTableBuilder, RequestedModel, UpstreamModel,
        VertexModelLayer,
    },
    route::{Endpoint, Protocol, Upstream, VertexRouteLayer},
};

const HOST: &str = "https://aiplatform.googleapis.com";
const PLACE: &str = "/v1/projects/p/locations/global";

fn base() -> Upstream {
    Upstream::new("p", "global").unwrap()
}

fn table() -> ModelTableBuilder {
    ModelTable::builder(base())
        .route("mine", ModelRoute::new().location("us-central1").endpoint_id("123"))
        .route("gpt-4o", ModelRoute::new().model("gemini-2.5-pro"))
        .route("sonnet", ModelRoute::new().model("claude-sonnet-4-5@20250929"))
        .route("claude-opus-4-1-20250805", ModelRoute::new().model("claude-opus-4-1"))
        .route("claude-haiku-*", ModelRoute::new().location("us-east5"))
        .route("meta/llama-4", ModelRoute::new().location("us-east5").header("x-kind", "mine"))
}

/// The parts of a request that arrive at the HTTP client.
#[derive(Debug)]
struct Arrived {
    url: String,
    headers: HeaderMap,
    requested: Option<(String, Option<String>)>,
    upstream_model: Option<String>,
    protocol: Option<Protocol>,
    body: Bytes,
}

async fn send(table: ModelTable, request: Request<Full<Bytes>>) -> Result<Arrived, BoxError> {
    let client = service_fn(|request: Request<ModelBody<Full<Bytes>>>| async move {
        let (head, body) = request.into_parts();
        let requested: Option<&RequestedModel> = head.extensions.get();
        let upstream_model: Option<&UpstreamModel> = head.extensions.get();
        Ok::<_, BoxError>(Response::new(Arrived {
            url: head.uri.to_string(),
            requested: requested
                .map(|model| (model.to_string(), model.with_publisher().map(str::to_owned))),
            upstream_model: upstream_model.map(ToString::to_string),
            protocol: head.extensions.get().copied(),
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        }))
    });
    let upstream = table.base().clone();
    let layers = (VertexModelLayer::new(table), VertexRouteLayer::new(upstream));
    let service = layers.layer(client);
    Ok(service.oneshot(request).await?.into_body())
}

fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Full::from(body.to_owned()))
        .unwrap()
}

async fn sent(path: &str, body: &str) -> Arrived {
    let arrived = send(table().build().unwrap(), post(path, body)).await;
    arrived.unwrap_or_else(|error| panic!("{path} {body}: {error}"))
}

/// The status and the code of the refusal.
async fn refused(table: ModelTable, request: Request<Full<Bytes>>) -> (u16, &'static str) {
    let error = send(table, request).await.unwrap_err();
    let error = error.downcast_ref::<Error>().expect("an error of this crate");
    (error.status().as_u16(), error.code())
}

/// Not JSON, so that a request whose body is read would differ.
const UNREAD: &str = "\u{feff}{\"model\":\"x\",";

#[tokio::test]
async fn a_path_with_a_model_goes_where_the_table_sends_the_model_and_its_body_is_not_read() {
    let google = format!("{HOST}{PLACE}/publishers/google/models");
    let us_east =
        "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers";
    let mine = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints/123";
    for (path, url, requested, published, upstream) in [
        (
            "/v1/publishers/google/models/gemini-2.5-flash:generateContent",
            format!("{google}/gemini-2.5-flash:generateContent"),
            "gemini-2.5-flash",
            "google/gemini-2.5-flash",
            "google/gemini-2.5-flash",
        ),
        (
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key=SECRET",
            format!("{google}/gemini-2.5-flash:streamGenerateContent?alt=sse")
                .replace("/v1/", "/v1beta1/"),
            "gemini-2.5-flash",
            "google/gemini-2.5-flash",
            "google/gemini-2.5-flash",
        ),
        (
            "/v1beta1/projects/x/locations/y/publishers/google/models/gpt-4o:countTokens",
            format!("{google}/gemini-2.5-pro:countTokens").replace("/v1/", "/v1beta1/"),
            "gpt-4o",
            "google/gpt-4o",
            "google/gemini-2.5-pro",
        ),
        (
            "/models/gpt%2D4o:generateContent",
            format!("{google}/gemini-2.5-pro:generateContent"),
            "gpt-4o",
            "google/gpt-4o",
            "google/gemini-2.5-pro",
        ),
        (
            "/v1beta/models/mine:predict",
            format!("{mine}:predict").replace("/v1/", "/v1beta1/"),
            "mine",
            "google/mine",
            "mine",
        ),
        (
            "/v1/publishers/google/models/mine:rawPredict",
            format!("{mine}:rawPredict"),
            "mine",
            "google/mine",
            "mine",
        ),
        (
            "/v1/projects/-/locations/-/publishers/meta/models/llama-4:rawPredict",
            format!("{us_east}/meta/models/llama-4:rawPredict"),
            "meta/llama-4",
            "meta/llama-4",
            "meta/llama-4",
        ),
        (
            "/v1beta/models/meta/llama-4:generateContent",
            format!("{us_east}/meta/models/llama-4:generateContent").replace("/v1/", "/v1beta1/"),
            "meta/llama-4",
            "meta/llama-4",
            "meta/llama-4",
        ),
        (
            "/v1/publishers/anthropic/models/claude-haiku-4-5%4020251001:streamRawPredict",
            format!("{us_east}/anthropic/models/claude-haiku-4-5@20251001:streamRawPredict"),
            "claude-haiku-4-5@20251001",
            "anthropic/claude-haiku-4-5@20251001",
            "anthropic/claude-haiku-4-5@20251001",
        ),
        (
            "/v1/publishers/anthropic/models/sonnet:rawPredict",
            format!(
                "{HOST}{PLACE}/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
            ),
            "sonnet",
            "anthropic/sonnet",
            "anthropic/claude-sonnet-4-5@20250929",
        ),
    ] {
        let arrived = sent(path, UNREAD).await;
        assert_eq!(arrived.url, url, "{path}");
        assert_eq!(arrived.body, UNREAD, "{path}");
        assert_eq!(arrived.requested, Some((requested.into(), Some(published.into()))), "{path}");
        assert_eq!(arrived.upstream_model.as_deref(), Some(upstream), "{path}");
    }
    let arrived = sent("/v1/publishers/meta/models/llama-4:rawPredict", UNREAD).await;
    assert_eq!(arrived.headers["x-kind"], "mine");
    // The path of an own endpoint does not say any more that the client speaks Anthropic's protocol.
    let arrived = sent("/v1/publishers/anthropic/models/mine:rawPredict", UNREAD).await;
    assert_eq!(arrived.protocol, Some(Protocol::Anthropic));
}

#[tokio::test]
async fn a_path_with_an_endpoint_goes_to_the_upstream_that_has_it() {
    let mine = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints/123";
    for path in [
        "/v1/endpoints/123:predict",
        "/v1/projects/p/locations/us-central1/endpoints/123:predict",
        "/v1/projects/q/locations/eu/endpoints/123:predict",
    ] {
        let arrived = sent(path, UNREAD).await;
        assert_eq!(arrived.url, format!("{mine}:predict"));
        assert_eq!((arrived.requested, &*arrived.body), (None, UNREAD.as_bytes()));
    }
    for path in ["/v1/endpoints/124:predict", "/v1/endpoints/openapi:predict"] {
        let refusal = refused(table().build().unwrap(), post(path, "{}")).await;
        assert_eq!(refusal, (404, "resource_not_served"), "{path}");
    }
}

#[tokio::test]
async fn a_message_gets_the_path_of_its_model_and_loses_the_model_in_its_body() {
    let anthropic = format!("{HOST}{PLACE}/publishers/anthropic/models");
    const VERSION: &str = r#""anthropic_version":"vertex-2023-10-16""#;
    for (body, url, expected) in [
        (
            r#"{"model":"claude-sonnet-4-5","max_tokens":1.0}"#,
            format!("{anthropic}/claude-sonnet-4-5:rawPredict"),
            r#"{"max_tokens":1.0,VERSION}"#,
        ),
        (
            r#"{"max_tokens":1, "model" : "claude-sonnet-4-5-20250929" , "stream":true }"#,
            format!("{anthropic}/claude-sonnet-4-5@20250929:streamRawPredict"),
            r#"{"max_tokens":1,  "stream":true ,VERSION}"#,
        ),
        (
            r#"{"stream":false,"model":"sonnet"}"#,
            format!("{anthropic}/claude-sonnet-4-5@20250929:rawPredict"),
            r#"{"stream":false,VERSION}"#,
        ),
        (
            r#"{"model":"claude-opus-4-1-20250805"}"#,
            format!("{anthropic}/claude-opus-4-1:rawPredict"),
            "{VERSION}",
        ),
        (
            r#"{"anthropic_version":"mine","model":"anthropic/claude-3-20240101","stream":null}"#,
            format!("{anthropic}/claude-3-20240101:rawPredict"),
            r#"{"anthropic_version":"mine","stream":null}"#,
        ),
        (
            r#"{"model":"claude-haiku-4-5-20251001"}"#,
            format!("{anthropic}/claude-haiku-4-5@20251001:rawPredict")
                .replace("https://", "https://us-east5-")
                .replace("global", "us-east5"),
            "{VERSION}",
        ),
    ] {
        for path in ["/v1/messages", "/messages", "/v1/messages/", "/v1/messages?beta=true"] {
            let arrived = sent(path, body).await;
            assert_eq!(arrived.url, url, "{path} {body}");
            let expected = expected.replace("VERSION", VERSION);
            assert_eq!(arrived.body, expected, "{body}");
            assert_eq!(arrived.headers["content-length"], expected.len().to_string());
        }
    }
    let arrived = sent("/v1/messages", r#"{"model":"claude-sonnet-4-5-20250929"}"#).await;
    let names = ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929");
    assert_eq!(arrived.requested, Some((names.0.into(), Some(names.1.into()))));
    let upstream = "anthropic/claude-sonnet-4-5@20250929";
    assert_eq!(arrived.upstream_model.as_deref(), Some(upstream));
}

#[tokio::test]
async fn tokens_are_counted_for_the_model_that_stays_in_the_body() {
    let url = format!("{HOST}{PLACE}/publishers/anthropic/models/count-tokens:rawPredict");
    let arrived = sent(
        "/v1/messages/count_tokens?beta=true",
        r#"{"messages":[],"model":"claude-sonnet-4-5-20250929"}"#,
    )
    .await;
    assert_eq!(arrived.url, url);
    let expected = r#"{"messages":[],"model":"claude-sonnet-4-5@20250929","anthropic_version":"vertex-2023-10-16"}"#;
    assert_eq!(arrived.body, expected);
    // The same in the form of Vertex AI, in which nothing but an alias is changed.
    let path = "/v1/projects/x/locations/y/publishers/anthropic/models/count-tokens:rawPredict";
    for (body, expected) in [
        (r#"{"model":"sonnet"}"#, r#"{"model":"claude-sonnet-4-5@20250929"}"#),
        (r#"{"model":"claude-4-20250929"}"#, r#"{"model":"claude-4-20250929"}"#),
    ] {
        let arrived = sent(path, body).await;
        assert_eq!((arrived.url.as_str(), &*arrived.body), (url.as_str(), expected.as_bytes()));
        assert!(arrived.requested.is_some());
    }
}

#[tokio::test]
async fn a_message_whose_url_is_not_certain_is_refused() {
    for (body, code) in [
        ("", "invalid_body"),
        ("[]", "invalid_body"),
        (r#"[{"model":"m"}]"#, "invalid_body"),
        ("{\"model\":\"m\"", "invalid_body"),
        ("\u{feff}{\"model\":\"m\"}", "invalid_body"),
        ("{}", "invalid_model"),
        (r#"{"model":null}"#, "invalid_model"),
        (r#"{"model":""}"#, "invalid_model"),
        (r#"{"model":1}"#, "invalid_model"),
        (r#"{"Model":"m"}"#, "invalid_model"),
        (r#"{"model":"a b"}"#, "invalid_model"),
        (r#"{"model":"m:predict"}"#, "invalid_model"),
        (r#"{"model":"m/../x"}"#, "invalid_model"),
        (r#"{"model":".."}"#, "invalid_model"),
        (r#"{"model":"Meta/m"}"#, "invalid_model"),
        (r#"{"model":"m%3apredict"}"#, "invalid_model"),
        (r#"{"model":"m","model":"n"}"#, "ambiguous_model"),
        (r#"{"model":"m","MODEL":"m"}"#, "ambiguous_model"),
        (r#"{"model":"m","stream":1}"#, "invalid_body"),
        (r#"{"model":"m","stream":"true"}"#, "invalid_body"),
        (r#"{"model":"m","stream":true,"stream":false}"#, "invalid_body"),
        (r#"{"model":"m","stream":true,"str\u0065am":null}"#, "invalid_body"),
        (r#"{"model":"m","Stream":true}"#, "invalid_body"),
        (r#"{"model":"m","anthropic_version":"a","anthropic_version":"b"}"#, "invalid_body"),
        (r#"{"model":"m","Anthropic_Version":"a"}"#, "invalid_body"),
    ] {
        let refusal = refused(table().build().unwrap(), post("/v1/messages", body)).await;
        assert_eq!(refusal, (400, code), "{body}");
    }
    let mut request = post("/v1/messages", r#"{"model":"m"}"#);
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(refused(table().build().unwrap(), request).await, (400, "invalid_body"));
    let mut request = post("/v1/messages", r#"{"model":"m"}"#);
    request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let refusal = refused(table().build().unwrap(), request).await;
    assert_eq!(refusal, (415, "unsupported_content_encoding"));
    let mut request = post("/v1/messages", r#"{"model":"m"}"#);
    *request.method_mut() = Method::GET;
    assert_eq!(refused(table().build().unwrap(), request).await, (405, "method_not_allowed"));
}

#[tokio::test]
async fn a_location_that_clients_may_name_is_chosen_unless_an_entry_has_one() {
    let open = base().to_builder().allow_location("us-east5").allow_project("q").build().unwrap();
    let table = || {
        ModelTable::builder(open.clone())
            .route("pinned", ModelRoute::new().location("europe-west4"))
            .route("alias", ModelRoute::new().model("gemini-2.5-pro"))
            .build()
            .unwrap()
    };
    for (place, model, expected) in [
        (
            "projects/q/locations/us-east5",
            "m",
            "https://us-east5-aiplatform.googleapis.com/v1/projects/q/locations/us-east5/publishers/google/models/m",
        ),
        (
            "projects/x/locations/us-east5",
            "m",
            "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/google/models/m",
        ),
        (
            "projects/q/locations/eu",
            "m",
            "https://aiplatform.googleapis.com/v1/projects/q/locations/global/publishers/google/models/m",
        ),
        (
            "projects/p/locations/global",
            "m",
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google/models/m",
        ),
        (
            "projects/q/locations/us-east5",
            "alias",
            "https://us-east5-aiplatform.googleapis.com/v1/projects/q/locations/us-east5/publishers/google/models/gemini-2.5-pro",
        ),
        (
            "projects/q/locations/us-east5",
            "pinned",
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/publishers/google/models/pinned",
        ),
    ] {
        let path = format!("/v1/{place}/publishers/google/models/{model}:predict");
        let arrived = send(table(), post(&path, UNREAD)).await.unwrap();
        assert_eq!(arrived.url, format!("{expected}:predict"), "{path}");
    }
}

#[tokio::test]
async fn the_responses_of_a_publisher_have_their_model_in_the_body() {
    let url = format!("{HOST}{PLACE}/publishers/openai/v1/responses");
    let table = || {
        ModelTable::builder(base())
            .route("gpt-4o", ModelRoute::new().model("gpt-oss-120b-maas"))
            .build()
            .unwrap()
    };
    let path = "/v1/projects/x/locations/y/publishers/openai/v1/responses";
    for (body, expected) in [
        (r#"{"model":"gpt-4o"}"#, r#"{"model":"gpt-oss-120b-maas"}"#),
        (r#"{"model":"gpt-5"}"#, r#"{"model":"gpt-5"}"#),
    ] {
        let arrived = send(table(), post(path, body)).await.unwrap();
        assert_eq!((arrived.url.as_str(), &*arrived.body), (url.as_str(), expected.as_bytes()));
    }
    let mut request = post(&format!("{path}/resp_1?include[]=x"), "");
    *request.method_mut() = Method::DELETE;
    let arrived = send(table(), request).await.unwrap();
    assert_eq!(arrived.url, format!("{url}/resp_1?include[]=x"));
    let publisher = Endpoint::Publisher { name: "openai".into() };
    let upstream = base().to_builder().endpoint(publisher).build().unwrap();
    let arrived = send(ModelTable::new(upstream), post("/v1/responses/compact", "{}")).await;
    assert_eq!(arrived.unwrap().url, format!("{url}/compact"));
}
