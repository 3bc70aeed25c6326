//! The bytes that are not copied, and the bodies that are not read.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_LENGTH};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_vertex::{
    BoxError,
    compat::{Cures, RequestBody, VertexCompatLayer},
    model::{ModelTable, VertexModelLayer},
    route::Upstream,
};

use super::script::{MISSING, MODEL, Script, chat, conversation, cures};

const DEVELOPER: &str =
    r#"{"model":"google/gemini-2.5-flash","messages":[{"role":"developer","content":"x"}]}"#;

/// The places in memory of the data that arrives if the data of a request is sent in these frames.
async fn sent(cures: Cures, frames: &[Bytes]) -> Vec<(*const u8, usize)> {
    let body = frames.iter().cloned().map(|data| Ok::<_, BoxError>(http_body::Frame::data(data)));
    let body = StreamBody::new(tokio_stream::iter(body.collect::<Vec<_>>()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_by_service = Arc::clone(&seen);
    let service = service_fn(move |request: Request<RequestBody<_>>| {
        let seen = Arc::clone(&seen_by_service);
        async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                seen.lock().unwrap().push(frame?.into_data().unwrap());
            }
            Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
        }
    });
    let service = VertexCompatLayer::new(cures).layer(service);
    service.oneshot(chat("").map(|_| body)).await.unwrap();
    let seen = seen.lock().unwrap();
    places(&seen)
}

fn places(frames: &[Bytes]) -> Vec<(*const u8, usize)> {
    frames.iter().map(|data| (data.as_ptr(), data.len())).collect()
}

#[tokio::test]
async fn a_request_that_stays_as_it_is_is_sent_without_a_copy() {
    // Short frames would be joined.
    let (first, second) = (" ".repeat(40_000), "x".repeat(40_000));
    let frames = |content: &str| {
        let open = format!(r#"{{"model":"{MODEL}",{first}"#);
        let rest = format!(r#""messages":[{{"role":"user",{content}"x":"{second}"}}]}}"#);
        [Bytes::from(open), Bytes::from(rest)]
    };
    let off = Cures::default().placeholder_signature(false).signatures(false);
    for (cures, content) in [
        (Cures::default(), ""),
        (off, r#""tool_calls":[],"#),
        (Cures::default().developer_role(false), r#""name":"developer","#),
    ] {
        let frames = frames(content);
        assert_eq!(sent(cures, &frames).await, places(&frames), "{content}");
    }
    // A text about `developer` is a reason to look, and no reason to copy the only frame.
    let only = [Bytes::from(conversation(MODEL, "developer"))];
    assert_eq!(sent(Cures::default(), &only).await, places(&only));
}

#[tokio::test]
async fn a_response_is_read_only_if_it_may_be_cured_or_its_request_sent_again() {
    let requests = Cures::none().developer_role(true);
    let conversation = conversation(MODEL, "call-1");
    for (cures, body, status, kind) in [
        (Cures::default(), DEVELOPER, 200, "CompatBody(cured)"),
        (requests, DEVELOPER, 200, "CompatBody(unchanged)"),
        (Cures::default(), DEVELOPER, 400, "CompatBody(unchanged)"),
        (Cures::default(), DEVELOPER, 500, "CompatBody(unchanged)"),
        (Cures::default(), &conversation, 500, "CompatBody(unchanged)"),
        (Cures::default(), &conversation, 400, "CompatBody(error)"),
        (Cures::default(), r#"{"model":"meta/llama"}"#, 200, "CompatBody(unchanged)"),
    ] {
        let script = Script::default();
        let response =
            Response::builder().status(status).header("content-type", "application/json");
        let response = response.header(CONTENT_LENGTH, 2).body(Full::from("{}")).unwrap();
        script.respond_with(response);
        let service = VertexCompatLayer::new(cures).layer(script.service());
        let response = service.oneshot(chat(body)).await.unwrap();
        assert_eq!(format!("{:?}", response.body()), kind, "{cures:?} {status} {body}");
        let has_length = response.headers().contains_key(CONTENT_LENGTH);
        assert_eq!(has_length, kind != "CompatBody(cured)");
    }
}

#[tokio::test]
async fn embeddings_of_any_publisher_are_in_base64_if_the_request_says_so() {
    let numbers = r#"{"data":[{"embedding":[1.0]}],"usage":{"prompt_tokens":0,"total_tokens":0}}"#;
    let base64 = numbers.replace("[1.0]", "\"AACAPw==\"");
    let openapi = Upstream::new("p", "us-central1").unwrap();
    let table = ModelTable::builder(openapi).build().unwrap();
    for (request, expected) in [
        (r#"{"model":"intfloat/e5","input":"x","encoding_format":"base64"}"#, &*base64),
        (r#"{"model":"google/gemini-embedding-001","encoding_format":"base64"}"#, &base64),
        (r#"{"model":"intfloat/e5","input":"base64","encoding_format":"float"}"#, numbers),
        (r#"{"model":"intfloat/e5","input":"x"}"#, numbers),
    ] {
        let script = Script::default();
        let response = Response::builder().header("content-type", "application/json");
        script.respond_with(response.body(Full::from(numbers)).unwrap());
        let mut sent = chat(request);
        *sent.uri_mut() = "/v1/embeddings".parse().unwrap();
        let service = VertexCompatLayer::default().layer(script.service());
        let response = VertexModelLayer::new(table.clone()).layer(service).oneshot(sent).await;
        let response = response.unwrap();
        assert_eq!(cures(&response), None);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, expected, "{request}");
        assert_eq!(script.bodies(), [request]);
    }
}

#[tokio::test]
async fn the_resend_waits_until_the_service_is_ready() {
    let (service, mut handle) =
        tower_test::mock::pair::<Request<RequestBody<Full<Bytes>>>, Response<Full<Bytes>>>();
    handle.allow(1);
    let mut service = tower_test::mock::Spawn::new(VertexCompatLayer::default().layer(service));
    assert!(service.poll_ready().is_ready());
    let future = service.call(chat(conversation(MODEL, "call-1")));
    assert_eq!(format!("{future:?}"), "ResponseFuture { .. }");
    let mut response = tokio::spawn(future);
    let refusal = Response::builder().status(400).body(Full::from(MISSING)).unwrap();
    handle.next_request().await.unwrap().1.send_response(refusal);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!response.is_finished());
    handle.allow(1);
    let (request, respond) = handle.next_request().await.unwrap();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert!(body.windows(7).any(|text| text == b"skip_th"));
    respond.send_response(Response::new(Full::from("{}")));
    let response = (&mut response).await.unwrap().unwrap();
    assert_eq!(
        (response.status().as_u16(), cures(&response)),
        (200, Some("placeholder_signature"))
    );
}
