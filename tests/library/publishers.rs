//! Paths that name a model, an endpoint or a publisher, through the layers for models and routes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_vertex::{
    Error, ServiceBuilderExt,
    compat::{Cures, RequestBody},
    model::{
        ModelBody, ModelRoute, ModelTable, ModelTableBuilder, RequestedModel, UpstreamModel,
        VertexModelLayer,
    },
    replay::ReplayBody,
    retry::VertexRetryLayer,
    route::{Endpoint, Protocol, Upstream, VertexRouteLayer},
    token::{AccessToken, token_fn},
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

/// This is not JSON, so a request whose body is read would be refused.
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
    let expected =
        r#"{"messages":[],"model":"claude-sonnet-4-5","anthropic_version":"vertex-2023-10-16"}"#;
    assert_eq!(arrived.body, expected);
    // The same in the form of Vertex AI, in which nothing but an alias is changed.
    for path in [
        "/v1/projects/x/locations/y/publishers/anthropic/models/count-tokens:rawPredict",
        "/v1/publishers/anthropic/models/count%2Dtokens:rawPredict",
        "/models/anthropic/count-tokens:rawPredict",
    ] {
        for (body, expected) in [
            (r#"{"model":"sonnet"}"#, r#"{"model":"claude-sonnet-4-5@20250929"}"#),
            (r#"{"model":"claude-4-20250929"}"#, r#"{"model":"claude-4-20250929"}"#),
        ] {
            let arrived = sent(path, body).await;
            assert_eq!((arrived.url.as_str(), &*arrived.body), (url.as_str(), expected.as_bytes()));
            let requested = arrived.requested.unwrap().0;
            assert!(requested == "sonnet" || requested == "claude-4-20250929", "{requested}");
        }
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

/// The body of a request that arrives behind all layers.
type Whole = ReplayBody<ReplayBody<RequestBody<ModelBody<Full<Bytes>>>>>;

/// Sends a request through all layers to a service that responds with these statuses, and returns the
/// URL, the token and the body of each attempt, and the last response.
async fn attempts(
    table: ModelTable,
    request: Request<Full<Bytes>>,
    statuses: &'static [u16],
    response: &'static str,
) -> (Vec<(String, String, Bytes)>, Response<Bytes>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let arrived = Arc::clone(&seen);
    let client = service_fn(move |request: Request<Whole>| {
        let arrived = Arc::clone(&arrived);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let token = head.headers["authorization"].to_str().unwrap().to_owned();
            assert!(!head.headers.contains_key("x-api-key"));
            let number = {
                let mut arrived = arrived.lock().unwrap();
                arrived.push((head.uri.to_string(), token, body));
                arrived.len() - 1
            };
            let answer = Response::builder().status(statuses[number]);
            let answer = answer.header("content-type", "application/json");
            Ok::<_, BoxError>(answer.body(Full::new(Bytes::from(response))).unwrap())
        }
    });
    let fetched = AtomicUsize::new(0);
    let source = token_fn(move |_| {
        let number = fetched.fetch_add(1, Ordering::Relaxed);
        let hour = std::time::Duration::from_secs(3600);
        async move { Ok::<_, BoxError>(AccessToken::new(format!("t{number}"), Some(hour))?) }
    });
    let upstream = table.base().clone();
    let service = ServiceBuilder::new()
        .layer(VertexModelLayer::new(table))
        .vertex_compat(Cures::default())
        .layer(VertexRetryLayer::new())
        .vertex(upstream, source)
        .service(client);
    let response = service.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let seen = seen.lock().unwrap().clone();
    (seen, Response::from_parts(head, body))
}

fn listed() -> ModelTable {
    // The base lets a client choose a location, which a list of an entry overrides.
    let base = base().to_builder().allow_location("us-central1").build().unwrap();
    ModelTable::builder(base)
        .route("g", ModelRoute::new().model("gemini-2.5-pro").locations(["eu", "us-east4"]))
        .route("c", ModelRoute::new().model("claude-opus-4").locations(["eu", "us-east4"]))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_failed_attempt_is_followed_by_one_at_the_next_location_with_the_same_bytes() {
    const RESPONSE: &str = r#"{ "candidates":[{"finishReason":"STOP","index":0}], "n":1.0 }"#;
    let hosts =
        ["https://aiplatform.eu.rep.googleapis.com", "https://us-east4-aiplatform.googleapis.com"];
    let google = "publishers/google/models/gemini-2.5-pro";
    let gemini = r#"{ "contents":[{"role":"developer"}], "model":"x", "n":1.0 }"#;
    let vertex = "/v1/projects/q/locations/us-central1/publishers/google/models/g:generateContent";
    let claude = r#"{"max_tokens":9, "stream":true}"#;
    let message = r#"{"model":"c","max_tokens":9, "stream":true}"#;
    let claude = claude.replace('}', r#","anthropic_version":"vertex-2023-10-16"}"#);
    for (path, body, version, call, sent) in [
        (
            "/v1beta/models/g:generateContent",
            gemini,
            "v1beta1",
            format!("{google}:generateContent"),
            gemini,
        ),
        (vertex, gemini, "v1", format!("{google}:generateContent"), gemini),
        (
            "/v1/messages",
            message,
            "v1",
            "publishers/anthropic/models/claude-opus-4:streamRawPredict".into(),
            &claude,
        ),
    ] {
        let mut request = post(path, body);
        request.headers_mut().insert("x-api-key", "SECRET".parse().unwrap());
        let (seen, response) = attempts(listed(), request, &[503, 200], RESPONSE).await;
        let urls = [("eu", hosts[0]), ("us-east4", hosts[1])].map(|(location, host)| {
            format!("{host}/{version}/projects/p/locations/{location}/{call}")
        });
        assert_eq!(seen.iter().map(|(url, ..)| url.as_str()).collect::<Vec<_>>(), urls, "{path}");
        assert!(seen.iter().all(|(.., body)| body == sent), "{seen:?}");
        // No cure of an OpenAI response applies.
        assert_eq!((response.status().as_u16(), &**response.body()), (200, RESPONSE.as_bytes()));
    }
}

#[tokio::test]
async fn a_401_is_healed_by_a_new_token_and_the_same_bytes() {
    for (path, body) in [
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", UNREAD),
        ("/v1/messages", r#"{"model":"claude-opus-4"}"#),
        ("/v1/publishers/openai/v1/responses", r#"{"model":"gpt-5"}"#),
    ] {
        let (seen, response) = attempts(listed(), post(path, body), &[401, 200], "{}").await;
        assert_eq!(response.status(), 200, "{path}");
        let tokens: Vec<_> = seen.iter().map(|(_, token, _)| token.as_str()).collect();
        assert_eq!(tokens, ["Bearer t0", "Bearer t1"]);
        assert_eq!((&seen[0].0, &seen[0].2), (&seen[1].0, &seen[1].2));
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_in_a_path_needs_an_entry_that_maps_it() {
    let table = ModelTable::builder(base())
        .route("ft:gpt-4o", ModelRoute::new().model("gemini-2.5-pro"))
        .route("my model", ModelRoute::new().model("google/gemini-2.5-flash"))
        .route("bad", ModelRoute::new().model("a b"))
        .route("own:1", ModelRoute::new().location("us-central1").endpoint_id("123"))
        .build()
        .unwrap();
    let google = format!("{HOST}/v1beta1/projects/p/locations/global/publishers/google/models");
    let own = "https://us-central1-aiplatform.googleapis.com/v1beta1/projects/p/locations/us-central1/endpoints/123:predict";
    for (model, url) in [
        ("ft:gpt-4o", format!("{google}/gemini-2.5-pro:predict")),
        ("ft%3agpt-4o", format!("{google}/gemini-2.5-pro:predict")),
        ("my%20model", format!("{google}/gemini-2.5-flash:predict")),
        ("own:1", own.to_owned()),
    ] {
        let path = format!("/v1beta/models/{model}:predict");
        assert_eq!(send(table.clone(), post(&path, "{}")).await.unwrap().url, url, "{path}");
    }
    for model in ["bad", "ft:gpt-4", "my+model", "m;x", "..", "m:generateContent", "m%3Adelete"] {
        let path = format!("/v1beta/models/{model}:predict");
        let refusal = refused(table.clone(), post(&path, "{}")).await;
        assert_eq!(refusal, (400, "invalid_model"), "{path}");
    }
    for path in ["/v1beta/models/a%2fb:predict", "/v1beta/models/a%zz:predict"] {
        assert_eq!(refused(table.clone(), post(path, "{}")).await, (400, "invalid_path"), "{path}");
    }
    let refusal = refused(table, post("/v1beta/models/ft:gpt-4o:tuneModel", "{}")).await;
    assert_eq!(refusal, (403, "model_method_not_allowed"));
}

#[tokio::test]
async fn the_beta_header_of_a_client_travels_and_its_key_does_not() {
    let mut request = post("/v1/messages?beta=true", r#"{"model":"claude-opus-4"}"#);
    for (name, value) in [
        ("anthropic-beta", "context-1m-2025-08-07"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-dangerous-direct-browser-access", "true"),
        ("x-api-key", "SECRET"),
        ("x-goog-api-key", "SECRET"),
        ("x-app", "cli"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let arrived = send(ModelTable::new(base()), request).await.unwrap();
    let mut names: Vec<_> = arrived.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["anthropic-beta", "content-length", "content-type"]);
    assert!(base().to_builder().forward_header("X-Api-Key").build().is_err());
    // The version of the header moves into the body.
    let mut request = post("/v1/messages", r#"{"model":"claude-opus-5-5"}"#);
    request.headers_mut().insert("anthropic-version", "2026-10-21".parse().unwrap());
    let arrived = send(ModelTable::new(base()), request).await.unwrap();
    assert_eq!(arrived.body, r#"{"anthropic_version":"2026-10-21"}"#);
}

#[tokio::test]
async fn the_request_parameters_of_a_clients_path_do_not_travel_with_another_path() {
    const NAME: &str = "x-goog-request-params";
    for (path, travels) in [
        ("/v1/projects/q/locations/l/publishers/google/models/m:predict", false),
        ("/v1/endpoints/123:predict", false),
        ("/v1/chat/completions", true),
    ] {
        let mut request = post(path, "{}");
        request.headers_mut().insert(NAME, "model=projects/q/locations/l".parse().unwrap());
        let arrived = send(table().build().unwrap(), request).await.unwrap();
        assert_eq!(arrived.headers.contains_key(NAME), travels, "{path}");
    }
    let own = ModelRoute::new().header(NAME, "mine=1");
    let table = ModelTable::builder(base()).route("m", own).build().unwrap();
    let arrived = send(table, post("/v1/models/m:predict", "{}")).await.unwrap();
    assert_eq!(arrived.headers[NAME], "mine=1");
}
