//! The whole stack against the emulator, on real sockets.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::{Layer, Service, ServiceExt};
use tower_vertex::{
    auth::RefreshOutcome,
    error_format::{VertexError, VertexErrorLayer},
    route::VertexRouteLayer,
    token::TokenCache,
};
use tower_vertex_emulator::{ApiFault, Emulator, ErrorShape, Faults, StreamBehavior};

use super::script::{error, form, is_interruption, parsed};
use crate::common::{
    Http, Stack, auth, chat, chat_stream, client, eventually, key_source, upstream,
};

fn stack(vertex: &Emulator, http: Http) -> VertexError<Stack<Full<Bytes>>> {
    VertexErrorLayer::new().layer(crate::common::stack(vertex, key_source(vertex), http))
}

fn fault(vertex: &Emulator, fault: ApiFault) {
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
}

#[tokio::test]
async fn every_shape_of_error_is_translated_and_its_connection_reused() {
    for http in [Http::One, Http::Two] {
        let vertex = Emulator::start().await.unwrap();
        let mut service = stack(&vertex, http);
        for (shape, name) in [
            (ErrorShape::Array, "array"),
            (ErrorShape::Object, "object"),
            (ErrorShape::Html, "html"),
        ] {
            for status in [400, 403, 404, 429, 500, 503] {
                let retry_delay = Some("1.5s".into());
                let shape = Some(shape);
                fault(&vertex, ApiFault { retry_delay, shape, ..ApiFault::new(status) });
                let answer = service.ready().await.unwrap().call(chat("hello")).await.unwrap();
                assert_eq!((answer.status().as_u16(), form(&answer)), (status, Some(name)));
                let after = answer.headers().get("retry-after").cloned();
                let error = error(answer).await;
                let message = error["message"].as_str().unwrap();
                assert_eq!(error["code"], status.to_string());
                if shape == Some(ErrorShape::Html) {
                    assert!(message.contains("a web page instead of JSON"), "{message}");
                    assert_eq!(message.contains("location us-central1, endpoint"), status == 404);
                    assert_eq!((after, error.get("google")), (None, None));
                } else {
                    assert_eq!(after.unwrap(), "2");
                    assert_eq!(error["google"]["code"], status);
                    assert_eq!(error["google"]["details"][0]["retryDelay"], "1.5s");
                }
            }
        }
        vertex.clear_faults();
        let answer = service.ready().await.unwrap().call(chat("hello")).await.unwrap();
        assert_eq!((answer.status().as_u16(), form(&answer)), (200, None));
        assert_eq!(vertex.stats().connections_total, 1);
    }
}

#[tokio::test]
async fn a_path_that_vertex_ai_does_not_have_is_explained() {
    let vertex = Emulator::start().await.unwrap();
    let upstream = upstream(&vertex).to_builder().pass_through(true).build().unwrap();
    let auth = auth(&vertex, TokenCache::new(key_source(&vertex)));
    let service = VertexErrorLayer::new()
        .layer(VertexRouteLayer::new(upstream).layer(auth.layer(client(Http::One))));
    let request = Request::get("/v1/models").body(Full::<Bytes>::default()).unwrap();
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), form(&answer)), (404, Some("html")));
    let message = error(answer).await["message"].to_string();
    for part in [vertex.url().as_str(), "us-central1", "openapi", "the path", "project p1"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

#[tokio::test]
async fn a_401_after_a_replay_keeps_its_outcome_and_its_headers() {
    let vertex = Emulator::start().await.unwrap();
    fault(&vertex, ApiFault::new(401));
    let answer = stack(&vertex, Http::One).oneshot(chat("hello")).await.unwrap();
    assert_eq!((answer.status().as_u16(), form(&answer)), (401, Some("object")));
    assert!(matches!(answer.extensions().get(), Some(RefreshOutcome::Replayed)));
    assert!(answer.headers().contains_key("www-authenticate"));
    let error = error(answer).await;
    assert_eq!(error["google"]["status"], "UNAUTHENTICATED");
    assert_eq!(error["google"]["details"][0]["reason"], "ACCESS_TOKEN_TYPE_UNSUPPORTED");
}

#[tokio::test]
async fn a_truncated_stream_ends_with_an_event_and_a_complete_one_is_unchanged() {
    for http in [Http::One, Http::Two] {
        let vertex = Emulator::start().await.unwrap();
        let service = stack(&vertex, http);
        for cut_after in [Some(0), Some(1), Some(3), None] {
            let stream =
                StreamBehavior { chunks: Some(10), cut_after, ..StreamBehavior::default() };
            vertex.set_faults(Faults { stream, ..Faults::default() });
            let answer = service.clone().oneshot(chat_stream("hello")).await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let events = parsed(&body);
            match cut_after {
                Some(chunks) => {
                    assert_eq!(events.len(), chunks + 1, "{http:?}");
                    assert!(is_interruption(&events[chunks]));
                }
                None => {
                    assert_eq!(events.len(), 10);
                    assert!(body.ends_with(b"data: [DONE]\n\n"));
                }
            }
        }
        eventually("no stream is left open", || vertex.stats().streams.open == 0).await;
    }
}

/// A server that sends these bytes on each connection, and closes it.
async fn raw(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            // The request was read, so closing the socket resets nothing.
            let _ = socket.shutdown().await;
        }
    });
    url
}

#[tokio::test]
async fn a_stream_cut_within_a_line_and_a_truncated_body_are_reported() {
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let service = VertexErrorLayer::new().body_timeout(Duration::from_secs(60)).layer(client);
    let get = |url: String| Request::get(url).body(Full::default()).unwrap();

    let url = raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
        transfer-encoding: chunked\r\n\r\n19\r\ndata: {\"n\":1}\n\ndata: {\"n\r\n")
    .await;
    let answer = service.clone().oneshot(get(url)).await.unwrap();
    let events = parsed(&answer.into_body().collect().await.unwrap().to_bytes());
    assert_eq!(events.len(), 2);
    assert!(events[0]["n"] == 1 && is_interruption(&events[1]));

    let url =
        raw("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 99\r\n\r\n[{\"error\"").await;
    let answer = service.clone().oneshot(get(url)).await.unwrap();
    assert_eq!((answer.status().as_u16(), form(&answer)), (503, Some("other")));
    assert!(error(answer).await["message"].as_str().unwrap().ends_with("ended early"));

    let url = raw("HTTP/1.1 404 Not Found\r\ncontent-length: 99\r\n\r\n").await;
    let head = Request::head(url).body(Full::default()).unwrap();
    let answer = service.oneshot(head).await.unwrap();
    assert_eq!(
        (&answer.headers()["content-length"], form(&answer)),
        (&"99".parse().unwrap(), None)
    );
}
