//! The changes of `VertexModelLayer` to a request, with mocks and over sockets.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, channel::Channel};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_vertex::{
    Error,
    error::ModelError,
    model::{ModelBody, ModelRoute, ModelTable, ModelTableBuilder, VertexModelLayer},
    route::{Endpoint, Upstream},
};

fn base() -> Upstream {
    Upstream::new("p", "global").unwrap()
}

fn mine() -> ModelRoute {
    ModelRoute::new().location("us-central1").endpoint_id("123")
}

fn table() -> ModelTableBuilder {
    ModelTable::builder(base())
        .route("mine", mine())
        .route("fast", ModelRoute::new().model("gemini-2.5-flash").header("x-kind", "dedicated"))
}

fn layer() -> VertexModelLayer {
    VertexModelLayer::new(table().build().unwrap())
}

/// The parts of a request that arrive at the inner service.
#[derive(Debug)]
struct Arrived {
    headers: HeaderMap,
    upstream: Upstream,
    hint: Option<u64>,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// Sends `request` through `layer`, and returns the parts that arrive.
async fn arrives<B>(layer: &VertexModelLayer, request: Request<B>) -> Result<Arrived, BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let client = service_fn(|request: Request<ModelBody<B>>| async move {
        let (head, body) = request.into_parts();
        let hint = body.size_hint().exact();
        let body = body.collect().await?;
        Ok::<_, BoxError>(Arrived {
            headers: head.headers,
            // The route layer prefers this upstream to its own.
            upstream: head.extensions.get::<Upstream>().cloned().ok_or("no upstream")?,
            hint,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        })
    });
    layer.layer(client).oneshot(request).await
}

fn post(body: &str) -> Request<Full<Bytes>> {
    Request::post("https://api.openai.com/v1/chat/completions")
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Full::from(body.to_owned()))
        .unwrap()
}

fn refusal(error: &BoxError) -> (u16, serde_json::Value) {
    let response = error.downcast_ref::<Error>().expect("an error of this crate").to_response();
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
}

/// A body that must not be read.
struct Untouched;

impl Body for Untouched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("the body was read")
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(1 << 40)
    }
}

#[tokio::test]
async fn only_the_name_of_the_model_and_the_length_change() {
    let body = "{ \"seed\" : 1.0e+2,\"model\":\"gemini-2.5-flash\" , \"x\": [1,\t2]}\n";
    let request = arrives(&layer(), post(body)).await.unwrap();
    let expected = body.replace("gemini", "google/gemini");
    assert_eq!(request.body, expected);
    assert_eq!(request.headers["content-length"], expected.len().to_string());
    assert_eq!(request.hint, Some(expected.len() as u64));
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.upstream, base());
}

#[tokio::test]
async fn an_alias_goes_to_its_upstream_with_its_name_and_its_headers() {
    let request = arrives(&layer(), post(r#"{"model":"mine"}"#)).await.unwrap();
    assert_eq!(request.body, r#"{"model":"mine"}"#);
    assert_eq!(
        request.upstream.uri(),
        "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints/123"
    );

    let mut fast = post(r#"{"model":"fa\u0073t","model":"fast"}"#);
    fast.headers_mut().insert("x-kind", "shared".parse().unwrap());
    fast.headers_mut().insert("content-md5", "x".parse().unwrap());
    let request = arrives(&layer(), fast).await.unwrap();
    let name = "google/gemini-2.5-flash";
    assert_eq!(request.body, format!(r#"{{"model":"{name}","model":"{name}"}}"#));
    assert_eq!(request.headers["x-kind"], "dedicated");
    assert!(!request.headers.contains_key("content-md5"));
    assert_eq!(request.upstream, base());
}

#[tokio::test]
async fn a_body_without_a_matching_rule_is_unchanged_byte_for_byte() {
    for body in [
        r#"{"model":"go\u006fgle/gemini-2.5-flash"}"#,
        r#"{"model":"meta\/llama"}"#,
        r#"{"model":""}"#,
        r#"{"model":null}"#,
        r#"{"metadata":{"model":"mine"}}"#,
        "{}",
        "",
        "[1]",
        "not JSON",
        r#"{"model":"mine"} trailing"#,
        "\u{feff}{\"model\":\"mine\"}",
        r#"{"model":"mine",}"#,
        r#"{"model":"mine"#,
        r#"{'model':'mine'}"#,
    ] {
        let request = arrives(&layer(), post(body)).await.unwrap();
        assert_eq!(request.body, body);
        assert_eq!(request.headers["content-length"], body.len().to_string());
        assert_eq!(request.hint, Some(body.len() as u64));
        assert_eq!(request.upstream, base(), "{body}");
    }
}

#[tokio::test]
async fn an_ambiguous_or_invalid_model_is_refused_in_openais_form() {
    let long = format!(r#"{{"model":"{}"}}"#, "secret".repeat(200));
    for (body, code, param) in [
        (r#"{"model":"mine","model":"secret"}"#, "ambiguous_model", Some("model")),
        (r#"{"model":"mine","Model":"secret"}"#, "ambiguous_model", Some("model")),
        (r#"{"model":{"secret":1}}"#, "invalid_model", Some("model")),
        (&long, "invalid_model", Some("model")),
    ] {
        let error = arrives(&layer(), post(body)).await.unwrap_err();
        let (status, answer) = refusal(&error);
        assert_eq!((status, answer["error"]["code"].as_str()), (400, Some(code)), "{body}");
        assert_eq!(answer["error"]["param"].as_str(), param);
        assert_eq!(answer["error"]["type"], "invalid_request_error");
        assert!(!answer.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_413_with_or_without_a_length() {
    let body = r#"{"model":"mine"}"#;
    let exact = layer().body_limit(body.len());
    arrives(&exact, post(body)).await.unwrap();

    let short = layer().body_limit(body.len() - 1);
    let (mut sender, streamed) = Channel::<Bytes>::new(body.len());
    for byte in body.bytes() {
        sender.send_data(Bytes::from(vec![byte])).await.unwrap();
    }
    let streamed = Request::post("/v1/chat/completions").body(streamed).unwrap();
    for error in [
        arrives(&short, post(body)).await.unwrap_err(),
        arrives(&short, streamed).await.unwrap_err(),
        arrives(&layer(), Request::post("/").body(Untouched).unwrap()).await.unwrap_err(),
    ] {
        let (status, answer) = refusal(&error);
        assert_eq!((status, &answer["error"]["code"]), (413, &"request_too_large".into()));
        assert!(answer["error"]["param"].is_null());
        assert!(matches!(error.downcast_ref(), Some(Error::Model(ModelError::TooLarge { .. }))));
    }
}

#[tokio::test]
async fn a_body_that_cannot_have_a_model_is_not_read() {
    let request = |method: Method, name: &'static str, value: &'static str| {
        let request = Request::builder().method(method).uri("/v1/x").header(name, value);
        request.body(Untouched).unwrap()
    };
    let unread = service_fn(|request: Request<ModelBody<Untouched>>| async move {
        assert_eq!(request.body().size_hint().exact(), Some(1 << 40));
        assert_eq!(request.extensions().get(), Some(&base()));
        Ok::<_, BoxError>(Response::new(()))
    });
    for request in [
        request(Method::GET, "content-type", "application/json"),
        request(Method::PUT, "content-type", "application/json"),
        request(Method::POST, "content-type", "multipart/form-data; boundary=x"),
        request(Method::POST, "content-type", "text/plain"),
        request(Method::POST, "content-encoding", "gzip"),
    ] {
        layer().layer(unread).oneshot(request).await.unwrap();
    }

    // A body is not read if there is no rule, or if no rule can apply.
    let none = ModelTable::builder(base()).without_default_publisher().build().unwrap();
    let json = || request(Method::POST, "content-type", "application/json");
    VertexModelLayer::new(none).layer(unread).oneshot(json()).await.unwrap();

    let deployed = base().to_builder().endpoint(Endpoint::Deployed { id: "1".into() });
    let other = ModelTable::new(deployed.build().unwrap());
    let unread = service_fn(|_: Request<ModelBody<Untouched>>| async { Ok::<_, BoxError>(()) });
    VertexModelLayer::new(other).layer(unread).oneshot(json()).await.unwrap();
}

#[tokio::test]
async fn json_with_the_media_type_of_a_form_or_none_is_read_and_sent_as_json() {
    let form = "application/x-www-form-urlencoded";
    for (content_type, body, model, after) in [
        // `curl -d` sends this media type.
        (
            Some(form),
            r#"{"model":"fast"}"#,
            Some("google/gemini-2.5-flash"),
            Some("application/json"),
        ),
        (None, r#"{"model":"fast"}"#, Some("google/gemini-2.5-flash"), Some("application/json")),
        // If this body were read as a form, it would have another model.
        (
            Some(form),
            r#"{"model":"fast","x":"&model=other&y="}"#,
            Some("google/gemini-2.5-flash"),
            Some("application/json"),
        ),
        (Some(form), r#"{"messages":[]}"#, None, Some("application/json")),
        (Some(form), "model=fast", None, Some(form)),
        (None, "no JSON", None, None),
        (Some("application/vnd.x+json; a=b"), "{}", None, Some("application/vnd.x+json; a=b")),
    ] {
        let mut request = post(body);
        request.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            request.headers_mut().insert("content-type", content_type.parse().unwrap());
        }
        let request = arrives(&layer(), request).await.unwrap();
        let sent = request.headers.get("content-type").map(|value| value.to_str().unwrap());
        assert_eq!(sent, after, "{body}");
        match model {
            Some(model) => {
                let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(body["model"], model);
            }
            None => assert_eq!(request.body, body),
        }
    }
}

#[tokio::test]
async fn a_request_without_a_body_is_forwarded() {
    let request = Request::post("/v1/chat/completions").body(Empty::<Bytes>::new()).unwrap();
    let request = arrives(&layer(), request).await.unwrap();
    assert_eq!((request.body.len(), request.hint), (0, Some(0)));
}

#[tokio::test]
async fn without_a_content_length_none_is_added() {
    let mut request = post(r#"{"model":"fast"}"#);
    request.headers_mut().remove("content-length");
    let request = arrives(&layer(), request).await.unwrap();
    assert!(!request.headers.contains_key("content-length"));
}

#[tokio::test]
async fn trailers_are_forwarded() {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    for (body, expected) in [
        (r#"{"model":"fast"}"#, r#"{"model":"google/gemini-2.5-flash"}"#),
        (r#"{"model":"mine"}"#, r#"{"model":"mine"}"#),
    ] {
        let (mut sender, channel) = Channel::<Bytes, Infallible>::new(4);
        sender.send_data(Bytes::copy_from_slice(body.as_bytes())).await.unwrap();
        sender.send_trailers(trailers.clone()).await.unwrap();
        drop(sender);
        let request = Request::post("/v1/chat/completions").body(channel).unwrap();
        let request = arrives(&layer(), request).await.unwrap();
        assert_eq!(request.body, expected);
        assert_eq!(request.trailers.as_ref(), Some(&trailers));
        // An exact length would become a Content-Length, after which there are no trailers.
        assert_eq!(request.hint, None);
    }
}

#[tokio::test]
async fn the_error_of_a_body_is_returned_unchanged() {
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(4);
    sender.send_data(Bytes::from_static(br#"{"model":"#)).await.unwrap();
    sender.abort("the client left".into());
    let request = Request::post("/v1/chat/completions").body(body).unwrap();
    let error = arrives(&layer(), request).await.unwrap_err();
    assert_eq!(error.to_string(), "the client left");
}

#[tokio::test]
async fn every_clone_uses_a_new_table_from_the_next_request_on() {
    let layer = layer();
    let clone = layer.clone();
    assert_eq!(arrives(&clone, post(r#"{"model":"new"}"#)).await.unwrap().upstream, base());

    let elsewhere = Upstream::new("q", "eu").unwrap();
    let table = ModelTable::builder(elsewhere.clone()).route("new", mine()).build().unwrap();
    layer.set_table(table);
    let request = arrives(&clone, post(r#"{"model":"new"}"#)).await.unwrap();
    assert!(request.upstream.uri().path().ends_with("/endpoints/123"));
    // A request without a matching rule goes to the base of the new table, whether or not its body
    // was read.
    let request = arrives(&clone, post(r#"{"model":"mine"}"#)).await.unwrap();
    assert_eq!(
        (&request.upstream, &request.body[..]),
        (&elsewhere, &br#"{"model":"google/mine"}"#[..])
    );
    assert_eq!(clone.table().base(), &elsewhere);
    assert_eq!(clone.table().entries().len(), 1);
}

#[tokio::test]
async fn a_table_in_the_extensions_of_a_request_takes_precedence_over_the_layers() {
    let elsewhere = Upstream::new("q", "eu").unwrap();
    let own = ModelTable::builder(elsewhere.clone()).build().unwrap();
    for (body, expected) in
        [(r#"{"model":"mine"}"#, r#"{"model":"google/mine"}"#), ("no JSON", "no JSON")]
    {
        let mut request = post(body);
        request.extensions_mut().insert(own.clone());
        let request = arrives(&layer(), request).await.unwrap();
        assert_eq!((&request.upstream, &request.body[..]), (&elsewhere, expected.as_bytes()));
    }
}

#[tokio::test]
async fn the_service_that_was_ready_sends_the_request() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<ModelBody<Channel<Bytes>>>, ()>();
    let mut service = layer().layer(mock);
    let mut cx = Context::from_waker(Waker::noop());
    handle.allow(1);
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));

    let (mut sender, body) = Channel::<Bytes>::new(4);
    let request = Request::post("/v1/chat/completions").body(body).unwrap();
    let mut answer = pin!(service.call(request));
    assert!(answer.as_mut().poll(&mut cx).is_pending());
    // From here on only a service that was ready before may be called. Any other one panics.
    handle.allow(0);

    sender.send_data(Bytes::from_static(br#"{"model":"fast""#)).await.unwrap();
    assert!(answer.as_mut().poll(&mut cx).is_pending());
    // The name has arrived, but another one may follow.
    assert!(handle.poll_request().is_pending());

    sender.send_data(Bytes::from_static(b"}")).await.unwrap();
    drop(sender);
    assert!(answer.as_mut().poll(&mut cx).is_pending());
    let (request, respond) = handle.next_request().await.unwrap();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"{"model":"google/gemini-2.5-flash"}"#);
    respond.send_response(());
    answer.await.unwrap();
}

#[tokio::test]
async fn a_refused_request_drops_its_service_at_once() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<ModelBody<Full<Bytes>>>, ()>();
    let mut service = layer().layer(mock);
    handle.allow(1);
    service.ready().await.unwrap();
    let mut answer = pin!(service.call(post(r#"{"model":1}"#)));
    answer.as_mut().await.unwrap_err();
    drop(service);
    // The future still exists, but holds no handle to the mock any more.
    assert!(matches!(handle.poll_request(), Poll::Ready(None)));
}

#[test]
fn layers_services_and_futures_can_be_shared() {
    fn shared<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    fn sent<T: Send + std::fmt::Debug>(_: &T) {}
    let client = tower::util::BoxCloneSyncService::new(service_fn(
        |_: Request<ModelBody<Full<Bytes>>>| async { Ok::<_, BoxError>(StatusCode::OK) },
    ));
    let mut service = layer().layer(client);
    shared(&layer());
    shared(&table().build().unwrap());
    shared(&service);
    sent(&service.call(post("{}")));
}

#[cfg(feature = "credentials")]
#[cfg(feature = "credentials")]
mod sockets {
    use tower::ServiceBuilder;
    use tower_vertex::{route::VertexRouteLayer, token::TokenCache};
    use tower_vertex_emulator::{Emulator, EndpointInfo};

    use super::*;
    use crate::common::{Http, auth, client, key_source, text, upstream};

    fn chat(model: &str, content: &str) -> Request<Full<Bytes>> {
        let messages = serde_json::json!([{ "role": "user", "content": content }]);
        post(&format!(r#"{{"messages":{messages},"model":"{model}"}}"#))
    }

    #[tokio::test]
    async fn bare_names_and_aliases_reach_their_endpoints() {
        let vertex = Emulator::start().await.unwrap();
        vertex.set_endpoints([EndpointInfo::shared("4711", "mine").location("europe-west4")]);
        let table = ModelTable::builder(upstream(&vertex))
            .route("mine-*", ModelRoute::new().location("europe-west4").endpoint_id("4711"));
        let layer = VertexModelLayer::new(table.build().unwrap());
        for http in [Http::One, Http::Two] {
            let mut service = ServiceBuilder::new()
                .layer(layer.clone())
                .layer(VertexRouteLayer::without_default())
                .layer(auth(&vertex, TokenCache::new(key_source(&vertex))))
                .service(client(http));
            let long = "x".repeat(3 << 20);
            for (model, content, location, endpoint) in [
                ("gemini-2.5-flash", "good morning", "us-central1", "openapi"),
                ("google/gemini-2.5-flash", "good morning", "us-central1", "openapi"),
                ("mine-v2", "good morning", "europe-west4", "4711"),
                ("gemini-2.5-flash", &long, "us-central1", "openapi"),
            ] {
                let answer =
                    service.ready().await.unwrap().call(chat(model, content)).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{model}");
                assert!(text(answer).await.contains("You said: "));
                let requests = vertex.requests();
                let seen = requests.last().unwrap();
                assert_eq!(
                    seen.path,
                    format!(
                        "/v1/projects/p1/locations/{location}/endpoints/{endpoint}/chat/completions"
                    )
                );
                let sent =
                    if model == "gemini-2.5-flash" { "google/gemini-2.5-flash" } else { model };
                let length = chat(sent, content).body().size_hint().exact();
                assert_eq!(seen.body_length, length);
            }
            // After a revocation the changed body is replayed completely.
            vertex.revoke_tokens();
            let again = chat("gemini-2.5-flash", &long);
            let answer = service.ready().await.unwrap().call(again).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
}
