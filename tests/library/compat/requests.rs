//! Requests that are cured, and requests that are sent as they came.

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{Channel, Full};
use tower::{Layer as _, ServiceExt as _};
use tower_vertex::{
    BoxError,
    compat::{
        AppliedCures, CompatBody, Cure, Cures, RequestBody, ResponseFuture, SignatureScope,
        Signatures, VertexCompat, VertexCompatLayer,
    },
    model::{ModelRoute, ModelTable, UpstreamModel, VertexModelLayer},
    route::{Endpoint, Upstream},
};

use super::script::{MODEL, Script, chat, conversation, cures, signed};

const DEVELOPER: &str = r#"{"model": "google/gemini-2.5-flash", "messages": [{"role": "developer", "content": "x"}], "n": 1.0}"#;

fn upstream(endpoint: Endpoint) -> Upstream {
    let builder = Upstream::builder().project("p").location("us-central1");
    builder.endpoint(endpoint).build().unwrap()
}

fn with<T: Clone + Send + Sync + 'static>(body: &str, extension: T) -> Request<Full<Bytes>> {
    let mut request = chat(body);
    request.extensions_mut().insert(extension);
    request
}

#[tokio::test]
async fn a_cured_request_has_its_length_and_its_response_names_the_cures() {
    let (script, layer) = (Script::default(), VertexCompatLayer::default());
    let response = script.send(&layer, chat(DEVELOPER)).await;
    assert_eq!(cures(&response), Some("developer_role"));
    let applied = response.extensions().get::<AppliedCures>().unwrap();
    assert_eq!(applied.iter().collect::<Vec<_>>(), [Cure::DeveloperRole]);
    assert!(applied.contains(Cure::DeveloperRole) && !applied.contains(Cure::Role));
    assert_eq!((applied.restored_signatures(), applied.placeholder_signatures()), (0, 0));
    let seen = script.seen().remove(0);
    assert_eq!(seen.body, DEVELOPER.replace("developer", "system"));
    assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
}

#[tokio::test]
async fn requests_without_a_cure_pass_byte_for_byte_and_unread_if_their_request_head_says_so() {
    let (script, layer) = (Script::default(), VertexCompatLayer::default());
    let other = DEVELOPER.replace("google/", "meta/");
    let deployed = upstream(Endpoint::Deployed { id: "1".into() });
    let gzip = {
        let mut request = chat(DEVELOPER);
        request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        request
    };
    let other_path = {
        let mut request = chat(DEVELOPER);
        *request.uri_mut() = "/v1/responses".parse().unwrap();
        request
    };
    let put = {
        let mut request = chat(DEVELOPER);
        *request.method_mut() = Method::PUT;
        request
    };
    let bare = DEVELOPER.replace("google/", "");
    for (request, read) in [
        (with(DEVELOPER, deployed), false),
        (gzip, false),
        (other_path, false),
        (put, false),
        (chat(other.clone()), true),
        (chat(bare), true),
        (chat(r#"{"model":"google/gemini-3","messages":[{"role":"user","content":"x"}]}"#), true),
        (chat(r#"{"model":"google/gemini-3","messages":[{"role":"developer"}]"#), true),
    ] {
        let (head, body) = request.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        let request = Request::from_parts(head, Full::from(body.clone()));
        let length = request.headers()["content-length"].clone();
        let response = script.send(&layer, request).await;
        assert_eq!(cures(&response), None);
        assert!(response.extensions().get::<AppliedCures>().is_none());
        let seen = script.seen().remove(0);
        assert_eq!((seen.body.as_bytes(), seen.read), (&*body, read), "{}", seen.body);
        assert_eq!(seen.headers["content-length"], length);
    }
    let none = VertexCompatLayer::new(Cures::none());
    assert_eq!(none.cures(), Cures::none());
    script.send(&none, chat(DEVELOPER)).await;
    assert!(!script.seen().remove(0).read);
}

#[tokio::test]
async fn the_upstream_and_the_name_of_the_model_layer_decide() {
    let table = ModelTable::builder(upstream(Endpoint::OpenApi))
        .route("mine", ModelRoute::new().endpoint_id("1"))
        .route("llama", ModelRoute::new().publisher("meta"))
        .route("alias", ModelRoute::new().model("gemini-2.5-flash"))
        .build()
        .unwrap();
    let script = Script::default();
    for (name, sent, cured) in [
        ("gemini-2.5-flash", "google/gemini-2.5-flash", true),
        ("alias", "google/gemini-2.5-flash", true),
        ("mine", "mine", false),
        ("llama", "meta/llama", false),
    ] {
        let service = VertexCompatLayer::default().layer(script.service());
        let body = DEVELOPER.replace("google/gemini-2.5-flash", name);
        let service = VertexModelLayer::new(table.clone()).layer(service);
        let response = service.oneshot(chat(body.clone())).await.unwrap();
        assert_eq!(cures(&response).is_some(), cured, "{name}");
        let role = if cured { "system" } else { "developer" };
        let expected =
            DEVELOPER.replace("google/gemini-2.5-flash", sent).replace("developer", role);
        let seen = script.seen().remove(0);
        assert_eq!((seen.body, seen.read), (expected, cured), "{name}");
    }
}

#[tokio::test]
async fn a_body_that_arrives_in_pieces_is_cured_and_a_failing_one_fails_its_request() {
    let script = Script::default();
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let request = chat("").map(|_| body);
    let (head, body) = request.into_parts();
    let mut request = Request::from_parts(head, body);
    request.headers_mut().remove("content-length");
    let send = async {
        for piece in DEVELOPER.as_bytes().chunks(7) {
            sender.send(Frame::data(Bytes::copy_from_slice(piece))).await.unwrap();
        }
        drop(sender);
    };
    let layer = VertexCompatLayer::default();
    let (response, ()) = tokio::join!(script.send(&layer, request), send);
    assert_eq!(cures(&response), Some("developer_role"));
    assert_eq!(script.bodies(), [DEVELOPER.replace("developer", "system")]);

    let (sender, body) = Channel::<Bytes, BoxError>::new(1);
    sender.abort("the client has left".into());
    let service = layer.layer(script.service());
    let error = service.oneshot(chat("").map(|_| body)).await.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the client has left");
    assert!(script.seen().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_sent_as_it_is() {
    let script = Script::default();
    let layer = VertexCompatLayer::default().body_limit(20);
    let response = script.send(&layer, chat(DEVELOPER)).await;
    assert_eq!(cures(&response), None);
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let send = async {
        for piece in DEVELOPER.as_bytes().chunks(7) {
            sender.send(Frame::data(Bytes::copy_from_slice(piece))).await.unwrap();
        }
        drop(sender);
    };
    let request = chat("").map(|_| body);
    let (response, ()) = tokio::join!(script.send(&layer, request), send);
    assert_eq!(cures(&response), None);
    assert_eq!(script.bodies(), [DEVELOPER, DEVELOPER]);
}

#[tokio::test]
async fn only_the_layer_sets_its_header() {
    let (script, layer) = (Script::default(), VertexCompatLayer::default());
    for body in [DEVELOPER, r#"{"model":"meta/llama","messages":[]}"#] {
        let response = http::Response::builder().header("x-vertex-compat", "role");
        script.respond_with(response.body(Full::default()).unwrap());
        let mut request = chat(body);
        request.headers_mut().insert("x-vertex-compat", "role".parse().unwrap());
        let response = script.send(&layer, request).await;
        assert_eq!(cures(&response), (body == DEVELOPER).then_some("developer_role"));
        assert!(!script.seen().remove(0).headers.contains_key("x-vertex-compat"));
    }
}

#[tokio::test]
async fn a_remembered_signature_is_restored_for_its_caller_its_project_and_its_family_only() {
    let (script, signatures) = (Script::default(), Signatures::new());
    signatures.remember(signatures.owner("team-a", "p", MODEL), "call-1", "SIGNATURE");
    let layer = VertexCompatLayer::default().signatures(signatures);
    let openapi = upstream(Endpoint::OpenApi);
    let elsewhere = Upstream::new("other", "us-central1").unwrap();
    for (scope, upstream, model, id, found) in [
        ("team-a", &openapi, MODEL, "call-1", true),
        ("team-a", &openapi, "google/gemini-3-flash", "call-1", true),
        ("team-a", &openapi, MODEL, "call-2", false),
        ("team-b", &openapi, MODEL, "call-1", false),
        ("team-a", &elsewhere, MODEL, "call-1", false),
        ("team-a", &openapi, "google/gemini-2.5-pro", "call-1", false),
    ] {
        let body = conversation(model, id);
        let mut request = with(&body, SignatureScope::new(scope));
        request.extensions_mut().insert(upstream.clone());
        let response = script.send(&layer, request).await;
        let sent = if found { signed(&body, "SIGNATURE") } else { body };
        assert_eq!(script.bodies(), [sent], "{scope} {upstream} {model} {id}");
        assert_eq!(cures(&response), found.then_some("signatures"));
        let applied = response.extensions().get::<AppliedCures>();
        assert_eq!(applied.map(|applied| applied.restored_signatures()), found.then_some(1));
    }
    assert_eq!(SignatureScope::new("team-a").to_string(), "team-a");
    let stats = layer.stats();
    // Gemini 2.5 demands no signature, so none is missing there.
    assert_eq!((stats.restored, stats.placeholders, stats.missing), (2, 0, 3));
    assert!(stats.memory.bytes > 0);
}

#[tokio::test]
async fn readiness_and_errors_come_from_the_inner_service() {
    let (service, mut handle) =
        tower_test::mock::pair::<Request<RequestBody<Full<Bytes>>>, http::Response<Full<Bytes>>>();
    handle.allow(0);
    let mut service = tower_test::mock::Spawn::new(VertexCompat::new(service));
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let response = service.call(chat(DEVELOPER));
    handle.next_request().await.unwrap().1.send_error("refused");
    assert_eq!(response.await.map(|_| ()).unwrap_err().to_string(), "refused");
}

#[test]
fn layers_services_futures_and_bodies_can_be_named_cloned_and_sent() {
    fn shared<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn sent<T: Send + std::fmt::Debug>() {}
    type Inner = tower::util::BoxCloneSyncService<
        Request<RequestBody<Full<Bytes>>>,
        http::Response<Full<Bytes>>,
        BoxError,
    >;
    shared::<VertexCompatLayer>();
    shared::<VertexCompat<Inner>>();
    shared::<(AppliedCures, SignatureScope, UpstreamModel)>();
    sent::<ResponseFuture<Inner, Full<Bytes>, Full<Bytes>>>();
    sent::<(CompatBody<Full<Bytes>>, RequestBody<Full<Bytes>>)>();
}
